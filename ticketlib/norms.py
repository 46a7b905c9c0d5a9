"""Compiled passes between convolutions: batch norm, the residual sum and ReLU, forth and back, a block at a time."""

import numpy as np
from numba import njit

from ticketlib import vectors as v
from ticketlib.layout import origin, phase_of
from ticketlib.vectors import LANES

MOMENTUM, EPS = 0.1, 1e-5  # torch's batch norm


@njit
def zero():
    return v.splat(np.float32(0))


@njit
def moments(net, layer, lanes, block):
    """Add up z and its square about the running mean, which keeps float32 sums accurate."""
    x, z = v.address(net.x), layer.z
    size = z.height * z.width * LANES
    for c in range(z.channels):
        channel = net.channels[layer.norm + c]
        centre = v.splat(channel.running_mean - net.w[channel.bias]) * lanes
        start = origin(z, block, c)
        first = second = third = fourth = zero()
        for i in range(start, start + size - LANES, 2 * LANES):
            d, e = v.load(x, i) - centre, v.load(x, i + LANES) - centre
            first, second = first + d, v.fma(d, d, second)
            third, fourth = third + e, v.fma(e, e, fourth)
        if size % (2 * LANES):
            d = v.load(x, start + size - LANES) - centre
            first, second = first + d, v.fma(d, d, second)
        channel.sums[0] += v.total(first + third)
        channel.sums[1] += v.total(second + fourth)


@njit
def set_norm(net, layer, images):
    """Turn the sums of z into scale and shift, and update the running statistics."""
    count = images * layer.z.height * layer.z.width
    for c in range(layer.norm, layer.norm + layer.z.channels):
        channel = net.channels[c]
        centred = channel.sums[0] / count
        var = max(channel.sums[1] / count - centred * centred, 0.0)
        mean, inverse = channel.running_mean - net.w[channel.bias] + centred, 1 / np.sqrt(var + EPS)
        channel.running_mean += MOMENTUM * centred
        channel.running_var += MOMENTUM * (var * count / max(count - 1, 1) - channel.running_var)
        set_scale(channel, net.w, mean, inverse)
        channel.sums[0] = channel.sums[1] = 0.0


@njit
def set_scale(channel, w, mean, inverse):
    """out = scale * z + shift for given statistics."""
    channel.mean, channel.inverse = mean, inverse
    channel.scale = w[channel.gamma] * inverse
    channel.shift = w[channel.beta] - mean * channel.scale


@njit
def set_slope(net, layer, images):
    """Turn the sums of dy into the slope of dz and the gradients of gamma and beta; that of a bias stays 0."""
    count = images * layer.z.height * layer.z.width
    for c in range(layer.norm, layer.norm + layer.z.channels):
        channel = net.channels[c]
        first, second = channel.sums[0], channel.sums[1] * channel.inverse
        channel.slope[0] = channel.scale
        channel.slope[2] = -channel.scale * channel.inverse * second / count
        channel.slope[1] = -channel.scale * first / count - channel.slope[2] * channel.mean
        net.gradient[channel.gamma], net.gradient[channel.beta] = second, first
        channel.sums[0] = channel.sums[1] = 0.0


@njit
def _relu_row(x, where, count, step, scale, shift):
    """out = max(0, scale * z + shift) over a row of pixels."""
    z, out = where
    for i in range(count):
        value = v.fma(scale, v.load(x, z + i * step), shift)
        v.store(x, out + i * LANES, v.where_positive(value, value))


@njit
def _relu_add_row(x, where, count, step, scales, shift):
    """out = max(0, scale * z + shift + rest_scale * rest) over a row of pixels."""
    z, rest, out = where
    for i in range(count):
        value = v.fma(scales[0], v.load(x, z + i * step), shift)
        value = v.fma(scales[1], v.load(x, rest + i * step), value)
        v.store(x, out + i * LANES, v.where_positive(value, value))


@njit
def _rest_scale(channels, layer, c):
    """Scale and shift of what is added: those of a shortcut's norm, else 1 and 0."""
    if layer.rest_kind == 2:
        channel = channels[layer.rest_norm + c]
        return channel.scale, channel.shift
    return np.float32(1), np.float32(0)


@njit
def activate(net, layer, lanes, block):
    """Write a block of an activation; lanes beyond the batch come out 0."""
    x, z, out, rest, added = v.address(net.x), layer.z, layer.out, layer.rest, layer.rest_kind > 0
    step, down = out.split * LANES, out.split * z.pitch
    for c in range(out.channels):
        channel = net.channels[layer.norm + c]
        rest_scale, rest_shift = _rest_scale(net.channels, layer, c)
        scales = v.splat(channel.scale), v.splat(rest_scale)
        shift = v.splat(channel.shift + rest_shift) * lanes
        for phase in range(out.split * out.split):
            target, top, left, rows, columns = phase_of(out, block, c, phase)
            source = origin(z, block, c) + top * z.pitch + left * LANES
            other = origin(rest, block, c) + top * rest.pitch + left * LANES
            for y in range(rows):
                here, there = source + y * down, target + y * out.pitch
                if added:
                    where = (here, other + y * out.split * rest.pitch, there)
                    _relu_add_row(x, where, columns, step, scales, shift)
                else:
                    _relu_row(x, (here, there), columns, step, scales[0], shift)


@njit
def norm_gradient(net, layer, lanes, block):
    """Write a block of dz, the gradient of z, from that behind the ReLU it went into."""
    x, z, dz, width = v.address(net.x), layer.z, layer.dz, layer.z.width * LANES
    for c in range(z.channels):
        channel = net.channels[layer.norm + c]
        slope, shift, curve = v.splat(channel.slope[0]), v.splat(channel.slope[1]) * lanes, v.splat(channel.slope[2])
        upper = c - layer.dy.channels
        source = origin(layer.dy, block, c) if upper < 0 else origin(layer.upper, block, upper)
        for y in range(z.height):
            here, there = y * z.pitch, origin(dz, block, c) + y * dz.pitch
            for i in range(0, width, LANES):
                value = v.fma(curve, v.load(x, origin(z, block, c) + here + i), shift)
                v.store(x, there + i, v.fma(slope, v.load(x, source + here + i), value))


@njit
def _gate_row(x, where, count, step, centre, totals):
    """dy = dy where the activation is positive, and the running totals of dy and dy * (z - centre)."""
    out, dy, z = where
    first, second = totals
    for i in range(count):
        value = v.where_positive(v.load(x, out + i * LANES), v.load(x, dy + i * step))
        v.store(x, dy + i * step, value)
        first, second = first + value, v.fma(value, v.load(x, z + i * step) - centre, second)
    return first, second


@njit
def gate(net, layer, block):
    """Turn a block of the gradient of an activation into that behind its ReLU; add to the sums of the norm before."""
    x, out, dy = v.address(net.x), layer.out, layer.dy
    step = out.split * LANES
    for c in range(dy.channels):
        channel = net.channels[layer.norm + c]
        centre, totals = v.splat(channel.mean), (zero(), zero())
        for phase in range(out.split * out.split):
            source, top, left, rows, columns = phase_of(out, block, c, phase)
            inside = top * dy.pitch + left * LANES
            for y in range(rows):
                here = inside + y * out.split * dy.pitch
                where = (source + y * out.pitch, origin(dy, block, c) + here, origin(layer.z, block, c) + here)
                totals = _gate_row(x, where, columns, step, centre, totals)
        channel.sums[0] += v.total(totals[0])
        channel.sums[1] += v.total(totals[1])
    if layer.rest_kind == 2:
        _gate_shortcut(net, layer, block)


@njit
def _gate_shortcut(net, layer, block):
    """The two sums for the batch norm of a shortcut that was added before the ReLU."""
    x, dy = v.address(net.x), layer.dy
    for c in range(dy.channels):
        channel = net.channels[layer.rest_norm + c]
        centre, first, second = v.splat(channel.mean), zero(), zero()
        here, there = origin(dy, block, c), origin(layer.rest, block, c)
        for i in range(0, dy.height * dy.width * LANES, LANES):
            value = v.load(x, here + i)
            first, second = first + value, v.fma(value, v.load(x, there + i) - centre, second)
        channel.sums[0] += v.total(first)
        channel.sums[1] += v.total(second)
