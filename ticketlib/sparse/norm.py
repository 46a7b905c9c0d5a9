"""Compiled passes between convolutions: batch norm, residual sum, ReLU and max-pool, forth and back, block by block.

A max-pool over 2 x 2 windows has passes of its own, together with the batch norm and ReLU before it.
"""

import numpy as np

from ticketlib.sparse import simd as v
from ticketlib.sparse.layout import origin, phase_of
from ticketlib.sparse.simd import LANES, inner

MOMENTUM, EPS = 0.1, 1e-5  # torch's batch norm


@inner
def zero():
    return v.splat(np.float32(0))


@inner
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


@inner
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


@inner
def set_scale(channel, w, mean, inverse):
    """out = scale * z + shift for given statistics."""
    channel.mean, channel.inverse = mean, inverse
    channel.scale = w[channel.gamma] * inverse
    channel.shift = w[channel.beta] - mean * channel.scale


@inner
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


@inner
def _activate_plain(net, layer, lanes, block):
    """The block of an activation without a pool."""
    for c in range(layer.out.channels):
        channel = net.channels[layer.norm + c]
        if layer.rest_kind == 0:
            _relu(v.address(net.x), layer, block, c, (channel.scale, channel.shift, lanes))
        elif layer.rest_kind == 1:
            _relu_add(v.address(net.x), layer, block, c, (channel.scale, np.float32(1), channel.shift, lanes))
        else:
            rest = net.channels[layer.rest_norm + c]
            shift = channel.shift + rest.shift
            _relu_add(v.address(net.x), layer, block, c, (channel.scale, rest.scale, shift, lanes))


@inner
def _relu(x, layer, block, c, norm):
    """out = max(0, scale * z + shift) for one channel."""
    z, out, step = layer.z, layer.out, layer.out.split * LANES
    scale, shift = v.splat(norm[0]), v.splat(norm[1]) * norm[2]
    down, across = out.split * z.pitch, out.pitch
    for phase in range(out.split * out.split):
        target, top, left, rows, columns = phase_of(out, block, c, phase)
        source = origin(z, block, c) + top * z.pitch + left * LANES
        for _ in range(rows):
            for i in range(columns):
                value = v.fma(scale, v.load(x, source + i * step), shift)
                v.store(x, target + i * LANES, v.where_positive(value, value))
            source, target = source + down, target + across


@inner
def _relu_add(x, layer, block, c, norm):
    """out = max(0, scale * z + rest_scale * rest + shift) for one channel."""
    z, rest, out, step = layer.z, layer.rest, layer.out, layer.out.split * LANES
    scale, rest_scale, shift = v.splat(norm[0]), v.splat(norm[1]), v.splat(norm[2]) * norm[3]
    down, rest_down, across = out.split * z.pitch, out.split * rest.pitch, out.pitch
    for phase in range(out.split * out.split):
        target, top, left, rows, columns = phase_of(out, block, c, phase)
        source = origin(z, block, c) + top * z.pitch + left * LANES
        other = origin(rest, block, c) + top * rest.pitch + left * LANES
        for _ in range(rows):
            for i in range(columns):
                value = v.fma(scale, v.load(x, source + i * step), shift)
                value = v.fma(rest_scale, v.load(x, other + i * step), value)
                v.store(x, target + i * LANES, v.where_positive(value, value))
            source, other, target = source + down, other + rest_down, target + across


@inner
def _norm_gradient_plain(net, layer, lanes, block):
    """The block of dz of a layer without a pool."""
    x, z, dz, dy = v.address(net.x), layer.z, layer.dz, layer.dy
    pitch, dz_pitch, width = z.pitch, dz.pitch, z.width * LANES
    for c in range(z.channels):
        channel = net.channels[layer.norm + c]
        slope, shift, curve = v.splat(channel.slope[0]), v.splat(channel.slope[1]) * lanes, v.splat(channel.slope[2])
        source = origin(dy, block, c) if c < dy.channels else origin(layer.upper, block, c - dy.channels)
        away, target = origin(z, block, c) - source, origin(dz, block, c)
        for _ in range(z.height):
            for i in range(0, width, LANES):
                value = v.fma(curve, v.load(x, source + away + i), shift)
                v.store(x, target + i, v.fma(slope, v.load(x, source + i), value))
            source, target = source + pitch, target + dz_pitch


@inner
def _gate_plain(net, layer, block):
    """The gate of a layer without a pool."""
    x, out, dy = v.address(net.x), layer.out, layer.dy
    step, down, across = out.split * LANES, out.split * dy.pitch, out.pitch
    for c in range(dy.channels):
        channel, away = net.channels[layer.norm + c], origin(layer.z, block, c) - origin(dy, block, c)
        centre, first, second = v.splat(channel.mean), zero(), zero()
        for phase in range(out.split * out.split):
            source, top, left, rows, columns = phase_of(out, block, c, phase)
            target = origin(dy, block, c) + top * dy.pitch + left * LANES
            for _ in range(rows):
                for i in range(columns):
                    at = target + i * step
                    value = v.where_positive(v.load(x, source + i * LANES), v.load(x, at))
                    v.store(x, at, value)
                    first, second = first + value, v.fma(value, v.load(x, at + away) - centre, second)
                source, target = source + across, target + down
        channel.sums[0] += v.total(first)
        channel.sums[1] += v.total(second)
    if layer.rest_kind == 2:
        _gate_shortcut(net, layer, block)


@inner
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


@inner
def _window(z, start, y, x):
    """First position of a window, and how many rows and columns it covers: 2, or 1 at an odd edge."""
    return start + 2 * y * z.pitch + 2 * x * LANES, min(2, z.height - 2 * y), min(2, z.width - 2 * x)


@inner
def _largest(x, window, pitch, scale, shift):
    """The largest scale * z + shift of a window, lane by lane, and the z of the first that reaches it."""
    at, rows, columns = window
    won = v.load(x, at)
    best = v.fma(scale, won, shift)
    for p in range(1, rows * columns):
        value = v.load(x, at + p // columns * pitch + p % columns * LANES)
        out = v.fma(scale, value, shift)
        won, best = v.where_larger(out, best, value, won), v.where_larger(out, best, out, best)
    return best, won


@inner
def _activate_pooled(net, layer, lanes, block):
    """As _activate_plain, each window reduced to its largest."""
    x, z, out = v.address(net.x), layer.z, layer.out
    for c in range(out.channels):
        channel = net.channels[layer.norm + c]
        scale, shift = v.splat(channel.scale), v.splat(channel.shift) * lanes
        for y in range(out.height):
            for column in range(out.width):
                best, _ = _largest(x, _window(z, origin(z, block, c), y, column), z.pitch, scale, shift)
                target = origin(out, block, c) + y * out.pitch + column * LANES
                v.store(x, target, v.where_positive(best, best))


@inner
def _gate_pooled(net, layer, block):
    """As _gate_plain; the z of a window is that of its first largest value."""
    x, z, dy = v.address(net.x), layer.z, layer.dy
    for c in range(dy.channels):
        channel = net.channels[layer.norm + c]
        scale, shift, centre = v.splat(channel.scale), v.splat(channel.shift), v.splat(channel.mean)
        first = second = zero()
        for y in range(dy.height):
            for column in range(dy.width):
                best, won = _largest(x, _window(z, origin(z, block, c), y, column), z.pitch, scale, shift)
                at = origin(dy, block, c) + y * dy.pitch + column * LANES
                value = v.where_positive(best, v.load(x, at))
                v.store(x, at, value)
                first, second = first + value, v.fma(value, won - centre, second)
        channel.sums[0] += v.total(first)
        channel.sums[1] += v.total(second)


@inner
def _norm_gradient_pooled(net, layer, lanes, block):
    """As _norm_gradient_plain; the gradient of a window goes to its first largest value."""
    x, z, dz, dy = v.address(net.x), layer.z, layer.dz, layer.dy
    for c in range(z.channels):
        channel = net.channels[layer.norm + c]
        scale, shift = v.splat(channel.scale), v.splat(channel.shift)
        slope, rise, curve = v.splat(channel.slope[0]), v.splat(channel.slope[1]) * lanes, v.splat(channel.slope[2])
        for y in range(dy.height):
            for column in range(dy.width):
                at, rows, columns = _window(z, origin(z, block, c), y, column)
                best, _ = _largest(x, (at, rows, columns), z.pitch, scale, shift)
                left = v.load(x, origin(dy, block, c) + y * dy.pitch + column * LANES)
                target = origin(dz, block, c) + 2 * y * dz.pitch + 2 * column * LANES
                for p in range(rows * columns):
                    down, right = p // columns, p % columns * LANES
                    value = v.load(x, at + down * z.pitch + right)
                    out = v.fma(scale, value, shift)
                    share = v.where_equal(out, best, left, zero())
                    left = v.where_equal(out, best, zero(), left)  # only the first largest gets it
                    gradient = v.fma(slope, share, v.fma(curve, value, rise))
                    v.store(x, target + down * dz.pitch + right, gradient)


@inner
def activate(net, layer, lanes, block):
    """Write a block of an activation; lanes beyond the batch come out 0."""
    if layer.pool:
        _activate_pooled(net, layer, lanes, block)
    else:
        _activate_plain(net, layer, lanes, block)


@inner
def gate(net, layer, block):
    """Turn a block of the gradient of an activation into that behind its ReLU; add to the sums of the norm before."""
    if layer.pool:
        _gate_pooled(net, layer, block)
    else:
        _gate_plain(net, layer, block)


@inner
def norm_gradient(net, layer, lanes, block):
    """Write a block of dz, the gradient of z, from that behind the ReLU it went into."""
    if layer.pool:
        _norm_gradient_pooled(net, layer, lanes, block)
    else:
        _norm_gradient_plain(net, layer, lanes, block)
