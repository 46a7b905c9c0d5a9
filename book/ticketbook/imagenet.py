"""ImageNet's networks on their page: cells, keep-ratios and heat maps from probe rows; no network is trained."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from ticketbook import limits
from ticketbook import verdicts_1 as verdicts
from ticketlib.analysis.plots import layer_axis, style
from ticketlib.analysis.words import span
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.probe import IMAGENET_METHODS as METHODS
from ticketlib.experiments.probe import IMAGENET_SPARSITIES as SPARSITIES
from ticketlib.experiments.probe import imagenet_layers, imagenet_reason, imagenet_rows

NETWORKS = {"resnet50": "ResNet-50", "vgg16": "VGG-16"}  # torchvision's name -> ours
LEAST = 1e-5  # the smallest keep-ratio that has a colour of its own


def load(*folders):
    """Rows of these masks in the book's ledger and in others: dict (network, method, sparsity) -> Row."""
    folders = dict.fromkeys([book_ledger("paper"), *folders])
    return imagenet_rows(row for folder in folders for row in Ledger(folder).rows())


def cells_of(rows):
    """The masks as `limits` reads them: dict (our network's name, method, sparsity) -> limits.Cell, or None."""
    return {
        (NETWORKS[network], method, sparsity): _cell(rows, (network, method, sparsity))
        for network in NETWORKS
        for method in METHODS
        for sparsity in SPARSITIES
    }


def _cell(rows, key):
    if imagenet_reason(*key):
        return limits.Cell(reason=imagenet_reason(*key))
    return limits.from_rows([rows[key]])._replace(seconds=rows[key]["mask_seconds"]) if key in rows else None


def keep_ratios(rows, network, sparsity, methods):
    """Keep-ratios of some methods, where there are rows: dict method -> float array (num_layers,), forward order."""
    found = {method: rows[network, method, sparsity] for method in methods if (network, method, sparsity) in rows}
    return {method: np.array([row["keep_counts"][layer.name] / layer.size for layer in imagenet_layers(network)])
            for method, row in found.items()}  # fmt: skip


def heat_map(ax, rows, network, sparsity):
    """Draw the keep-ratios of every method, a line each, over layers as colours on a log scale; returns the image.

    A layer that keeps nothing is black. A method without a row says why.
    """
    kept = keep_ratios(rows, network, sparsity, METHODS)
    table = np.full((len(METHODS), len(imagenet_layers(network))), np.nan)
    for line, method in enumerate(METHODS):
        if method in kept:
            table[line] = np.maximum(kept[method], LEAST / 10)  # below the scale where nothing is kept
        else:
            why = verdicts.NOT_DEFINED if imagenet_reason(network, method, sparsity) else verdicts.NOT_RUN
            ax.text(0.7, line + 0.5, why, fontsize=9, color="0.2", va="center")
    colours = plt.get_cmap("viridis").with_extremes(under="black", bad="white")
    count = len(imagenet_layers(network))
    edges = np.arange(count + 1) + 0.5, np.arange(len(METHODS) + 1)  # the first layer is number 1
    image = ax.pcolormesh(*edges, table, cmap=colours, norm=LogNorm(LEAST, 1), edgecolors="none")
    ax.set_yticks(np.arange(len(METHODS)) + 0.5, [style(method).label for method in METHODS], fontsize=9)
    layer_axis(ax, count).set(title=f"{NETWORKS[network]}, {sparsity} removed", ylim=(len(METHODS), 0))
    return image


def answer(cells):
    """The answer in short, as Markdown: what is defined, what is sound, at each sparsity."""
    smart = {network: [s for s in SPARSITIES if (cell := cells[network, "smart", s]) and cell.reason]
             for network in NETWORKS.values()}  # fmt: skip
    said = "; ".join(f"on {network} at {', '.join(of)}" for network, of in smart.items() if of)
    if not any(cell and cell.n for cell in cells.values()):
        return f"**{verdicts.NOT_RUN.capitalize()}.** The ledger has no mask; `benchmarks/imagenet.py` makes them."
    absent = dict.fromkeys(f"{style(m).label} on {network}" for (network, m, _), cell in cells.items() if cell is None)
    absent = f" {verdicts.NOT_RUN.capitalize()} yet: {', '.join(absent)}." if absent else ""
    head = f"**Not all of them.** The smart ratio is {verdicts.NOT_DEFINED} {said}." if said else "**They do.**"
    return f"{head} No network was trained, so this says nothing about accuracy.{absent}\n\n{limits.summary(cells)}"


def busy(rows):
    """How busy the machine was with other work while masks were found, as a sentence; "" where no row says."""
    shares = [100 * row["busy"] for row in rows.values() if "busy" in row]
    return f"Other work used {span(shares, 0)} % of the processors meanwhile." if shares else ""
