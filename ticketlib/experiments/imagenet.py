"""At ImageNet's scale: what rules and data-free pruners keep of torchvision's networks, as probe rows; no images."""

import functools
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
import torchvision
from matplotlib.colors import LogNorm
from ticketbook import limits
from ticketbook import verdicts_1 as verdicts

from ticketlib import effective as paths
from ticketlib import masks, pruners, ratios
from ticketlib.analysis.plots import layer_axis, style
from ticketlib.analysis.words import span
from ticketlib.errors import one_of
from ticketlib.experiments import machine
from ticketlib.experiments.ledger import Ledger, Row, name_of
from ticketlib.experiments.places import book_ledger
from ticketlib.models import prunable

NETWORKS = {"resnet50": "ResNet-50", "vgg16": "VGG-16"}  # torchvision's name -> ours
FAMILIES = {"resnet50": "resnet", "vgg16": "vgg"}  # forms of the smart ratio
SPARSITIES = ("0.9", "0.98", "0.99", "0.999")
PRUNERS = ("random", "magnitude", "synflow")
METHODS = (*PRUNERS, *ratios.RULES)
DATASET, SHAPE, SEED = "imagenet", (3, 224, 224), 0
LEAST = 1e-5  # the smallest keep-ratio that has a colour of its own
COMMON = {"probe": "mask", "recipe": 1, "dataset": DATASET, "fingerprint": "no images", "input": list(SHAPE),
          "seed": SEED, "corruption": "none", "linear": "own", "variant": "default", "min_per_layer": 0}  # fmt: skip


def configuration(network, method, sparsity):
    """What names the probe row of one mask. Arguments: network, of NETWORKS; method, of METHODS; decimal text."""
    return COMMON | {"network": network, "ticket": method, "sparsity": sparsity}


def build(network):
    """A network with the initial weights that torchvision draws, in evaluation mode; always the same ones.

    Arguments: network, a key of NETWORKS. Torch's global generator, which torchvision reads, is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        return getattr(torchvision.models, one_of("network", network, NETWORKS))(weights=None).eval()


@functools.cache
def layers(network):
    """The prunable layers of a network, without its weights: list of ratios.Layer."""
    with torch.device("meta"):
        return ratios.layers(getattr(torchvision.models, one_of("network", network, NETWORKS))(weights=None))


@functools.cache
def reason(network, method, sparsity):
    """Why a method is not defined on a network at a sparsity; "" where it is."""
    if method not in ratios.RULES:
        return ""
    return ratios.why_not(layers(network), method, sparsity, family=FAMILIES[network])


def wanted(network, methods=METHODS):
    """The masks to be found on a network: list of (network, method, sparsity), fast methods first."""
    keys = [(network, method, s) for method in reversed(METHODS) if method in methods for s in SPARSITIES]
    return [key for key in keys if not reason(*key)]


def measure(network, model, method, sparsity):
    """Find one mask, clock it, and describe it.

    Arguments: network, a key of NETWORKS; model, as `build` gives it; method, of METHODS; sparsity, decimal text.
    Returns: ledger.Row of a probe; `mask_seconds` is processor time for the mask alone, `seconds` wall time for all.
    Raises: TicketError where the method is not defined.
    """
    began, clock = time.perf_counter(), time.process_time()
    mask = _mask(model, method, sparsity, FAMILIES[network])
    took, values = time.process_time() - clock, configuration(network, method, sparsity)
    linear = [layer.name for layer in layers(network) if layer.linear]
    row = Row(kind="probe", name=name_of(values), config=values, arm=f"{method}@{sparsity}", keep_counts=mask.counts)
    row |= {
        "sizes": mask.sizes,
        "empty_layers": mask.empty_layers,
        "effective_sparsity": paths.effective_sparsity(model, mask, SHAPE),
        "movable_share": masks.movable_share(mask),
        "classifier_share": sum(mask.counts[name] for name in linear) / mask.kept,
        "mask_digest": mask.digest(),
        "mask_seconds": round(took, 2),
    }
    return row | machine.facts("cpu") | {"seconds": round(time.perf_counter() - began, 2)}


def _mask(model, method, sparsity, family):
    generator = torch.Generator().manual_seed(SEED)
    if method in ratios.RULES:
        counts = ratios.keep_counts(model, method, sparsity, family=family)
        return masks.random_mask(prunable(model), counts, generator=generator)
    images = torch.ones(1, *SHAPE) if method == "synflow" else None
    scores = pruners.score(model, method, images, sparsity=sparsity, generator=generator)
    return masks.global_mask(scores, sparsity)


def load(*folders):
    """Rows of these masks in the book's ledger and in others: dict (network, method, sparsity) -> Row."""
    folders = dict.fromkeys([book_ledger("paper"), *folders])
    return rows_in(row for folder in folders for row in Ledger(folder).rows())


def rows_in(rows):
    """The rows of these masks among others, in the same form."""
    ours = [row for row in rows if row["kind"] == "probe" and row["config"]["dataset"] == DATASET]
    return {tuple(row["config"][what] for what in ("network", "ticket", "sparsity")): row for row in ours}


def cells_of(rows):
    """The masks as `limits` reads them: dict (our network's name, method, sparsity) -> limits.Cell, or None."""
    return {
        (NETWORKS[network], method, sparsity): _cell(rows, (network, method, sparsity))
        for network in NETWORKS
        for method in METHODS
        for sparsity in SPARSITIES
    }


def _cell(rows, key):
    if reason(*key):
        return limits.Cell(reason=reason(*key))
    return limits.from_rows([rows[key]])._replace(seconds=rows[key]["mask_seconds"]) if key in rows else None


def keep_ratios(rows, network, sparsity, methods):
    """Keep-ratios of some methods, where there are rows: dict method -> float array (num_layers,), forward order."""
    found = {method: rows[network, method, sparsity] for method in methods if (network, method, sparsity) in rows}
    return {method: np.array([row["keep_counts"][layer.name] / layer.size for layer in layers(network)])
            for method, row in found.items()}  # fmt: skip


def heat_map(ax, rows, network, sparsity):
    """Draw the keep-ratios of every method, a line each, over layers as colours on a log scale; returns the image.

    A layer that keeps nothing is black. A method without a row says why.
    """
    kept = keep_ratios(rows, network, sparsity, METHODS)
    table = np.full((len(METHODS), len(layers(network))), np.nan)
    for line, method in enumerate(METHODS):
        if method in kept:
            table[line] = np.maximum(kept[method], LEAST / 10)  # below the scale where nothing is kept
        else:
            why = verdicts.NOT_DEFINED if reason(network, method, sparsity) else verdicts.NOT_RUN
            ax.text(0.7, line + 0.5, why, fontsize=9, color="0.2", va="center")
    colours = plt.get_cmap("viridis").with_extremes(under="black", bad="white")
    edges = np.arange(len(layers(network)) + 1) + 0.5, np.arange(len(METHODS) + 1)  # the first layer is number 1
    image = ax.pcolormesh(*edges, table, cmap=colours, norm=LogNorm(LEAST, 1), edgecolors="none")
    ax.set_yticks(np.arange(len(METHODS)) + 0.5, [style(method).label for method in METHODS], fontsize=9)
    layer_axis(ax, len(layers(network))).set(title=f"{NETWORKS[network]}, {sparsity} removed", ylim=(len(METHODS), 0))
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
