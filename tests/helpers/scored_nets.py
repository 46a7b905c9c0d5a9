"""Small tickets, batches and finite differences that tests share."""

import torch

from ticketlib import masks, ratios
from ticketlib.models import build, prunable

METHODS = ["random", "magnitude", "snip", "grasp", "synflow"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=12, channels=3, size=8, classes=4):
    return torch.randn(count, channels, size, size, generator=seeded(7)), torch.arange(count) % classes


def ticket(sparsity="0.8"):
    """A small network for digits and a random mask of it, applied."""
    net = build("resnet8", 10, 1, width=4)
    counts = ratios.keep_counts(net, "uniform", sparsity)
    mask = masks.random_mask(prunable(net), counts, generator=seeded(1))
    mask.apply(net)
    return net, mask


def along(weight, index, function, step=1e-5):
    """Central difference of a function as one weight shrinks towards 0, per unit of its own size."""
    value = weight.data[index].item()
    ends = []
    for sign in (1, -1):
        weight.data[index] = value * (1 - sign * step)
        ends.append(function())
    weight.data[index] = value
    return (ends[0] - ends[1]) / (2 * step)
