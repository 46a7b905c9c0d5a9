"""What the chapters on claims A, B and D share: rows, and differences in every cell."""

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CONFIDENCE, Comparison
from ticketlib.analysis import evidence, plots, stats
from ticketlib.analysis.words import signed, title
from ticketlib.experiments import grids, profiles
from ticketlib.experiments.config import parent
from ticketlib.experiments.ledger import Row

STEPS = ("step1", "step2", "step3", "step4", "step6")  # the grids whose rows these chapters show
SPARSITIES = ("0.9", "0.98", "0.995")  # decimal text
EPOCHS = re.compile(r"epochs=(\d+)")  # in the name of an arm that trains for longer
OPTIONS = {"order=order2": "a second data order", "linear=global": "one threshold for its classifier too",
           "variant=authors": "the authors' arithmetic", "min_per_layer=1": "a weight in every layer"}  # fmt: skip


class Cell(NamedTuple):
    """One paired difference in one cell."""

    points: list  # a minus b, one a seed
    estimate: stats.Estimate
    accuracies: tuple  # means of a and b in percent, of the seeds that count; () without any
    remark: str  # what stands against reading it, and collapsed runs; "" for nothing


def minus(pairs):
    """Comparisons with labels that say what is taken from what, as tables want them: tuple of Comparison."""
    return tuple(pair._replace(label=f"{label(pair.a)} − {label(pair.b)}") for pair in pairs)


def label(arm):
    """What tables call an arm: its ticket, and in words what was done to it."""
    words = EPOCHS.sub(r"\1 epochs", plots.style(arm).label)
    for option, said in OPTIONS.items():
        words = words.replace(option, said)
    return words


def by_place(found, profile):
    """Rows as `rows` gives them: dict place -> {arm: {seed: Row}}."""
    total, networks = grids.total_epochs(profile), profiles.PROFILES[profile].networks
    own = {
        name: evidence.select(found, profile, short)
        | {arm.replace("@", f"+epochs={total}@"): of for arm, of in at_length(found, profile, total, short).items()}
        for short, (name, *_) in networks.items()
    }
    recipe, name = grids.other_recipe(profile), networks["resnet"][0]
    others = [seen for (_, which), seen in grids.OTHER_DATA.items() if which == profile]
    return own | {_place(name, seen): evidence.select(found, profile, dataset=seen, **recipe) for seen in others}


def _place(network, other):
    """What `found` calls a network, on other data where they are other."""
    return f"{network} on {other}" if other else network


def at_length(found, profile, epochs, network="resnet"):
    """Runs of so many epochs that keep to the profile's recipe in all else: dict arm -> {seed: Row}."""
    usual = profiles.PROFILES[profile].training["epochs"]
    alike = [_lasting(row, usual) for row in found if row["kind"] == "run" and row.config.epochs == epochs]
    chosen = evidence.select(alike, profile, network)
    return {arm: {seed: _lasting(row, epochs) for seed, row in of.items()} for arm, of in chosen.items()}


def _lasting(row, epochs):
    """A row as it were if its run had so many epochs, with the names that belong to it."""
    config = replace(row.config, epochs=epochs)
    before = parent(config)
    return Row(row | {"name": config.name, "config": config.as_dict()} | ({"parent": before.name} if before else {}))


# differences


def cell(arms, pair, sparsity, confidence=0.95):
    """One paired difference, a minus b; pairs that may not be compared give no points.

    Arguments: arms, {arm: {seed: Row}}; pair, a Comparison; sparsity, decimal text; confidence of the interval.
    """
    points, flags = evidence.compare(arms, pair.a, pair.b, (sparsity,))
    refused = [what for what in flags.refused if not (what == "epochs" and "epochs=" in pair.a + pair.b)]
    remarks = [f"not read: they differ in {', '.join(refused)}"] if refused else []
    remarks += [f"not read: {verdicts.NOT_DEFINED}"] if flags.not_defined else []
    remarks += ["not read: the control did nothing"] if flags.control_did_nothing else []
    points = [] if remarks else [float(value) for value in points]
    a, b = (arms.get(f"{arm}@{sparsity}", {}) for arm in (pair.a, pair.b))
    both = [(a[seed], b[seed]) for seed in a if seed in b]
    remarks += list(filter(None, [evidence.collapses(row for rows in both for row in rows)]))
    lost = sum(bool(row.get("not_made")) for of in (a, b) for row in of.values())
    remarks += [f"{lost} of these never made, since the net they start from diverged"] if lost else []
    means = tuple(np.mean([[evidence.accuracy(row) for row in rows] for rows in both], axis=0)) if both else ()
    return Cell(points, stats.t_interval(points, confidence), means, "; ".join(remarks))


def without_wide(estimate):
    """An estimate to draw: the interval of two seeds is wider than any figure, and is left out."""
    return replace(estimate, low=None, high=None) if estimate.n < 3 else estimate


class Beside(NamedTuple):
    """A difference of a claim that its verdict does not read."""

    pair: Comparison
    where: str  # network, data where they are others, sparsity, in words
    cell: Cell
    word: str  # of verdicts.WORDS: how its interval lies, read alone


def beside(found, claim, levels, margin):
    """A claim's differences at other sparsities, on other networks and on other data, those of two seeds or more.

    Each is read alone, by an interval of its own, at the confidence of its kind of test; collapsed runs bar nothing.

    Arguments: found, as `rows` gives; claim, a Claim; levels, sparsities, decimal text; margin in points.
    Returns: list of Beside.
    """
    own, listed = next(iter(found), None), []
    for place, arms in found.items():
        for sparsity in levels:
            for part in () if place == own and sparsity in claim.sparsities else claim.parts:
                for pair in minus(part.comparisons):
                    one = cell(arms, pair, sparsity, CONFIDENCE[part.kind])
                    if one.estimate.low is not None:
                        word, _ = verdicts.read(part.kind, one.estimate.low, one.estimate.high, margin)
                        listed.append(Beside(pair, f"{title(place)} at {sparsity}", one, word))
    return listed


def told(one):
    """A difference that no verdict reads, with where it was measured and what else is to be said, as a phrase."""
    remark = f", {one.cell.remark}" if one.cell.remark else ""
    return f"{one.pair.label}, {one.where}: {effect(one.cell.estimate)}{remark}"


def other_data(found):
    """What the runs on other data trained on, with what and for how long, in a sentence; "" without such runs.

    Arguments: found, as `rows` gives.
    """
    made = [row for place, arms in found.items() if " on " in place for of in arms.values() for row in of.values()
            if not row["diverged"]]  # fmt: skip
    if not made:
        return ""
    config, on = made[0].config, " and ".join(sorted({row["device"] for row in made}))
    images = max(row["images"] for row in made) // config.epochs
    removed = " and ".join(sorted({row.config.sparsity for row in made if row.config.ticket == "smart"}))
    seeds = len({row.config.seed for row in made})
    return (
        f"They trained on {images:,} images of {title(config.dataset)} for {config.epochs} epochs, about as many steps "
        f"as the runs on CIFAR-10, in the dense engine, on {on}, with {removed} removed and "
        f"{seeds} seed{'s' * (seeds > 1)}."
    )


def effect(estimate):
    """Point, interval and n in short; "not run" without seeds."""
    if estimate.point is None:
        return verdicts.NOT_RUN
    interval = "" if estimate.low is None else f"{signed(estimate.low)} to {signed(estimate.high)}, "
    return f"{signed(estimate.point)} ({interval}n = {estimate.n})"
