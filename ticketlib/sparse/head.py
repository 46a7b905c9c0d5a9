"""Compiled ends of the sparse engine: images in; mean over space, classifier and cross-entropy out and back."""

import numpy as np

from ticketlib.sparse import simd as v
from ticketlib.sparse.layout import origin, phase_of
from ticketlib.sparse.norm import zero
from ticketlib.sparse.simd import LANES, inner


@inner
def _clear_lane(net, at, columns):
    for i in range(columns):
        net.x[np.uint64(at + i * LANES)] = 0


@inner
def pack(net, images):
    """Lay images, float32 (batch, channels, height, width), out for the first layer; empty lanes get 0."""
    grid, batch = net.layers[0].source, len(images)
    step = grid.split
    for block in range((batch + LANES - 1) // LANES):
        for c in range(grid.channels):
            for phase in range(step * step):
                start, top, left, rows, columns = phase_of(grid, block, c, phase)
                for y in range(rows):
                    for lane in range(LANES):
                        b, at = block * LANES + lane, start + y * grid.pitch + lane
                        if b >= batch:
                            _clear_lane(net, at, columns)
                            continue
                        line = images[b, c, top + y * step]
                        for i in range(columns):  # unsigned places, which are not looked at for counting from the end
                            net.x[np.uint64(at + i * LANES)] = line[np.uint64(left + i * step)]


@inner
def pack_bytes(net, seen):
    """As pack, from the bytes of a batch: each image's window, mirrored or not, scaled as it is written."""
    grid, (batch, _, height, width) = net.layers[0].source, seen.pixels.shape
    step = grid.split
    for block in range((batch + LANES - 1) // LANES):
        for c in range(grid.channels):
            scale, shift = seen.scaling[c, 0], seen.scaling[c, 1]
            for phase in range(step * step):
                start, top, left, rows, columns = phase_of(grid, block, c, phase)
                for y in range(rows):
                    for lane in range(LANES):
                        b, at = block * LANES + lane, start + y * grid.pitch + lane
                        if b >= batch:
                            _clear_lane(net, at, columns)
                            continue
                        row, mirrored = seen.windows[0, b] + top + y * step, seen.windows[2, b]
                        column = seen.windows[1, b] + (width - 1 - left if mirrored else left)
                        move = -step if mirrored else step
                        line = seen.pixels[b, c, min(max(row, 0), height - 1)]
                        inside = np.uint64(width if 0 <= row < height else 0)
                        for i in range(columns):
                            x = np.uint64(column + i * move)  # a huge number if negative: one comparison, not two
                            value = np.float32(line[x]) if x < inside else np.float32(0)
                            net.x[np.uint64(at + i * LANES)] = value * scale - shift


@inner
def mean_over_space(net, layer, block, into):
    """Write block `into` of the features from a block of the last activation."""
    grid = layer.out
    share = v.splat(np.float32(1 / (grid.height * grid.width)))
    for c in range(grid.channels):
        mean = zero()
        for y in range(grid.height):
            row = origin(grid, block, c) + y * grid.pitch
            for i in range(row, row + grid.width * LANES, LANES):
                mean = mean + v.load(v.address(net.x), i)
        v.store(v.address(net.features), (into * grid.channels + c) * LANES, mean * share)


@inner
def spread_over_space(net, layer, block):
    """The way back of mean_over_space: every pixel of dy gets its share of its feature's gradient."""
    grid = layer.dy
    share = v.splat(np.float32(1 / (grid.height * grid.width)))
    for c in range(grid.channels):
        value = v.load(v.address(net.features), (block * grid.channels + c) * LANES) * share
        start = origin(grid, block, c)
        for i in range(start, start + grid.height * grid.width * LANES, LANES):
            v.store(v.address(net.x), i, value)


@inner
def classify(net, blocks):
    """Logits of the first blocks from their features."""
    first, classes = len(net.gradient) - len(net.logits) // len(net.mask), len(net.logits) // len(net.mask)
    width = len(net.features) // len(net.mask)
    for block in range(blocks):
        for k in range(classes):
            v.store(v.address(net.logits), (block * classes + k) * LANES, v.splat(net.w[first + k]))
        for e in range(len(net.head)):
            at = (block * classes + net.head[e, 0]) * LANES
            feature = v.load(v.address(net.features), (block * width + net.head[e, 1]) * LANES)
            value = v.fma(v.splat(net.w[first - len(net.head) + e]), feature, v.load(v.address(net.logits), at))
            v.store(v.address(net.logits), at, value)


@inner
def cross_entropy(net, labels):
    """The mean loss; turns the logits into its gradient, 0 in lanes beyond the batch."""
    size, batch, loss = len(net.logits) // len(net.mask) * LANES, len(labels), 0.0
    for b in range(-(-batch // LANES) * LANES):
        start = b // LANES * size + b % LANES
        places = range(start, start + size, LANES)
        largest, whole = net.logits[start], 0.0
        for i in places:
            largest = max(largest, net.logits[i])
        for i in places:
            whole += np.exp(np.float64(net.logits[i] - largest))
        label = start + labels[b] * LANES if b < batch else -1
        for i in places:
            share = np.exp(np.float64(net.logits[i] - largest)) / whole
            if i == label:  # a share too small for a number still has a loss
                loss -= np.log(share) if share > 0 else np.float64(net.logits[i] - largest) - np.log(whole)
            net.logits[i] = (share - (i == label)) / batch if b < batch else 0.0
    return loss / batch


@inner
def classify_back(net, blocks):
    """From the gradient of the logits to those of the classifier and, in place, of the features."""
    classes, width = len(net.logits) // len(net.mask), len(net.features) // len(net.mask)
    first = len(net.gradient) - classes
    net.gradient[first - len(net.head) :] = 0
    for block in range(blocks):
        for k in range(classes):
            net.gradient[first + k] += v.total(v.load(v.address(net.logits), (block * classes + k) * LANES))
        for e in range(len(net.head)):
            feature = v.load(v.address(net.features), (block * width + net.head[e, 1]) * LANES)
            slope = v.load(v.address(net.logits), (block * classes + net.head[e, 0]) * LANES)
            net.gradient[first - len(net.head) + e] += v.total(feature * slope)
        net.features[block * width * LANES : (block + 1) * width * LANES] = 0
        for e in range(len(net.head)):
            at = (block * width + net.head[e, 1]) * LANES
            slope = v.load(v.address(net.logits), (block * classes + net.head[e, 0]) * LANES)
            weight = v.splat(net.w[first - len(net.head) + e])
            v.store(v.address(net.features), at, v.fma(weight, slope, v.load(v.address(net.features), at)))
