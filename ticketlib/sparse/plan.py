"""From a network and a mask to what the sparse engine's loops walk through: its chain of layers and their taps."""

from collections import namedtuple
from typing import NamedTuple

import numpy as np
from torch import nn

from ticketlib.errors import TicketError
from ticketlib.models import VGG, ResNet
from ticketlib.sparse.layout import GRID
from ticketlib.sparse.simd import LANES

Grid = namedtuple("Grid", GRID.names)  # as a row of the tables in layout
GROUP, SPAN = 8, 12  # channels whose part of a tile fits a first cache of 32 KiB; weights for which a tile is worth it


class Link(NamedTuple):
    """One sparse convolution of the chain; a block's first and its shortcut read the same, so they are one link."""

    convs: tuple  # names of the convolutions, the shortcut second
    norms: tuple  # names of their batch norms
    rest: str  # what is added before the ReLU: "", "input" (of the block) or "shortcut"
    keep: bool  # whether anything but the next convolution reads the activation
    pool: bool


def chain(model):
    """The links of a ResNet or VGG, in forward order; each reads what the one before made.

    Raises: TicketError for any other network.
    """
    if isinstance(model, ResNet):
        links = [Link(("conv",), ("bn",), "", True, False)]
        for i, block in enumerate(model.blocks):
            short = block.shortcut is not None
            parts = (("conv1", "bn1"), ("shortcut", "bn3"))[: 1 + short]
            convs, norms = zip(*[(f"blocks.{i}.{conv}", f"blocks.{i}.{norm}") for conv, norm in parts], strict=True)
            links.append(Link(convs, norms, "", False, False))
            rest = "shortcut" if short else "input"
            links.append(Link((f"blocks.{i}.conv2",), (f"blocks.{i}.bn2",), rest, True, False))
        return links
    if isinstance(model, VGG):
        layers = [*model.features, None, None, None]
        convs = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
        pools = [isinstance(layers[i + 3], nn.MaxPool2d) for i in convs]
        named = [((f"features.{i}",), (f"features.{i + 1}",)) for i in convs]
        return [Link(*names, "", False, pool) for names, pool in zip(named, pools, strict=True)]
    raise TicketError(f"{type(model).__name__} is not known to the sparse engine; it trains ResNet and VGG.")


class Arena:
    """Hands out grids of one flat array, the same one twice for the same name and shape."""

    def __init__(self, blocks):
        self.blocks, self.size, self.named = blocks, 0, {}

    def padded(self, channels, height, width, split=1, *, name=None):
        """A grid that a convolution reads; with a name a single block, shared by all of this name and shape."""
        pitch = -(-(width + 2) // split) * LANES
        phase = -(-(height + 2) // split) * pitch
        channel = split * split * phase
        block = 0 if name else channels * channel
        shape = (block, channel, phase, pitch, pitch + LANES, channels, height, width, split)
        return self._grid(name, shape, channels * channel * (1 if name else self.blocks))

    def plain(self, channels, height, width, *, name=None):
        """A grid without padding; with a name shared by all of this name and shape."""
        # A few vectors more than needed: planes a power of two apart would fight for the same sets of the cache.
        channel = height * width * LANES + 5 * LANES
        shape = (channels * channel, channel, channel, width * LANES, 0, channels, height, width, 1)
        return self._grid(name, shape, channels * channel * self.blocks)

    def _grid(self, name, shape, size):
        if name and (name, shape) in self.named:
            return self.named[name, shape]
        grid = self.named[name, shape] = Grid(self.size, *shape)
        self.size += size
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


def groups(kept, targets, channels):
    """Into how many groups a source's channels are cut: GROUP in each, but not so many that spans get short.

    Arguments: kept: surviving weights; targets: planes that they add up to; channels: of the source.
    """
    return max(1, min(-(-channels // GROUP), kept // (targets * SPAN)))


def _starts(target, source, counts):
    """Starts of the taps of each target and group of sources; counts: of targets, of sources, of groups."""
    targets, sources, parts = counts
    found = np.bincount(target * parts + source * parts // sources, minlength=targets * parts)
    return np.concatenate([[0], np.cumsum(found)])


def forward_taps(places, source, channels, parts):
    """Taps of a convolution whose stride is its source's split: starts (channels * parts + 1,), offset (kept,)."""
    out, into, row, column = places
    s = source.split
    inside = (row % s * s + column % s) * source.phase + row // s * source.pitch + column // s * LANES
    return _starts(out, into, (channels, source.channels, parts)), into * source.channel + inside


def backward_taps(places, source, dz, parts):
    """Taps of the way back, from dz to each phase of the source: starts, offset, and which weight each entry is."""
    out, into, row, column = places
    s = source.split
    key = into * s * s + row % s * s + column % s
    order = np.argsort(key, kind="stable")
    up, left = (row % s == 0) - row // s + 1, (column % s == 0) - column // s + 1
    offset = out * dz.channel + up * dz.pitch + left * LANES
    return _starts(key, out, (source.channels * s * s, dz.channels, parts)), offset[order], order
