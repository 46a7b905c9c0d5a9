"""From ledger rows to judged claims: arms by seed, pairs that may be compared, controls that did something."""

import functools
from collections import Counter, defaultdict

import numpy as np
from ticketbook import stats_1
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CLAIMS

from ticketlib.analysis import stats
from ticketlib.analysis.words import title
from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.experiments.config import lineage
from ticketlib.experiments.ledger import Row
from ticketlib.experiments.machine import SAME_IN_A_PAIR
from ticketlib.experiments.profiles import PROFILES, Images, fields
from ticketlib.ratios import RULES

MOVED_FLOOR = 0.10  # a rearrangement or shuffle must touch at least this share of the kept weights
LABELS_SLACK = 0.05  # corrupted labels agree with the true ones at 1 / classes, give or take this
PIXELS_CEILING = 0.10  # shuffled pixels correlate with the true ones by at most this
LOW = "below twice chance"
EMPTY = "an empty layer"  # a collapse that accuracy need not show: a path may lead past the layer
LEFT_TO_PAIRS = ("engine", "precision", "eval_every")
SAME_IN_A_RECIPE = (
    "recipe", "engine", "precision", "batch", "lr", "momentum", "weight_decay", "drops", "padding", "flip", "epochs",
    "fingerprint",
)  # fmt: skip


def select(rows, profile, network="resnet", dataset="", **changes):
    """The run rows that a profile's verdicts may read, of one of its networks: dict arm -> {seed: Row}.

    Other data, and changes in fields of Config, give rows that no verdict reads.

    Rows of another recipe or recipe version, another length or held-out images (the pilot) are left out; engine and
    precision are compared within pairs. A ticket that could not be made since the net it starts from diverged has no
    row in a ledger; here it has one that is diverged too and carries `not_made`, so that no seed is lost unseen.
    Raises: TicketError for two rows of one arm and seed, of which a verdict would have to choose one.
    """
    wanted = fields(profile, network, but=LEFT_TO_PAIRS) | {"held_out": 0} | changes
    wanted |= {"dataset": dataset} if dataset else {}
    found = defaultdict(dict)
    for row in rows:
        if row["kind"] == "run" and all(getattr(row.config, what) == value for what, value in wanted.items()):
            if other := found[row.config.arm].get(row.config.seed):
                raise TicketError(_twice(other, row))
            found[row.config.arm][row.config.seed] = row
    for before in [row for of in found.values() for row in of.values() if row["diverged"]]:
        seen = Images(before.config.dataset, before.config.fingerprint)
        for arm in sorted({*found, *grids.claim_arms()}):
            config = grids.arm(profile, arm, before.config.seed, seen, network=network, **changes)
            if row := not_made(config, {before["name"]: before}):
                found[arm].setdefault(config.seed, row)
    return dict(found)


def _twice(a, b):
    """Say that two rows have one place, and in which fields they differ."""
    ours, theirs = a.config.as_dict(), b.config.as_dict()
    fields = ", ".join(f"{what} ({ours[what]}, {theirs[what]})" for what in ours if ours[what] != theirs[what])
    return (f"Rows {a['name']} and {b['name']} are both {a.config.arm}, seed {a.config.seed}; they differ in {fields}. "
            "A ledger holds one row an arm and seed; keep the other in a folder of its own.")  # fmt: skip


def not_made(config, diverged):
    """The row of a ticket that starts from a run that diverged: it says so, and measures nothing; None for others.

    Arguments: config; diverged, dict name -> Row of the runs that diverged.
    """
    before = next((diverged[one.name] for one in lineage(config)[:-1] if one.name in diverged), None)
    if before is None:
        return None
    facts = {what: before[what] for what in ("diverged", "num_classes", *SAME_IN_A_PAIR)}
    facts |= {"kind": "run", "name": config.name, "config": config.as_dict(), "arm": config.arm}
    return Row(facts | {"parent": before["name"], "not_made": True, "empty_layers": []})


def names(rows):
    """Names of the rows that a ledger has, those of tickets never made left out: frozenset."""
    return frozenset(row["name"] for row in rows if not row.get("not_made"))


def dense_net(row):
    """Name of the dense net that a run starts from; its own if it starts from none."""
    return lineage(row.config)[0].name


def accuracy(row):
    """Final test accuracy in percent; a diverged run counts as chance."""
    return chance(row) if row["diverged"] else row["accuracy"]


def chance(row):
    """Accuracy of guessing, in percent."""
    return 100 / row["num_classes"]


def collapsed(row):
    """Whether a run diverged, has an empty layer, or ends below twice chance."""
    return bool(collapse(row))


def collapsed_in_training(row):
    """Whether a run diverged or ends below twice chance; an empty layer alone does not count here."""
    return collapse(row) not in ("", EMPTY)


def collapse(row):
    """How a run collapsed, "" if it did not: diverged, below twice chance, or with no more than an empty layer."""
    if row["diverged"]:
        return "diverged"
    if accuracy(row) < 2 * chance(row):
        return LOW
    return EMPTY if row["empty_layers"] else ""


def collapses(rows):
    """How many runs collapsed and how, in words; "" where none did."""
    kinds = Counter(filter(None, map(collapse, rows)))
    how = ", ".join(kinds) if len(kinds) == 1 else ", ".join(f"{kind}: {count}" for kind, count in kinds.items())
    return f"collapsed runs: {kinds.total()} ({how})" if kinds else ""


def control_did_nothing(row, pretrained=None):
    """Whether the manipulation check of a control failed; one that was not recorded has failed.

    Arguments: row, of the arm; pretrained, the row of its dense net, whose data a corruption touched.
    Returns: False where the arm is no control, and for a ticket that was never made.
    """
    if row.get("not_made"):
        return False
    config, control = row.config, {**(pretrained or {}).get("control", {}), **row.get("control", {})}
    classes = row["num_classes"]
    done = []
    if config.check == "rearranged":
        done.append(control.get("moved_share", 0) >= MOVED_FLOOR)
    elif config.check != "none":
        done.append(control.get("changed_share", 0) >= MOVED_FLOOR)
    if config.corruption in ("labels", "both"):
        done.append(abs(control.get("label_agreement", 1) - 1 / classes) <= LABELS_SLACK)
    if config.corruption in ("pixels", "both"):
        done.append(abs(control.get("pixel_correlation", 1)) <= PIXELS_CEILING)
    if config.corruption == "half":
        done.append(abs(control.get("images_kept", 1) - 0.5) <= LABELS_SLACK)
    return not all(done)


def differing(a, b):
    """Names of what two rows of a pair should share and do not; () if they may be compared."""
    found = [what for what in SAME_IN_A_PAIR if a[what] != b[what]]
    found += [what for what in SAME_IN_A_RECIPE if getattr(a.config, what) != getattr(b.config, what)]
    return tuple(found)


def varying(rows):
    """Names of what all rows of a comparison should share and do not, seeds and sparsities taken together."""
    return tuple(what for what in SAME_IN_A_RECIPE if len({getattr(row.config, what) for row in rows}) > 1)


def _lost_its_counts(a, b):
    """Whether rearranging changed how many weights a layer keeps; it may change only which."""
    rearranged = "rearranged" in (a.config.check, b.config.check) and a.config.ticket == b.config.ticket
    made = not (a.get("not_made") or b.get("not_made"))
    return rearranged and made and a.get("keep_counts") != b.get("keep_counts")


def compare(arms, a, b, sparsities, limit=None, bars=collapsed):
    """Paired differences, arm a minus arm b, and what stands against reading them.

    Arguments: arms, as `select` gives; a, b, arm names without sparsity; sparsities, decimal texts; limit, the first
        seed that no longer counts, None for all; bars, a function of a row, whether it counts as collapsed.
    Returns: (points a seed, shape (num_seeds,); verdicts.Flags).
    """
    keys = [f"{arm}@{sparsity}" for arm in (a, b) for sparsity in sparsities]
    values = {
        key: {seed: accuracy(row) for seed, row in arms.get(key, {}).items() if limit is None or seed < limit}
        for key in keys
    }
    seeds, table = stats_1.seed_table(values, keys)
    pairs = [(arms[f"{a}@{s}"][seed], arms[f"{b}@{s}"][seed]) for s in sparsities for seed in seeds]
    both = [row for pair in pairs for row in pair]
    nets = {row["name"]: row for arm, of in arms.items() if arm.startswith("dense") for row in of.values()}
    flags = verdicts.Flags(
        control_did_nothing=any(control_did_nothing(row, nets.get(dense_net(row))) for row in both)
        or any(_lost_its_counts(*pair) for pair in pairs),
        collapsed=sum(map(bars, both)),
        not_defined=any(row["empty_layers"] and row.config.ticket in RULES for row in both),
        refused=tuple(sorted({what for pair in pairs for what in differing(*pair)} | set(varying(both)))),
    )
    half = len(sparsities)
    return stats_1.paired_difference(table[:, :half], table[:, half:]) if len(seeds) else np.array([]), flags


def uneven(arms, comparison, kind, margin, sparsities, limit=None):
    """Estimates of the single sparsities where the mean over them hides something, else {}.

    A claim is judged on that mean. It hides that one sparsity alone fails, or alone shows a superiority, and that two
    lie wholly on opposite sides of zero. Each sparsity is read by a 95 % interval of its own.
    Arguments: as `compare` and verdicts.verdict. Returns: dict sparsity -> stats.Estimate, in points.
    """
    cells = {s: compare(arms, comparison.a, comparison.b, (s,), limit) for s in sparsities}
    found = {s: stats.t_interval(points, 0.95) for s, (points, flags) in cells.items()
             if len(points) > 1 and not (flags.refused or flags.control_did_nothing or flags.not_defined)}  # fmt: skip
    sides = {1 if one.low > 0 else -1 for one in found.values() if one.low > 0 or one.high < 0}
    words = {verdicts.read(kind, one.low, one.high, margin)[0] for one in found.values()}
    telling = {verdicts.FAILS, verdicts.HOLDS} if kind == "superiority" else {verdicts.FAILS}
    return found if len(sides) == 2 or (len(words) > 1 and words & telling) else {}


def judge(rows, claim_id, profile, margin, n_required, bars=collapsed):
    """Judge one claim from ledger rows.

    Arguments: rows, of a ledger; claim_id, a name of claims.CLAIMS; profile, a name of profiles.PROFILES; margin and
        n_required, as verdicts.judge; bars, a function of a row, whether it counts as collapsed.
    Returns: verdicts.Judged.
    """
    claim, arms = CLAIMS[claim_id], select(rows, profile)
    found = {c.key: compare(arms, c.a, c.b, claim.sparsities, n_required, bars) for c in claim.comparisons}
    differences = {key: points for key, (points, _) in found.items()}
    return verdicts.judge(claim, differences, margin, n_required, {key: flags for key, (_, flags) in found.items()})


@functools.cache
def scope(profile, network="resnet"):
    """Where a verdict applies, in words: network, data set, epochs."""
    chosen = PROFILES[profile]
    name, width, stem_stride = chosen.networks[network]
    where = f"{title(name)} (width {width}, stem stride {stem_stride}), {title(chosen.dataset)}"
    return f"{where}, {chosen.training['epochs']} epochs"
