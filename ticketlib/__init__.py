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
- `commands`: what the command line does

Beside it:

- `sparse`: the engine that skips zeros
- `experiments`: what a run is, carrying runs out, the rows
- `analysis`: from rows to words with intervals; a pruner of your own
"""


def __getattr__(name):
    """Import `sanity_check` when it is first asked for: it brings torch and the plots, which `import` should not."""
    if name == "sanity_check":
        from ticketlib.analysis.sanity import sanity_check

        return sanity_check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
