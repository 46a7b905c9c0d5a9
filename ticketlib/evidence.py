"""From ledger rows to judged claims: arms by seed, pairs that may be compared, controls that did something."""

import functools
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np

from ticketlib import grids, stats, verdicts
from ticketlib.claims import CLAIMS
from ticketlib.ledger import Row
from ticketlib.ratios import RULES
from ticketlib.runs import PROFILES, parent
from ticketlib.sources import title

MOVED_FLOOR = 0.10  # a rearrangement or shuffle must touch at least this share of the kept weights
LABELS_SLACK = 0.05  # corrupted labels agree with the true ones at 1 / classes, give or take this
PIXELS_CEILING = 0.10  # shuffled pixels correlate with the true ones by at most this
EMPTY = "an empty layer"  # a collapse that accuracy need not show: a shortcut may lead around the layer
SAME_IN_A_PAIR = ("device", "threads", "versions")
LEFT_TO_PAIRS = ("engine", "precision", "eval_every")
SAME_IN_A_RECIPE = (
    "recipe", "engine", "precision", "batch", "lr", "momentum", "weight_decay", "drops", "padding", "flip", "epochs",
    "fingerprint",
)  # fmt: skip


def select(rows, profile, network="resnet"):
    """The run rows that a profile's verdicts may read, of one of its networks: dict arm -> {seed: Row}.

    Rows of another recipe or recipe version, another length or held-out images (the pilot) are left out; engine and
    precision are compared within pairs. A ticket that could not be made since the net it starts from diverged has no
    row in a ledger; here it has one that is diverged too and carries `not_made`, so that no seed is lost unseen.
    """
    chosen = PROFILES[profile]
    name, width, stem_stride = chosen.networks[network]
    wanted = dict(network=name, width=width, stem_stride=stem_stride, dataset=chosen.dataset, held_out=0)
    wanted |= {what: value for what, value in chosen.training.items() if what not in LEFT_TO_PAIRS}
    found = defaultdict(dict)
    for row in rows:
        if row["kind"] == "run" and all(getattr(row.config, what) == value for what, value in wanted.items()):
            found[row.config.arm][row.config.seed] = row
    for before in [row for of in found.values() for row in of.values() if row["diverged"]]:
        for row in _not_made(before, {*found, *grids.claim_arms()}, profile, network):
            found[row["arm"]].setdefault(row.config.seed, row)
    return dict(found)


def _not_made(before, arms, profile, network):
    """The tickets among some arms that start from a run that diverged: rows that say so, and measure nothing."""
    dataset = SimpleNamespace(name=before.config.dataset, fingerprint=before.config.fingerprint)
    for arm in sorted(arms):
        config = grids.arm(profile, arm, before.config.seed, dataset, network=network)
        ancestor = parent(config)
        while ancestor is not None and ancestor.name != before["name"]:
            ancestor = parent(ancestor)
        if ancestor is not None:
            facts = {what: before[what] for what in ("diverged", "num_classes", *SAME_IN_A_PAIR)}
            facts |= {"kind": "run", "name": config.name, "config": config.as_dict(), "arm": arm}
            yield Row(facts | {"parent": before["name"], "not_made": True, "empty_layers": [], "seconds": 0})


def accuracy(row):
    """Final test accuracy in percent; a diverged run counts as chance."""
    return chance(row) if row["diverged"] else row["accuracy"]


def chance(row):
    """Accuracy of guessing, in percent."""
    return 100 / row["num_classes"]


def collapsed(row):
    """Whether a run diverged, has an empty layer, or ends below twice chance."""
    return bool(collapse(row))


def collapse(row):
    """How a run collapsed, "" if it did not: diverged, below twice chance, or with no more than an empty layer."""
    if row["diverged"]:
        return "diverged"
    if accuracy(row) < 2 * chance(row):
        return "below twice chance"
    return EMPTY if row["empty_layers"] else ""


def collapses(rows):
    """How many runs collapsed and how, in words; "" where none did."""
    kinds = Counter(filter(None, map(collapse, rows)))
    how = ", ".join(kinds) if len(kinds) == 1 else ", ".join(f"{kind}: {count}" for kind, count in kinds.items())
    return f"collapsed runs: {kinds.total()} ({how})" if kinds else ""


def control_did_nothing(row, pretrained=None):
    """Whether the manipulation check of a control failed; one that was not recorded has failed.

    Arguments: row, of the arm; pretrained, the row of the run it starts from, whose data a corruption touched.
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


def compare(arms, a, b, sparsities, limit=None):
    """Paired differences, arm a minus arm b, and what stands against reading them.

    Arguments: arms, as `select` gives; a, b, arm names without sparsity; sparsities, decimal texts; limit, the first
        seed that no longer counts, None for all.
    Returns: (points a seed, shape (num_seeds,); verdicts.Flags).
    """
    keys = [f"{arm}@{sparsity}" for arm in (a, b) for sparsity in sparsities]
    values = {
        key: {seed: accuracy(row) for seed, row in arms.get(key, {}).items() if limit is None or seed < limit}
        for key in keys
    }
    seeds, table = stats.seed_table(values, keys)
    pairs = [(arms[f"{a}@{s}"][seed], arms[f"{b}@{s}"][seed]) for s in sparsities for seed in seeds]
    both = [row for pair in pairs for row in pair]
    flags = verdicts.Flags(
        control_did_nothing=any(control_did_nothing(row, _pretrained(arms, row)) for row in both),
        collapsed=sum(map(collapsed, both)),
        not_defined=any(row["empty_layers"] and row.config.ticket in RULES for row in both),
        refused=tuple(sorted({what for pair in pairs for what in differing(*pair)})),
    )
    half = len(sparsities)
    return stats.paired_difference(table[:, :half], table[:, half:]) if len(seeds) else np.array([]), flags


def _pretrained(arms, row):
    """The row of the dense run that a row starts from, if the ledger has it."""
    return next((r for r in arms.get(_dense(row), {}).values() if r["name"] == row.get("parent")), None)


def _dense(row):
    corruption = row.config.corruption
    return "dense@0" if corruption == "none" else f"dense+{corruption}@0"


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
    where = f"{title(name)} (width {width}, stem stride {stem_stride}), {title(chosen.dataset)}"
    return f"{where}, {chosen.training['epochs']} epochs"
