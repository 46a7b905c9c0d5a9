"""What `make bench` measured: the stored figures, read for the page on speed, for README, and for engine "auto"."""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import torch

from ticketlib.analysis import plots
from ticketlib.analysis import words as prose
from ticketlib.errors import TicketError
from ticketlib.experiments.places import ROOT

RESULTS = Path(os.environ.get("TICKETLIB_BENCHMARKS") or ROOT / "book" / "benchmarks.json")  # by benchmarks/run.py
BUILT = ROOT / "_build" / "times.json"  # written by book/_ext/make_book.py
GROUPS = ("dense", "scores", "upkeep", "sparse")
FIELDS = ("group", "what", "value", "unit", "yardstick", "against", "ratio", "reach", "reached")  # of a stored figure
TITLES = ("figure", "measured", "yardstick", "ratio", "goal", "")
NOT_MEASURED = "**Not measured yet.** `make bench`, on an idle machine, writes the file that is read here."
METHOD = re.compile(r"^(snip|grasp|synflow)\b")  # as the benchmarks name it
BEYOND = ", beyond the goal"  # ends the name of a figure that was measured against an aim as well
BUSY = 0.1  # share of the processors' time that others may take
NETWORKS = {  # how the benchmarks name them: what models.build is given
    "laptop ResNet-20": ("resnet20", 16),
    "ResNet-32, doubled width": ("resnet32", 32),
    "slim VGG-16": ("vgg16", 0.25),
}
TOGETHER = ", each of two processes"  # in the benchmarks' names
AT_ONCE = ", each of two processes that run at once"  # the same for readers
SPARSE_FROM = 0.9  # fraction removed from which "auto" takes the sparse engine where no break-even is stored
TRAINING = re.compile(rf"({'|'.join(NETWORKS)}), training, (0\.\d+) removed({TOGETHER})?")


class Crossing(NamedTuple):
    """Where the sparse engine becomes the faster one, between two neighbours among the measured sparsities."""

    low: float | None  # fraction removed at which it is still the slower one; None if it was faster at each
    high: float | None  # and from which on it is faster; None if it never was
    at: float  # estimate in between; `high` where `low` is None, 1 where `high` is


def load():
    """The stored figures: dict from group to its date, machine and figures; empty before the first `make bench`.

    Raises: TicketError for a file that is not what benchmarks/run.py writes.
    """
    if not RESULTS.is_file():
        return {}
    try:
        found = json.loads(RESULTS.read_text(encoding="utf-8"))
        sound = all(set(FIELDS) <= set(row) for group in found.values() for row in group["figures"])
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise TicketError(f"{RESULTS.name} is not a file of benchmarks ({error!r}); `make bench` writes one.") from None
    if not sound:
        raise TicketError(f"{RESULTS.name} has figures without {', '.join(FIELDS)}; `make bench` writes all.")
    return found


def rows(stored, *groups):
    """The stored figures of some groups, or of all, in the order in which they were measured."""
    return [row for group in groups or GROUPS if group in stored for row in stored[group]["figures"]]


def cells(row):
    """One figure as the cells of a table, in the order of TITLES."""
    word = "" if row["reached"] is None else "reached" if row["reached"] else "missed"
    held = row["against"] is not None and row["yardstick"] != "goal"  # a goal has a column of its own
    against = f"{row['yardstick']}: {number(row['against'])}" if held else ""
    ratio = f"{row['ratio']:.2f}" if held and row["ratio"] is not None else ""
    what = row["what"].removesuffix(BEYOND).replace(TOGETHER, AT_ONCE)
    what = METHOD.sub(lambda name: plots.style(name[0]).label, what)
    what = what if row["group"] in GROUPS else f"{row['group']}: {what}"
    return [what, f"{number(row['value'])} {row['unit']}", against, ratio, row["reach"], word]


def number(value):
    """A measured value with three digits, whole from 100 on: 0.0123, 4.50, 1,234; a count as it is."""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def table(found):
    """Figures as a Markdown table without its empty columns; a line that says so where there are no figures.

    One measurement that was set several goals is one line.
    """
    merged = {}
    for row in found:
        *measured, goal, word = cells(row)
        merged.setdefault(tuple(measured), []).append((goal, word))
    lines = [[*measured, *("; ".join(dict.fromkeys(filter(None, of))) for of in zip(*goals, strict=True))]
             for measured, goals in merged.items()]  # fmt: skip
    columns = [column for column in zip(TITLES, *lines, strict=True) if any(column[1:])]
    titles, *lines = zip(*columns, strict=True) if found else [()]
    return prose.table(titles, lines) if found else NOT_MEASURED


def training(stored, together=False):
    """Training speeds, images/s: dict network -> {"dense": speed, sparsity (text): speed}.

    Arguments: stored, as `load` gives it; together, whether two processes ran at once (each one's speed).
    """
    found = {}
    for row in rows(stored, "sparse"):
        name = TRAINING.fullmatch(row["what"])
        if name and bool(name[3]) == together:
            found.setdefault(name[1], {"dense": row["against"]})[name[2]] = row["value"]
    return found


def trained_first(speeds):
    """Images/s of a ticket that needs a trained dense net first, as long as its own training: sparsity -> speed.

    Seconds an image add up: one over the dense speed, and one over the ticket's.
    """
    return {s: 1 / (1 / speed + 1 / speeds["dense"]) for s, speed in speeds.items() if s != "dense"}


def crossing(speeds):
    """Where both engines are as fast: bracketed by measurements, and estimated in between.

    Seconds an image are taken as a straight line over the share of weights kept, since the work of the convolutions is.

    Arguments: speeds, {"dense": images/s, sparsity (text): images/s}. Returns: Crossing.
    """
    kept = sorted((s for s in speeds if s != "dense"), key=float)
    slower = [i for i, s in enumerate(kept) if speeds[s] <= speeds["dense"]]
    if not slower:
        return Crossing(None, float(kept[0]), float(kept[0]))
    low, above = kept[slower[-1]], kept[slower[-1] + 1 :]
    if not above:
        return Crossing(float(low), None, 1.0)
    most, least, dense = (1 / speeds[s] for s in (low, above[0], "dense"))
    share = (most - dense) / (most - least)
    return Crossing(float(low), float(above[0]), float(low) + share * (float(above[0]) - float(low)))


def verdict(stored):
    """What a ticket's zeros buy, in a few sentences with words chosen by the numbers."""
    speeds = training(stored)
    if not speeds:
        return NOT_MEASURED
    said = [_bought(network, of) for network, of in speeds.items()]
    found = [row["reached"] for row in rows(stored) if row["reached"] is not None]
    count = f"Of {len(found)} goals set, {sum(found) if sum(found) < len(found) else 'all'} were reached."
    return "\n\n".join([*said, count])


def _bought(network, speeds):
    """One sentence on one network: from where on skipping zeros pays, and what a step gains there."""
    where, gains = crossing(speeds), {float(s): of / speeds["dense"] for s, of in speeds.items() if s != "dense"}
    shown = sorted({*(s for s in where[:2] if s), max((s for s in gains if s <= 0.98), default=min(gains))})
    first, *others = [f"{gains[s]:.2f} times {{}}at {100 * s:g} %" for s in shown]
    said = ", ".join([first.format("as fast as the dense one "), *(other.format("") for other in others)])
    if where.high is None:
        word = "**does not pay** at any sparsity that was measured"
    elif where.low is None:
        word = "**pays** at every sparsity that was measured"
    else:
        word = f"**pays** from about {100 * where.at:.0f} % removed on"
    return f"{network}: skipping zeros {word}. A step is {said} removed."


def busy(stored):
    """A warning where others used the machine while it was measured, else an empty string."""
    shares = [group["busy"] for group in stored.values() if group.get("busy") is not None]
    if not shares or max(shares) <= BUSY:
        return ""
    used = f"{100 * max(shares):.0f} % of the machine"
    return f"**Preliminary: others used up to {used} before or after this was measured.**"


def missed(stored):
    """The goals that were missed, as a list; or a line that says there is none, or that nothing was measured."""
    found = [row for row in rows(stored) if row["reached"] is False]
    lines = [f"- **{cells(row)[0]}**: {_measured(row)}; the goal was {row['reach']}".replace("goal was aim:", "aim was")
             for row in found]  # fmt: skip
    if not lines:
        return "None was missed." if rows(stored) else NOT_MEASURED
    return "\n".join(["These were not reached:", "", *lines])


def _measured(row):
    """What was measured, in the terms of its goal: times the yardstick where the goal is set so."""
    return f"{row['ratio']:.2f} times {row['yardstick']}" if "times" in row["reach"] else cells(row)[1]


def training_table(stored):
    """Training speed of every network and sparsity, with the ratio to the dense net, and with a trained net first."""
    lines = []
    for together in (False, True):
        for network, speeds in training(stored, together).items():
            first, name = trained_first(speeds), network + AT_ONCE * together
            lines.append([name, "100 %", number(speeds["dense"]), "1.00", ""])
            for s in sorted(first, key=float):
                kept = f"{100 - 100 * float(s):.3g} %"
                lines.append([name, kept, number(speeds[s]), f"{speeds[s] / speeds['dense']:.2f}", number(first[s])])
    titles = ("network", "weights kept", "images/s", "times dense", "images/s, trained net first")
    return prose.table(titles, lines) if lines else NOT_MEASURED


def draw(ax, speeds):
    """Draw images/s over the share of weights kept: tickets known before training, those of a trained net, dense."""
    for key, found in (("smart", speeds), ("lt", trained_first(speeds))):
        points = {100 - 100 * float(s): speed for s, speed in found.items() if s != "dense"}
        kept, look = sorted(points, reverse=True), plots.style(key)
        line = dict(color=look.colour, marker=look.marker, linestyle=look.linestyle)
        label = "random ticket" if key == "smart" else "LT, with the net it needs first"
        ax.plot(kept, [points[x] for x in kept], label=label, **line)
    ax.axhline(speeds["dense"], color="black", linestyle="--", label="dense")
    ax.set(ylabel="training, images/s", ylim=(0, None))
    return plots.kept_axis(ax, kept)


def break_even(stored):
    """Fraction removed from which the sparse engine is the faster one: dict network -> float, 1 where it never was."""
    return {network: crossing(of).at for network, of in training(stored).items()}


def engine(network, width, sparsity):
    """What engine "auto" stands for: the faster one for a ticket here, by the stored break-even.

    Arguments: network, width, as models.build takes them; sparsity, fraction removed, decimal text.
    Returns: "dense" where torch sees a GPU, and below the break-even; else "sparse".
    """
    known = {NETWORKS[name]: value for name, value in break_even(load()).items()}
    from_here = known.get((network, width), SPARSE_FROM)
    return "dense" if torch.cuda.is_available() or float(sparsity) < from_here else "sparse"


def made_on(stored):
    """Where and when each group was measured, as a table."""
    lines = []
    for name, group in sorted(stored.items()):
        facts = group["machine"]
        versions = ", ".join(f"{what} {facts['versions'][what]}" for what in sorted(facts["versions"]))
        others = "not known" if group.get("busy") is None else f"{100 * group['busy']:.0f} %"
        lines.append([name, group["date"], facts["device"], versions, facts["code"], others])
    titles = ("group", "date", "processor", "versions", "code", "others' use of it")
    return prose.table(titles, lines) if lines else NOT_MEASURED


def in_short(stored):
    """README's benchmark section: where skipping zeros pays, by how much, and every goal that was missed."""
    all_reached = all(row["reached"] is not False for row in rows(stored))
    parts = (verdict(stored), busy(stored), "" if all_reached else missed(stored))
    return "\n\n".join(filter(None, parts)) if rows(stored) else NOT_MEASURED


def build_times():
    """Seconds that each part of the book took when it was last built in this folder: dict part -> seconds."""
    return json.loads(BUILT.read_text(encoding="utf-8")) if BUILT.is_file() else {}
