"""A whole step of sparse training, compiled as one function.

Only `learn`, `classify` and `update` are called from Python. Order of a step: `_forward` (each layer: activation of the
one before, convolution, sums for its batch norm), the loss, `_backward` (the same layers from the last to the first).

Each function is compiled by itself and again as a part of those that call it. So what is wrapped once more, or called
with a literal beside a variable (numba makes a second copy for that), takes seconds of the first step.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np
from numba import njit

from ticketlib.sparse import conv, head, layout, norm
from ticketlib.sparse import simd as v
from ticketlib.sparse.simd import LANES, inner


@inner
def _forward(net, seen):
    """Logits of a batch in training. Each layer goes block by block: activate, then convolve what is in the cache."""
    images = len(seen.pixels)
    blocks = (images + LANES - 1) // LANES
    head.pack_bytes(net, seen)
    for i in range(len(net.layers)):
        layer = net.layers[i]
        for block in range(blocks):
            lanes = v.load(v.address(net.mask), block * LANES)
            if i > 0:
                norm.activate(net, net.layers[i - 1], lanes, block)
            conv.convolve(net, layer, block)
            norm.moments(net, layer, lanes, block)
        norm.set_norm(net, layer, images)
    last = net.layers[-1]
    for block in range(blocks):
        norm.activate(net, last, v.load(v.address(net.mask), block * LANES), block)
        head.mean_over_space(net, last, block, block)
    head.classify(net, blocks)


@inner
def _infer(net, images):
    """Logits of a batch by the running statistics. Each block goes through all layers, always in the first's place."""
    blocks = (len(images) + LANES - 1) // LANES
    first = blocks - blocks  # 0; the literal would have all that is called with it compiled twice
    for i in range(len(net.channels)):
        channel = net.channels[i]
        mean = channel.running_mean - net.w[channel.bias]
        norm.set_scale(channel, net.w, mean, 1 / np.sqrt(channel.running_var + norm.EPS))
    for block in range(blocks):
        head.pack(net, images[block * LANES : (block + 1) * LANES])
        lanes = v.load(v.address(net.mask), block * LANES)
        for i in range(len(net.layers)):
            conv.convolve(net, net.layers[i], first)
            norm.activate(net, net.layers[i], lanes, first)
        head.mean_over_space(net, net.layers[-1], first, block)
    head.classify(net, blocks)


@inner
def _backward_layer(net, i, images, weight):
    """From the gradient behind layer i's ReLU to its weights' gradients and that behind the ReLU before it."""
    layer, before = net.layers[i], net.layers[max(i - 1, 0)]
    norm.set_slope(net, layer, images)
    net.dots[: (layer.last - layer.first) * LANES] = 0
    for block in range((images + LANES - 1) // LANES):
        lanes = v.load(v.address(net.mask), block * LANES)
        norm.norm_gradient(net, layer, lanes, block)
        if i > 0 and before.out.block == 0:
            norm.activate(net, before, lanes, block)
        conv.dots(net, layer, block)
        if i > 0:
            conv.convolve_back(net, weight, layer, before.dy, block)
            norm.gate(net, before, block)
    for k in range(layer.first, layer.last):
        net.gradient[k] = v.total(v.load(v.address(net.dots), (k - layer.first) * LANES))


@inner
def _backward(net, images, weight):
    """All gradients, from that of the logits."""
    blocks, last = (images + LANES - 1) // LANES, net.layers[-1]
    head.classify_back(net, blocks)
    for k in range(len(weight)):
        weight[k] = net.w[net.taps.back_index[k]]
    for block in range(blocks):
        if last.out.block == 0:
            norm.activate(net, last, v.load(v.address(net.mask), block * LANES), block)
        head.spread_over_space(net, last, block)
        norm.gate(net, last, block)
    for i in range(len(net.layers) - 1, -1, -1):
        _backward_layer(net, i, images, weight)


def _entries(version):
    """The functions that Python calls: learn, classify and update.

    numba keeps compiled code on disk and looks only at the file of the function and at what it encloses: so these
    enclose a number made from all the engine's sources, never 0.
    """

    @njit(cache=True, error_model="numpy")
    def learn(net, seen, labels, weight):
        """Compute the loss of a batch and all gradients, and update the running statistics.

        Arguments: net: Net. seen: Seen. labels: int64 (batch,). weight: scratch, as long as net.taps.back_index.
        Returns: the mean cross-entropy.
        """
        net.mask[:] = 0
        net.mask[: len(labels) if version else 0] = 1
        _forward(net, seen)
        loss = head.cross_entropy(net, labels)
        _backward(net, len(labels), weight)
        return loss

    @njit(cache=True, error_model="numpy")
    def classify(net, images):
        """Leave the logits of images, float32 (batch, channels, height, width), in net.logits; running statistics."""
        net.mask[:] = 0
        net.mask[: len(images) if version else 0] = 1
        _infer(net, images)

    @njit(cache=True, error_model="numpy")
    def update(net, rate, momentum, decay):
        """One step of SGD; rate, momentum, decay: float32."""
        for i in range(len(net.gradient) if version else 0):
            net.velocity[i] = momentum * net.velocity[i] + (net.gradient[i] + decay * net.w[i])
            net.w[i] -= rate * net.velocity[i]

    return learn, classify, update


def _version():
    """A number that changes with the text of the modules whose functions are compiled together."""
    texts = [Path(module.__file__).read_bytes() for module in (v, layout, conv, norm, head)]
    return 1 + int.from_bytes(sha256(b"".join(texts)).digest()[:7], "big")


VERSION = _version()
learn, classify, update = _entries(VERSION)
