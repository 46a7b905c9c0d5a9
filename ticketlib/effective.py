"""Effective sparsity: weights that lie on no live path from input to output do not count."""

import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from ticketlib.errors import TicketError
from ticketlib.models import (
    as_they_are,
    check_values,
    evaluating,
    located,
    logits,
    prunable,
    uncompiled,
    unwrapped,
)  # fmt: skip

WEIGHTED = {"conv1d", "conv2d", "conv3d", "linear", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
MAX_POOLS = {f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)}
# These change values but start and end no path. (A sigmoid of 0 is not 0, yet nothing has come in.)
PASS_ON = {f"{kind}_norm" for kind in ("batch", "instance", "group", "layer", "rms")}
PASS_ON |= {"relu", "relu_", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish", "hardswish"}
PASS_ON |= {"hardtanh", "sigmoid", "hardsigmoid", "tanh", "softplus", "softmax", "log_softmax", "celu", "neg"}
PASS_ON |= {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
# Of two signals, or of one and a constant, which starts nothing, and ends only what it multiplies by zero.
SUMS = {"add", "add_", "sub", "sub_", "rsub", "__rsub__"}
SCALED = {"mul", "mul_", "div", "div_"}
# These move values, add them up or average them: zeros stay zeros, and what is above stays above.
MOVES = {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "movedim", "squeeze", "unsqueeze"}
MOVES |= {"expand", "repeat", "flip", "repeat_interleave", "contiguous", "clone", "to", "float", "__get__"}
MOVES |= {"cat", "concat", "stack", "split", "chunk", "unbind", "narrow", "select", "index_select", "__getitem__"}
MOVES |= {"sum", "mean", "avg_pool1d", "avg_pool2d", "avg_pool3d", "pad", "interpolate", "pixel_shuffle", "roll"}
MOVES |= {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "channel_shuffle", "expand_as"}
MOVES |= {"size", "dim", "numel", "requires_grad_", "is_floating_point", "__len__", "stride", "is_contiguous"}


def effective_sparsity(model, mask, input_shape):
    """Compute the fraction of the prunable weights that are pruned or lie on no live path from input to output.

    A path is live if none of its weights is pruned. Padding is no input, biases and constants start nothing,
    normalisations and activations pass on what comes in, and a pooling window is live if any of its values is. The
    network is looked at in evaluation mode: stochastic depth would cut paths at random.

    Arguments: model, any module of convolutions, linear layers, pools, sums and what passes on; mask, a Mask of it;
        input_shape, without the batch, as (channels, height, width).
    Returns: float, at least mask.sparsity, at most 1. The model is left as it was found.
    Raises: TicketError if the mask is not the model's, or naming the layer that does what paths are not defined for, as
        attention and gates do, which multiply two signals.
    Source: Vysogorets and Kempe (2023), whose code adds up path values; here only their existence is passed on.
    """
    mask.check(model)
    check_values(model)
    model = unwrapped(model)
    with torch.inference_mode(False), torch.enable_grad(), uncompiled(), evaluating(model):
        bits = {name: mask[name].float().requires_grad_() for name in prunable(model)}
        others = {name: torch.ones(p.shape) for name, p in model.named_parameters() if name not in bits}
        others |= {name: torch.zeros_like(buffer, device="cpu").copy_(buffer) for name, buffer in model.named_buffers()}
        signal = torch.ones(1, *input_shape, requires_grad=True)
        with located(model) as inside, _PathsOnly(inside), as_they_are(model, others | bits, inside):
            output = logits(functional_call(model, others | bits, (signal,)))
        uses = torch.autograd.grad(output.sum(), list(bits.values()), materialize_grads=True)
    # A pruned weight that would join two live ends has uses as well, so the mask is asked again.
    live = sum(
        int((used > 0.5).logical_and_(mask[name]).count_nonzero()) for used, name in zip(uses, bits, strict=True)
    )
    return (mask.size - live) / mask.size


class _Live(torch.autograd.Function):
    """1 where a value is above a bound on the way forward, 1 where a gradient is on the way back; nothing grows."""

    @staticmethod
    def forward(ctx, x, bound, bound_back):
        ctx.bound = bound_back
        return (x > bound).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return (gradient > ctx.bound).to(gradient.dtype), None, None


class _PathsOnly(TorchFunctionMode):
    """Run a forward pass on zeros and ones that say whether a path arrives, whichever way a function is called.

    Arguments: inside, names of the modules entered, for the error.
    """

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        signals = [one for one in args if _is_signal(one)]
        if name in WEIGHTED:
            return _weighted(func, *args, **kwargs)
        if name in MAX_POOLS:
            return _pooled(name, *args, **kwargs)
        if name in PASS_ON:
            return args[0] if args else kwargs["input"]
        if name in SUMS and len(signals) == 2:
            return signals[0].add_(signals[1]) if name.endswith("_") else signals[0] + signals[1]
        if name in SUMS | SCALED and len(signals) == 1:
            return _alone(signals[0], args, name)
        result = func(*args, **kwargs)
        if name not in MOVES and any(map(_is_signal, result if isinstance(result, tuple | list) else [result])):
            where = self.inside[-1] if self.inside else "the network"
            raise TicketError(f"Effective sparsity is not defined for {where}: {name} adds up no paths.")
        return result


def _is_signal(value):
    return isinstance(value, torch.Tensor) and value.requires_grad


def _alone(signal, args, name):
    """A signal beside a constant, in their common shape: as it is, or 0 where the constant of a product is.

    What changes its argument does so here as well.
    """
    constant = next((torch.as_tensor(one) for one in args if one is not signal), torch.ones(()))
    kept = (constant != 0) | (name in SUMS)
    return signal.mul_(kept) if name.endswith("_") and not signal.is_leaf else signal * kept


def _weighted(func, input, weight, bias=None, *args, **kwargs):
    # Between the two, values and gradients are counts: 0.5 tells none from one however a kernel adds them up.
    return _Live.apply(func(_Live.apply(input, 0, 0.5), weight, None, *args, **kwargs), 0.5, 0)


def _pooled(name, input, size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    average = getattr(F, name.replace("max", "avg"))  # positive where any value is, with a gradient for each of them
    if name.startswith("adaptive"):
        return average(input, size)
    if dilation not in (1, (1,), (1, 1), (1, 1, 1)):
        raise TicketError(f"dilation {dilation} of a max-pool is not allowed for effective sparsity; it must be 1.")
    return average(input, size, stride, padding, ceil_mode)
