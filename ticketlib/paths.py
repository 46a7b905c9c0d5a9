"""Effective sparsity: weights that lie on no live path from input to output do not count."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from ticketlib.models import is_prunable, prunable


class _Alive(torch.autograd.Function):
    """1 where the value is positive, on the way forward; 1 where the gradient is, on the way back. Never overflows."""

    @staticmethod
    def forward(ctx, x):
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return (gradient > 0).to(gradient.dtype)


def effective_sparsity(model, mask, input_shape):
    """Fraction of the prunable weights that are pruned or lie on no live path from an input to an output.

    A path is live if none of its weights is pruned; padding is no input. Batch norm and ReLU pass everything on, biases
    start nothing, and a pooling window is live if any of its values is.

    Arguments: model, any module of convolutions, linear layers, batch norms, pools and ReLUs; mask, a Mask of it;
        input_shape, (channels, height, width).
    Returns: float, at least mask.sparsity, at most 1.
    Source: Vysogorets & Kempe (2023) for the idea; the code is ours.
    """
    mask.check(model)
    twin = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    for name, weight in prunable(twin).items():
        weight.copy_(mask[name])
        weight.requires_grad_(True)
    for module in twin.modules():
        module.register_forward_hook(_live)
    output = twin(torch.ones(1, *input_shape))
    output.sum().backward()
    gradients = {name: weight.grad for name, weight in prunable(twin).items() if weight.grad is not None}
    return 1 - sum(int(((found > 0) & mask[name]).sum()) for name, found in gradients.items()) / mask.size


def _live(module, inputs, output):
    """What a module passes on when only the existence of paths counts."""
    if is_prunable(module):
        bias = module.bias
        if bias is not None:
            output = output - bias.view(-1, *[1] * (output.dim() - 2 if output.dim() > 2 else 0))
        return _Alive.apply(output)
    if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Dropout):
        return inputs[0]
    if isinstance(module, nn.MaxPool2d):
        pooled = F.avg_pool2d(inputs[0], module.kernel_size, module.stride, module.padding, module.ceil_mode)
        return _Alive.apply(pooled)
    return output
