"""How far masks go before they break: weights on no live path, empty layers, what rearranging can move, on paper."""

from typing import NamedTuple

import numpy as np

from ticketlib import pages, verdicts
from ticketlib.plots import style

SOUND = 0.9  # a mask is called sound here if so large a share of its kept weights is live and no layer is empty


class Cell(NamedTuple):
    """What one mask, or the mean over masks of several seeds, looks like; or why there is none."""

    live: float = 0.0  # share of the kept weights that lie on a live path, 0 to 1
    effective: float = 1.0  # effective sparsity, 0 to 1
    empty: int = 0  # layers that keep nothing, in the seed that has most
    movable: float = 0.0  # share of the kept weights that rearranging moves, 0 to 1
    classifier: float = 0.0  # the linear layers' share of the kept weights, 0 to 1
    seconds: float | None = None  # to find the mask
    rearranged: float | None = None  # share of the kept weights that are live once rearranged
    n: int = 0  # seeds
    reason: str = ""  # why the rule is not defined here


def from_rows(rows):
    """The mean over probe rows of one network, method and sparsity: a Cell."""
    kept = [sum(row["keep_counts"].values()) / sum(row["sizes"].values()) for row in rows]
    live = [(1 - row["effective_sparsity"]) / share for row, share in zip(rows, kept, strict=True)]
    moved = [(1 - row["rearranged_effective_sparsity"]) / share for row, share in zip(rows, kept, strict=True)
             if "rearranged_effective_sparsity" in row]  # fmt: skip
    mean = lambda what: float(np.mean([row[what] for row in rows]))  # noqa: E731
    return Cell(
        live=float(np.mean(live)),
        effective=mean("effective_sparsity"),
        empty=max(len(row["empty_layers"]) for row in rows),
        movable=mean("movable_share"),
        classifier=mean("classifier_share"),
        rearranged=float(np.mean(moved)) if moved else None,
        n=len(rows),
    )


def sound(cell):
    """Whether a mask still does what its sparsity says: most kept weights live, no layer empty."""
    return not cell.reason and cell.live >= SOUND and not cell.empty


REARRANGED = "live once rearranged, %"
QUANTITIES = {  # column of a table -> text of a Cell
    "effective sparsity, %": lambda cell: f"{100 * cell.effective:.3f}",
    "kept weights that are live, %": lambda cell: f"{100 * cell.live:.0f}",
    "empty layers": lambda cell: str(cell.empty),
    "kept weights that rearranging moves, %": lambda cell: f"{100 * cell.movable:.0f}",
    REARRANGED: lambda cell: f"{100 * cell.rearranged:.0f}",
    "classifier's share of kept weights, %": lambda cell: f"{100 * cell.classifier:.1f}",
    "seconds": lambda cell: f"{cell.seconds:.1f}",
}  # fmt: skip


def table(cells, quantity, methods=None):
    """One quantity of every cell as Markdown: a line a network and method, a column a sparsity.

    Arguments: cells, dict (network, method, sparsity) -> Cell, None where it was not measured; quantity, of QUANTITIES;
        methods, those shown; None for all.
    """
    sparsities = list(dict.fromkeys(key[2] for key in cells))
    names = [name for name in dict.fromkeys(key[:2] for key in cells) if methods is None or name[1] in methods]
    lines = [
        [network, style(method).label, *(_text(cells.get((network, method, s)), quantity) for s in sparsities)]
        for network, method in names
    ]
    return pages.table(["network", "mask", *(f"{s} removed" for s in sparsities)], lines)


def _text(cell, quantity):
    if cell is None or (quantity == REARRANGED and cell.rearranged is None and not cell.reason):
        return verdicts.NOT_RUN
    return verdicts.NOT_DEFINED if cell.reason else QUANTITIES[quantity](cell)


def reasons(cells):
    """Why cells are not defined, as a Markdown list; "" where all are."""
    found = {}
    for (network, method, sparsity), cell in cells.items():
        if cell and cell.reason:
            found.setdefault((network, method, cell.reason), []).append(sparsity)
    return "\n".join(f"- {network}, {style(method).label}, at {', '.join(of)}: {reason}"
                     for (network, method, reason), of in found.items())  # fmt: skip


def summary(cells):
    """The answer in short, one sentence a network: up to where every mask is sound, and which ones break, and how."""
    lines = [_network(network, {key[1:]: cell for key, cell in cells.items() if key[0] == network and cell})
             for network in dict.fromkeys(key[0] for key in cells)]  # fmt: skip
    return "\n".join(filter(None, lines))


def _network(network, cells):
    if not cells:
        return ""
    broken = {key: cell for key, cell in cells.items() if not cell.reason and not sound(cell)}
    undefined = dict.fromkeys(style(method).label for (method, _), cell in cells.items() if cell.reason)
    masks = sum(not cell.reason for cell in cells.values())
    said = f"- **{network}**: {masks - len(broken)} of {masks} masks are sound"
    said += f"; not defined somewhere: {', '.join(undefined)}" if undefined else ""
    by_sparsity = {}
    for (method, sparsity), cell in broken.items():
        empty = f", {cell.empty} empty" if cell.empty else ""
        by_sparsity.setdefault(sparsity, []).append(f"{style(method).label} ({100 * cell.live:.0f} % live{empty})")
    parts = [f"at {sparsity}: {', '.join(by_sparsity[sparsity])}" for sparsity in sorted(by_sparsity)]
    return said + (f". Broken {'; '.join(parts)}." if parts else ".")


def draw(ax, cells, network, methods):
    """Draw the live share of the kept weights over density, a line a method; what is not defined has no marker."""
    for method in methods:
        look = style(method)
        points = sorted((100 * (1 - float(s)), 100 * cell.live) for (of, m, s), cell in cells.items()
                        if (of, m) == (network, method) and cell and not cell.reason)  # fmt: skip
        if points:
            x, y = zip(*points, strict=True)
            ax.plot(x, y, look.marker, color=look.colour, label=look.label, linestyle=look.linestyle)
    ax.set(xscale="log", ylim=(-4, 104), xlabel="weights kept, % (log scale)", title=network)
    ax.invert_xaxis()  # sparser to the right
    ax.set_xticks([10, 5, 2, 1, 0.5, 0.1], ["10", "5", "2", "1", "0.5", "0.1"], minor=False)
    ax.minorticks_off()
    return ax
