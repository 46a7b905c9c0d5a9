"""Synaptic flow: the net of absolute weights, pruned in rounds, in the range of floats however deep it is."""

import math

import numpy as np
import torch
from torch.func import functional_call

from ticketlib.errors import TicketError
from ticketlib.masks import top_k
from ticketlib.models import is_prunable

SMALLEST = 1e-150  # input of the first, float64 pass: leaves room up to a flow of 1e450
FLOAT32_SPAN = 60  # decades of flow that float32 holds once input and output gradient share them


class Flow:
    """The net of |w|, whose batch norms only scale, and the weights of it that are alive.

    R, the output sum for an all-ones input, is linear in the input and in each layer, and 1e26 for VGG-19. Input and
    output gradient are each scaled by 1 / sqrt(R), which multiplies every score by 1 / R: each layer's scores of a
    net without branches then sum to 1, and no float overflows.

    Weights lie channels last, which halves the time of a round. `alive` holds, in the order of the weight's own
    index, the places of the live weights in that memory, so that ties are broken by index, and a round's selection
    costs only as much as there is alive.

    Arguments: task, a pruners.Task in evaluation mode.
    Raises: TicketError if R overflows all the same.
    """

    def __init__(self, task):
        self.model, self.like = task.model, task.weights
        self.others = {name: _linear(name, tensor) for name, tensor in task.others.items()}
        self.input = _ones(task)
        self.log_flow = 0.0
        self._lay_out(torch.float64)
        self.log_flow = self._measure()
        if abs(self.log_flow) < FLOAT32_SPAN * math.log(10):
            self._lay_out(torch.float32)

    def keep(self, count):
        """Score the live weights, keep the `count` best, and set the others to zero."""
        scores = self._scores()
        bits = top_k(np.concatenate(list(scores.values())), count)
        ends = np.cumsum([len(places) for places in self.alive.values()])
        for kept, (name, places) in zip(np.split(bits, ends[:-1]), self.alive.items(), strict=True):
            self.flat[name].index_fill_(0, self._tensor(places[~kept]).long(), 0)
            self.alive[name] = places[kept]

    def full_scores(self):
        """Score the live weights: dict from name to tensor of the weight's shape, -1 where it is not alive."""
        full = {}
        for name, scores in self._scores().items():
            flat = torch.full_like(self.flat[name], -1)
            flat.index_copy_(0, self._tensor(self.alive[name]).long(), self._tensor(scores))
            full[name] = _unflat(flat, self.like[name].shape).to(self.like[name].dtype).contiguous()
        return full

    def _lay_out(self, dtype):
        self.dtype = dtype
        self.flat = {name: _flat(w.detach().abs().to(dtype)) for name, w in self.like.items()}
        self.alive = {name: _places(w) for name, w in self.like.items()}

    def _run(self, scale):  # -> leaves, R scaled
        leaves = {name: _unflat(flat, self.like[name].shape) for name, flat in self.flat.items()}
        leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
        others = {name: t.to(self.dtype) if t.is_floating_point() else t for name, t in self.others.items()}
        images = self.input.to(self.dtype) * scale
        return leaves, functional_call(self.model, others | leaves, (images,)).sum()

    @torch.no_grad()
    def _measure(self):  # -> log R
        flow = float(self._run(SMALLEST)[1])
        if not math.isfinite(flow):
            raise TicketError(
                f"synflow overflows: the flow is {flow} for an input of {SMALLEST}; weights are too large."
            )
        return math.log(flow / SMALLEST) if flow else 0.0

    def _tensor(self, array):
        return torch.from_numpy(array).to(self.input.device)

    def _scores(self):  # -> dict from name to (len(alive),) array
        scale = math.exp(-self.log_flow / 2)
        leaves, flow = self._run(scale)
        grads = torch.autograd.grad(flow, list(leaves.values()), torch.full_like(flow, scale), materialize_grads=True)
        if flow.item():
            self.log_flow = math.log(flow.item()) - math.log(scale)
        scores = {}
        for grad, (name, places) in zip(grads, self.alive.items(), strict=True):
            places = self._tensor(places)
            products = _flat(grad).index_select(0, places).mul_(self.flat[name].index_select(0, places))
            scores[name] = products.cpu().numpy()
        return scores


def _linear(name, tensor):  # what is left of a parameter or buffer: sizes, without shifts
    shift = name.rpartition(".")[2] in ("bias", "running_mean")
    return torch.zeros_like(tensor) if shift else tensor.detach().abs()


def _ones(task):
    if task.images is not None:
        return torch.ones_like(task.images[:1])
    first = next(module for module in task.model.modules() if is_prunable(module))
    weight = first.weight
    channels = weight.shape[1] * getattr(first, "groups", 1)
    return torch.ones((1, channels, *[32] * (weight.ndim - 2)), device=weight.device)


def _flat(tensor):  # (O, I, ...) -> (n,), channels last in memory
    return tensor.movedim(1, -1).reshape(-1)


def _unflat(flat, shape):  # the inverse of `_flat`, a view
    return flat.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def _places(weight):  # (n,) int32 array: where `_flat` puts each weight, in the order of the weight's own index
    places = torch.arange(weight.numel(), dtype=torch.int32)
    return _unflat(places, weight.shape).reshape(-1).numpy()
