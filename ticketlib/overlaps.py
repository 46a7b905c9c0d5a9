"""How far a mask moves when the data that find it are spoilt: between chance and the masks of two clean batches."""

from collections import defaultdict
from functools import partial
from itertools import combinations

import numpy as np

from ticketlib import chapters, grids, nb, pages, probes, ratios, runs, shares, verdicts
from ticketlib.ledger import Ledger
from ticketlib.plots import style
from ticketlib.sources import span, title

TICKETS = ("snip", "grasp", "lt")  # their masks need data; LT's by way of a trained net
NO_PROBE = f"**{verdicts.NOT_RUN.capitalize()}.** This ledger has no probe."
BELOW = (  # the table of overlaps
    "*Change of layer* is the share of the kept weights that change layer; *two clean seeds*, the same between two "
    "clean masks. *Of the way* is from chance to ceiling: the mean of each seed's own percentage, so it can differ a "
    "little from that of the mean columns."
)
PLAIN = {"linear": "own", "variant": "default", "min_per_layer": 0}


def measured(run):
    """Masks found on clean and on corrupted batches; with source "run" those of the profile are probed first.

    Beside the rows of this ledger stand the book's probes of the paper's networks, but for the profile `smoke`.

    Returns: dict (network, ticket, sparsity) -> {seed: (row of the clean mask, row of the other)}.
    """
    if run.source == "run":
        _make(run)
    beside = Ledger(nb.book_ledger("paper")).rows() if run.profile != "smoke" else []
    found = pairs_of([*beside, *Ledger(run.ledger).rows()])
    return {key: {seed: pair for seed, pair in found[key].items() if not run.seeds or seed < run.seeds}
            for key in sorted(found, key=lambda key: (key[0], TICKETS.index(key[1]), key[2]))}  # fmt: skip


def pairs_of(rows):
    """Clean and corrupted probes of the same seed, as `measured` gives them."""
    by_kind = defaultdict(dict)
    for row in rows:
        values = row["config"]
        if row["kind"] == "probe" and values["ticket"] in TICKETS and is_plain(row):
            key = values["network"], values["ticket"], values["sparsity"]
            by_kind[key, values["seed"]][values["corruption"]] = row
    found = defaultdict(dict)
    for (key, seed), of in sorted(by_kind.items()):
        if {"none", "both"} <= set(of) and "ceiling" in of["both"]:
            found[key][seed] = of["none"], of["both"]
    return dict(found)


def is_plain(row):
    """Whether a probe is of the book's own scores, with no option."""
    return all(row["config"][what] == value for what, value in PLAIN.items())


def _make(run):
    dataset, ledger = chapters.images(run), Ledger(run.ledger)
    network = runs.PROFILES[run.profile].networks["resnet"][0]
    configs = [config for config in grids.probes(run.profile, dataset, chapters.seeds(run))
               if config.ticket in TICKETS and config.network == network]  # fmt: skip
    prober, there = probes.Prober(dataset), ledger.names()
    jobs = [(config, partial(prober.measure, config)) for config in configs if probes.name(config) not in there]
    with chapters.one_thread():
        chapters.work_off(run, jobs, "masks")


def sizes_of(row):
    """Number of weights of each layer that a row has a keep count for: dict name -> int."""
    if "sizes" in row:
        return row["sizes"]
    layers = ratios.layers(shares.network_of(row))
    return {layer.name: layer.size for layer in layers if layer.name in row["keep_counts"]}


def movable(counts, sizes):
    """Share, 0 to 1, of the kept weights that rearranging within layers moves, on average: masks.movable_share."""
    return sum(k * (1 - k / sizes[name]) for name, k in counts.items()) / sum(counts.values())


def far(pair):
    """Share, 0 to 1, of the kept weights that lie in other layers, once the batch is corrupted."""
    return shares.distance(*(row["keep_counts"] for row in pair))


def between_seeds(of):
    """The same share between the clean masks of two seeds, over all pairs of seeds; nan for one seed."""
    counts = [clean["keep_counts"] for clean, _ in of.values()]
    apart = [shares.distance(a, b) for a, b in combinations(counts, 2)]
    return float(np.mean(apart)) if apart else float("nan")


def way(row):
    """How far of the way from chance (0) to the overlap of two clean batches (1) a corrupted mask's overlap lies."""
    return (row["overlap"] - row["chance"]) / (row["ceiling"] - row["chance"])


def table(found):
    """Every cell as Markdown, means over seeds: how far keep-counts move, the overlap between chance and ceiling."""
    titles = ["network", "method, fraction removed", "change of layer", "two clean seeds", "chance", "overlap",
              "ceiling", "of the way, %", "seeds"]  # fmt: skip
    lines = []
    for (network, ticket, sparsity), of in found.items():
        means = [np.mean([row[what] for _, row in of.values()]) for what in ("chance", "overlap", "ceiling")]
        moved, along = (np.mean(values) for values in zip(*((far(p), way(p[1])) for p in of.values()), strict=True))
        apart = f"{between_seeds(of):.3f}" if len(of) > 1 else "one seed"
        numbers = [f"{moved:.3f}", apart, *(f"{value:.3f}" for value in means)]
        lines.append([title(network), f"{style(ticket).label}, {sparsity}", *numbers, f"{100 * along:.0f}", len(of)])
    return f"{pages.table(titles, lines)}\n\n{BELOW}" if lines else NO_PROBE


def reading(found):
    """What the table says over all its cells, and that LT is not in it while that is so; "" where there is none."""
    if not found:
        return ""
    moved = [100 * np.mean([far(pair) for pair in of.values()]) for of in found.values()]
    along = [100 * np.mean([way(row) for _, row in of.values()]) for of in found.values()]
    return (
        f"Over the {len(found)} cells, corruption moves {span(moved, 1)} % of the kept "
        f"weights to other layers. The overlap lies {span(along, 0)} % of the way from chance to "
        "the ceiling."
    ) + ("" if any(key[1] == "lt" for key in found) else " LT is not in this table: its ceiling has not been run.")


def draw(ax, found, network):
    """Draw one network: for each method and sparsity a line from chance to ceiling, and each seed's overlap a dot."""
    cells = [(key, of) for key, of in found.items() if key[0] == network]
    for place, ((_, ticket, _), of) in enumerate(cells):
        look = style(ticket)
        ends = [np.mean([row[what] for _, row in of.values()]) for what in ("chance", "ceiling")]
        ax.plot([place, place], ends, "-", color="0.6", marker="_", markersize=12, zorder=1)
        ax.plot([place] * len(of), [row["overlap"] for _, row in of.values()], look.marker, color=look.colour)
    ax.set_xticks(range(len(cells)), [f"{style(ticket).label}\n{sparsity}" for (_, ticket, sparsity), _ in cells])
    ax.set_title(title(network))
    return ax
