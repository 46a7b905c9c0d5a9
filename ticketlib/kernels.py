"""Compiled sparse convolutions, which touch only the rows that a surviving weight joins, and a whole step of training.

Only the two functions at the end are called from Python.
"""

import numpy as np
from numba import njit

from ticketlib import heads, norms, pools
from ticketlib import vectors as v
from ticketlib.layout import origin, phase_of
from ticketlib.vectors import LANES


@njit
def _tile_shape(rows, columns):
    """The largest tile that fits what is left of a plane: of 2, 1 rows and 4, 2, 1 vectors."""
    return min(rows, 2), 4 if columns >= 4 else min(columns, 2)


@njit
def _conv_tile(arrays, span, where, pitches, shape):
    """One tile of one channel; where = (source, target, carry), pitches = (source's, target's, target's step)."""
    x, weight, offset = arrays
    if shape == (2, 4):
        v.conv_tile(x, weight, offset, span, where, pitches, 2, 4)
    elif shape == (1, 4):
        v.conv_tile(x, weight, offset, span, where, pitches, 1, 4)
    elif shape == (2, 2):
        v.conv_tile(x, weight, offset, span, where, pitches, 2, 2)
    elif shape == (1, 2):
        v.conv_tile(x, weight, offset, span, where, pitches, 1, 2)
    elif shape == (2, 1):
        v.conv_tile(x, weight, offset, span, where, pitches, 2, 1)
    else:
        v.conv_tile(x, weight, offset, span, where, pitches, 1, 1)


@njit
def _dot_tile(arrays, span, where, pitches, shape):
    """As _conv_tile: the products of a tile with every one that its taps name."""
    x, dots, offset = arrays
    if shape == (2, 4):
        v.dot_tile(x, dots, offset, span, where, pitches, 2, 4)
    elif shape == (1, 4):
        v.dot_tile(x, dots, offset, span, where, pitches, 1, 4)
    elif shape == (2, 2):
        v.dot_tile(x, dots, offset, span, where, pitches, 2, 2)
    elif shape == (1, 2):
        v.dot_tile(x, dots, offset, span, where, pitches, 1, 2)
    elif shape == (2, 1):
        v.dot_tile(x, dots, offset, span, where, pitches, 2, 1)
    else:
        v.dot_tile(x, dots, offset, span, where, pitches, 1, 1)


@njit
def convolve(net, layer, block):
    """Write a block of z: tile by tile, all channels of a tile in turn, so that its source stays in the first cache."""
    source, z, taps = layer.source, layer.z, net.taps
    arrays = net.x, net.w[layer.first : layer.last], taps.offset[layer.first : layer.last]
    pitches = source.pitch, z.pitch, LANES
    x = 0
    while x < z.width:
        y = 0
        while y < z.height:
            shape = _tile_shape(z.height - y, z.width - x)
            start = source.base + block * source.block + y * source.pitch + x * LANES
            for c in range(z.channels):
                span = taps.starts[layer.starts + c], taps.starts[layer.starts + c + 1]
                where = start, origin(z, block, c) + y * z.pitch + x * LANES, False
                _conv_tile(arrays, span, where, pitches, shape)
            y += shape[0]
        x += shape[1]


@njit
def convolve_back(net, weight, layer, dy, block):
    """Write, or add to, a block of dy, the gradient of layer.source, from layer.dz."""
    source, dz, taps = layer.source, layer.dz, net.taps
    phases = source.split * source.split
    arrays = net.x, weight[layer.back :], taps.back_offset[layer.back :]
    pitches = dz.pitch, source.split * dy.pitch, source.split * LANES
    for phase in range(phases):
        _, top, left, rows, columns = phase_of(source, 0, 0, phase)
        x = 0
        while x < columns:
            y = 0
            while y < rows:
                shape = _tile_shape(rows - y, columns - x)
                start = dz.base + block * dz.block + y * dz.pitch + x * LANES
                inside = (top + y * source.split) * dy.pitch + (left + x * source.split) * LANES
                for c in range(source.channels):
                    i = layer.back_starts + c * phases + phase
                    span = taps.back_starts[i], taps.back_starts[i + 1]
                    where = start, origin(dy, block, c) + inside, layer.carry > 0
                    _conv_tile(arrays, span, where, pitches, shape)
                y += shape[0]
            x += shape[1]


@njit
def dots(net, layer, block):
    """Add a block's share to each surviving weight's gradient, lane by lane: the product of the rows it joins."""
    source, dz, taps = layer.source, layer.dz, net.taps
    arrays = net.x, net.dots, taps.offset[layer.first : layer.last]
    pitches = source.pitch, dz.pitch, LANES
    for c in range(dz.channels):
        span = taps.starts[layer.starts + c], taps.starts[layer.starts + c + 1]
        x = 0
        while x < dz.width:
            y = 0
            while y < dz.height:
                shape = _tile_shape(dz.height - y, dz.width - x)
                start = source.base + block * source.block + y * source.pitch + x * LANES
                where = start, origin(dz, block, c) + y * dz.pitch + x * LANES, False
                _dot_tile(arrays, span, where, pitches, shape)
                y += shape[0]
            x += shape[1]


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
            lanes = v.load(net.mask, block * LANES)
            if i > 0:
                _activate(net, net.layers[i - 1], lanes, block)
            convolve(net, layer, block)
            if training:
                norms.moments(net, layer, lanes, block)
        if training:
            norms.set_norm(net, layer, len(images))
    last = net.layers[-1]
    for block in range(blocks):
        _activate(net, last, v.load(net.mask, block * LANES), block)
        heads.mean_over_space(net, last, block)
    heads.classify(net, blocks)


@njit
def _backward_layer(net, i, images, weight):
    """From the gradient behind layer i's ReLU to its weights' gradients and that behind the ReLU before it."""
    layer, before = net.layers[i], net.layers[max(i - 1, 0)]
    norms.set_slope(net, layer, images)
    net.dots[: (layer.last - layer.first) * LANES] = 0
    for block in range((images + LANES - 1) // LANES):
        lanes = v.load(net.mask, block * LANES)
        _norm_gradient(net, layer, lanes, block)
        if i > 0 and before.out.block == 0:
            _activate(net, before, lanes, block)
        dots(net, layer, block)
        if i > 0:
            convolve_back(net, weight, layer, before.dy, block)
            _gate(net, before, block)
    for k in range(layer.first, layer.last):
        net.gradient[k] = v.total(v.load(net.dots, (k - layer.first) * LANES))


@njit
def _backward(net, images, weight):
    """All gradients, from that of the logits."""
    blocks, last = (images + LANES - 1) // LANES, net.layers[-1]
    heads.classify_back(net, blocks)
    for k in range(len(weight)):
        weight[k] = net.w[net.taps.back_index[k]]
    for block in range(blocks):
        if last.out.block == 0:
            _activate(net, last, v.load(net.mask, block * LANES), block)
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
            norms.set_scale(channel, net.w, channel.running_mean, 1 / np.sqrt(channel.running_var + norms.EPS))
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
