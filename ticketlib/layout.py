"""Where the sparse engine keeps its numbers: one flat float32 array cut into grids.

A grid is [batch block, channel, phase, row, column, lane]: LANES images side by side, each plane padded by one. What a
convolution of stride s reads is kept as s * s phases (every s-th row and column), so that inner loops run over
adjacent vectors whatever the stride.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ticketlib.vectors import LANES


class Grid(NamedTuple):
    """Where a buffer lies in the flat array; strides are in floats, height and width without padding."""

    base: int
    block: int
    channel: int
    phase: int
    pitch: int
    channels: int
    height: int
    width: int
    split: int


class Taps(NamedTuple):
    """Which rows add up to which: entries start[i]:start[i + 1] make phase i % split**2 of channel i // split**2."""

    start: np.ndarray  # int64, (channels * split**2 + 1,)
    offset: np.ndarray  # int64, from the start of a source's block to the row's first vector
    index: np.ndarray  # int64, which parameter scales the row


class Norm(NamedTuple):
    """Batch norm over the channels of one z; all float32 (channels,) but for the last two."""

    scale: np.ndarray  # out = scale * z + shift
    shift: np.ndarray
    mean: np.ndarray  # of this batch's z, and 1 / sqrt(variance + eps)
    inverse: np.ndarray
    running_mean: np.ndarray  # of z, without the convolution's bias
    running_var: np.ndarray
    sums: np.ndarray  # float64 (channels, 2): of d and d * d, d = z - running_mean; later of dy and dy * (z - mean)
    slope: np.ndarray  # float32 (channels, 3): dz = slope[0] * dy + slope[1] + slope[2] * z


class Activation(NamedTuple):
    """relu(norm(z) + rest), max-pooled if pool, and the buffers its gradient passes through."""

    z: Grid
    norm: Norm
    rest: Grid  # an earlier activation (its norm: 1 and 0) or the z of a shortcut; no channels if neither
    rest_norm: Norm
    out: Grid
    raw: Grid  # gradient of out, laid out as out
    dy: Grid  # the same behind the ReLU, undivided
    pool: bool
    shortcut: bool  # whether rest is the z of a shortcut


class Convolution(NamedTuple):
    """A sparse convolution from `source` to `z`, and its way back."""

    source: Grid
    z: Grid
    norm: Norm
    taps: Taps
    dz: Grid
    raw: Grid  # gradient of source; no channels if nobody asks
    back: Taps


@njit
def origin(grid, block, channel, y):
    """The position of the first true pixel in row y of an undivided grid."""
    return grid.base + block * grid.block + channel * grid.channel + (y + 1) * grid.pitch + LANES


@njit
def phased(grid, block, channel, y, px):
    """The position of the first true pixel of column phase px in row y."""
    s = grid.split
    inside = ((y + 1) % s * s + px) * grid.phase + (y + 1) // s * grid.pitch + (LANES if px == 0 else 0)
    return grid.base + block * grid.block + channel * grid.channel + inside


@njit
def phase_count(length, split, phase):
    """How many of `length` true pixels a phase holds, the padded ones being numbered from 0."""
    return (length - phase) // split + (0 if phase == 0 else 1)
