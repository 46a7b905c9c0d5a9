"""How many weights masks keep in which layer: clean and spoilt ones, depth and size, rules; for 01, 02, 07 and 08."""

from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd

from ticketbook.probes import EQUAL, MASK, METHODS, PROBED, SEEING, SHAPED, SHRINKING, clean, layers_of
from ticketlib import masks, ratios
from ticketlib.analysis import layerwise
from ticketlib.analysis.plots import style
from ticketlib.analysis.verdicts import NOT_DEFINED, NOT_RUN
from ticketlib.analysis.words import span

FAINT = 0.05  # agreement of two clean masks beyond chance, of which no share is printed below
GROUPS = {
    "another power": ("linear", "cubic", "ascending"),
    "from shapes": ("er", "erk", "igq", "balanced"),
    "flat, geometric": ("uniform", "uniform_plus", "pyramidal"),
}


# Clean and spoilt masks (02, 07)

def spoilt(probed):
    """Pairs of masks of the same seed, found on clean and on spoilt data, a line a pair.

    Arguments: probed, as `probes.table` gives. Returns: DataFrame with the columns of the clean mask, those of the
        spoilt one with `_spoilt` behind, and `second`, the counts of a second clean mask, wherever it was kept.
    """
    seeing = probed[probed.method.isin(SEEING)]
    good, bad = (seeing[seeing.corruption == kind] for kind in ("none", "both"))
    both = good.merge(bad, on=[*MASK, "seed", "fingerprint"], suffixes=("", "_spoilt"))
    return both.assign(second=both.second.where(both.second.notna(), both.second_spoilt))


def _couples(cell):
    """Keep-counts to be held against each other in one cell: dict yardstick -> list of (counts, counts)."""
    return {
        "spoilt data": list(zip(cell.counts, cell.counts_spoilt, strict=True)),
        "another batch": [(a, b) for a, b in zip(cell.counts, cell.second, strict=True) if isinstance(b, dict)],
        "another seed": list(combinations(cell.counts, 2)),
    }


def drifts(both):
    """How far keep-counts move, mean over seeds: a line a cell and yardstick, beside MASK `against`.

    Returns: DataFrame; moved, the share of kept weights that change layer; largest, the largest change of a keep-ratio;
        bits, `layerwise.divergence`; seeds.
    """
    lines = []
    for key, cell in both.groupby(MASK, sort=False):
        sizes = cell.sizes.iloc[0]
        for against, couples in _couples(cell).items():
            far = [(layerwise.total_variation(a, b), layerwise.largest_change(a, b, sizes)[0],
                    layerwise.divergence(a, b, sizes)) for a, b in couples]  # fmt: skip
            lines += [(*key, against, *np.mean(far, axis=0), len(cell))] if far else []
    return pd.DataFrame(lines, columns=[*MASK, "against", "moved", "largest", "bits", "seeds"])


def times_as_far(drifts, yardstick):
    """How many times as many kept weights change layer with spoilt data as with a yardstick: Series a cell."""
    wide = drifts.pivot(index=MASK, columns="against", values="moved")
    return (wide["spoilt data"] / wide[yardstick]).dropna() if yardstick in wide else pd.Series(dtype=float)


def drift_summary(drifts):
    """What spoilt data and another seed do, a line a method, for a page: DataFrame of text."""
    lines = []
    for method, of in drifts.groupby("method", sort=False):
        moved = {against: 100 * cells.moved for against, cells in of.groupby("against")}
        times = [times_as_far(of, yardstick) for yardstick in ("another seed", "another batch")]
        said = [span(moved[by], 1) if by in moved else NOT_RUN for by in ("spoilt data", "another seed")]
        said += [f"{each.median():.1f}, at most {each.max():.1f}" if len(each) else NOT_RUN for each in times]
        lines.append([style(method).label, *said, (of.against == "spoilt data").sum()])
    return pd.DataFrame(lines, columns=[
        "method", "moved to other layers by spoilt data, %", "moved by another seed, %",
        "times as many as another seed", "times as many as another batch", "cells"])  # fmt: skip


def drift_table(both):
    """Every cell: three measures, each of spoilt data / another batch / another seed, and where most changes."""
    lines, measured = [], drifts(both).set_index(MASK)
    scale = {"moved": (100, 1), "largest": (100, 1), "bits": (1000, 2)}
    for key, cell in both.groupby(MASK, sort=False):
        values = measured.loc[[key]].set_index("against").reindex(["spoilt data", "another batch", "another seed"])
        said = [" / ".join("–" if np.isnan(x) else f"{by * x:.{digits}f}" for x in values[what])
                for what, (by, digits) in scale.items()]  # fmt: skip
        lines.append([*_named(key), *said, _most(cell), len(cell)])
    return pd.DataFrame(lines, columns=["network", "method", "removed", "change of layer, %", "largest change, points",
                                        "divergence, 0.001 bits", "most in", "seeds"])  # fmt: skip


def _named(key):
    network, method, sparsity = key
    return network, style(method).label, sparsity


def _most(cell):
    """The layer whose keep-ratio changes most, in most seeds, with its mean keep-ratio clean and spoilt."""
    sizes = cell.sizes.iloc[0]
    where = [layerwise.largest_change(a, b, sizes)[1] for a, b in zip(cell.counts, cell.counts_spoilt, strict=True)]
    name = Counter(where).most_common(1)[0][0]
    clean, bad = (np.mean([counts[name] for counts in of]) / sizes[name] for of in (cell.counts, cell.counts_spoilt))
    called = ratios.called(layers_of(_values(cell)), name).removeprefix("the ")
    return f"{called}, {clean:.2f} to {bad:.2f}"


def overlaps(both):
    """How much masks share, mean over seeds: a line a cell.

    Arguments: both, as `spoilt` gives; those without an overlap are left out. Returns: DataFrame; moved and
        between_seeds, shares of kept weights that change layer; overlap, chance, ceiling and its own ceiling_chance;
        agreement, of two clean masks beyond chance; left, `layerwise.agreement_left`; seeds.
    """
    lines = []
    for key, cell in both[both.ceiling_spoilt.notna()].groupby(MASK, sort=False):
        apart = _couples(cell)
        known = cell[cell.second.map(lambda second: isinstance(second, dict))]
        chance = [masks.chance_of(*of) for of in zip(known.second, known.counts, known.sizes, strict=True)]
        chance = pd.Series(chance, known.index, dtype=float)
        clean = known.ceiling_spoilt - chance
        left = layerwise.agreement_left(known.overlap_spoilt, known.chance_spoilt, known.ceiling_spoilt, chance)
        moved, between = (np.mean([layerwise.total_variation(a, b) for a, b in apart[of]]) if apart[of] else np.nan
                          for of in ("spoilt data", "another seed"))  # fmt: skip
        means = cell[["overlap_spoilt", "chance_spoilt", "ceiling_spoilt"]].mean()
        lines.append([*key, moved, between, *means, chance.mean(), clean.mean(), left, len(cell)])
    return pd.DataFrame(lines, columns=[*MASK, "moved", "between_seeds", "overlap", "chance", "ceiling",
                                        "ceiling_chance", "agreement", "left", "seeds"])  # fmt: skip


def overlap_table(both):
    """`overlaps` as a page shows it, what chance gives in brackets: DataFrame of text.

    A share of what two clean masks share is left out where they share next to nothing beyond chance.
    """
    lines = [[of.network, f"{style(of.method).label}, {of.sparsity}", f"{of.moved:.3f}",
              f"{of.between_seeds:.3f}" if of.seeds > 1 else "one seed", f"{of.overlap:.3f} ({of.chance:.3f})",
              f"{of.ceiling:.3f}" + ("" if np.isnan(of.left) else f" ({of.ceiling_chance:.3f})"),
              "–" if not of.agreement >= FAINT else f"{100 * of.left:.0f}", of.seeds]
             for of in overlaps(both).itertuples()]  # fmt: skip
    return pd.DataFrame(lines, columns=["network", "method, fraction removed", "change of layer", "two clean seeds",
                                        "overlap", "ceiling", "agreement left, %", "seeds"])  # fmt: skip


def draw_overlaps(ax, both, network):
    """Draw one network: for each method and sparsity each seed's overlap beyond chance a dot, the ceiling a bar."""
    cells = both[(both.network == network) & both.ceiling_spoilt.notna()]
    means = overlaps(cells)
    for place, (of, (_, cell)) in enumerate(zip(means.itertuples(), cells.groupby(MASK, sort=False), strict=True)):
        ax.bar(place, of.agreement, width=0.8, color="0.85", zorder=0)
        look = style(of.method)
        ax.plot([place] * len(cell), cell.overlap_spoilt - cell.chance_spoilt, look.marker, color=look.colour)
    ax.axhline(0, color="0.4", linewidth=0.8)
    middle = {m: (of.index[0] + of.index[-1]) // 2 for m, of in means.groupby("method")}
    labels = [f"{of.sparsity}\n{style(of.method).label if middle[of.method] == of.Index else ''}"
              for of in means.itertuples()]  # fmt: skip
    ax.set_xticks(range(len(labels)), labels, fontsize=9)
    ax.set_title(network)
    return ax


# Keep-ratios, depth and size, rules (01, 07, 08)

def mean_ratios(cell):
    """Keep-ratios of masks of one network, mean over them: float array (num_layers,), in forward order."""
    return np.mean([layerwise.keep_ratios(*of) for of in zip(cell.counts, cell.sizes, strict=True)], axis=0)


def _values(cell):  # the configuration of one of the masks of one network
    return cell.row.iloc[0]["config"]


def rule_counts(layers, sparsity, family):
    """Keep-counts of every rule; None where one cannot be met or leaves a layer empty: dict rule -> counts.

    Arguments: layers, list of ratios.Layer, or a model; sparsity, fraction removed; family, "resnet" or "vgg".
    """
    return {rule: ratios.defined_counts(layers, rule, sparsity, family=family) for rule in ratios.RULES}


def _rules_of(cell):
    values = _values(cell)
    return rule_counts(layers_of(values), values["sparsity"], "vgg" if "vgg" in values["network"] else "resnet")


def panels(probed):
    """Mean keep-ratios over seeds, beside the smart ratio's where it is defined, ready to draw.

    Arguments: probed, of one sparsity. Returns: dict network -> {method: float array (num_layers,)}.
    """
    drawn = {}
    for (network, method), cell in clean(probed).groupby(["network", "method"], sort=False):
        if network not in drawn:
            smart = _rules_of(cell)["smart"]
            drawn[network] = {"smart": layerwise.keep_ratios(smart, cell.sizes.iloc[0])} if smart else {}
        drawn[network][method] = mean_ratios(cell)
    return drawn


def spoilt_panels(both):
    """Mean keep-ratios of pairs of one sparsity: dict (network, method) -> {arm: float array (num_layers,)}."""
    return {(network, method): {method: mean_ratios(cell),
                                f"{method}+both": mean_ratios(cell.assign(counts=cell.counts_spoilt))}
            for (network, method), cell in both.groupby(["network", "method"], sort=False)}  # fmt: skip


def place_and_size(probed):
    """What a layer's place and its size explain of mean keep-ratios, over all convolutions but the first.

    Returns: DataFrame, a line a cell of clean masks: MASK, place, size (`layerwise.depth_and_size_r2`),
        first_over_last, seeds.
    """
    lines = []
    for key, cell in clean(probed).groupby(MASK, sort=False):
        inner = {layer.name: layer.size for layer in layerwise.inner(layers_of(_values(cell)))}
        kept = mean_ratios(cell.assign(sizes=[inner] * len(cell)))
        explained = layerwise.depth_and_size_r2(kept, list(inner.values()))
        lines.append([*key, *explained, layerwise.first_over_last(kept), len(cell)])
    return pd.DataFrame(lines, columns=[*MASK, "place", "size", "first_over_last", "seeds"])


def followed(measured):
    """What each method's keep-ratios follow (`layerwise.follows`), from the two networks in which place and size part.

    Arguments: measured, as `place_and_size` gives. Returns: DataFrame, a line a method that has masks on both: word,
        equal, shrinking (first over last, a list, a value a sparsity).
    """
    falls = {of: measured[measured.network == of].groupby("method").first_over_last.agg(list) for of in SHAPED.values()}
    known = [m for m in METHODS if m in falls[EQUAL] and len(falls[EQUAL][m]) == len(falls[SHRINKING].get(m, ()))]
    lines = [(layerwise.follows(*(falls[of][m] for of in SHAPED.values())), *(falls[of][m] for of in SHAPED.values()))
             for m in known]  # fmt: skip
    return pd.DataFrame(lines, index=pd.Index(known, name="method"), columns=["word", "equal", "shrinking"])


def followed_table(measured):
    """`followed` as a page shows it: DataFrame of text."""
    lines = [[style(of.Index).label, of.word, span(of.equal, 0, _factor),
              span(of.shrinking, 0, _factor)] for of in followed(measured).itertuples()]  # fmt: skip
    return pd.DataFrame(lines, columns=["method", "its keep-ratios follow", "equal layers: first over last",
                                        "shrinking layers: first over last"])  # fmt: skip


def place_table(measured):
    """`place_and_size` as a page shows it, a line a network and method, a value a sparsity: DataFrame of text."""
    lines = [[network, style(method).label, *(_percents(of[what]) for what in ("place", "size")),
              ", ".join(map(_factor, of.first_over_last)), span(of.seeds, 0)]
             for (network, method), of in measured.groupby(["network", "method"], sort=False)]  # fmt: skip
    return pd.DataFrame(lines, columns=["network", "method", "explained by place, %", "explained by size, %",
                                        "first layers over last", "seeds"])  # fmt: skip


def _percents(shares):
    return "one size" if shares.isna().all() else ", ".join(f"{100 * x:.0f}" for x in shares)


def _factor(value, digits=0):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def nearest_rules(probed):
    """How far counts are from every rule's, by `layerwise.total_variation`: a line a cell of clean masks.

    Returns: DataFrame; MASK, smart (mean distance from the smart ratio; nan where that is not defined), spread (of it
        over seeds, largest minus smallest), rule (the nearest one), distance (from it), classifier, empty, seeds.
    """
    lines = []
    for key, cell in clean(probed).groupby(MASK, sort=False):
        far = {rule: [layerwise.total_variation(counts, of) for counts in cell.counts]
               for rule, of in _rules_of(cell).items() if of}  # fmt: skip
        nearest = min(far, key=lambda rule: np.mean(far[rule]))
        smart = far.get("smart", [np.nan])
        lines.append([*key, np.mean(smart), np.ptp(smart), nearest, np.mean(far[nearest]), cell.classifier.mean(),
                      cell["empty"].max(), len(cell)])  # fmt: skip
    return pd.DataFrame(lines, columns=[*MASK, "smart", "spread", "rule", "distance", "classifier", "empty", "seeds"])


def rule_table(probed):
    """`nearest_rules` as pages show it: distance from the smart ratio; the nearest rule with its own: DataFrame."""
    lines = []
    for (network, method), of in nearest_rules(probed).groupby(["network", "method"], sort=False):
        smart = [NOT_DEFINED if np.isnan(x) else f"{x:.2f}" for x in of.smart]
        cells = {x.sparsity: f"{far}; {style(x.rule).label} {x.distance:.2f}"
                 for far, x in zip(smart, of.itertuples(), strict=True)}  # fmt: skip
        lines.append([network, style(method).label, *(cells.get(s, NOT_RUN) for s in PROBED),
                      ", ".join(f"{100 * x:.0f}" for x in of.classifier), ", ".join(map(str, of["empty"])),
                      span(of.seeds, 0)])  # fmt: skip
    return pd.DataFrame(lines, columns=["network", "method", *PROBED, "in the last layer, %", "empty", "seeds"])


def rule_distances(networks):
    """How far every rule is from the smart ratio: DataFrame of text, a line a rule, a column a network and sparsity.

    Arguments: networks, dict name -> model of ours.
    """
    counts = {f"{name}, {s}": rule_counts(model, s, model.family) for name, model in networks.items() for s in PROBED}
    far = {cell: {style(rule).label: f"{layerwise.total_variation(of[rule], of['smart']):.2f}"
                  if of[rule] and of["smart"] else NOT_DEFINED for rule in ratios.RULES if rule != "smart"}
           for cell, of in counts.items()}  # fmt: skip
    return pd.DataFrame(far).rename_axis("rule").reset_index()


def rule_panels(networks, sparsity):
    """Keep-ratios of all rules beside the smart ratio's, ready to draw: dict title -> {rule: array (num_layers,)}.

    A panel for each network and group of rules; its title names the rules of the group that are not defined there.
    Arguments: networks, dict from name to network; sparsity, decimal text.
    """
    drawn = {}
    for name, model in networks.items():
        counts = rule_counts(model, sparsity, model.family)
        sizes = {layer.name: layer.size for layer in ratios.layers(model)}
        for group, rules in GROUPS.items():
            missing = [style(rule).label for rule in rules if counts[rule] is None]
            lines = [f"{name}: {group}", *[f"{NOT_DEFINED}: {', '.join(missing)}"] * bool(missing)]
            shown = [rule for rule in ("smart", *rules) if counts[rule]]
            drawn["\n".join(lines)] = {rule: layerwise.keep_ratios(counts[rule], sizes) for rule in shown}
    return drawn
