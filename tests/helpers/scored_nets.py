"""Small networks, tickets and batches that tests share."""

import pytest
import torch
from torch import nn

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


@pytest.fixture
def net():
    """Batch norm, a pool, a shared path and a frozen layer, away from their initial state."""
    model = build("resnet8", 4, width=4, generator=seeded())
    model(batch()[0] * 3 + 1)  # running statistics move
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(parameter.numel())))
    return model


@pytest.fixture
def toy():
    """Smooth, in float64: finite differences are exact enough."""
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(parameter.numel())).double())
    images = torch.randn(6, 5, generator=seeded(1)).double()
    return model, images, torch.tensor([0, 1, 2, 0, 1, 2])
