"""At ImageNet's scale: what rules and data-free pruners keep of torchvision's networks; measured once, and stored."""

import json
import time

import numpy as np
import torch
import torchvision

from ticketlib import limits, masks, paths, pruners, ratios, verdicts
from ticketlib.errors import TicketError, one_of
from ticketlib.models import prunable
from ticketlib.nb import ROOT

STORED = ROOT / "book" / "reference" / "imagenet.json"  # written by benchmarks/imagenet.py
NETWORKS = {"resnet50": "ResNet-50", "vgg16": "VGG-16"}  # torchvision's name -> ours
FAMILIES = {"resnet50": "resnet", "vgg16": "vgg"}  # forms of the smart ratio
SPARSITIES = ("0.9", "0.98", "0.99", "0.999")
PRUNERS = ("random", "magnitude", "synflow")
METHODS = (*PRUNERS, *ratios.RULES)
SHAPE = (3, 224, 224)
SEED = 0


def build(network):
    """A network with the initial weights that torchvision draws, in evaluation mode; always the same ones.

    Arguments: network, a key of NETWORKS. Torch's global generator, which torchvision reads, is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        return getattr(torchvision.models, one_of("network", network, NETWORKS))(weights=None).eval()


def layers(network):
    """The prunable layers of a network, without its weights: list of ratios.Layer."""
    with torch.device("meta"):
        return ratios.layers(getattr(torchvision.models, one_of("network", network, NETWORKS))(weights=None))


def measure(network, model, method, sparsity):
    """Find one mask, clock it, and describe it.

    Arguments: network, a key of NETWORKS; model, as `build` gives it; method, of METHODS; sparsity, decimal text.
    Returns: dict of plain values: keep_counts in forward order, effective_sparsity, movable_share, classifier_share of
        all linear layers, seconds for the mask alone; where it cannot be made, the reason instead.
    """
    cell = {"network": network, "method": method, "sparsity": sparsity, "seed": SEED}
    began = time.perf_counter()
    try:
        mask = _mask(model, method, sparsity, FAMILIES[network])
    except TicketError as error:
        if verdicts.NOT_DEFINED not in str(error):
            raise
        return cell | {"reason": str(error).removeprefix(f"{verdicts.NOT_DEFINED}: ")}
    seconds = round(time.perf_counter() - began, 2)
    linear = [name for name, bits in mask.items() if bits.ndim == 2]
    return cell | {
        "keep_counts": list(mask.counts.values()),
        "effective_sparsity": paths.effective_sparsity(model, mask, SHAPE),
        "movable_share": masks.movable_share(mask),
        "classifier_share": sum(mask.counts[name] for name in linear) / mask.kept,
        "seconds": seconds,
    }


def _mask(model, method, sparsity, family):
    generator = torch.Generator().manual_seed(SEED)
    if method in ratios.RULES:
        counts = ratios.keep_counts(model, method, sparsity, family=family)
        return masks.random_mask(prunable(model), counts, generator=generator)
    images = torch.ones(1, *SHAPE) if method == "synflow" else None
    scores = pruners.score(model, method, images, sparsity=sparsity, generator=generator)
    return masks.global_mask(scores, sparsity)


def key(cell):
    """What names a cell: (network, method, sparsity)."""
    return cell["network"], cell["method"], cell["sparsity"]


def load():
    """What is stored: dict with "machine", facts of where it was made, and "cells", dict key -> cell."""
    if not STORED.is_file():
        return {"machine": {}, "cells": {}}
    found = json.loads(STORED.read_text(encoding="utf-8"))
    return {"machine": found["machine"], "cells": {key(cell): cell for cell in found["cells"]}}


def cells_of(stored):
    """The cells as `limits` reads them: dict (our network's name, method, sparsity) -> limits.Cell, or None."""
    sizes = {network: [layer.size for layer in layers(network)] for network in NETWORKS}
    return {
        (NETWORKS[network], method, sparsity): _cell(stored["cells"].get((network, method, sparsity)), sizes[network])
        for network in NETWORKS
        for method in METHODS
        for sparsity in SPARSITIES
    }


def _cell(cell, sizes):
    if cell is None:
        return None
    if "reason" in cell:
        return limits.Cell(reason=cell["reason"])
    counts = cell["keep_counts"]
    kept = sum(counts) / sum(sizes)
    return limits.Cell(
        live=(1 - cell["effective_sparsity"]) / kept,
        effective=cell["effective_sparsity"],
        empty=counts.count(0),
        movable=cell["movable_share"],
        classifier=cell["classifier_share"],
        seconds=cell["seconds"],
        n=1,
    )


def keep_ratios(stored, network, sparsity, methods):
    """Keep-ratios of some methods where they are stored: dict method -> float array (num_layers,)."""
    sizes = np.array([layer.size for layer in layers(network)])
    found = {method: stored["cells"].get((network, method, sparsity), {}) for method in methods}
    return {m: np.array(cell["keep_counts"]) / sizes for m, cell in found.items() if "keep_counts" in cell}


def answer(cells):
    """The answer in short, as Markdown: what is defined, what is sound, at each sparsity."""
    known = [cell for cell in cells.values() if cell is not None]
    if not known:
        return f"**{verdicts.NOT_RUN.capitalize()}.** No mask is stored; `benchmarks/imagenet.py` makes them."
    smart = {network: [cells[network, "smart", s] for s in SPARSITIES] for network in NETWORKS.values()}
    missing = {
        network: [s for s, cell in zip(SPARSITIES, of, strict=True) if cell and cell.reason]
        for network, of in smart.items()
    }
    said = "; ".join(f"on {network} at {', '.join(of)}" for network, of in missing.items() if of)
    head = f"**Not all of them.** The smart ratio is {verdicts.NOT_DEFINED} {said}." if said else "**They do.**"
    return f"{head} No network was trained, so this says nothing about accuracy.\n\n{limits.summary(cells)}"


def made_on(stored):
    """Where the stored masks were made, and how busy the machine was, as a sentence."""
    if not stored["cells"]:
        return ""
    busy = [cell["busy"] for cell in stored["cells"].values() if "busy" in cell]
    machine = stored["machine"]
    text = f"{len(stored['cells'])} cells, last made on {machine['device']}, {machine['threads']} thread"
    others = f"; others used {100 * min(busy):.0f} to {100 * max(busy):.0f} % of the processors" if busy else ""
    return f"{text}{others}."
