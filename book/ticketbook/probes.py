"""Masks found without training, as one table, from rows or found anew; and how far they go before they break."""

import functools
from collections import defaultdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm

from ticketbook import notebook
from ticketbook.book_rows import ledger_rows, without_more_runs
from ticketlib import data, models, ratios
from ticketlib.analysis import layerwise, pairs
from ticketlib.analysis.plots import layer_axis, sparsity_axis, style
from ticketlib.analysis.verdicts import NOT_DEFINED, NOT_RUN
from ticketlib.analysis.words import folded
from ticketlib.experiments import checkpoints, config, grids, ledger, probe, session
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import PROFILES

PLACES = {"ResNet-20": ("laptop", "resnet"), "slim VGG-16": ("laptop", "vgg"), "ResNet-32": ("paper", "resnet"),
          "VGG-19": ("paper", "vgg"), "tiny ResNet": ("smoke", "resnet"), "tiny VGG": ("smoke", "vgg")}  # fmt: skip
EQUAL, SHRINKING = "equal layers", "shrinking layers"
IMAGENET = {"resnet50": "ResNet-50", "vgg16": "VGG-16"}  # torchvision's name -> ours
SHAPED = {"vgg16_equal": EQUAL, "vgg16_reversed": SHRINKING}  # networks in which a layer's place and its size part
NETWORKS = [*PLACES, *SHAPED.values(), *IMAGENET.values()]
METHODS = [*grids.METHODS, "random", "lt", *ratios.RULES]  # in the order of every table
IMAGENET_METHODS = [*probe.IMAGENET_METHODS]
SEEING = ["snip", "grasp", "lt"]  # their masks need data; LT's by way of a trained net
PROBED = grids.PROBED
MASK = ["network", "method", "sparsity"]  # what tells cells apart; seeds are repeats of one
COLUMNS = [*MASK, "seed", "corruption", "fingerprint", "counts", "sizes", "second", "overlap", "chance", "ceiling",
           "effective", "live", "rearranged", "empty", "movable", "classifier", "seconds", "row"]  # fmt: skip
NONE = "**Not run.** This ledger has no such masks. With the parameter `source` set to `run` a page finds them."
LEAST = 1e-5  # the smallest keep-ratio that has a colour of its own


# The table


def masks(run, what=""):
    """The masks that a page is made from; with source "run" those that are missing are found first.

    Beside the rows of the page's own ledger stand the book's masks of the paper's networks, but for profile `smoke`.
    Arguments: run, session.NotebookRun; what, which masks to find: "spoilt", "shapes", "sparse" or "rules".
    Returns: DataFrame, as `table` gives.
    """
    if run.source == "run" and what:
        _find(run, what)
    if run.ledger == book_ledger("laptop").resolve() and run.profile == "laptop":
        found = book()
    else:
        beside = [] if run.profile == "smoke" else ledger_rows("paper")
        found = table([*session.rows_of(run), *beside], run.profile)
    return found[found.seed < run.seeds] if run.seeds else found


@functools.cache
def book():
    """The book's own masks, whatever a page is run with: DataFrame, as `table` gives; it is not to be changed."""
    return table([*ledger_rows("laptop"), *ledger_rows("paper")], "laptop")


def at_scale(*folders):
    """Masks of ImageNet's networks in the book's ledger and in others: DataFrame, as `table` gives."""
    own = [row for folder in folders for row in ledger.Ledger(folder).rows()]
    rows = [*own, *ledger_rows("paper")]
    return _lines([row for row in rows if row["config"]["dataset"] == probe.IMAGENET])


def table(rows, profile):
    """Masks of a ledger, a line a mask: from probes of the book's own scores, and LT's from runs where no probe is.

    Arguments: rows, of any ledgers; profile, whose recipe LT's runs follow.
    Returns: DataFrame with the columns of COLUMNS: network, as pages call it; method, a ticket or a rule; sparsity,
        text; counts, sizes, second (the counts of a second clean batch), dicts, in forward order the first two; overlap
        with the clean mask, chance and ceiling of it; effective sparsity; live share of the kept weights, and once
        rearranged; empty, how many layers; movable and the classifier's share; seconds; row. What was not measured is
        missing. Masks of ImageNet's networks are left to `at_scale`.
    """
    ours = [row for row in rows if row["config"]["dataset"] != probe.IMAGENET]
    return _lines([row for row in ours if row["kind"] == "probe" and probe.is_plain(row)] + _lt_runs(ours, profile))


def _lines(rows):
    found = pd.DataFrame([_line(row) for row in rows if _network(row["config"])], columns=COLUMNS)
    found = found.drop_duplicates([*MASK, "seed", "corruption", "fingerprint"])
    order = {"network": NETWORKS.index, "method": METHODS.index}
    return found.sort_values([*MASK, "seed"], key=lambda of: of.map(order.get(of.name, lambda x: x)), ignore_index=True)


def _lt_runs(rows, profile):
    by_name = {row["name"]: row for row in rows if row["kind"] == "run" and row["config"]["ticket"] == "lt"}
    frame = without_more_runs(ledger.frame(by_name.values()))
    runs = [pairs.select(frame, profile, network) for network in PROFILES[profile].networks] if by_name else []
    names = [name for of in runs for name in of.name[of.arm.str.fullmatch(r"lt(\+both)?@[0-9.]+")]]
    return [by_name[name] for name in names if by_name.get(name, {}).get("keep_counts")]


def _network(values):
    if values["dataset"] == probe.IMAGENET:
        return IMAGENET.get(values["network"])
    if values["network"] in SHAPED:
        return SHAPED[values["network"]]
    size = values["network"], values["width"], values["stem_stride"]
    return {PROFILES[of].networks[short]: name for name, (of, short) in PLACES.items()}.get(size)


def _line(row):
    values, counts = row["config"], row["keep_counts"]
    sizes = sizes_of(values)
    live = functools.partial(layerwise.live_share, counts=counts, sizes=sizes)
    moved = row.get("rearranged_effective_sparsity")
    return {
        **{what: row.get(what) for what in ("overlap", "chance", "ceiling")},
        "network": _network(values), "method": values["ticket"], "sparsity": values["sparsity"],
        "seed": values["seed"], "corruption": values["corruption"], "fingerprint": values["fingerprint"],
        "counts": {name: counts[name] for name in sizes}, "sizes": sizes, "second": row.get("second_keep_counts"),
        "effective": row["effective_sparsity"], "live": live(row["effective_sparsity"]),
        "rearranged": None if moved is None else live(moved), "empty": len(row["empty_layers"]),
        "movable": layerwise.movable_share(counts, sizes), "classifier": row["classifier_share"],
        "seconds": row.get("mask_seconds", row["seconds"]), "row": row,
    }  # fmt: skip


def layers_of(values):
    """The prunable layers, in forward order, of the network that a row's configuration names: list of ratios.Layer."""
    return _layers(*(values.get(what) for what in ("network", "width", "stem_stride", "dataset")))


@functools.cache
def _layers(network, width, stem_stride, dataset):
    if dataset == probe.IMAGENET:
        return probe.imagenet_layers(network)
    channels = 1 if dataset == "digits" else 3
    return ratios.layers(models.build(network, data.CLASSES[dataset], channels, width=width, stem_stride=stem_stride))


def sizes_of(values):
    """Number of weights of each layer, dict in forward order, from a row's configuration."""
    return {layer.name: layer.size for layer in layers_of(values)}


def _find(run, what):
    dataset, seeds = session.images(run), session.seeds(run)
    configs = _asked(run.profile, what, dataset, seeds)
    there = {row["name"] for row in session.rows_of(run)}
    configs = [each for each in configs if probe.name(each) not in there]
    parents = {before.name: before for before in map(config.parent, configs) if before}
    session.make_runs(run, [p for p in parents.values() if checkpoints.load(p.name) is None], dataset)
    session.make_probes(run, configs, dataset, _seconds(configs))


def _asked(profile, what, dataset, seeds):
    """Configurations whose masks a page asks for, in order; smoke has no part of the paper's networks."""
    own = PROFILES[profile].networks["resnet"][0]
    if what == "shapes":
        small = {"vgg16_equal": 0.125, "vgg16_reversed": 0.0625}
        return grids.shape_probes(profile, dataset, seeds, small if profile == "smoke" else grids.SHAPES)
    if what == "rules":
        others = [] if profile == "smoke" else [("paper", "resnet"), ("paper", "vgg")]
        places = dict.fromkeys([*others, (profile, "resnet")])
        arms = [(*place, ticket) for place in places for ticket in ("snip", "grasp", "synflow")]
        return [grids.arm(of, f"{ticket}@{s}", seed, dataset, network=network, **grids.OWN_SCORES)
                for seed in range(seeds) for of, network, ticket in [*arms, (profile, "resnet", "lt")] for s in PROBED]
    found = grids.probes(profile, dataset, seeds if what == "spoilt" else 1)
    found += grids.sparse_probes(profile, dataset, 1) if what == "sparse" else []
    kinds = SEEING if what == "spoilt" else METHODS
    return [each for each in found if each.network == own and each.ticket in kinds
            and (what == "spoilt" or each.corruption == "none")]  # fmt: skip


def _seconds(configs):
    """What such probes took in the book's ledger, on whatever machine: seconds in all; None if some kind is new."""
    took = defaultdict(list)
    for row in ledger_rows("laptop") + ledger_rows("paper"):
        if row["kind"] == "probe":
            took[row["config"]["network"], row["config"]["ticket"]].append(row["seconds"])
    kinds = [(each.network, each.ticket) for each in configs]
    return sum(np.median(took[kind]) for kind in kinds) if all(kind in took for kind in kinds) else None


# How far masks go before they break (11, 12)

def clean(masks):
    """The masks found on clean data."""
    return masks[masks.corruption == "none"]


def cells(masks):
    """Clean masks, mean over seeds: DataFrame, index MASK; live, effective, rearranged, movable, classifier, seconds;
    empty, in the seed that has most; n, seeds."""
    means = {what: (what, "mean") for what in ("live", "effective", "rearranged", "movable", "classifier", "seconds")}
    found = clean(masks).assign(rearranged=masks.rearranged.astype(float))
    return found.groupby(MASK, sort=False).agg(**means, empty=("empty", "max"), n=("seed", "size"))


def reason(network, method, sparsity):
    """Why a rule is not defined on a network at a sparsity, in words; "" where it is, and for what is no rule."""
    if method not in ratios.RULES:
        return ""
    imagenet = {name: key for key, name in IMAGENET.items()}
    if network in imagenet:
        return probe.imagenet_reason(imagenet[network], method, sparsity)
    profile, short = PLACES[network]
    return grids.why_not(profile, short, method, sparsity)


QUANTITIES = {  # column of a table -> (column of `cells`, factor, digits)
    "kept weights that are live, %": ("live", 100, 0),
    "effective sparsity, %": ("effective", 100, 3),
    "empty layers": ("empty", 1, 0),
    "kept weights that rearranging moves, %": ("movable", 100, 0),
    "live once rearranged, %": ("rearranged", 100, 0),
    "classifier's share of kept weights, %": ("classifier", 100, 1),
    "seconds": ("seconds", 1, 1),
}


def by_sparsity(cells, network, quantity, methods=METHODS):
    """One quantity of one network: DataFrame of text, a line a method, a column a sparsity, which says what lacks."""
    column, by, digits = QUANTITIES[quantity]
    sparsities = _sparsities(cells)
    lines = []
    for method in methods:
        found = {s: cells[column].get((network, method, s), np.nan) for s in sparsities}
        lines.append([style(method).label, *(f"{by * x:.{digits}f}" if x == x else
                                             NOT_DEFINED if reason(network, method, s) else NOT_RUN
                                             for s, x in found.items())])  # fmt: skip
    return pd.DataFrame(lines, columns=["mask, by fraction removed", *sparsities])


def by_network(cells, quantity, methods=METHODS):
    """One quantity of every network as Markdown, a table each, which shows once its name is clicked."""
    tables = {network: by_sparsity(cells, network, quantity, methods) for network in networks_of(cells)}
    shown = [folded(f"{network}: {quantity}", notebook.markdown(table)) for network, table in tables.items()]
    return "\n\n".join(shown) or NONE


def _sparsities(cells):
    return sorted(cells.index.unique("sparsity"), key=float)


def networks_of(cells):
    """Networks of which there is a mask, in order."""
    return list(cells.index.unique("network"))


def sound_table(cells):
    """How many masks are sound (`layerwise.SOUND`) at each sparsity, and which are most live at the last: DataFrame."""
    sparsities, lines = _sparsities(cells), []
    for network, of in cells.groupby("network", sort=False):
        at = {s: of.xs(s, level="sparsity").live for s in of.index.unique("sparsity")}
        best = at[sparsities[-1]].droplevel("network").nlargest(2) if sparsities[-1] in at else {}
        lines.append([network, *(f"{(at[s] >= layerwise.SOUND).sum()} of {len(at[s])}" if s in at else NOT_RUN
                                 for s in sparsities),
                      ", ".join(f"{style(m).label} {100 * x:.0f} %" for m, x in best.items())])  # fmt: skip
    columns = ["sound masks, by fraction removed", *sparsities, f"most live at {sparsities[-1]}"]
    return pd.DataFrame(lines, columns=columns)


def reasons_table(networks, sparsities):
    """Why rules are not defined, rules with the same reason together: DataFrame of text."""
    found = {}
    for network in networks:
        for rule in ratios.RULES:
            for sparsity in sparsities:
                why, _, budget = reason(network, rule, sparsity).partition(" ")[2].rstrip(".").partition(ratios.BUDGET)
                if why:
                    rules, where = found.setdefault((network, why), ({}, {}))
                    rules[style(rule).label] = where[f"{sparsity} (budget {budget})" if budget else sparsity] = None
    lines = [[network, ", ".join(rules), why, ", ".join(where)] for (network, why), (rules, where) in found.items()]
    return pd.DataFrame(lines, columns=["network", "rule", "why not", "fraction removed"])


def draw_live(ax, cells, network, methods):
    """Draw the live share of the kept weights over density, a line a method."""
    for method in methods:
        look = style(method)
        points = sorted((100 * (1 - float(s)), 100 * cells.live[network, method, s]) for s in _sparsities(cells)
                        if (network, method, s) in cells.index)  # fmt: skip
        if points:
            x, y = zip(*points, strict=True)
            ax.plot(x, y, look.marker, color=look.colour, label=look.label, linestyle=look.linestyle)
    ax.set(ylim=(-4, 104), title=network)
    return sparsity_axis(ax, [10, 5, 2, 1, 0.5, 0.1])


def draw_map(ax, masks, network, sparsity, methods):
    """Draw the keep-ratios of every method, a line each, over layers as colours on a log scale; returns the image.

    A layer that keeps nothing is black. A method without a mask says why.
    """
    here = masks[(masks.network == network) & (masks.sparsity == sparsity)].set_index("method")
    kept = {m: layerwise.keep_ratios(here.counts[m], here.sizes[m]) for m in methods if m in here.index}
    width = len(next(iter(masks[masks.network == network].sizes)))
    grid = np.full((len(methods), width), np.nan)
    for line, method in enumerate(methods):
        if method in kept:
            grid[line] = np.maximum(kept[method], LEAST / 10)  # below the scale where nothing is kept
        else:
            why = NOT_DEFINED if reason(network, method, sparsity) else NOT_RUN
            ax.text(0.7, line + 0.5, why, fontsize=9, color="0.2", va="center")
    colours = plt.get_cmap("viridis").with_extremes(under="black", bad="white")
    edges = np.arange(width + 1) + 0.5, np.arange(len(methods) + 1)  # the first layer is number 1
    image = ax.pcolormesh(*edges, grid, cmap=colours, norm=LogNorm(LEAST, 1), edgecolors="none")
    ax.set_yticks(np.arange(len(methods)) + 0.5, [style(method).label for method in methods], fontsize=9)
    layer_axis(ax, width).set(title=f"{network}, {sparsity} removed", ylim=(len(methods), 0))
    return image
