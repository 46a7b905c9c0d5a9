"""Compiled convolutions of the sparse engine: each touches only the rows that a surviving weight joins."""

import numpy as np
from numba import njit

from ticketlib import norms
from ticketlib import vectors as v
from ticketlib.layout import origin, phase_count, phased
from ticketlib.vectors import LANES


@njit
def _conv_plane(arrays, span, where, size):
    """Write a plane of size = (height, width), in register tiles of sixteen vectors as far as they fit."""
    x, w, offset, index = arrays
    low, high = span
    source, target, pitch, target_pitch = where
    height, width = size
    column = 0
    while column < width:
        left, y = width - column, 0
        while y < height:
            at, to = source + y * pitch + column * LANES, target + y * target_pitch + column * LANES
            if left >= 16:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 1, 16)
                y += 1
            elif left >= 8 and y + 2 <= height:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 2, 8)
                y += 2
            elif left >= 8:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 1, 8)
                y += 1
            elif left >= 4 and y + 4 <= height:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 4, 4)
                y += 4
            elif left >= 4:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 1, 4)
                y += 1
            elif left >= 2 and y + 2 <= height:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 2, 2)
                y += 2
            elif left >= 2:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 1, 2)
                y += 1
            else:
                v.conv_tile(x, w, offset, index, low, high, at, to, pitch, target_pitch, 1, 1)
                y += 1
        column += _tile_width(left)


@njit
def _dot_plane(arrays, span, where, size):
    """As _conv_plane: the dot products of a plane with every row that its taps name."""
    x, dots, offset = arrays
    low, high = span
    source, target, pitch, target_pitch = where
    height, width = size
    column = 0
    while column < width:
        left, y = width - column, 0
        while y < height:
            at, to = source + y * pitch + column * LANES, target + y * target_pitch + column * LANES
            if left >= 16:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 1, 16)
                y += 1
            elif left >= 8 and y + 2 <= height:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 2, 8)
                y += 2
            elif left >= 8:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 1, 8)
                y += 1
            elif left >= 4 and y + 4 <= height:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 4, 4)
                y += 4
            elif left >= 4:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 1, 4)
                y += 1
            elif left >= 2 and y + 2 <= height:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 2, 2)
                y += 2
            elif left >= 2:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 1, 2)
                y += 1
            else:
                v.dot_tile(x, dots, offset, low, high, at, to, pitch, target_pitch, 1, 1)
                y += 1
        column += _tile_width(left)


@njit
def _tile_width(left):
    return 16 if left >= 16 else 8 if left >= 8 else 4 if left >= 4 else 2 if left >= 2 else 1


@njit
def _convolve(arrays, source, target, start, block):
    """Fill every plane of a block with the scaled sum of the source rows that its taps name."""
    split = target.split
    for c in range(target.channels):
        for phase in range(split * split):
            py, px = phase // split, phase % split
            i = c * split * split + phase
            first = phased(target, block, c, py - 1 if py else split - 1, px)
            where = (source.base + block * source.block, first, source.pitch, target.pitch)
            size = (phase_count(target.height, split, py), phase_count(target.width, split, px))
            _conv_plane(arrays, (start[i], start[i + 1]), where, size)


@njit
def _dots(arrays, conv, block):
    """Add each surviving weight's gradient, lane by lane: the product of the two rows it joins."""
    for c in range(conv.z.channels):
        target = origin(conv.dz, block, c, 0)
        where = (conv.source.base + block * conv.source.block, target, conv.source.pitch, conv.dz.pitch)
        span, size = (conv.taps.start[c], conv.taps.start[c + 1]), (conv.z.height, conv.z.width)
        _dot_plane(arrays, span, where, size)


@njit(cache=True)
def pack(x, images, grid):
    """Lay images, float32 (batch, channels, height, width), out in a grid; empty lanes of the last block get 0."""
    batch, channels, height, width = images.shape
    for block in range((batch + LANES - 1) // LANES):
        for c in range(channels):
            for y in range(height):
                for px in range(grid.split):
                    start, first = phased(grid, block, c, y, px), (px - 1) % grid.split
                    count = phase_count(width, grid.split, px)
                    for lane in range(LANES):
                        b = block * LANES + lane
                        for i in range(count):
                            value = images[b, c, y, first + i * grid.split] if b < batch else np.float32(0)
                            x[start + i * LANES + lane] = value


@njit(cache=True)
def forward(x, w, act, conv, mask):
    """Activate what the layer before left, then convolve: block by block, so that the second finds it in the cache.

    Arguments:
        x, w: flat float32 arrays: activations, parameters.
        act: Activation; conv: the Convolution that reads it; either may have no channels and is then left out.
        mask: float32 (blocks * LANES,), 1 for an image, 0 beyond the batch.
    Returns: nothing; adds to the sums of conv's norm.
    """
    for block in range(len(mask) // LANES):
        lanes = v.load(mask, block * LANES)
        norms.activate(x, act, lanes, block)
        _convolve((x, w, conv.taps.offset, conv.taps.index), conv.source, conv.z, conv.taps.start, block)
        norms.moments(x, conv.z, conv.norm, lanes, block)


@njit(cache=True)
def forward_last(x, act, features, mask):
    """The last activation and its mean over space: features, float32 (blocks * channels * LANES,)."""
    for block in range(len(mask) // LANES):
        norms.activate(x, act, v.load(mask, block * LANES), block)
        norms.mean_over_space(x, act, features, block)


@njit(cache=True)
def backward_last(x, act, features, mask):
    """From the gradient of the features to that behind the last ReLU."""
    for block in range(len(mask) // LANES):
        norms.spread_over_space(x, act, features, block)
        norms.gate(x, act, block)


@njit(cache=True)
def backward(x, w, layer, mask, dots):
    """From the gradient behind a layer's ReLU to its weights' gradients and that behind the ReLU before it.

    Arguments:
        x, w, mask: as forward.
        layer: (act, upper, conv, before): the activation the layer made; the Grid of gradients that reach a
            shortcut's channels; its Convolution; the activation it read (no channels: the images).
        dots: float32 (weights * LANES,), scratch that is left with each weight's gradient in LANES parts.
    """
    act, upper, conv, before = layer
    dots[:] = 0
    for block in range(len(mask) // LANES):
        norms.norm_gradient(x, act, upper, conv, v.load(mask, block * LANES), block)
        _dots((x, dots, conv.taps.offset), conv, block)
        _convolve((x, w, conv.back.offset, conv.back.index), conv.dz, conv.raw, conv.back.start, block)
        norms.gate(x, before, block)


@njit(cache=True)
def add_lanes(dots, gradients):
    """gradients[k] = the sum of the LANES parts of dots' k-th vector."""
    for k in range(len(gradients)):
        gradients[k] = v.total(v.load(dots, k * LANES))


@njit(cache=True)
def descend(w, gradients, velocity, rates):
    """One step of SGD on flat float32 arrays; rates = float32 (rate, momentum, weight decay)."""
    rate, momentum, decay = rates
    for i in range(len(gradients)):
        velocity[i] = momentum * velocity[i] + (gradients[i] + decay * w[i])
        w[i] -= rate * velocity[i]
