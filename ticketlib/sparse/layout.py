"""Where the sparse engine keeps its numbers: one flat float32 array cut into grids, and tables of what lies where.

A grid is [batch block, channel, phase, row, column, lane]: LANES images side by side. What a convolution reads is
padded by one, and with a stride s it is kept as s * s phases (every s-th row and column), so that inner loops run over
adjacent vectors whatever the stride. A grid whose `block` is 0 holds one block at a time: short-lived values that are
cheaper to compute twice than to fetch from memory.
"""

from typing import NamedTuple

import numpy as np

from ticketlib.sparse.simd import LANES, inner


def _fields(names, kind):
    return [(name, kind) for name in names.split()]


# Strides in floats; inset: from a plane's start to its first true pixel; height and width without padding.
GRID = np.dtype(_fields("base block channel phase pitch inset channels height width split", "i8"))

# One convolution and the activation made from it: relu(norm(z) + rest), max-pooled if pool is 1.
LAYER = np.dtype(
    _fields("source z out rest dy upper dz", GRID)
    # rest: an earlier activation (rest_kind 1) or the z of a shortcut (2); upper: the gradient a shortcut's z gets;
    # dy: the gradient of out, later that behind the ReLU.
    + _fields("rest_kind pool carry norm rest_norm first last starts back back_starts groups back_groups", "i8")
    # carry: the gradient of source starts from what an identity passed back; norm, rest_norm: first rows of CHANNEL;
    # first, last: its weights; starts, back, back_starts: where its taps lie; groups: of the channels they read.
)

# Batch norm of one channel; gamma, beta, bias (of the convolution): which parameters these are.
CHANNEL = np.dtype(
    _fields("gamma beta bias", "i8")
    + _fields("scale shift mean inverse running_mean running_var", "f4")
    # z is without the bias, running_mean with it; out = scale * z + shift; inverse = 1 / sqrt(variance + eps)
    + [("slope", "f4", 3), ("sums", "f8", 2)],
    # dz = slope[0] * dy + slope[1] + slope[2] * z
    # sums: of d and d * d where d = z + bias - running_mean; then of dy and dy * (z - mean)
    align=True,
)


class Taps(NamedTuple):
    """Which rows add up to which; entries starts[i]:starts[i + 1] are those of one group of a source's channels.

    i counts groups, within a target's phases (split**2, forward 1), within its channels.
    """

    starts: np.ndarray  # int64, counted from the layer's first entry
    offset: np.ndarray  # int32, from the start of a source's block to the row's first vector
    back_starts: np.ndarray
    back_offset: np.ndarray
    back_index: np.ndarray  # int32, which weight scales the row; forward it is the entry's own number


class Seen(NamedTuple):
    """A feed.Batch as arrays."""

    pixels: np.ndarray
    windows: np.ndarray
    scaling: np.ndarray


class Net(NamedTuple):
    """All arrays of a network, float32 where nothing is said."""

    x: np.ndarray  # the grids
    w: np.ndarray  # parameters, as ordered by SparseNet, and a zero; gradient and velocity likewise, without it
    gradient: np.ndarray
    velocity: np.ndarray
    layers: np.ndarray  # LAYER
    channels: np.ndarray  # CHANNEL
    taps: Taps
    mask: np.ndarray  # (blocks * LANES,), 1 for an image of the batch, 0 beyond
    dots: np.ndarray  # (weights of the largest layer * LANES,), scratch
    features: np.ndarray  # (blocks * channels of the last layer * LANES,)
    logits: np.ndarray  # (blocks * classes * LANES,), later their gradient
    head: np.ndarray  # int64 (kept, 2): class and feature of each of the classifier's weights


@inner
def origin(grid, block, channel):
    """The position of a plane's first true pixel, in an undivided grid."""
    return grid.base + block * grid.block + channel * grid.channel + grid.inset


@inner
def phase_of(grid, block, channel, phase):
    """Where a phase of a padded plane lies: position, first row and column of its true pixels, how many of each."""
    s = grid.split
    py, px = phase // s, phase % s
    skip = (grid.pitch if py == 0 else 0) + (LANES if px == 0 else 0)  # a phase that starts in the padding
    position = grid.base + block * grid.block + channel * grid.channel + phase * grid.phase + skip
    y, x = (py - 1) % s, (px - 1) % s
    return position, y, x, (grid.height - y + s - 1) // s, (grid.width - x + s - 1) // s
