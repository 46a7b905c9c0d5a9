"""Keep-counts and masks compared, layer by layer: how far apart two are, what depth and size tell, what is live.

Counts and sizes are dicts from a layer's name to a number of weights. Shown in notebooks 07, 08, 11 and 12.
"""

import numpy as np
from scipy.special import entr
from scipy.stats import spearmanr

from ticketlib import masks, ratios

ENDS = 3  # layers at either end over which keep-ratios are averaged
FACTOR = 2.0  # keep-ratios fall or rise from one end to the other if they change by this factor or more
SOUND = 0.9  # a mask whose live share is at least this does what its sparsity says


def keep_ratios(counts, sizes):
    """Divide keep-counts by sizes: float array (num_layers,), 0 to 1, in the order of `sizes`."""
    return np.array([counts[name] / size for name, size in sizes.items()])


def layer_shares(counts, sizes):
    """Share of all kept weights that lies in each layer: float array (num_layers,), sum 1, in the order of `sizes`."""
    kept = np.array([counts[name] for name in sizes], dtype=float)
    return kept / kept.sum()


def mean_counts(counts, sizes):
    """Average keep-counts of equal total, exactly: dict of int with the same total, remainders by `ratios.apportion`.

    Arguments: counts, list of dicts, at least one; sizes, the weights of each layer, whose order ties follow.
    """
    sums = [sum(of[name] for of in counts) for name in sizes]
    total = sum(counts[0].values())
    return dict(zip(sizes, ratios.apportion(list(sizes.values()), sums, total), strict=True))


def total_variation(a, b):
    """Share, 0 to 1, of the kept weights that would have to change layer to turn one set of counts into the other.

    Half the sum over layers of the absolute differences between shares of all kept weights, so that a layer counts by
    the weights it keeps. Arguments: a, b, keep-counts of the same layers, not all zero.
    """
    return float(np.abs(layer_shares(a, a) - layer_shares(b, a)).sum() / 2)


def largest_change(a, b, sizes):
    """The layer whose keep-ratio differs most between two sets of counts: (difference, 0 to 1, its name)."""
    return max((abs(a[name] - b[name]) / size, name) for name, size in sizes.items())


def divergence(a, b, sizes):
    """Jensen-Shannon divergence of two sets of keep-ratios, in bits a weight, layers weighted by their size.

    What one learns, on average over all weights, about which of two masks is at hand, on being told the layer of a
    weight and whether it is kept: 0 for equal keep-ratios, 1 for opposite ones. An empty layer is no special case.
    """
    n = np.array(list(sizes.values()), dtype=float)
    p, q = keep_ratios(a, sizes), keep_ratios(b, sizes)
    return float(np.sum(n * (_bits((p + q) / 2) - (_bits(p) + _bits(q)) / 2)) / n.sum())


def _bits(p):  # entropy of a coin that shows heads with probability p
    return (entr(p) + entr(1 - p)) / np.log(2)


def movable_share(counts, sizes):
    """Share, 0 to 1, of the kept weights that rearranging within layers moves, on average: `masks.movable_share`."""
    return 1 - masks.chance_of(counts, counts, sizes)


def agreement_left(overlap, chance, ceiling, ceiling_chance):
    """How much of the agreement of two clean masks a spoilt one keeps: a share, above 1 if it keeps more.

    Arguments: overlap, of the spoilt and the clean mask; ceiling, of two clean masks; each 0 to 1, with what chance
        gives at its keep-counts; numbers, or arrays (num_seeds,), of which the sums are divided.
    Returns: float; nan where two clean masks agree no better than chance, on average.
    """
    spoilt, clean = np.sum(np.subtract(overlap, chance)), np.sum(np.subtract(ceiling, ceiling_chance))
    return float(spoilt / clean) if clean else float("nan")


def live_share(effective_sparsity, counts, sizes):
    """Share, 0 to 1, of the kept weights that lie on a path of kept weights from input to output."""
    return (1 - effective_sparsity) * sum(sizes.values()) / sum(counts.values())


def inner(layers):
    """All convolutions but the first, a list of ratios.Layer: the first one is small and has a part of its own."""
    return [layer for layer in layers if not layer.linear][1:]


def depth_and_size(layers):
    """Rank correlation, -1 to 1, of a convolution's place in the network with the number of its weights."""
    sizes = [layer.size for layer in layers if not layer.linear]
    return float(spearmanr(range(len(sizes)), sizes).statistic)


def r_squared(kept, by):
    """Share, 0 to 1, of the variance of log keep-ratios that a straight line on something explains; nan if constant.

    Arguments: kept, keep-ratios, float (num_layers,), those of empty layers are left out; by, float (num_layers,).
    """
    kept, by = np.asarray(kept), np.asarray(by, dtype=float)
    there = kept > 0
    if np.ptp(by[there]) == 0 or np.ptp(kept[there]) == 0:
        return float("nan")
    return float(np.corrcoef(np.log(kept[there]), by[there])[0, 1] ** 2)


def depth_and_size_r2(kept, sizes):
    """What a layer's place alone, and the logarithm of its size alone, explain of its keep-ratio: (place, size)."""
    return r_squared(kept, np.arange(len(kept))), r_squared(kept, np.log(sizes))


def first_over_last(kept):
    """By what factor keep-ratios fall from the first layers to the last: above 1 they fall, below 1 they rise."""
    first, last = np.mean(kept[:ENDS]), np.mean(kept[-ENDS:])
    return float(first / last) if last else float("inf")


def follows(equal, shrinking):
    """What keep-ratios follow, from two networks in which place and size part: "place", "size",
    "place and size" or "neither".

    Place if they fall over layers of equal size at every sparsity; size if they rise over layers that shrink, or if
    their fall there is at most half of that over equal ones, where place alone would make the two alike.
    Arguments: equal, shrinking, `first_over_last` over such layers, lists with a value a sparsity, in the same order.
    """
    place, size = min(equal) >= FACTOR, max(shrinking) <= 1 / FACTOR
    size |= place and max(b / a for a, b in zip(equal, shrinking, strict=True)) <= 1 / FACTOR
    return {(1, 1): "place and size", (1, 0): "place", (0, 1): "size", (0, 0): "neither"}[place, size]
