"""What the chapters on claims A, B and D share: rows, and differences in every cell."""

import re
from collections import defaultdict
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CONFIDENCE, Comparison
from ticketlib import ratios
from ticketlib.analysis import evidence, plots, stats
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import signed, title
from ticketlib.experiments import campaign, grids, profiles, session
from ticketlib.experiments.config import parent
from ticketlib.experiments.ledger import Ledger, Row

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


def sparsities(run):
    """The sparsities a chapter shows; the tiny network of `smoke` has no room below one weight in ten."""
    return SPARSITIES[:1] if run.profile == "smoke" else SPARSITIES


def against_itself(check, tickets=("snip", "grasp", "lt")):
    """Tickets with a check or a corruption, compared with the same as found: tuple of Comparison."""
    return minus([Comparison(ticket, "", f"{ticket}+{check}", ticket) for ticket in tickets])


def minus(pairs):
    """Comparisons with labels that say what is taken from what, as tables want them: tuple of Comparison."""
    return tuple(pair._replace(label=f"{label(pair.a)} − {label(pair.b)}") for pair in pairs)


def label(arm):
    """What tables call an arm: its ticket, and in words what was done to it."""
    words = EPOCHS.sub(r"\1 epochs", plots.style(arm).label)
    for option, said in OPTIONS.items():
        words = words.replace(option, said)
    return words


def rows(run, arms, longer=()):
    """A chapter's rows; with source "run" those of the arms named are carried out first, on the residual network.

    Arguments: run, nb.NotebookRun; arms, names with sparsity, those that others start from first; longer, names of
        random tickets that train for `grids.total_epochs` epochs, shown as "smart+epochs=35@0.9".
    Returns: dict place -> {arm: {seed: Row}}, all arms of the ledger, not only the named ones; a place is a network,
        or one on other data, "resnet20 on cifar100".
    """
    if run.source == "run":
        session.ticket_rows(run, arms)
        dataset, total = session.images(run), grids.total_epochs(run.profile)
        own = range(session.seeds(run))
        extra = [grids.arm(run.profile, arm, seed, dataset, epochs=total) for seed in own for arm in longer]
        session.make_runs(run, campaign.missing(extra, Ledger(run.ledger)), dataset)
    found = [row for row in session.rows_of(run) if not run.seeds or row["config"]["seed"] < run.seeds]
    return by_place(found, run.profile)


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


def used(found, pairs):
    """The rows behind a chapter's differences, and the trained nets they start from."""
    names = {arm for pair in pairs for arm in (pair.a, pair.b)} | {"dense"}
    return [row for arms in found.values() for arm, of in arms.items() for row in of.values()
            if (arm.partition("@")[0] in names or arm.startswith("dense+")) and not row.get("not_made")]  # fmt: skip


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


def drawn(arms, pairs, levels, confidence):
    """Differences for `plots.differences`: without the intervals of two seeds, which are wider than any figure.

    Returns: dict key -> {sparsity: (points a seed, Estimate)}.
    """
    found = {pair.key: {s: cell(arms, pair, s, confidence) for s in levels} for pair in pairs}
    return {key: {s: (of.points, without_wide(of.estimate)) for s, of in at.items() if of.points}
            for key, at in found.items()}  # fmt: skip


def without_wide(estimate):
    """An estimate to draw: the interval of two seeds is wider than any figure, and is left out."""
    return replace(estimate, low=None, high=None) if estimate.n < 3 else estimate


def finish(ax, title, cells):
    """Give a panel of differences its title, and say so where none has run."""
    if not any(cells.values()):
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 2}  # no line of the panel runs through the words
        ax.text(0.5, 0.6, verdicts.NOT_RUN, ha="center", transform=ax.transAxes, bbox=ground)
    ax.set_title(title.replace(" − ", "\n− "))
    return ax


@cache
def planned(profile):
    """Every arm that the grids plan: set of (place, arm); longer ones are named by their length."""
    usual, found = profiles.PROFILES[profile].training["epochs"], set()
    for step in STEPS:
        other = grids.OTHER_DATA.get((step, profile))
        for c in grids.grid(step, profile, profiles.NO_IMAGES):
            as_usual = other or c.epochs == usual  # other data have a length of their own
            arm = c.arm if as_usual else c.arm.replace("@", f"+epochs={c.epochs}@")
            found.add((_place(c.network, other), arm))
    return found


def cells_of(run, found, pairs):
    """The cells of a chapter, those planned and any that have rows: list of (place, Comparison, sparsity)."""
    wanted = planned(run.profile) | {(place, arm) for place, arms in found.items() for arm in arms}
    return [(place, pair, s) for place in found for pair in pairs for s in ("0", *sparsities(run))
            if all((place, f"{arm}@{s}") in wanted for arm in (pair.a, pair.b))]  # fmt: skip


def table(run, found, pairs, confidence):
    """Every cell of a chapter as Markdown: accuracies, difference, interval, n, the book's own; every seed folded.

    Arguments: run; found, as `rows` gives; pairs, list of Comparison; confidence of the intervals.
    """
    listed, book = cells_of(run, found, pairs), by_place(session.book_rows(run), run.profile)
    lines = [_line(run.profile, found, book, network, pair, s, confidence) for network, pair, s in listed]
    if not any(line[3] or line[-1] for line in lines):
        return _not_run(listed)
    titles = ["network", "difference", "removed", "the two accuracies, %", f"points ({100 * confidence:g} % interval)",
              "remarks", "the book's"]  # fmt: skip
    keep = slice(None) if any(map(any, book.values())) else slice(-1)
    seeds = [[*line[:3], _seeds(found, *cell)] for line, cell in zip(lines, listed, strict=True)]
    each = prose.table([*titles[:3], "points, seed by seed"], [line for line in seeds if line[3]])
    return f"{prose.table(titles[keep], [line[keep] for line in lines])}\n\n{prose.folded('Every seed', each)}"


def _seeds(found, network, pair, sparsity):
    return ", ".join(signed(value) for value in cell(found[network], pair, sparsity).points)


def _line(profile, found, book, network, pair, sparsity, confidence):
    here, there = (cell(of[network], pair, sparsity, confidence) for of in (found, book))
    both = " and ".join(f"{value:.2f}" for value in here.accuracies)
    beside = effect(there.estimate) if there.points else ""
    points = "not read" if here.remark.startswith("not read") else effect(here.estimate)
    if any(cannot_be_met(profile, network, arm, sparsity) for arm in (pair.a, pair.b)):
        points = verdicts.NOT_DEFINED  # before anything else, as the protocol orders
    return [title(network), pair.label, sparsity, both, points, here.remark, beside]


@cache
def cannot_be_met(profile, place, arm, sparsity):
    """Whether an arm's rule is not defined on the network of a place: infeasible there, or it leaves a layer empty."""
    ticket, *options = arm.split("+")
    if ticket not in ratios.RULES or any(option.startswith("min_per_layer") for option in options):
        return False
    networks = profiles.PROFILES[profile].networks
    family = next(short for short, (name, *_) in networks.items() if name == place.partition(" ")[0])
    return ratios.defined_counts(grids.layers(profile, family), ticket, sparsity, family=family) is None


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


def _not_run(listed):
    """One line a difference where nothing has run yet."""
    where = defaultdict(lambda: defaultdict(list))
    for network, pair, sparsity in listed:
        where[pair.label][network].append(sparsity)
    lines = [f"- {label}: " + "; ".join(f"{title(network)} at {', '.join(at)}" for network, at in of.items())
             for label, of in where.items()]  # fmt: skip
    return "\n".join([f"**Not run.** Planned, and not in this ledger: {len(listed)} differences.", "", *lines])
