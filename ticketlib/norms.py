"""Compiled passes between convolutions: batch norm, the residual sum, ReLU and pooling, forth and back."""

import numpy as np
from numba import njit

from ticketlib import vectors as v
from ticketlib.layout import origin, phase_count, phased
from ticketlib.vectors import LANES


@njit
def moments(x, z, norm, lanes, block):
    """Add up z and its square about the running mean, which keeps float32 sums accurate."""
    for c in range(z.channels):
        centre = v.splat(norm.running_mean[c]) * lanes
        first = second = v.splat(np.float32(0))
        for y in range(z.height):
            row = origin(z, block, c, y)
            for i in range(row, row + z.width * LANES, LANES):
                d = v.load(x, i) - centre
                first, second = first + d, v.fma(d, d, second)
        norm.sums[c, 0] += v.total(first)
        norm.sums[c, 1] += v.total(second)


@njit
def _relu_run(x, where, count, scale, shift):
    """out = max(0, scale * z + shift) over one run of pixels."""
    z, out, step = where
    for i in range(count):
        value = v.fma(scale, v.load(x, z + i * step), shift)
        v.store(x, out + i * LANES, v.where_positive(value, value))


@njit
def _relu_add_run(x, where, count, scales, shift):
    """out = max(0, scale * z + shift + rest_scale * rest) over one run of pixels."""
    z, rest, out, step = where
    for i in range(count):
        value = v.fma(scales[0], v.load(x, z + i * step), shift)
        value = v.fma(scales[1], v.load(x, rest + i * step), value)
        v.store(x, out + i * LANES, v.where_positive(value, value))


@njit
def _activate_plain(x, act, lanes, block):
    """Write a block's activations; lanes beyond the batch come out 0."""
    z, out, rest = act.z, act.out, act.rest
    for c in range(out.channels):
        scale, shift = v.splat(act.norm.scale[c]) * lanes, v.splat(act.norm.shift[c]) * lanes
        if rest.channels:
            rest_scale = v.splat(act.rest_norm.scale[c])
            shift = v.fma(v.splat(act.rest_norm.shift[c]), lanes, shift)
        for y in range(z.height):
            for px in range(out.split):
                skip, step = (px - 1) % out.split * LANES, out.split * LANES
                target, count = phased(out, block, c, y, px), phase_count(z.width, out.split, px)
                source = origin(z, block, c, y) + skip
                if rest.channels:
                    where = (source, origin(rest, block, c, y) + skip, target, step)
                    _relu_add_run(x, where, count, (scale, rest_scale), shift)
                else:
                    _relu_run(x, (source, target, step), count, scale, shift)


@njit
def _windows(z, y, x):
    """How many rows and columns of z pooling window (y, x) covers: 2, or 1 at an odd edge."""
    return min(2, z.height - 2 * y), min(2, z.width - 2 * x)


@njit
def _activate_pooled(x, act, lanes, block):
    """As _activate_plain, each 2 x 2 window reduced to its largest."""
    z, out = act.z, act.out
    for c in range(out.channels):
        scale, shift = v.splat(act.norm.scale[c]) * lanes, v.splat(act.norm.shift[c]) * lanes
        for y in range(out.height):
            for column in range(out.width):
                best = v.splat(np.float32(0))
                rows, columns = _windows(z, y, column)
                for p in range(rows * columns):
                    at = origin(z, block, c, 2 * y + p // columns) + (2 * column + p % columns) * LANES
                    best = v.larger(v.fma(scale, v.load(x, at), shift), best)
                v.store(x, origin(out, block, c, y) + column * LANES, best)


@njit
def activate(x, act, lanes, block):
    """Write a block of an activation."""
    if act.pool:
        _activate_pooled(x, act, lanes, block)
    else:
        _activate_plain(x, act, lanes, block)


@njit
def _slope_run(x, where, count, slope):
    """dz = slope[0] * dy + slope[1] + slope[2] * z over one run of pixels."""
    dy, z, dz = where
    for i in range(0, count * LANES, LANES):
        value = v.fma(slope[2], v.load(x, z + i), slope[1])
        v.store(x, dz + i, v.fma(slope[0], v.load(x, dy + i), value))


@njit
def _slopes(norm, lanes, c):
    return v.splat(norm.slope[c, 0]), v.splat(norm.slope[c, 1]) * lanes, v.splat(norm.slope[c, 2])


@njit
def _norm_gradient_plain(x, dy, conv, lanes, block):
    """The gradient of z from that of the norm's output: dy[0] for the first channels, dy[1] for a shortcut's."""
    for c in range(conv.z.channels):
        half, channel = (dy[0], c) if c < dy[0].channels else (dy[1], c - dy[0].channels)
        slope = _slopes(conv.norm, lanes, c)
        for y in range(conv.z.height):
            where = (origin(half, block, channel, y), origin(conv.z, block, c, y), origin(conv.dz, block, c, y))
            _slope_run(x, where, conv.z.width, slope)


@njit
def _norm_gradient_pooled(x, dy, conv, lanes, block):
    """As _norm_gradient_plain; a window's gradient goes to its first largest value."""
    z, dz, norm = conv.z, conv.dz, conv.norm
    for c in range(z.channels):
        slope, scale, shift = _slopes(norm, lanes, c), v.splat(norm.scale[c]), v.splat(norm.shift[c])
        for y in range(dy.height):
            for column in range(dy.width):
                rows, columns = _windows(z, y, column)
                at = origin(z, block, c, 2 * y) + 2 * column * LANES
                best = v.fma(scale, v.load(x, at), shift)
                for p in range(1, rows * columns):
                    here = at + p // columns * z.pitch + p % columns * LANES
                    best = v.larger(v.fma(scale, v.load(x, here), shift), best)
                left = v.load(x, origin(dy, block, c, y) + column * LANES)
                zero = v.splat(np.float32(0))
                for p in range(rows * columns):
                    inside = p // columns * z.pitch + p % columns * LANES
                    value = v.load(x, at + inside)
                    out = v.fma(scale, value, shift)
                    share = v.where_equal(out, best, left, zero)
                    left = v.where_equal(out, best, zero, left)
                    target = origin(dz, block, c, 2 * y) + 2 * column * LANES + inside
                    v.store(x, target, v.fma(slope[0], share, v.fma(slope[2], value, slope[1])))


@njit
def norm_gradient(x, act, upper, conv, lanes, block):
    """Write a block of conv.dz, the gradient of z, from that of the activation it made.

    Arguments: act: the activation of conv's first channels; upper: the gradient behind the ReLU that a shortcut's
    channels were added before, a Grid (no channels if there are none).
    """
    if act.pool:
        _norm_gradient_pooled(x, act.dy, conv, lanes, block)
    else:
        _norm_gradient_plain(x, (act.dy, upper), conv, lanes, block)


@njit
def _gate_run(x, where, count, step, centre, totals):
    """dy = raw where the activation is positive, and the running totals of dy and dy * (z - centre)."""
    raw, out, dy, z = where
    first, second = totals
    for i in range(count):
        value = v.where_positive(v.load(x, out + i * LANES), v.load(x, raw + i * LANES))
        v.store(x, dy + i * step, value)
        first, second = first + value, v.fma(value, v.load(x, z + i * step) - centre, second)
    return first, second


@njit
def _gate_plain(x, act, block):
    """The gradient behind a ReLU, and its two sums for the batch norm before it."""
    for c in range(act.dy.channels):
        centre, totals = v.splat(act.norm.mean[c]), (v.splat(np.float32(0)), v.splat(np.float32(0)))
        for y in range(act.dy.height):
            for px in range(act.out.split):
                skip, step = (px - 1) % act.out.split * LANES, act.out.split * LANES
                source = phased(act.raw, block, c, y, px), phased(act.out, block, c, y, px)
                target = origin(act.dy, block, c, y) + skip, origin(act.z, block, c, y) + skip
                count = phase_count(act.z.width, act.out.split, px)
                totals = _gate_run(x, source + target, count, step, centre, totals)
        act.norm.sums[c, 0] += v.total(totals[0])
        act.norm.sums[c, 1] += v.total(totals[1])


@njit
def _gate_shortcut(x, act, block):
    """The two sums for the batch norm of a shortcut that was added before the ReLU."""
    for c in range(act.dy.channels):
        centre = v.splat(act.rest_norm.mean[c])
        first = second = v.splat(np.float32(0))
        for y in range(act.dy.height):
            dy, z = origin(act.dy, block, c, y), origin(act.rest, block, c, y)
            for i in range(0, act.dy.width * LANES, LANES):
                value = v.load(x, dy + i)
                first, second = first + value, v.fma(value, v.load(x, z + i) - centre, second)
        act.rest_norm.sums[c, 0] += v.total(first)
        act.rest_norm.sums[c, 1] += v.total(second)


@njit
def _gate_pooled(x, act, block):
    """As _gate_plain, for a pooled activation: its z is the window's first largest."""
    for c in range(act.dy.channels):
        centre, scale, shift = v.splat(act.norm.mean[c]), v.splat(act.norm.scale[c]), v.splat(act.norm.shift[c])
        first = second = v.splat(np.float32(0))
        for y in range(act.dy.height):
            for column in range(act.dy.width):
                rows, columns = _windows(act.z, y, column)
                at = origin(act.z, block, c, 2 * y) + 2 * column * LANES
                won = v.load(x, at)
                best = v.fma(scale, won, shift)
                for p in range(1, rows * columns):
                    value = v.load(x, at + p // columns * act.z.pitch + p % columns * LANES)
                    out = v.fma(scale, value, shift)
                    won, best = v.where_larger(out, best, value, won), v.larger(out, best)
                inside = column * LANES
                raw = v.load(x, origin(act.raw, block, c, y) + inside)
                dy = v.where_positive(v.load(x, origin(act.out, block, c, y) + inside), raw)
                v.store(x, origin(act.dy, block, c, y) + inside, dy)
                first, second = first + dy, v.fma(dy, won - centre, second)
        act.norm.sums[c, 0] += v.total(first)
        act.norm.sums[c, 1] += v.total(second)


@njit
def gate(x, act, block):
    """Write a block of act.dy, the gradient behind its ReLU, from act.raw; add to the sums of the norms before it."""
    if act.pool:
        _gate_pooled(x, act, block)
    else:
        _gate_plain(x, act, block)
    if act.shortcut:
        _gate_shortcut(x, act, block)


@njit
def mean_over_space(x, act, features, block):
    """features[block * channels + c] = the mean of plane c, lane by lane."""
    grid = act.out
    for c in range(grid.channels):
        mean = v.splat(np.float32(0))
        for y in range(grid.height):
            for i in range(0, grid.width * LANES, LANES):
                mean = mean + v.load(x, origin(grid, block, c, y) + i)
        share = v.splat(np.float32(1 / (grid.height * grid.width)))
        v.store(features, (block * grid.channels + c) * LANES, mean * share)


@njit
def spread_over_space(x, act, features, block):
    """The way back of mean_over_space: every pixel of act.raw gets its share of the feature's gradient."""
    grid = act.raw
    for c in range(grid.channels):
        share = v.splat(np.float32(1 / (grid.height * grid.width)))
        value = v.load(features, (block * grid.channels + c) * LANES) * share
        for y in range(grid.height):
            for i in range(0, grid.width * LANES, LANES):
                v.store(x, origin(grid, block, c, y) + i, value)


@njit(cache=True)
def set_norm(norm, batch, gamma, beta):
    """Turn the sums of z into scale and shift, and update the running statistics; batch = (count, momentum, eps)."""
    count, momentum, eps = batch
    for c in range(len(norm.mean)):
        centred = norm.sums[c, 0] / count
        mean, var = norm.running_mean[c] + centred, max(norm.sums[c, 1] / count - centred * centred, 0.0)
        norm.running_mean[c] += momentum * centred
        norm.running_var[c] += momentum * (var * count / max(count - 1, 1) - norm.running_var[c])
        norm.mean[c], norm.inverse[c] = mean, 1 / np.sqrt(var + eps)
        norm.scale[c] = gamma[c] * norm.inverse[c]
        norm.shift[c] = beta[c] - mean * norm.scale[c]
        norm.sums[c] = 0.0


@njit(cache=True)
def set_slope(norm, count, gamma, gradients):
    """Turn the sums of dy into the slope of dz and the gradients of gamma and beta."""
    for c in range(len(norm.mean)):
        first, second = norm.sums[c, 0], norm.sums[c, 1] * norm.inverse[c]
        norm.slope[c, 0] = gamma[c] * norm.inverse[c]
        norm.slope[c, 2] = -gamma[c] * norm.inverse[c] * norm.inverse[c] * second / count
        norm.slope[c, 1] = -gamma[c] * norm.inverse[c] * first / count - norm.slope[c, 2] * norm.mean[c]
        gradients[0][c], gradients[1][c] = second, first
        norm.sums[c] = 0.0
