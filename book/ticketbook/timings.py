"""Stored benchmarks beside the speeds: where a step's time goes, what bounds it, a peer, and other tables."""

import json
import re

from ticketbook import speed
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import folded, span
from ticketlib.experiments import grids
from ticketlib.experiments.places import ROOT

PHASES = ("images", "forward", "backward", "masks", "update", "metrics")
LOOPS = ("usual loop", "our loop")
NETS = "|".join(speed.NETWORKS)
PHASE = re.compile(rf"({NETS}), ({'|'.join(LOOPS)}), ({'|'.join(PHASES)})")
FASTER = 1.05  # of our step; less is within what equal work differs by from minute to minute
PEER = "SparseProp"
INSIDE = re.compile(rf"({NETS}), (0\.\d+) removed, by phase")
BOUND = re.compile(rf"({NETS}), (0(?:\.\d+)?) removed, (.*)")
STAY, LAYERS = "multiply-adds in layers that stay dense", "layers that stay dense"
BOUND_TITLES = (
    "*MFLOP* and *MB* are those of one image. *Stays dense*: the share of the MFLOP in layers that stay dense, and how "
    "many layers do. *Arithmetic*: its share of the time that the bound allows. *Bound* and *measured* are images/s; "
    "*reached* is the one over the other."
)
FUSED = re.compile(rf"({NETS}), (0\.\d+) removed, batch norm, ReLU and sums, fused")


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
    return prose.table(("phase", "usual loop, ms", "share", "ours, ms", "share"), lines)


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
    return prose.table(["operators", *networks], lines) if lines else speed.NOT_MEASURED


def tried(stored):
    """What was tried to make the dense step faster: a table, and what became of it."""
    found = [row for row in speed.rows(stored, "dense") if row["group"] == "tried"]
    if not found:
        return speed.NOT_MEASURED
    lines = [[row["what"], f"{row['value']:,.0f}", f"{row['ratio']:.2f}"] for row in found]
    faster = [row["what"] for row in found if row["ratio"] >= FASTER]
    slow = f"None of them is faster than our step by {100 * (FASTER - 1):.0f} % or more."
    said = f"Faster by {100 * (FASTER - 1):.0f} % or more, and not used: {'; '.join(faster)}." if faster else slow
    return prose.table(("our step with", "images/s", "times as fast as our step"), lines) + f"\n\n{said}"


def inside(stored):
    """Milliseconds of each phase of a sparse step, with its share: a line a phase, a column a network and sparsity."""
    found = {}
    for row in speed.rows(stored, "sparse"):
        if name := INSIDE.fullmatch(row["group"]):
            title = f"{name[1]}, {100 * float(name[2]):g} % removed"
            found.setdefault(title, {})[row["what"]] = row["value"]
    phases = list(dict.fromkeys(phase for of in found.values() for phase in of))
    lines = [[phase, *(" (".join(_phase(of, phase)) + ")" for of in found.values())] for phase in phases]
    lines.append(["all", *(speed.number(sum(of.values())) for of in found.values())])
    return prose.table(["ms a step (share)", *found], lines) if found else speed.NOT_MEASURED


def fused(stored):
    """What one pass for batch norm, ReLU and sums costs beside torch's own, in a sentence; "" if it is not stored."""
    found = [(FUSED.fullmatch(row["what"]), row) for row in speed.rows(stored, "sparse")]
    parts = [
        f"{speed.number(row['value'])} ms instead of {speed.number(row['against'])} for {name[1]} at "
        f"{100 * float(name[2]):g} %"
        for name, row in found
        if name
    ]
    return f"Measured, a step: {'; '.join(parts)}." if parts else ""


def bounds(stored):
    """What was counted and measured against the bound: dict (network, sparsity) -> {what: stored figure}."""
    found = {}
    for row in speed.rows(stored, "sparse"):
        if row["group"] == "roofline" and (name := BOUND.fullmatch(row["what"])):
            found.setdefault((name[1], name[2]), {})[name[3]] = row
    return found


def bound_table(stored):
    """The bound of every network and sparsity, beside what was measured, as Markdown."""
    lines = []
    for (network, sparsity), of in bounds(stored).items():
        if "measured" in of:
            counted = [speed.number(of[what]["value"]) for what in ("arithmetic", "memory traffic")]
            held = of["measured"]
            layers = of.get(LAYERS)
            number = f" ({layers['value']:.0f} {layers['unit'].removesuffix(' layers')})" if layers else ""
            lines.append([
                f"{network}, {100 * float(sparsity):g} %", *counted, f"{of[STAY]['value']:.0f} %{number}",
                f"{of['time for arithmetic']['value']:.0f} %", speed.number(held["against"]),
                speed.number(held["value"]), f"{100 * held['ratio']:.0f} %",
            ])  # fmt: skip
    titles = ("network, weights removed", "MFLOP", "MB", "stays dense", "arithmetic", "bound", "measured", "reached")
    return f"{BOUND_TITLES}\n\n{prose.table(titles, lines)}" if lines else speed.NOT_MEASURED


def next_factor(stored):
    """How many times as fast a step would be that reached its bound, or whose bound had half of one part: Markdown."""
    lines = []
    for (network, sparsity), of in bounds(stored).items():
        if "measured" in of:
            part, reached = of["time for arithmetic"]["value"] / 100, of["measured"]["ratio"]
            times = (1 / reached, 1 / (1 - part / 2), 1 / (part + (1 - part) / 2))
            larger = "arithmetic" if part > 0.5 else "traffic"
            lines.append([network, f"{100 * float(sparsity):g} %", *(f"{value:.2f}" for value in times), larger])
    titles = ("network", "removed", "if the bound were reached", "then with half the arithmetic",
              "or with half the traffic", "what holds it")  # fmt: skip
    return prose.table(titles, lines) if lines else speed.NOT_MEASURED


def why_break_even(stored):
    """How fast both engines do their arithmetic, in a sentence a network; "" where the counts are not stored."""
    found, speeds, lines = bounds(stored), speed.training(stored), []
    for network, sparsity in found:
        if sparsity == "0.9" and (network, "0") in found and network in speeds:
            whole, left = (found[network, s]["arithmetic"]["value"] for s in ("0", "0.9"))
            dense, sparse = whole * speeds[network]["dense"] / 1000, left * speeds[network]["0.9"] / 1000
            lines.append(
                f"- {network}: the dense loop does {dense:,.0f} GFLOP/s. At 90 % removed the sparse engine does "
                f"{sparse:,.0f}. So it has to leave out {100 * (1 - sparse / dense):.0f} % of the arithmetic to be as "
                f"fast; with 90 % of the weights removed it leaves out {100 * (1 - left / whole):.0f} %."
            )
    return "\n".join(lines)


def named(stored, part):
    """The figures of the sparse engine whose names have a part, as a table."""
    return speed.table([row for row in speed.rows(stored, "sparse") if part in row["what"]])


def beside_peer(stored):
    """Layers and whole steps beside SparseProp's, as a table, and in a sentence by how much which was faster."""
    found = [row for row in speed.rows(stored, "sparse") if row["yardstick"] == PEER]
    if not found:
        said = [row["what"] for row in speed.rows(stored, "sparse") if row["what"].startswith(f"{PEER}: not")]
        return f"**{said[0]}.**" if said else speed.NOT_MEASURED
    times = [row["ratio"] if row["unit"] == "images/s" else 1 / row["ratio"] for row in found]
    steps, layers = ([_beside(*of) for of in zip(found, times, strict=True) if (of[0]["unit"] == "images/s") == whole]
                     for whole in (True, False))  # fmt: skip
    whole = prose.table(("whole steps", "ours, images/s", f"{PEER}, images/s", "times as fast"), steps)
    each = folded("Every layer", prose.table(("layer", "ours, ms", f"{PEER}, ms", "times as fast"), layers))
    ahead = f"**{sum(gain > 1 for gain in times)} of {len(times)}**"
    said = f"Ours was the faster one in {ahead} comparisons, and {span(times, 1)} times as fast as theirs."
    return "\n\n".join([whole] * bool(steps) + [each] * bool(layers) + [said])


def _beside(row, gain):
    digits = 0 if row["unit"] == "images/s" else 2
    ours, theirs = (f"{row[what]:,.{digits}f}" for what in ("value", "against"))
    return [row["what"].replace(f", training beside {PEER}", ""), ours, theirs, f"{gain:.1f}"]


def break_even_table(stored):
    """The break-even of every network: the two measurements round it, and the estimate in between."""
    speeds, lines = speed.training(stored), []
    for name in speed.NETWORKS:
        where = speed.crossing(speeds[name]) if name in speeds else None
        lines.append([name, *(_between(where, speeds[name]) if where else ("not measured yet", "", ""))])
    titles = ("network", "dense is faster at", "sparse is faster from", "both as fast at about")
    return prose.table(titles, lines)


def _between(where, speeds):  # -> cells
    gains = {float(s): of / speeds["dense"] for s, of in speeds.items() if s != "dense"}
    low, high = (f"{100 * s:g} % ({gains[s]:.2f} times dense)" if s else "none measured" for s in where[:2])
    if where.low is None:
        return low, high, f"below {100 * where.high:g} %"
    return low, high, f"{100 * where.at:.0f} %" if where.high else "not found"


def shared(stored):
    """What making every trained net once saves: a table of the grids, and a sentence."""
    found = [row for row in speed.rows(stored, "upkeep") if row["group"] == "shared"]
    if not found:
        return speed.NOT_MEASURED
    lines = [
        [_grid(row["what"]), f"{row['value']:,.0f}", f"{row['against']:,.0f}", f"{row['against'] / row['value']:.2f}"]
        for row in found
    ]
    every = lines[-1]
    titles = "runs", "epochs, dense nets shared", "epochs, a dense net for each ticket", "times as many"
    return prose.table(titles, lines) + (
        f"\n\nAll together: **{every[1]} epochs**. If each ticket trained its own dense net first, they would be "
        f"{every[2]}, {every[3]} times as many."
    )


def _grid(what):
    """What pages call a grid that the benchmarks name."""
    return grids.TITLES.get(what.removeprefix("grid "), what)


def _page(name):
    """The title of a notebook; what is none, as it is."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        return name
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    return first.splitlines()[0].removeprefix("# ")


def built(stored):
    """How long each page of the book took to build: a table, slowest first."""
    found = [row for row in speed.rows(stored, "upkeep") if row["group"] == "pages"]
    lines = [[_page(row["what"]), f"{row['value']:.0f}"] for row in sorted(found, key=lambda row: -row["value"])]
    return prose.table(("part", "seconds"), lines) if lines else speed.NOT_MEASURED
