"""Figures: each function draws what it is given on `ax` and returns `ax`; nothing is estimated here.

One style a method in every figure, from STYLE: colours that the colour-blind tell apart, dark enough on white (contrast
3 and more), and a marker and line of its own, so that no two methods differ by colour alone.
"""
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.ticker import NullLocator
from matplotlib.transforms import offset_copy

from ticketlib.analysis import words as prose
from ticketlib.analysis.verdicts import rests_on
from ticketlib.errors import TicketError
from ticketlib.tickets import CHECKS, TICKETS

BLUE, _, GREEN, RED, PINK, _, _, GREY, _, _ = seaborn.color_palette("colorblind").as_hex()
ORANGE, BROWN, SKY = "#b8860b", "#8c5a2b", "#3a94cf"  # the palette's own are too light on white
INDIGO, WINE, OLIVE, BLACK = "#332288", "#882255", "#737300", "#000000"
EDGE = "0.55"  # of a pale area
REMOVED = "weights removed, %"  # every axis of sparsity; sparser to the right


class Style(NamedTuple):
    """How a method looks in every figure."""

    label: str
    colour: str
    marker: str
    linestyle: str


STYLE = {
    "dense": Style("dense", BLACK, "s", "--"),
    "snip": Style("SNIP", BLUE, "o", "-"),
    "grasp": Style("GraSP", ORANGE, "^", "-"),
    "synflow": Style("SynFlow", SKY, "v", "-"),
    "magnitude": Style("magnitude at initialisation", BROWN, "D", "-"),
    "lt": Style("LT", GREEN, "s", "-"),
    "smart": Style("smart ratio", RED, "*", "-"),
    "linear": Style("linear", BROWN, "<", "--"),
    "cubic": Style("cubic", BLACK, ">", ":"),
    "ascending": Style("ascending", ORANGE, "v", "-."),
    "uniform": Style("uniform", GREY, "X", "-"),
    "uniform_plus": Style("uniform+", GREY, "d", "--"),
    "random": Style("random scores", GREY, "o", ":"),
    "erk": Style("ERK", WINE, "P", "-"),
    "er": Style("ER", PINK, "p", ":"),
    "igq": Style("IGQ", INDIGO, "h", "--"),
    "balanced": Style("balanced", OLIVE, "<", "--"),
    "pyramidal": Style("pyramidal", SKY, ">", "--"),
    "table": Style("SNIP's mean counts", BLUE, "s", ":"),
    "lrr": Style("LRR", BROWN, "P", "-"),
    "omp": Style("OMP", INDIGO, "v", "-"),
    "hybrid": Style("hybrid", PINK, "h", "-"),
    "imp": Style("IMP", ORANGE, "p", "-"),
    "imp_lrr": Style("IMP with LRR", ORANGE, "H", "--"),
    "own": Style("your score", BLACK, "o", "-"),
    "as found": Style("as found", BLACK, "D", "-"),
    "rearranged": Style("rearranged", WINE, "o", "--"),
    "shuffled": Style("weights shuffled", SKY, "s", ":"),
    "shuffled_all": Style("all weights shuffled", SKY, "d", "--"),
    "reinitialised": Style("re-initialised", PINK, "^", "-."),
    "random_signs": Style("signs drawn anew", OLIVE, "v", "--"),
    "fresh_magnitudes": Style("fresh magnitudes", INDIGO, "D", ":"),
    "corrupted": Style("found on corrupted data", RED, "v", (0, (5, 1, 1, 1))),
    "both": Style("random labels and pixels", RED, "P", (0, (3, 1, 1, 1))),
    "labels": Style("random labels", RED, "X", (0, (1, 1))),
    "pixels": Style("random pixels", RED, "p", (0, (5, 5))),
    "half": Style("half the data", INDIGO, "h", (0, (3, 1))),
}


def style(key):
    """Return the style of a method, a check, or an arm.

    Arguments: key, a key of STYLE ('lt'), or an arm ('lt+rearranged@0.90': colour and marker of the ticket, line of
        its last check, the sparsity left to the axis; 'lt+linear=global': an option, its text as label).
    Returns: Style; one in black for a ticket or a check that was registered without one.
    Raises: TicketError for a name without style, naming it.
    """
    method, *changes = key.partition("@")[0].split("+")
    look = _style_of(method, key)
    for change in changes:
        known = Style(change, "", "", (0, (2, 2))) if "=" in change else _style_of(change, key)
        look = look._replace(label=f"{look.label}, {known.label}", linestyle=known.linestyle)
    return look


def _style_of(name, key):
    if name in STYLE:
        return STYLE[name]
    if name in TICKETS or name in CHECKS:
        return Style(name.replace("_", " "), BLACK, "d", "-.")
    raise TicketError(f"No style for {name!r} in {key!r}; known: {', '.join(STYLE)} (or 'own' for yours).")


def set_style():
    """Set the defaults of every figure: opaque white, readable on a phone and in dark mode."""
    seaborn.set_theme(style="ticks", palette="colorblind", rc={
        "figure.figsize": (6.4, 4.0), "figure.dpi": 120, "savefig.dpi": 120, "figure.constrained_layout.use": True,
        "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
        "savefig.transparent": False, "font.size": 11, "axes.labelsize": 11, "xtick.labelsize": 10,
        "ytick.labelsize": 10, "legend.fontsize": 10, "legend.frameon": False, "lines.linewidth": 1.2,
        "lines.markersize": 6, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
        "axes.titlelocation": "left", "figure.constrained_layout.h_pad": 0.07, "axes.unicode_minus": True,
    })


def legend(ax, columns=3):
    """Put the legend above the axes, where it hides no point, from their left edge, which a phone shows first."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2)
    return ax


def shared_legend(figure, columns=4):
    """Put one legend for all axes above them, each label once."""
    handles = {label: key for ax in figure.axes for key, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=columns)
    return figure


def _look(key):
    """Return the drawing arguments of a marker: hollow for an arm with a check, filled for a ticket as found."""
    colour, marker = style(key)[1:3]
    return {"color": colour, "marker": marker, "markerfacecolor": "white" if "+" in key else colour,
            "markersize": 9 if marker == "*" else 6}


def _plot(ax, x, y, aside, **look):
    """Plot moved aside by some printer's points, so that what shares an x stays legible."""
    ax.plot(x, y, transform=offset_copy(ax.transData, ax.figure, x=aside, units="points"), **look)
    if len(x):
        ax.update_datalim(np.column_stack([x, y]))  # autoscaling overlooks what has a transform of its own


def _cell(ax, x, points, mean, ends, key, aside):
    """Draw one cell at x: each seed a dot, beside it the interval a line, the mean the method's marker."""
    colour = style(key).colour
    _plot(ax, [x] * len(points), points, aside + 5, color=colour, marker=".", linestyle="none", markersize=4)
    if not pd.isna(ends[0]):  # of one seed there is no interval
        _plot(ax, [x, x], ends, aside, color=colour, linewidth=1.5)
    _plot(ax, [x], [mean], aside, linestyle="none", zorder=3, **_look(key))


def _places(keys, most):
    """Return each key with its place beside the shared x, in printer's points, at most `most` apart."""
    step = min(most, 90 / max(1, len(keys)))
    return [(key, step * (place - (len(keys) - 1) / 2)) for place, key in enumerate(keys)]


def _key_line(ax, key, linestyle):
    """Add the method to the legend without drawing a point."""
    ax.plot([], [], linestyle=linestyle, label=style(key).label, **_look(key))


def margin_band(ax, margin, horizontal=True):
    """Draw zero, and the band in which differences count as none."""
    line, band = (ax.axhline, ax.axhspan) if horizontal else (ax.axvline, ax.axvspan)
    line(0, color="0.4", linewidth=0.8, zorder=1)
    if margin is not None:
        name = f"margin, ±{prose.points(margin)}"
        band(-margin, margin, facecolor="0.9", edgecolor=EDGE, linewidth=0.8, zorder=0, label=name)


def keep_ratios(ax, ratios, num_layers):
    """Draw keep-ratios layer by layer, numbered from 1, on a log axis; an empty layer is a cross on the floor.

    Arguments: ratios, {key: keep-ratios, 0 to 1, shape (num_layers,)}.
    """
    layers = np.arange(1, 1 + num_layers)
    for key, values in ratios.items():
        values = np.asarray(values, dtype=float)
        if values.shape != layers.shape:
            raise TicketError(f"{key!r} has {values.size} keep-ratios for {len(layers)} layers; give one a layer.")
        look = _look(key)
        look |= {"markersize": 0.7 * look["markersize"]}  # layers are many
        ax.plot(layers, np.where(values > 0, values, np.nan), linestyle=style(key).linestyle, label=style(key).label,
                **look)
        empty = layers[values == 0]
        ax.plot(empty, np.full(len(empty), 0.02), "x", color=style(key).colour, transform=ax.get_xaxis_transform())
    ax.set_yscale("log")
    layer_axis(ax, num_layers)
    ax.set(xlabel="layer, in forward order", ylabel="keep-ratio (log scale)")
    return ax


def layer_axis(ax, num_layers):
    """Number layers from 1 along the horizontal axis, every fifth one of a deep network."""
    ax.set_xticks(range(1, 1 + num_layers) if num_layers < 10 else [1, *range(5, 1 + num_layers, 5)])
    return ax


def differences(ax, comparisons, margin=None):
    """Draw paired differences over sparsity: each seed a dot, the mean with its interval, the margin a band.

    Arguments: comparisons, as verdicts.board gives them: a line a key and sparsity, those without seeds left out;
        margin, points, or None where there is none.
    """
    margin_band(ax, margin)
    known = comparisons[comparisons.n > 0]
    densities = _shown_on(ax, set(known.sparsity.map(_density)))
    for key, aside in _places(known.key.unique(), 12):
        for line in known[known.key == key].to_dict("records"):
            _cell(ax, _density(line["sparsity"]), line["points"], line["mean"], rests_on(line), key, aside)
        _key_line(ax, key, "none")
    if ax.get_xscale() != "log":  # to set it again would undo the ticks of an axis that panels share
        ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    if densities:  # an axis that is shared keeps its own where this panel has none
        ax.set_xticks(densities, [percent_removed(density) for density in densities])
        ax.set_xlim(densities[0] * 2.4, densities[-1] / 2.4)  # sparser to the right; room for markers set aside
    ax.set(xlabel=REMOVED, ylabel="difference in accuracy, points")
    return ax


def _shown_on(ax, densities):
    """Densities of a panel and of those that share its axis, falling: the last one drawn must not hide the others'."""
    ax.densities = densities
    shared = (getattr(panel, "densities", set()) for panel in ax.get_shared_x_axes().get_siblings(ax))
    return sorted(set().union(*shared), reverse=True)


def _density(sparsity):
    """Return the percentage of weights kept, rounded past what floats add."""
    return round(100 * (1 - float(sparsity)), 6)


def percent_removed(kept):
    """The percentage of weights removed, as an axis says it, from that of weights kept: text."""
    return f"{100 - kept:.4g}"


def sparsity_axis(ax, kept):
    """Make the horizontal axis one of sparsity: what is kept on a log scale, what is removed in numbers.

    Arguments: kept, the percentages of weights kept that are marked; those too near to their neighbour have no number.
    """
    kept = sorted(kept, reverse=True)
    near = [b / a > 0.55 for a, b in pairwise([np.inf, *kept])]
    ax.set(xscale="log", xlabel=REMOVED)
    ax.set_xticks(kept, ["" if is_near else percent_removed(x) for x, is_near in zip(kept, near, strict=True)])
    ax.minorticks_off()
    ax.xaxis.set_inverted(True)
    return ax


def curves(ax, cells, xlabel="epochs"):
    """Draw accuracy against a budget, with each seed and the interval at each budget; arms stand side by side.

    Arguments: cells, {key: {budget: (accuracy in percent a seed, Estimate)}}; xlabel, what the budget counts.
    """
    for key, aside in _places(cells, 3):
        known = {x: cell for x, cell in sorted(cells[key].items()) if cell[1].point is not None}
        _plot(ax, list(known), [cell[1].point for cell in known.values()], aside, color=style(key).colour, linewidth=1,
              linestyle=style(key).linestyle, zorder=1)
        for x, (values, mean) in known.items():
            _cell(ax, x, values, mean.point, (mean.low, mean.high), key, aside)
        _key_line(ax, key, style(key).linestyle if len(known) > 1 else "none")
    ax.set_xticks(sorted({x for of in cells.values() for x in of}))
    ax.set(xlabel=xlabel, ylabel="test accuracy, %")
    return ax


def mask_picture(ax, mask):
    """Draw a mask as a grid: kept entries dark, removed ones white.

    Arguments: mask, bool array, shape (rows, columns).
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool:
        raise TicketError(f"A mask picture needs a 2-D bool array, not {mask.dtype} of shape {mask.shape}.")
    lines = {"edgecolors": "0.7", "linewidth": 0.5} if max(mask.shape) <= 64 else {}
    ax.pcolormesh(mask, cmap="Greys", vmin=0, vmax=1.25, **lines)
    ax.invert_yaxis()  # first row on top, as it is printed
    ax.set(aspect="equal", xticks=[], yticks=[])
    return ax
