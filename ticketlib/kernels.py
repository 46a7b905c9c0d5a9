"""Compiled sparse convolutions, which touch only the rows that a surviving weight joins, and a whole step of training.

Only the two functions at the end are called from Python.
"""

import numpy as np
from numba import literally, njit

from ticketlib import heads, norms, pools
from ticketlib import vectors as v
from ticketlib.layout import origin, phase_of
from ticketlib.vectors import LANES


@njit
def _conv_tiles(rows, width, arrays, where, pitches, channels):
    """One tile of every channel; channels = (how many, stride of the target's, stride of their starts, carry)."""
    literally(rows)
    literally(width)
    x, weight, offset, starts = arrays
    source, target, first = where
    count, stride, phases, carry = channels
    for _ in range(count):
        span = v.integer(starts, first), v.integer(starts, first + 1)
        v.conv_tile((x, weight, offset), span, (source, target), pitches, carry, rows, width)
        target += stride
        first += phases


@njit
def _conv_plane(arrays, where, pitches, channels, size):
    """Planes of size = (height, width), tile by tile, all channels in turn: so a tile's source stays in the cache."""
    source, target, first = where
    height, width = size
    x = 0
    while x < width:
        columns = 8 if width - x >= 8 else 4 if width - x >= 4 else 2 if width - x >= 2 else 1
        for y in range(0, height, 2):
            here = source + y * pitches[0] + x * LANES, target + y * pitches[1] + x * pitches[2], first
            pair = y + 1 < height
            if columns == 8 and pair:
                _conv_tiles(2, 8, arrays, here, pitches, channels)
            elif columns == 8:
                _conv_tiles(1, 8, arrays, here, pitches, channels)
            elif columns == 4 and pair:
                _conv_tiles(2, 4, arrays, here, pitches, channels)
            elif columns == 4:
                _conv_tiles(1, 4, arrays, here, pitches, channels)
            elif columns == 2 and pair:
                _conv_tiles(2, 2, arrays, here, pitches, channels)
            elif columns == 2:
                _conv_tiles(1, 2, arrays, here, pitches, channels)
            elif pair:
                _conv_tiles(2, 1, arrays, here, pitches, channels)
            else:
                _conv_tiles(1, 1, arrays, here, pitches, channels)
        x += columns


@njit
def _dot_tiles(rows, width, arrays, where, pitches, channels):
    """As _conv_tiles: the products of a tile of every channel with every one that its taps name."""
    literally(rows)
    literally(width)
    x, dots, offset, starts = arrays
    source, target, first = where
    count, stride = channels
    for _ in range(count):
        span = v.integer(starts, first), v.integer(starts, first + 1)
        v.dot_tile((x, dots, offset), span, (source, target), pitches, rows, width)
        target += stride
        first += 1


@njit
def _dot_plane(arrays, where, pitches, channels, size):
    """As _conv_plane."""
    source, target, first = where
    height, width = size
    x = 0
    while x < width:
        columns = 8 if width - x >= 8 else 4 if width - x >= 4 else 2 if width - x >= 2 else 1
        for y in range(0, height, 2):
            here = source + y * pitches[0] + x * LANES, target + y * pitches[1] + x * LANES, first
            pair = y + 1 < height
            if columns == 8 and pair:
                _dot_tiles(2, 8, arrays, here, pitches, channels)
            elif columns == 8:
                _dot_tiles(1, 8, arrays, here, pitches, channels)
            elif columns == 4 and pair:
                _dot_tiles(2, 4, arrays, here, pitches, channels)
            elif columns == 4:
                _dot_tiles(1, 4, arrays, here, pitches, channels)
            elif columns == 2 and pair:
                _dot_tiles(2, 2, arrays, here, pitches, channels)
            elif columns == 2:
                _dot_tiles(1, 2, arrays, here, pitches, channels)
            elif pair:
                _dot_tiles(2, 1, arrays, here, pitches, channels)
            else:
                _dot_tiles(1, 1, arrays, here, pitches, channels)
        x += columns


@njit
def convolve(net, layer, block):
    """Write a block of z."""
    source, z, taps = layer.source, layer.z, net.taps
    weight, offset = v.address(net.w) + 4 * layer.first, v.address(taps.offset) + 4 * layer.first
    arrays = v.address(net.x), weight, offset, v.address(taps.starts)
    where = source.base + block * source.block, origin(z, block, 0), layer.starts
    channels = z.channels, z.channel, 1, False
    _conv_plane(arrays, where, (source.pitch, z.pitch, LANES), channels, (z.height, z.width))


@njit
def convolve_back(net, weight, layer, dy, block):
    """Write, or add to, a block of dy, the gradient of layer.source, from layer.dz."""
    source, dz, taps = layer.source, layer.dz, net.taps
    split = source.split
    offset = v.address(taps.back_offset) + 4 * layer.back
    arrays = v.address(net.x), v.address(weight) + 4 * layer.back, offset, v.address(taps.back_starts)
    pitches = dz.pitch, split * dy.pitch, split * LANES
    channels = dy.channels, dy.channel, split * split, layer.carry > 0
    for phase in range(split * split):
        _, top, left, rows, columns = phase_of(source, 0, 0, phase)
        target = origin(dy, block, 0) + top * dy.pitch + left * LANES
        where = dz.base + block * dz.block, target, layer.back_starts + phase
        _conv_plane(arrays, where, pitches, channels, (rows, columns))


@njit
def dots(net, layer, block):
    """Add a block's share to each surviving weight's gradient, lane by lane: the product of the rows it joins."""
    source, dz, taps = layer.source, layer.dz, net.taps
    offset = v.address(taps.offset) + 4 * layer.first
    arrays = v.address(net.x), v.address(net.dots), offset, v.address(taps.starts)
    where = source.base + block * source.block, origin(dz, block, 0), layer.starts
    _dot_plane(arrays, where, (source.pitch, dz.pitch), (dz.channels, dz.channel), (dz.height, dz.width))


@njit
def _activate(net, layer, lanes, block):
    if layer.pool:
        pools.activate(net, layer, lanes, block)
    else:
        norms.activate(net, layer, lanes, block)


@njit
def _gate(net, layer, block):
    if layer.pool:
        pools.gate(net, layer, block)
    else:
        norms.gate(net, layer, block)


@njit
def _norm_gradient(net, layer, lanes, block):
    if layer.pool:
        pools.norm_gradient(net, layer, lanes, block)
    else:
        norms.norm_gradient(net, layer, lanes, block)


@njit
def _forward(net, images, training):
    """Logits of a batch. Each layer goes block by block: activate what came before, then convolve it in the cache."""
    blocks = (len(images) + LANES - 1) // LANES
    net.mask[:] = 0
    net.mask[: len(images)] = 1
    heads.pack(net, images)
    for i in range(len(net.layers)):
        layer = net.layers[i]
        for block in range(blocks):
            lanes = v.load(v.address(net.mask), block * LANES)
            if i > 0:
                _activate(net, net.layers[i - 1], lanes, block)
            convolve(net, layer, block)
            if training:
                norms.moments(net, layer, lanes, block)
        if training:
            norms.set_norm(net, layer, len(images))
    last = net.layers[-1]
    for block in range(blocks):
        _activate(net, last, v.load(v.address(net.mask), block * LANES), block)
        heads.mean_over_space(net, last, block)
    heads.classify(net, blocks)


@njit
def _backward_layer(net, i, images, weight):
    """From the gradient behind layer i's ReLU to its weights' gradients and that behind the ReLU before it."""
    layer, before = net.layers[i], net.layers[max(i - 1, 0)]
    norms.set_slope(net, layer, images)
    net.dots[: (layer.last - layer.first) * LANES] = 0
    for block in range((images + LANES - 1) // LANES):
        lanes = v.load(v.address(net.mask), block * LANES)
        _norm_gradient(net, layer, lanes, block)
        if i > 0 and before.out.block == 0:
            _activate(net, before, lanes, block)
        dots(net, layer, block)
        if i > 0:
            convolve_back(net, weight, layer, before.dy, block)
            _gate(net, before, block)
    for k in range(layer.first, layer.last):
        net.gradient[k] = v.total(v.load(v.address(net.dots), (k - layer.first) * LANES))


@njit
def _backward(net, images, weight):
    """All gradients, from that of the logits."""
    blocks, last = (images + LANES - 1) // LANES, net.layers[-1]
    heads.classify_back(net, blocks)
    for k in range(len(weight)):
        weight[k] = net.w[net.taps.back_index[k]]
    for block in range(blocks):
        if last.out.block == 0:
            _activate(net, last, v.load(v.address(net.mask), block * LANES), block)
        heads.spread_over_space(net, last, block)
        _gate(net, last, block)
    for i in range(len(net.layers) - 1, -1, -1):
        _backward_layer(net, i, images, weight)


@njit(cache=True)
def run(net, images, labels, weight):
    """Train on a batch up to its gradients, or classify it.

    Arguments:
        net: Net. images: float32 (batch, channels, height, width).
        labels: int64 (batch,): then compute all gradients and update the running statistics; or (0,): then leave
            the logits in net.logits, by the running statistics.
        weight: float32, as long as net.taps.back_index; scratch.
    Returns: the mean cross-entropy, or 0.
    """
    training = len(labels) > 0
    if not training:
        for i in range(len(net.channels)):
            channel = net.channels[i]
            mean = channel.running_mean - net.w[channel.bias]
            norms.set_scale(channel, net.w, mean, 1 / np.sqrt(channel.running_var + norms.EPS))
    _forward(net, images, training)
    if not training:
        return 0.0
    loss = heads.cross_entropy(net, labels)
    _backward(net, len(images), weight)
    return loss


@njit(cache=True)
def update(net, rate, momentum, decay):
    """One step of SGD; rate, momentum, decay: float32."""
    for i in range(len(net.gradient)):
        net.velocity[i] = momentum * net.velocity[i] + (net.gradient[i] + decay * net.w[i])
        net.w[i] -= rate * net.velocity[i]
