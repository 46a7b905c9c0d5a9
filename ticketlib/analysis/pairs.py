"""The paired difference: two arms, run by run at the same seeds, and what stands against reading it."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ticketlib import ratios
from ticketlib.experiments import grids
from ticketlib.experiments.config import lineage
from ticketlib.experiments.machine import SAME_IN_A_PAIR
from ticketlib.experiments.profiles import fields
from ticketlib.tickets import TICKETS

MOVED_FLOOR = 0.10  # a rearrangement or shuffle must touch at least this share of the kept weights
LABELS_SLACK = 0.05  # corrupted labels agree with the true ones at 1 / classes, half the images are half, give or take
PIXELS_CEILING = 0.10  # shuffled pixels correlate with the true ones by at most this
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
    """
    wanted = fields(profile, network, but=LEFT_TO_PAIRS) | {"held_out": 0} | changes
    fits = [frame[what].map(lambda found, value=value: found == value) for what, value in wanted.items()]
    chosen = frame[np.logical_and.reduce(fits)]
    runs = pd.concat([chosen, _not_made(chosen)], ignore_index=True)
    return runs.assign(collapsed=collapsed(runs))


def _not_made(runs):
    """Lines of the tickets of these arms that could not be made, as a net that they start from diverged."""
    diverged, made = set(runs.name[runs.diverged]), set(runs.name)
    examples = runs.drop_duplicates("arm") if diverged else runs[:0]
    lines = []
    for line in examples.to_dict("records"):
        for seed in runs.seed[runs.diverged].unique():
            config = dataclasses.replace(line["config"], seed=int(seed))
            if config.name not in made and any(one.name in diverged for one in lineage(config)[:-1]):
                guess = dict(accuracy=100 / line["num_classes"], diverged=True)
                lines.append(line | guess | dict(name=config.name, config=config, seed=int(seed)))
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
    arms = [runs[runs.arm == arm].set_index("seed").sort_index() for arm in (a, b)]
    both = arms[0].index.intersection(arms[1].index)
    both = both if seeds is None else both[both.isin(seeds)]
    of_a, of_b = (arm.loc[both] for arm in arms)
    return Difference(
        of_a.accuracy - of_b.accuracy, of_a, of_b, _untested(runs, of_a, of_b), _refused(of_a, of_b), undefined
    )


def not_defined(profile, arm, network="resnet"):
    """Why an arm cannot be made on a network of a profile: its rule has no solution there; "" where it can."""
    names, _, sparsity = arm.partition("@")
    rule = TICKETS[names.partition("+")[0]].counts
    if rule not in ratios.RULES:
        return ""
    return ratios.why_not(grids.layers(profile, network), rule, sparsity, family=network)


def _refused(a, b):
    """Fields that all runs of a comparison must share, or the two of a pair, and do not."""
    pairs = [what for what in SAME_IN_A_PAIR if (a[what] != b[what]).any()]
    return (*pairs, *(what for what in SAME_IN_A_RECIPE if pd.concat([a[what], b[what]]).nunique() > 1))


def _untested(runs, a, b):
    """The manipulation checks of a comparison that failed in a seed, or are missing: tuple of words."""
    nets = runs[runs.ticket == "dense"].set_index("name")
    said = [_did_nothing(line, nets) for arm in (a, b) for line in arm.reset_index().to_dict("records")]
    rearranged = (a.check == "rearranged") != (b.check == "rearranged")
    lost = rearranged & (a.ticket == b.ticket) & (a.counts != b.counts) & ~(a.diverged | b.diverged)
    said += [f"rearranging changed keep-counts (seed {seed})" for seed in a.index[lost]]
    return tuple(filter(None, said))


def _did_nothing(line, nets):
    """Which manipulation check of a run failed, with its seed; "" where its control did its work, or it has none."""
    net = lineage(line["config"])[0].name if TICKETS[line["ticket"]].needs_trained else line["name"]
    if line["diverged"] or (line["check"], line["corruption"]) == ("none", "none"):
        return ""
    trained = nets.loc[net] if net in nets.index else pd.Series(dtype=float)
    measured = trained if net != line["name"] else line

    def lacks(what, sound):
        value = measured.get(what) if what not in ("moved_share", "changed_share") else line[what]
        return value is None or math.isnan(value) or not sound(value)

    classes, kind, check = line["num_classes"], line["corruption"], line["check"]
    failed = [
        ("no weights moved", check == "rearranged" and lacks("moved_share", lambda v: v >= MOVED_FLOOR)),
        ("no values changed", check not in ("none", "rearranged")
         and lacks("changed_share", lambda v: v >= MOVED_FLOOR)),
        ("labels were not random", kind in ("labels", "both")
         and lacks("label_agreement", lambda v: abs(v - 1 / classes) <= LABELS_SLACK)),
        ("pixels were not shuffled", kind in ("pixels", "both")
         and lacks("pixel_correlation", lambda v: abs(v) <= PIXELS_CEILING)),
        ("half the images were not half", kind == "half"
         and lacks("images_kept", lambda v: abs(v - 0.5) <= LABELS_SLACK)),
        ("the network learnt nothing from noise", net != line["name"] and kind in ("labels", "pixels", "both")
         and lacks("loss", lambda v: v < LEARNT * math.log(classes))),
    ]  # fmt: skip
    return next((f"{what} (seed {line['seed']})" for what, is_so in failed if is_so), "")
