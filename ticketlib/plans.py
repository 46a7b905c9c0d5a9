"""From a network and a mask to what the sparse engine's loops walk through: its chain of layers and their taps."""

from typing import NamedTuple

import numpy as np
from torch import nn

from ticketlib.errors import TicketError
from ticketlib.layout import Grid, Taps
from ticketlib.models import VGG, ResNet
from ticketlib.vectors import LANES

NO_GRID = Grid(0, 0, 0, 0, 0, 0, 0, 0, 1)


class Link(NamedTuple):
    """One sparse convolution of the chain; a block's first and its shortcut read the same, so they are one link."""

    convs: tuple  # names of the convolutions, the shortcut second
    norms: tuple  # names of their batch norms
    rest: str  # what is added before the ReLU: "", "input" (of the block) or "shortcut"
    pool: bool


def chain(model):
    """The links of a ResNet or VGG, in forward order; each reads what the one before made.

    Raises: TicketError for any other network.
    """
    if isinstance(model, ResNet):
        links = [Link(("conv",), ("bn",), "", False)]
        for i, block in enumerate(model.blocks):
            short = block.shortcut is not None
            parts = (("conv1", "bn1"), ("shortcut", "bn3"))[: 1 + short]
            convs, norms = zip(*[(f"blocks.{i}.{conv}", f"blocks.{i}.{norm}") for conv, norm in parts], strict=True)
            links.append(Link(convs, norms, "", False))
            rest = "shortcut" if short else "input"
            links.append(Link((f"blocks.{i}.conv2",), (f"blocks.{i}.bn2",), rest, False))
        return links
    if isinstance(model, VGG):
        layers = [*model.features, None, None, None]
        convs = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
        return [
            Link((f"features.{i}",), (f"features.{i + 1}",), "", isinstance(layers[i + 3], nn.MaxPool2d)) for i in convs
        ]
    raise TicketError(f"{type(model).__name__} is not known to the sparse engine; it trains ResNet and VGG.")


class Arena:
    """Hands out grids of one flat array, the same one twice for the same name and shape."""

    def __init__(self, blocks):
        self.blocks, self.size, self.named = blocks, 0, {}

    def grid(self, channels, height, width, split=1, name=None):
        """A Grid of its own, or with a name the one shared by all that ask for this name and shape."""
        key = (name, channels, height, width, split)
        if name and key in self.named:
            return self.named[key]
        pitch = -(-(width + 2) // split) * LANES
        phase = -(-(height + 2) // split) * pitch
        channel = split * split * phase
        grid = Grid(self.size, channels * channel, channel, phase, pitch, channels, height, width, split)
        self.size += self.blocks * grid.block
        self.named[key] = grid
        return grid


def entries(masks):
    """Surviving weights (output channel, input channel, row, column) of convolutions that read the same input.

    Arguments: masks: bool arrays (out, in, 3, 3) or (out, in, 1, 1); their output channels are numbered on.
    Returns: int64 array (4, kept), in the order of the flat masks; rows and columns as in a 3x3 kernel.
    """
    found, channels = [], 0
    for mask in masks:
        place = np.array(np.nonzero(mask), dtype=np.int64).reshape(4, -1)
        place[0] += channels
        place[2:] += (3 - mask.shape[2]) // 2
        found.append(place)
        channels += mask.shape[0]
    return np.concatenate(found, axis=1)


def _starts(key, count):
    return np.concatenate([[0], np.cumsum(np.bincount(key, minlength=count))]).astype(np.int64)


def forward_taps(places, source, channels, first):
    """Taps of a convolution whose weights begin at parameter `first`; its stride is the source's split."""
    out, into, row, column = places
    s = source.split
    inside = (row % s * s + column % s) * source.phase + row // s * source.pitch + column // s * LANES
    index = first + np.arange(len(out), dtype=np.int64)
    return Taps(_starts(out, channels), into * source.channel + inside, index)


def backward_taps(places, dz, raw, first):
    """Taps of the way back: which rows of dz reach which phase of the input's gradient."""
    out, into, row, column = places
    s = raw.split
    key = into * s * s + row % s * s + column % s
    order = np.argsort(key, kind="stable")
    up, left = (row % s == 0) - row // s + 1, (column % s == 0) - column // s + 1
    offset = out * dz.channel + up * dz.pitch + left * LANES
    return Taps(_starts(key, raw.channels * s * s), offset[order], first + order.astype(np.int64))


def add_identity(taps, dz, dy, one):
    """The taps plus, for each channel, the same pixel of another gradient, scaled by parameter `one`."""
    channels = len(taps.start) - 1
    offset = dy.base - dz.base + np.arange(channels) * dy.channel + dy.pitch + LANES
    offset, index = np.insert(taps.offset, taps.start[:-1], offset), np.insert(taps.index, taps.start[:-1], one)
    return Taps(taps.start + np.arange(channels + 1), offset, index)
