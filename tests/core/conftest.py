"""What tests of the core share: small networks, and folders of their own."""

import pytest
import torch
from scored_nets import batch, seeded
from torch import nn

from ticketlib.models import build


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """A cache and a working folder of the test's own, and no folder of images."""
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TICKETLIB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


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
