"""Stored benchmarks beside the speeds: where a step's time goes, what was tried, what sharing saves, other tables."""

import re

from ticketlib import pages, speed

PHASES = ("images", "forward", "backward", "masks", "update", "metrics")
LOOPS = ("usual loop", "our loop")
NETS = "|".join(speed.NETWORKS)
PHASE = re.compile(rf"({NETS}), ({'|'.join(LOOPS)}), ({'|'.join(PHASES)})")
OWN_TABLES = ("phases", "operators", "shared", "pages")  # groups that the page shows in a form or place of their own
FASTER = 1.05  # of our step; less is within what equal work differs by from minute to minute
LEAVES_OUT = (*speed.GROUPS, *OWN_TABLES, "tried")


def phases(stored):
    """Milliseconds of each phase of a step: dict network -> {loop: {phase: milliseconds}}."""
    found = {}
    for row in speed.rows(stored, "dense"):
        if row["group"] == "phases" and (name := PHASE.fullmatch(row["what"])):
            found.setdefault(name[1], {loop: {} for loop in LOOPS})[name[2]][name[3]] = row["value"]
    return found


def phase_tables(stored):
    """Where a step's time goes in the usual loop and in ours, a table a network."""
    parts = [f"**{network}**\n\n{_phase_table(*loops.values())}" for network, loops in phases(stored).items()]
    return "\n\n".join(parts) or speed.NOT_MEASURED


def _phase_table(usual, ours):
    lines = [[phase, *_phase(usual, phase), *_phase(ours, phase)] for phase in PHASES]
    lines.append(["all", speed.number(sum(usual.values())), "100 %", speed.number(sum(ours.values())), "100 %"])
    return pages.table(("phase", "usual loop, ms", "share", "ours, ms", "share"), lines)


def _phase(times, phase):
    if phase not in times:
        return "", ""
    return speed.number(times[phase]), f"{100 * times[phase] / sum(times.values()):.1f} %"


def largest(stored):
    """In a sentence a network: the share of forward and backward in each loop, and what that means for the rest."""
    lines = []
    for network, loops in phases(stored).items():
        shares = [100 * (t.get("forward", 0) + t.get("backward", 0)) / sum(t.values()) for t in loops.values() if t]
        if len(shares) == 2:
            usual, ours = (f"{share:.0f} %" for share in shares)
            lines.append(f"{network}: forward and backward take {usual} of the usual step and {ours} of ours.")
    return " ".join(lines)


def operator_table(stored):
    """Which of torch's operators our step spends its time in: a line a kind, a column a network."""
    found = {}
    for row in speed.rows(stored, "dense"):
        network = next((name for name in speed.NETWORKS if row["what"].startswith(f"{name}, ")), None)
        if row["group"] == "operators" and network:
            found.setdefault(row["what"].removeprefix(f"{network}, "), {})[network] = row["value"]
    networks = list(dict.fromkeys(name for of in found.values() for name in of))
    lines = [[kind, *(f"{of[name]:.1f} %" if name in of else "" for name in networks)] for kind, of in found.items()]
    return pages.table(["operators", *networks], lines) if lines else speed.NOT_MEASURED


def tried(stored):
    """What was tried to make the dense step faster: a table, and what became of it."""
    found = [row for row in speed.rows(stored, "dense") if row["group"] == "tried"]
    if not found:
        return speed.NOT_MEASURED
    lines = [[row["what"], f"{row['value']:,.0f}", f"{row['ratio']:.2f}"] for row in found]
    faster = [row["what"] for row in found if row["ratio"] >= FASTER]
    said = f"Faster by {FASTER - 1:.0%} or more, and not used: {'; '.join(faster)}." if faster else "No gain."
    return pages.table(("our step with", "images/s", "times our step"), lines) + f"\n\n{said}"


def others(stored, group="sparse"):
    """Every further group of figures that a benchmark made, each under a heading of its own."""
    found = {}
    for row in speed.rows(stored, group):
        if row["group"] not in LEAVES_OUT:
            found.setdefault(row["group"], []).append(row | {"group": group})
    parts = [f"### {name[:1].upper()}{name[1:]}\n\n{_note(name)}{speed.table(rows)}" for name, rows in found.items()]
    return "\n\n".join(parts) or speed.NOT_MEASURED


def _note(name):
    return f"{speed.NOTES[name]}\n\n" if name in speed.NOTES else ""


def shared(stored):
    """What making every trained net once saves: a table of the grids, and a sentence."""
    found = [row for row in speed.rows(stored, "upkeep") if row["group"] == "shared"]
    if not found:
        return speed.NOT_MEASURED
    lines = [
        [row["what"], f"{row['value']:,.0f}", f"{row['against']:,.0f}", f"{row['against'] / row['value']:.2f}"]
        for row in found
    ]
    every = lines[-1]
    return pages.table(("runs", "epochs, shared", "epochs, a script a cell", "times as much"), lines) + (
        f"\n\nAll together: **{every[1]} epochs**. With a script a cell, each of which trains its own dense net first, "
        f"they would be {every[2]}, {every[3]} times as much."
    )


def built(stored):
    """How long each page of the book took to build: a table, slowest first."""
    found = [row for row in speed.rows(stored, "upkeep") if row["group"] == "pages"]
    lines = [[row["what"], f"{row['value']:.0f}"] for row in sorted(found, key=lambda row: -row["value"])]
    return pages.table(("part", "seconds"), lines) if lines else speed.NOT_MEASURED
