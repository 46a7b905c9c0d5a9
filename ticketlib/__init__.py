"""Tickets, keep-ratios and sanity checks of neural network pruning.

The method, in the order in which to read it:

- `models`: CIFAR ResNets and VGGs, and what of them may be pruned
- `masks`: the mask, a checked value; the best scores of each layer or of all; rearranged
- `ratios`: how many weights each layer keeps
- `pruners`: scores of single weights
- `synflow`: SynFlow's rounds
- `tickets`: score, keep-counts, weights and schedule of every ticket; the checks
- `corrupt`: random labels, random pixels, half the data
- `effective`: weights on no live path
- `data`: images as arrays: decoded once, held out; the batch on which a pruner scores
- `train`: a masked network and the one training loop
- `feed`: batches as networks see them: cut, mirrored, scaled
- `device`: precisions, steps recorded on a GPU
- `image_files`: parquet files and archives, found and decoded
- `registers`: the names of pruners, rules and checks
- `errors`: the one error of bad input

Beside it:

- `sparse`: the engine that skips zeros
- `experiments`: what a run is, carrying runs out, the rows
- `analysis`: from rows to words with intervals; a pruner of your own

A pruner, a rule and a check are one function each, below one line that names it:

    import torch
    from ticketlib import models, pruners, ratios, tickets

    @pruners.pruner("gradient", needs_batch=True)  # scores, bigger = keep, for one threshold over all layers
    def gradient(task):
        slopes = torch.autograd.grad(task.loss(), list(task.weights.values()))
        return {name: slope.abs() for name, slope in zip(task.weights, slopes)}

    @ratios.rule("root")  # keep-counts up to a common factor, for weights drawn at random
    def root(layers, total, family):
        return [layer.size**0.5 for layer in layers]

    @tickets.check("negated")  # changes weights in place; with moves=True it gives another mask
    def negated(model, mask, streams, draw):
        for weight in models.prunable(model).values():
            weight.data.neg_()
        return mask

They are tickets and arms from then on, as `gradient@0.9`, `root+rearranged@0.98` and `lt+negated@0.9`: everything that
finds masks, trains, judges and draws takes them by name.
"""

import importlib.abc
import sys

_NOW_IN = {  # where to look now -> public modules of version 0.1.0 that lay in this folder; see CHANGELOG.md
    "ticketlib.__main__": "commands",
    "ticketlib.data": "images store",
    "ticketlib.device": "graphs",
    "ticketlib.effective": "paths",
    "ticketlib.feed": "batches",
    "ticketlib.image_files": "archives",
    "ticketlib.masks": "ranking",
    "ticketlib.ratios": "quotas",
    "ticketlib.synflow": "flow",
    "ticketlib.sparse.classify": "flat inference",
    "ticketlib.sparse.conv": "convolutions tiles",
    "ticketlib.sparse.head": "heads",
    "ticketlib.sparse.layout": "layout",
    "ticketlib.sparse.norm": "norms pools",
    "ticketlib.sparse.plan": "plans",
    "ticketlib.sparse.simd": "vectors",
    "ticketlib.sparse.step": "kernels",
    "ticketlib.experiments.audit": "audit",
    "ticketlib.experiments.campaign": "campaign",
    "ticketlib.experiments.checkpoints": "checkpoints",
    "ticketlib.experiments.claims": "claims",
    "ticketlib.experiments.config": "runs",
    "ticketlib.experiments.grids": "grids",
    "ticketlib.experiments.journal": "journal progress",
    "ticketlib.experiments.ledger": "ledger",
    "ticketlib.experiments.machine": "machine",
    "ticketlib.experiments.probe": "imagenet probes",
    "ticketlib.experiments.profiles": "profiles",
    "ticketlib.experiments.run": "experiment",
    "ticketlib.experiments.session": "chapters nb",
    "ticketlib.experiments.workers": "backends",
    "ticketlib.analysis.layerwise": "drifts shares",
    "ticketlib.analysis.pairs": "checks evidence analysis.evidence",
    "ticketlib.analysis.plots": "plots",
    "ticketlib.analysis.sanity": "findings sanity",
    "ticketlib.analysis.scorer": "identity scorers",
    "ticketlib.analysis.stats": "stats",
    "ticketlib.analysis.verdicts": "verdicts",
    "ticketlib.analysis.words": "prose",
    "ticketbook.audits": "arithmetic repeats",
    "ticketbook.board": "board controls judging",
    "ticketbook.budget": "budget pilot",
    "ticketbook.front": "baselines faults pages reading spent",
    "ticketbook.layers": "limits overlaps shapes",
    "ticketbook.published": "published sources",
    "ticketbook.speed": "gpus learning seconds speed timings",
    "ticketbook": "answers drawings observations pipeline replies reviewers",  # gone: pages are written by hand
}
MOVED = {name: place for place, names in _NOW_IN.items() for name in names.split()}


def __getattr__(name):
    """Import `sanity_check` when it is first asked for: it brings torch and the plots, which `import` should not."""
    if name == "sanity_check":
        from ticketlib.analysis.sanity import sanity_check

        return sanity_check
    if name in MOVED:
        raise ImportError(f"ticketlib.{name} has moved: look in {MOVED[name]}; CHANGELOG.md lists what went where.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _OldNames(importlib.abc.MetaPathFinder):
    """Asked before all others: says where a module that is imported by its old name went."""

    def find_spec(self, name, path=None, target=None):
        if name.removeprefix("ticketlib.") in MOVED and name.startswith("ticketlib."):
            __getattr__(name.removeprefix("ticketlib."))


sys.meta_path.insert(0, _OldNames())
