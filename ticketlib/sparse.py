"""Training that skips the zeros: a masked ResNet or VGG on the CPU, in float32, whose cost follows its weights."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ticketlib import kernels, plans
from ticketlib.errors import TicketError
from ticketlib.layout import Activation, Convolution, Norm
from ticketlib.models import prunable
from ticketlib.norms import set_norm, set_slope
from ticketlib.plans import NO_GRID
from ticketlib.vectors import LANES

MOMENTUM, EPS = 0.1, 1e-5  # torch's batch norm


def aligned(size):
    """A zeroed float32 array whose start suits whole-vector loads."""
    raw = np.zeros(size + LANES, np.float32)
    skip = -raw.ctypes.data // 4 % LANES
    return raw[skip : skip + size]


def _norm(channels):
    zeros = [np.zeros(channels, np.float32) for _ in range(6)]
    return Norm(*zeros, np.zeros((channels, 2)), np.zeros((channels, 3), np.float32))


def _part(norm, start, stop=None):
    return Norm(*(values[start:stop] for values in norm))


NO_NORM = _norm(0)
NO_ACTIVATION = Activation(NO_GRID, NO_NORM, NO_GRID, NO_NORM, NO_GRID, NO_GRID, NO_GRID, False, False)


class Layer(NamedTuple):
    """One link of the chain, ready to run."""

    conv: Convolution
    act: Activation
    upper: plans.Grid  # gradients that reach the shortcut's channels
    weights: slice  # of the flat parameters, as the next three
    gamma: slice
    beta: slice
    bias: slice


class SparseNet:
    """A masked network with its own copy of the surviving weights, trained without touching a zero.

    Arguments:
        model: ResNet or VGG, float32; left as it is until `write_back`.
        mask: Mapping from parameter name to bool tensor, True where a weight survives.
        batch_size: the most images a step takes, at least 1. image_shape: (channels, height, width).
    Raises: TicketError for another kind of network or a mask that does not fit it.
    """

    def __init__(self, model, mask, batch_size, image_shape):
        masks = _checked(model, mask)
        self.batch_size, self.image_shape, self.steps = batch_size, tuple(image_shape), 0
        self.arena = plans.Arena(-(-batch_size // LANES))
        self.links = plans.chain(model)
        self._place_parameters(model, masks)
        self._build(model, masks)
        self.x = aligned(self.arena.size)
        self.lanes = aligned(self.arena.blocks * LANES)
        self.features = aligned(self.arena.blocks * LANES * self.layers[-1].act.out.channels)
        self.dots = aligned(LANES * max(len(layer.conv.taps.index) for layer in self.layers))
        self._load(model)

    def _place_parameters(self, model, masks):
        """Give every surviving parameter its place in the flat arrays: self.places, name -> (slice, mask or None)."""
        self.places, size, dense = {}, 0, dict(model.named_parameters())
        order = [names for link in self.links for names in self._names(link, dense)] + ["fc.weight", "fc.bias"]
        for name in order:
            count = int(masks[name].sum()) if name in masks else dense[name].numel()
            self.places[name] = (slice(size, size + count), masks.get(name))
            size += count
        self.w, self.gradient, self.velocity = aligned(size + 1), np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.w[size] = 1  # what scales the identity's way back

    @staticmethod
    def _names(link, dense):
        names = [f"{conv}.weight" for conv in link.convs]
        names += [f"{norm}.{kind}" for kind in ("weight", "bias") for norm in link.norms]
        return names + [f"{conv}.bias" for conv in link.convs if f"{conv}.bias" in dense]

    def _span(self, names):
        found = [self.places[name][0] for name in names if name in self.places]
        return slice(found[0].start, found[-1].stop) if found else slice(0, 0)
