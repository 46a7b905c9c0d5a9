"""What another arithmetic does to a few tickets: the same runs made again in the dense engine, here or on a GPU."""

from collections import defaultdict

import numpy as np

from ticketbook import checks, pilot
from ticketlib.analysis import stats
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import points, signed, span

PAIRS = (("snip+rearranged", "snip"), ("smart", "snip"), ("smart", "uniform"))
BOTH = ("recorded", "again")


def again(audits):
    """Accuracies and differences on record and again, and which of them moved far, for each machine, as Markdown.

    Arguments: audits, rows of audit.dense_jobs.
    """
    parts = [_machine(list(rows.values())) for _, rows in sorted(_machines(audits).items())]
    return "\n\n".join(parts) or "Not measured yet: `python -m ticketlib audit --dense` measures it."


def moved(audits):
    """How far differences moved, as a sentence; "" without any."""
    means = [abs(estimate.point) for rows in _machines(audits).values()
             for *_, estimate in _shifts(list(rows.values()))]  # fmt: skip
    if not means:
        return ""
    return (
        f"Made again in another arithmetic, mean differences between a few tickets moved by {span(means)} points; the "
        f"margin is {points(pilot.margin())}."
    )


def of_pair(audits, a, b):
    """How far one difference moved on each machine, as a list; "" where it was not made again."""
    name, lines = f"{checks.label(a)} − {checks.label(b)}", []
    for (device, _), rows in sorted(_machines(audits).items()):
        for label, s, both, change in _shifts(list(rows.values())):
            if label == name:
                before, after = np.mean(list(both.values()), axis=0)
                lines.append(f"- {device}: from {signed(before)} to {signed(after)} points at {s}, n = {change.n}")
    head = f"*{name}*, made again in the dense engine ([all of it](../audit.md)):"
    return "\n".join([head, "", *lines]) if lines else ""


def _machines(audits):
    """Rows by what made them again, the latest of a ticket and seed: dict (device, torch) -> {(arm, seed): row}."""
    found = defaultdict(dict)
    for row in sorted(audits, key=lambda row: (row["seed"], row["config"]["date"], row["config"]["code"])):
        made = row["again"]
        found[made["device"], made["versions"]["torch"]][row["arm"], row["seed"]] = row
    return found


def _machine(rows):
    """What one machine made again: a heading, sentences, two tables."""
    titles = ["removed", "seeds", "on record", "again", "change", "change in each seed"]
    twice, shifts = sorted(_twice(rows).items()), _shifts(rows)
    accuracies = [_line(checks.label(ticket), s, of, "{:.2f}".format) for (s, ticket), of in twice]
    differences = [_line(label, s, of, signed) for label, s, of, _ in shifts]
    return "\n\n".join([_how(rows), prose.table(["accuracy, %", *titles], accuracies),
                        prose.table(["difference, points", *titles], differences), _far(shifts)])  # fmt: skip


def _how(rows):
    """What was changed, what stayed, and for how many test images the answer turned."""
    before, after = (rows[0][which] for which in BOTH)
    same = not any("mask_digest" in row["differs"] for row in rows)
    shares = [100 * row["answers"] / row["num_test"] for row in rows if "answers" in row]
    lost = len(rows) - len(_sound(rows))
    return (
        f"**{after['device']}, torch {after['versions']['torch']}.** On record: {before['device']}, torch "
        f"{before['versions']['torch']}. {'Every mask' if same else 'Not every mask'} came out the same, bit by bit. "
        f"After training, a right answer had turned wrong, or a wrong one right, for {span(shares, 0)} % of the test "
        "images."
        + (f" Runs that diverged, here or on record, and are left out: {lost}." if lost else "")
    )


def _sound(rows):
    return [row for row in rows if not any(row[which]["diverged"] for which in BOTH)]


def _twice(rows):
    """Accuracies on record and again, in percent: dict (sparsity, ticket) -> {seed: array of two}."""
    found = defaultdict(dict)
    for row in _sound(rows):
        ticket, _, sparsity = row["arm"].partition("@")
        found[sparsity, ticket][row["seed"]] = np.array([row[which]["accuracy"] for which in BOTH])
    return found


def _shifts(rows):
    """Of each pair: label, sparsity, differences on record and again, {seed: array of two}, Estimate of the change."""
    of, found = _twice(rows), []
    for s in sorted({s for s, _ in of}):
        for a, b in PAIRS:
            both = {seed: of[s, a][seed] - of[s, b][seed] for seed in of[s, a] if seed in of[s, b]}
            if both:
                change = stats.t_interval([float(after - before) for before, after in both.values()])
                found.append((f"{checks.label(a)} − {checks.label(b)}", s, both, change))
    return found


def _line(label, sparsity, of, write):
    """One line of a table: means on record and again, and what changed, in the mean and in each seed."""
    means, changes = np.mean(list(of.values()), axis=0), [signed(after - before) for before, after in of.values()]
    return [label, sparsity, len(of), *map(write, means), signed(means[1] - means[0]), ", ".join(changes)]


def _far(shifts):
    """Which mean differences moved by more than the margin or across zero, as a Markdown list or a sentence."""
    margin, lines = pilot.margin(), []
    for label, _, of, change in shifts:
        before, after = np.mean(list(of.values()), axis=0)
        far, crossed = abs(change.point) > margin, min(before, after) < 0 < max(before, after)
        said = [f"by more than the margin of {points(margin)}"] * far + ["across zero"] * bool(crossed)
        if said:
            lines.append(f"- *{label}* moved {' and '.join(said)}: {checks.effect(change)}.")
    if lines:
        return "\n".join(["Differences that moved far, with the change, its 95 % interval and the seeds:", "", *lines])
    return f"No mean difference moved by more than the margin of {points(margin)} or across zero." if shifts else ""
