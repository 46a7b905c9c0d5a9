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
