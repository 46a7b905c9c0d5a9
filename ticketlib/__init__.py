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
- `data`: images as arrays: found, decoded once, held out
- `train`: augmented batches, one training loop, its step recorded on a GPU
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

MOVED = {  # public modules of version 0.1.0 that lay in this folder -> where what they held went; see CHANGELOG.md
    "answers": "ticketbook", "archives": "ticketlib.data", "audit": "ticketlib.experiments.audit",
    "backends": "ticketlib.experiments.workers", "batches": "ticketlib.train", "board": "ticketbook",
    "budget": "ticketbook", "campaign": "ticketlib.experiments.campaign", "chapters": "ticketlib.experiments.session",
    "checkpoints": "ticketlib.experiments.checkpoints", "claims": "ticketlib.experiments.claims",
    "commands": "ticketlib.__main__", "evidence": "ticketlib.analysis", "experiment": "ticketlib.experiments.run",
    "findings": "ticketlib.analysis", "flow": "ticketlib.synflow", "graphs": "ticketlib.train",
    "grids": "ticketlib.experiments.grids", "identity": "ticketlib.analysis", "images": "ticketlib.data",
    "imagenet": "ticketlib.experiments.probe", "inference": "ticketlib.sparse.classify",
    "journal": "ticketlib.experiments.journal", "ledger": "ticketlib.experiments.ledger",
    "machine": "ticketlib.experiments.machine", "nb": "ticketlib.experiments.session", "paths": "ticketlib.effective",
    "plots": "ticketlib.analysis.plots", "probes": "ticketlib.experiments.probe",
    "profiles": "ticketlib.experiments.profiles", "progress": "ticketlib.experiments.journal",
    "prose": "ticketlib.analysis.words", "quotas": "ticketlib.ratios", "ranking": "ticketlib.masks",
    "runs": "ticketlib.experiments.config", "sanity": "ticketlib.analysis.sanity", "scorers": "ticketlib.analysis",
    "stats": "ticketlib.analysis.stats", "store": "ticketlib.data", "verdicts": "ticketlib.analysis.verdicts",
}  # fmt: skip


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
