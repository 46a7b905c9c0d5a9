"""From a network and a mask to what the sparse engine's loops walk through: its chain of layers and their taps."""

from collections import namedtuple
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ticketlib.errors import TicketError
from ticketlib.models import VGG, Block, ResNet
from ticketlib.sparse.layout import GRID
from ticketlib.sparse.norm import EPS, MOMENTUM
from ticketlib.sparse.simd import LANES

Grid = namedtuple("Grid", GRID.names)  # as a row of the tables in layout
GROUP, SPAN = 8, 12  # channels whose part of a tile fits a first cache of 32 KiB; weights for which a tile is worth it
POOL = [(2, 2), (2, 2), (0, 0), (1, 1)], True, False  # size, stride, padding, dilation; rounding up, indices


class Link(NamedTuple):
    """One sparse convolution of the chain; a block's first and its shortcut read the same, so they are one link."""

    convs: tuple  # names of the convolutions, the shortcut second
    norms: tuple  # names of their batch norms
    rest: str  # what is added before the ReLU: "", "input" (of the block) or "shortcut"
    keep: bool  # whether anything but the next convolution reads the activation
    pool: bool


def chain(model):
    """The links of a ResNet or VGG of `ticketlib.models`, in forward order; each reads what the one before made.

    Nothing is taken for granted: the network's parts, their settings and shapes and what is hung on them are looked at.

    Returns: list of Link.
    Raises: TicketError for any other network, naming the layer that the engine does not compute.
    """
    kind = type(model)
    if kind not in (ResNet, VGG):
        raise TicketError(
            f"{kind.__module__}.{kind.__qualname__} is not known to the sparse engine, which computes the networks of "
            "models.build only: CIFAR ResNets (resnet20, resnet32, ...) and VGGs. Others train in the dense engine."
        )
    _check_values(model)
    links = _resnet_links(model) if kind is ResNet else _vgg_links(model)
    _check_parts(model, links)
    _check_shapes(dict(model.named_modules()), links)
    return links


def _resnet_links(model):
    links = [Link(("conv",), ("bn",), "", True, False)]
    for i, block in enumerate(_sequence(model, "blocks")):
        _check_kind(f"blocks.{i}", block, Block)
        short = block.shortcut is not None
        parts = (("conv1", "bn1"), ("shortcut", "bn3"))[: 1 + short]
        convs, norms = zip(*[(f"blocks.{i}.{conv}", f"blocks.{i}.{norm}") for conv, norm in parts], strict=True)
        links.append(Link(convs, norms, "", False, False))
        rest = "shortcut" if short else "input"
        links.append(Link((f"blocks.{i}.conv2",), (f"blocks.{i}.bn2",), rest, True, False))
    return links


def _vgg_links(model):
    """Three modules a link, and a max-pool behind some."""
    layers, links, i = [*_sequence(model, "features"), *[None] * 4], [], 0
    while not links or layers[i] is not None:
        pool = layers[i + 3] is not None and not isinstance(layers[i + 3], nn.Conv2d)
        for j, kind in enumerate((nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d)[: 3 + pool], start=i):
            _check_kind(f"features.{j}", layers[j], kind)
        links.append(Link((f"features.{i}",), (f"features.{i + 1}",), "", False, pool))
        i += 3 + pool
    return links


def _sequence(model, name):
    _check_kind(name, getattr(model, name), nn.Sequential)
    return getattr(model, name)


def _check_kind(name, module, kind):
    if type(module) is not kind:
        raise _unknown(name, module)


def _unknown(name, module):
    return TicketError(f"{name} is {module}; the sparse engine does not compute this.")


def _check_values(model):
    """Refuse parameters that are shared, and values that the engine cannot read."""
    names = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in names:
            raise TicketError(f"{names[id(parameter)]} and {name} are one parameter; the sparse engine shares none.")
        names[id(parameter)] = name
    for name, value in model.state_dict().items():
        if value.device.type != "cpu" or value.dtype not in (torch.float32, torch.int64):
            raise TicketError(f"{name} is {value.dtype} on {value.device}; the sparse engine takes float32 on the CPU.")


def _check_parts(model, links):
    """Refuse modules, settings and hooks that the engine would pass over in silence."""
    modules = dict(model.named_modules())
    for name, module in modules.items():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        if any(hooks) or "forward" in vars(module):
            raise TicketError(f"{name or 'the network'} has a hook, or a forward of its own, which the sparse engine "
                              "would pass over; remove it first.")  # fmt: skip
        if isinstance(module, nn.MaxPool2d) and _settings(module) != POOL:
            raise _unknown(name, module)
    kinds = {name: nn.Conv2d for link in links for name in link.convs} | {"fc": nn.Linear}
    kinds |= {name: nn.BatchNorm2d for link in links for name in link.norms}
    for name, kind in kinds.items():
        _check_kind(name, modules.get(name), kind)
        if not _is_standard(modules[name]):
            raise _unknown(name, modules[name])
    for name in model.state_dict():
        if name.rpartition(".")[0] not in kinds:
            raise TicketError(f"{name} is not known to the sparse engine, which would pass it over.")


def _settings(pool):
    sides = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return [side if isinstance(side, tuple) else (side, side) for side in sides], pool.ceil_mode, pool.return_indices


def _is_standard(module):
    """Whether a layer is as its compiled form takes it for granted."""
    if isinstance(module, nn.BatchNorm2d):
        return (module.eps, module.momentum, module.affine, module.track_running_stats) == (EPS, MOMENTUM, True, True)
    if isinstance(module, nn.Linear):
        return module.bias is not None
    centred = (module.kernel_size, module.padding) in (((3, 3), (1, 1)), ((1, 1), (0, 0)))
    plain = (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
    return centred and plain and module.stride[0] == module.stride[1]


def _check_shapes(modules, links):
    """Refuse convolutions that do not fit one another as the chain joins them."""
    channels, entry = modules[links[0].convs[0]].in_channels, None
    for link in links:
        first = modules[link.convs[0]]
        out, stride = first.out_channels, first.stride
        for name, norm in zip(link.convs, link.norms, strict=True):
            conv = modules[name]
            fits = conv.weight.shape == (out, channels, *conv.kernel_size) and modules[norm].weight.shape == (out,)
            if not fits or conv.stride != stride:
                raise _unknown(name, conv)
        # A sum takes the shortcut as it is, which the link before made, or what the block was given.
        given = (channels, stride) if link.rest == "shortcut" else entry
        if link.rest and (stride != (1, 1) or given != (out, (1, 1))):
            raise _unknown(link.convs[0], first)
        channels, entry = out, (channels, stride)
    if modules["fc"].weight.shape[1] != channels:
        raise _unknown("fc", modules["fc"])


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
