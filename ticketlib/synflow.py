"""Synaptic flow: the net of absolute weights, pruned in rounds, in the range of floats however deep it is."""

import math

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ticketlib.errors import TicketError
from ticketlib.masks import top_k
from ticketlib.models import hooked, is_prunable

INPUTS = (1e-150, 1.0, 1e150)  # of the first, float64 pass: the smallest leaves room up to a flow of 1e450
ORDINARY = (1.0, 1e8)  # inputs at which the flow must be as many times larger
FLOAT32_SPAN = 60  # decades of flow that float32 holds once input and output gradient share them
# On the positive numbers of this net they are the identity, or come to it as the numbers grow.
RECTIFIERS = {"relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish"}
RECTIFIERS |= {"hardswish", "softplus", "hardshrink", "softshrink", "threshold"}


class Flow:
    """The net of |w|, whose batch norms only scale, and the weights of it that are alive.

    R, the output sum for an all-ones input, is linear in the input and in each layer, and 1e26 for VGG-19. Input and
    output gradient are each scaled by 1 / sqrt(R), which multiplies every score by 1 / R: each layer's scores of a
    net without branches then sum to 1, and no float overflows.

    Weights lie channels last, which halves the time of a round. `alive` holds, in the order of the weight's own
    index, the places of the live weights in that memory, so that ties are broken by index, and a round's selection
    costs only as much as there is alive.

    Arguments: task, a pruners.Task in evaluation mode.
    Raises: TicketError if R overflows all the same, is zero, or is not linear in the input: it names the layer.
    """

    def __init__(self, task):
        self.task, self.like = task, task.weights
        self.others = {name: _linear(name, tensor) for name, tensor in task.others.items()}
        self.input = _ones(task)
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
        with _Rectified():
            return leaves, self.task.run(images, others | leaves).sum()

    @torch.no_grad()
    def _measure(self):  # -> log R
        flows = ((scale, float(self._run(scale)[1])) for scale in INPUTS)
        scale, flow = next((pair for pair in flows if pair[1]), (1.0, 0.0))
        ratio = flow / scale
        if not flow:
            raise TicketError("synflow scores nothing: no flow arrives: weights or scales of a layer are all 0, or so "
                              "small that no float holds the flow; allowed: weights of a usual size.")  # fmt: skip
        if not math.isfinite(flow):
            raise TicketError(f"synflow overflows: the flow is {flow} for an input of {scale}; weights are too large.")
        if breaker := self._breaker(ratio):
            raise TicketError(f"synflow is not defined for {breaker}: twice its input does not give twice its output.")
        return math.log(ratio) if 0 < ratio < math.inf else math.log(flow) - math.log(scale)

    def _breaker(self, flow):
        """Name the first layer of which twice the input does not give twice the output; "" if the net is linear.

        Arguments: flow, that of an input of ones as the first pass found it. A flow that no float holds says nothing.
        """
        linear = lambda one, scale: not math.isfinite(one) or math.isclose(one, flow * scale, rel_tol=1e-6)  # noqa: E731
        if all(linear(float(self._run(scale)[1]), scale) for scale in ORDINARY):
            return ""
        for scale in ORDINARY:
            once, twice = (self._sums(factor * scale) for factor in (1, 2))
            for name, ends in once.items():
                came, went = (math.isclose(2 * a, b, rel_tol=1e-9) for a, b in zip(ends, twice[name], strict=True))
                if came and not went:
                    return name
        return "this network"

    def _sums(self, scale):
        """Sums of what comes into each module and goes out, on a scaled input: dict from name, in order of leaving."""
        sums = {}
        total = lambda value: float(value.double().sum()) if isinstance(value, torch.Tensor) else 0.0  # noqa: E731

        def note(name, module, given, output):
            called = f"{name} ({type(module).__name__})".lstrip()
            sums.setdefault(called, (total(given[0]) if given else 0.0, total(output)))

        with hooked(self.task.model, left=note):
            self._run(scale)
        return sums

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


class _Rectified(TorchFunctionMode):
    """Run with the identity in place of what comes close to it on positive numbers, as the method's net is linear."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "").strip("_") in RECTIFIERS:
            return args[0] if args else kwargs["input"]
        return func(*args, **(kwargs or {}))


def _linear(name, tensor):  # what is left of a parameter or buffer: sizes, without shifts
    own = name.rpartition(".")[2]
    shift = "bias" in own or own == "running_mean"
    size = tensor.detach().abs() if tensor.is_floating_point() else tensor.detach()
    return torch.zeros_like(tensor) if shift else size


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
