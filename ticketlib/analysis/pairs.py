"""The paired difference: two arms, run by run at the same seeds, and what stands against reading it."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ticketlib import ratios
from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.experiments.config import composition_of, lineage
from ticketlib.experiments.machine import SAME_IN_A_PAIR
from ticketlib.experiments.profiles import fields
from ticketlib.tickets import MOVES, TICKETS

MOVED_FLOOR = 0.10  # a rearrangement or shuffle must touch at least this share of the kept weights
LABELS_SLACK = 0.05  # corrupted labels agree with the true ones at 1 / classes, half the images are half, give or take
PIXELS_CEILING = 0.10  # shuffled pixels correlate with the true ones by at most this
SIGNS_SLACK = 0.1  # of signs drawn anew a half stays, give or take
LEARNT = 0.9  # a network has learnt from noise if its training loss ends below this share of guessing's
LEFT_TO_PAIRS = ("engine", "precision", "eval_every")  # fields that a profile fixes and a pair must share instead
SAME_IN_A_RECIPE = (
    "recipe", "engine", "precision", "batch", "lr", "momentum", "weight_decay", "drops", "padding", "flip", "epochs",
    "fingerprint",
)  # fmt: skip


def select(frame, profile, network="resnet", **changes):
    """The runs of a ledger that may be compared: of one profile's network and recipe, on its own images.

    A ticket that could not be made since the net it starts from diverged has no row; here it has a line that is
    diverged and guesses, so that no seed is lost unseen.
    Arguments: frame, as ledger.frame gives; profile, a name of PROFILES; network, its short name there; changes, fields
        of Config in which the runs differ from the profile, such as epochs or dataset.
    Returns: DataFrame, a line a run, of the columns of `frame` and `collapsed`.
    Raises: TicketError for two runs of one arm and seed, of which one would have to be chosen.
    """
    wanted = fields(profile, network, but=LEFT_TO_PAIRS) | {"held_out": 0} | changes
    fits = [frame[what].map(lambda given, value=value: given == value) for what, value in wanted.items()]
    chosen = frame[np.logical_and.reduce(fits).astype(bool)]
    runs = pd.concat([chosen, _not_made(chosen)], ignore_index=True)
    for arm, seed in runs[runs.duplicated(["arm", "seed"])][["arm", "seed"]].to_numpy():
        raise TicketError(f"{arm}, seed {seed} has two rows here; a ledger holds one an arm and seed.")
    return runs.assign(collapsed=collapsed(runs))


def planned(frame, plan, profile="laptop", network="resnet", **changes):
    """The runs that a plan reads, of its length, seeds and sparsities: as `select`. Arguments: plan, claims.Plan."""
    runs = select(frame, profile, network, epochs=plan.epochs, **changes)
    return runs[runs.seed.isin(plan.seeds) & runs.sparsity.isin(("0", *plan.sparsities))]


def _not_made(runs):
    """Lines of the tickets of these arms that could not be made, as a net that they start from diverged."""
    nets, made = runs[runs.diverged.astype(bool)].set_index("name"), set(runs.name)
    examples = runs.drop_duplicates("arm") if len(nets) else runs[:0]
    lines = []
    for line in examples.to_dict("records"):
        for seed in nets.seed.unique():
            config = dataclasses.replace(line["config"], seed=int(seed))
            before = [one.name for one in lineage(config)[:-1] if one.name in nets.index]
            if config.name not in made and before:
                guess = 100 / line["num_classes"]
                facts = dict(name=config.name, config=config, seed=int(seed), diverged=True, empty_layers=0)
                facts |= dict(accuracy=guess, best_accuracy=guess) | nets.loc[before[0]][[*SAME_IN_A_PAIR]].to_dict()
                lines.append(line | facts)
    return pd.DataFrame(lines, columns=runs.columns).astype(runs.dtypes)


def collapsed(runs):
    """Which runs collapsed: diverged, no live path from input to output, or below twice guessing: Series of bool.

    A layer without weights is no collapse: in a residual network a path may lead past it.
    """
    return runs.diverged | (runs.effective_sparsity == 1) | (runs.accuracy < 2 * 100 / runs.num_classes)


@dataclass(frozen=True)
class Difference:
    """Arm a minus arm b at the seeds that both have, and what stands against reading it."""

    points: pd.Series  # of accuracy, a value a seed; the index is the seed
    a: pd.DataFrame  # the runs of arm a, a line a seed, in the order of `points`
    b: pd.DataFrame
    untested: tuple[str, ...] = ()  # manipulation checks that failed or are missing, in words with the seed
    refused: tuple[str, ...] = ()  # fields that the runs of a pair must share and do not
    undefined: str = ""  # why one of the arms cannot be made at all; "" where it can

    @property
    def collapsed(self):
        """How many of the 2 n runs collapsed."""
        return int(self.a.collapsed.sum() + self.b.collapsed.sum())


def difference(runs, a, b, seeds=None, undefined=""):
    """The paired difference in accuracy, arm a minus arm b.

    Arguments: runs, as `select` gives; a, b, arms with sparsity, as Config.arm; seeds, those that count, None for all;
        undefined, why one of the arms cannot be made, as `not_defined` says.
    Returns: Difference, its points in percent of accuracy, a value a seed that both arms have.
    """
    of_a, of_b = (runs[runs.arm == arm].set_index("seed") for arm in (a, b))
    both = of_a.index.intersection(of_b.index).sort_values()
    both = both if seeds is None else both[both.isin(seeds)]
    of_a, of_b = of_a.loc[both], of_b.loc[both]
    untested = [*_untested(of_a, runs), *_untested(of_b, runs), *_lost_counts(of_a, of_b)]
    return Difference(of_a.accuracy - of_b.accuracy, of_a, of_b, tuple(untested), _refused(of_a, of_b), undefined)


def difference_at(runs, a, b, sparsity, profile="laptop", network="resnet"):
    """As `difference`, of arms without sparsity at one; says why an arm cannot be made on a network of a profile."""
    arms = [f"{arm}@{sparsity}" for arm in (a, b)]
    undefined = next(filter(None, (not_defined(profile, arm, network) for arm in arms)), "")
    return difference(runs, *arms, undefined=undefined)


@functools.cache
def not_defined(profile, arm, network="resnet"):
    """Why an arm cannot be made on a network of a profile: its rule has no solution there; "" where it can."""
    names, _, sparsity = arm.partition("@")
    rule = TICKETS[names.partition("+")[0]].rule
    if rule not in ratios.RULES or "min_per_layer" in names:
        return ""
    return grids.why_not(profile, network, rule, sparsity)


def _refused(a, b):
    """Fields that all runs of a comparison must share, or the two of a pair, and do not."""
    unlike = [field for field in SAME_IN_A_PAIR if [*a[field]] != [*b[field]]]
    return (*unlike, *(field for field in SAME_IN_A_RECIPE if len({*a[field], *b[field]}) > 1))


def _untested(of, runs):
    """The manipulation checks of an arm's runs, a line a seed, that failed or are missing at some seed: words."""
    checked = _measured(of, runs)
    failures = checked[~checked.sound.astype(bool)]
    return [f"{failed} ({_at_seeds(at, len(of))})" for failed, at in failures.groupby("failed", sort=False).seed]


def _at_seeds(found, total):
    """The one seed by its number, several by how many of all they are."""
    return f"seed {found.iloc[0]}" if len(found) == 1 else f"{len(found)} of {total} seeds"


def _lost_counts(a, b):
    """Seeds at which rearranging a ticket changed how many weights a layer keeps: words."""
    rearranged = (a.check == "rearranged") != (b.check == "rearranged")
    lost = rearranged & (a.ticket == b.ticket) & (a.counts != b.counts) & ~(a.diverged | b.diverged)
    return [f"rearranging changed keep-counts (seed {seed})" for seed in a.index[lost]]


class Manipulation(NamedTuple):
    """One measurement that shows whether a control did its work."""

    column: str  # of ledger.frame
    measures: str
    wanted: str
    failed: str  # what is said where it is not as wanted
    applies: Callable  # (check, corruption, whether the ticket starts from a trained net) -> bool
    sound: Callable  # (values, classes) -> bool each; a missing value is never sound
    of_net: bool = True  # measured on the trained net, where the ticket has one


_NOISE = ("labels", "pixels", "both")
MANIPULATIONS = (
    Manipulation("moved_share", "kept places that changed", f"at least {MOVED_FLOOR:g}", "no weights moved",
          lambda check, kind, trained: check in MOVES, lambda v, classes: v >= MOVED_FLOOR, False),
    Manipulation("changed_share", "kept values that changed", f"at least {MOVED_FLOOR:g}", "no values changed",
          lambda check, kind, trained: check not in {"none", *MOVES}, lambda v, classes: v >= MOVED_FLOOR, False),
    Manipulation("signs_kept", "signs that stayed", "0.4 to 0.6", "signs were not drawn anew",
          lambda check, kind, trained: check == "random_signs", lambda v, classes: abs(v - 0.5) <= SIGNS_SLACK, False),
    Manipulation("signs_kept", "signs that stayed", "all", "signs changed",
          lambda check, kind, trained: check == "fresh_magnitudes", lambda v, classes: v == 1, False),
    Manipulation("label_agreement", "labels that are still right", f"1 / classes, give or take {LABELS_SLACK:g}",
          "labels were not random", lambda check, kind, trained: kind in ("labels", "both"),
          lambda v, classes: abs(v - 1 / classes) <= LABELS_SLACK),
    Manipulation("pixel_correlation", "correlation with the true image", f"at most {PIXELS_CEILING:g}",
          "pixels were not shuffled", lambda check, kind, trained: kind in ("pixels", "both"),
          lambda v, classes: abs(v) <= PIXELS_CEILING),
    Manipulation("images_kept", "share of the images", f"a half, give or take {LABELS_SLACK:g}",
          "half the images were not half", lambda check, kind, trained: kind == "half",
          lambda v, classes: abs(v - 0.5) <= LABELS_SLACK),
    Manipulation("loss", "last training loss on noise", f"below {LEARNT:g} × ln(classes)",
          "the network learnt too little from noise", lambda check, kind, trained: trained and kind in _NOISE,
          lambda v, classes: v < LEARNT * np.log(classes)),
)  # fmt: skip
MEASURED = ("seed", "measures", "wanted", "failed", "value", "sound")  # of a manipulation check, a line a seed


def measurements(runs, arm):
    """What the manipulation checks of an arm measured; an arm without a control has none.

    Arguments: runs, as `select` gives, the trained nets among them; arm, with sparsity, as Config.arm.
    Returns: DataFrame, a line a check and seed, of columns seed, measures, wanted, failed (words), value (missing where
        nothing was measured) and sound. Runs that diverged are left out: they are judged as collapsed.
    """
    return _measured(runs[runs.arm == arm].set_index("seed"), runs)


def _measured(of, runs):
    """What `measurements` gives, for the runs of one arm, a line a seed, the trained nets among `runs`."""
    of = of[~of.diverged.astype(bool)]
    if of.empty:
        return pd.DataFrame(columns=MEASURED)
    ticket, check, kind = of[["ticket", "check", "corruption"]].iloc[0]
    trained = composition_of(ticket).needs_trained
    asked = [one for one in MANIPULATIONS if one.applies(check, kind, trained)]
    if not asked:
        return pd.DataFrame(columns=MEASURED)
    nets = of
    if trained and kind != "none":
        nets = runs[runs.ticket == "dense"].set_index("name").reindex([lineage(one)[0].name for one in of.config])
    tables = []
    for one in asked:
        values = (nets if one.of_net else of)[one.column].to_numpy(float)
        sound = one.sound(values, of.num_classes.to_numpy(float))
        facts = dict(measures=one.measures, wanted=one.wanted, failed=one.failed)
        tables.append(pd.DataFrame(dict(seed=of.index, **facts, value=values, sound=sound)))
    return pd.concat(tables, ignore_index=True)
