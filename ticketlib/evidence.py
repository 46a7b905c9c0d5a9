"""From ledger rows to judged claims: arms by seed, pairs that may be compared, controls that did something."""

import functools
from collections import defaultdict

import numpy as np

from ticketlib import stats, verdicts
from ticketlib.claims import CLAIMS
from ticketlib.runs import PROFILES

MOVED_FLOOR = 0.10  # a rearrangement or shuffle must touch at least this share of the kept weights
LABELS_SLACK = 0.05  # corrupted labels agree with the true ones at 1 / classes, give or take this
PIXELS_CEILING = 0.10  # shuffled pixels correlate with the true ones by at most this
SAME_IN_A_PAIR = ("device", "threads", "versions")
SAME_IN_A_RECIPE = (
    "recipe", "engine", "precision", "batch", "lr", "momentum", "weight_decay", "drops", "padding", "flip", "epochs",
    "fingerprint",
)  # fmt: skip


def select(rows, profile, network="resnet"):
    """The run rows that a profile's verdicts may read, of one of its networks: dict arm -> {seed: Row}.

    Rows of another recipe version, another length or held-out images (the pilot) are left out.
    """
    chosen = PROFILES[profile]
    name, width, stem_stride = chosen.networks[network]
    wanted = dict(network=name, width=width, stem_stride=stem_stride, dataset=chosen.dataset, held_out=0)
    wanted |= {what: chosen.training[what] for what in ("recipe", "epochs")}
    found = defaultdict(dict)
    for row in rows:
        if row["kind"] == "run" and all(getattr(row.config, what) == value for what, value in wanted.items()):
            found[row.config.arm][row.config.seed] = row
    return dict(found)


def accuracy(row):
    """Final test accuracy in percent; a diverged run counts as chance."""
    return chance(row) if row["diverged"] else row["accuracy"]


def chance(row):
    """Accuracy of guessing, in percent."""
    return 100 / row["num_classes"]


def collapsed(row):
    """Whether a run diverged, has an empty layer, or ends below twice chance."""
    return row["diverged"] or bool(row["empty_layers"]) or accuracy(row) < 2 * chance(row)


def control_did_nothing(row):
    """Whether the manipulation check of a run's control failed; False where the run has no control."""
    control = row.get("control", {})
    agreement, correlation = control.get("label_agreement"), control.get("pixel_correlation")
    return (
        min(control.get("moved_share", 1), control.get("changed_share", 1)) < MOVED_FLOOR
        or (agreement is not None and abs(agreement - 1 / row["num_classes"]) > LABELS_SLACK)
        or (correlation is not None and abs(correlation) > PIXELS_CEILING)
    )


def differing(a, b):
    """Names of what two rows of a pair should share and do not; () if they may be compared."""
    found = [what for what in SAME_IN_A_PAIR if a[what] != b[what]]
    found += [what for what in SAME_IN_A_RECIPE if getattr(a.config, what) != getattr(b.config, what)]
    return tuple(found)


def compare(arms, a, b, sparsities, limit=None):
    """Paired differences, arm a minus arm b, and what stands against reading them.

    Arguments: arms, as `select` gives; a, b, arm names without sparsity; sparsities, decimal texts; limit, seeds.
    Returns: (points a seed, shape (num_seeds,); verdicts.Flags).
    """
    keys = [f"{arm}@{sparsity}" for arm in (a, b) for sparsity in sparsities]
    values = {key: {seed: accuracy(row) for seed, row in arms.get(key, {}).items()} for key in keys}
    seeds, table = stats.seed_table(values, keys, limit)
    pairs = [(arms[f"{a}@{s}"][seed], arms[f"{b}@{s}"][seed]) for s in sparsities for seed in seeds]
    both = [row for pair in pairs for row in pair]
    flags = verdicts.Flags(
        control_did_nothing=any(map(control_did_nothing, both)),
        collapsed=sum(map(collapsed, both)),
        refused=tuple(sorted({what for pair in pairs for what in differing(*pair)})),
    )
    half = len(sparsities)
    return stats.paired_difference(table[:, :half], table[:, half:]) if len(seeds) else np.array([]), flags


def judge(rows, claim_id, profile, margin, n_required, network="resnet"):
    """Judge one claim from ledger rows. Returns: verdicts.Judged."""
    claim, arms = CLAIMS[claim_id], select(rows, profile, network)
    found = {c.key: compare(arms, c.a, c.b, claim.sparsities, n_required) for c in claim.comparisons}
    differences = {key: points for key, (points, _) in found.items()}
    return verdicts.judge(claim, differences, margin, n_required, {key: flags for key, (_, flags) in found.items()})


@functools.cache
def scope(profile, network="resnet"):
    """Where a verdict applies, in words: network, data set, epochs."""
    chosen = PROFILES[profile]
    name, width, stem_stride = chosen.networks[network]
    return f"{name} (width {width}, stem stride {stem_stride}), {chosen.dataset}, {chosen.training['epochs']} epochs"
