"""Effective sparsity: live paths against a count of every path, one by one."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ticketlib import masks, ratios
from ticketlib.effective import effective_sparsity
from ticketlib.errors import TicketError
from ticketlib.masks import Mask
from ticketlib.models import build, prunable

unhurried = settings(deadline=None)  # a busy machine is no failure


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(model, share, seed=0):
    counts = {name: max(1, round(w.numel() * share)) for name, w in prunable(model).items()}
    return masks.random_mask(prunable(model), counts, generator=seeded(seed))


def live_edges(matrices):
    """Walk every path through a chain of bool matrices (out, in) and mark the edges it uses."""
    live = [np.zeros_like(m) for m in matrices]
    widths = [matrices[0].shape[1], *(m.shape[0] for m in matrices)]
    for path in itertools.product(*map(range, widths)):
        edges = list(zip(path[1:], path, strict=False))
        if all(m[edge] for m, edge in zip(matrices, edges, strict=True)):
            for mark, edge in zip(live, edges, strict=True):
                mark[edge] = True
    return sum(int(mark.sum()) for mark in live)


@unhurried
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_is_a_count_of_paths(widths, seed, share):
    model = nn.Sequential(*[nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)])
    bits = {name: torch.rand(w.shape, generator=seeded(seed)) < share for name, w in prunable(model).items()}
    mask = Mask(bits)
    live = live_edges([b.numpy() for b in bits.values()])
    assert effective_sparsity(model, mask, (widths[0],)) == pytest.approx(1 - live / mask.size)


def test_dead_ends_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    mask = Mask({"0.weight": torch.tensor([[True, True], [False, True]]), "2.weight": torch.tensor([[False, True]])})
    assert effective_sparsity(model, mask, (2,)) == pytest.approx(1 - 2 / 6)  # the first unit leads nowhere


def test_a_channel_without_input_is_not_revived_by_its_bias_or_batch_norm():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(1)
    mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(model).items()}
    mask["0.weight"][0] = False
    assert effective_sparsity(model, Mask(mask), (1, 8, 8)) == pytest.approx(1 - (9 + 9) / 36)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(1), nn.AdaptiveAvgPool2d(1)])
def test_a_window_is_live_if_any_value_of_it_is(pool):
    """A 3x3 kernel with one corner kept reads padding at one place of each 2x2 window."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 1, 2, 2))
    kernel = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    kernel[0, 0, 0, 0] = kernel[0, 0, 2, 2] = True
    mask = Mask({"0.weight": kernel, "4.weight": torch.ones(2, 1, dtype=torch.bool)})
    assert effective_sparsity(model, mask, (1, 2, 2)) == pytest.approx(1 - 4 / 11)


@pytest.mark.parametrize(("conv", "pool"), [
    (nn.Conv1d, nn.MaxPool1d(2, dilation=(1,))), (nn.Conv3d, nn.MaxPool3d(2, dilation=(1, 1, 1))),
    (nn.Conv2d, nn.MaxPool2d(2, dilation=(1, 1))), (nn.Conv1d, nn.AdaptiveMaxPool1d(2)),
    (nn.Conv3d, nn.AdaptiveMaxPool3d(1)),
])  # fmt: skip
def test_windows_of_any_dimension(conv, pool):
    """Of two channels the second is cut: what follows it is dead, what follows the first in the same window is not."""
    net = nn.Sequential(conv(1, 2, 1), pool, conv(2, 3, 1))
    shape = {nn.Conv1d: (1, 4), nn.Conv2d: (1, 2, 2), nn.Conv3d: (1, 2, 2, 2)}[conv]
    bits = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(net).items()}
    bits["0.weight"][1] = False
    assert effective_sparsity(net, Mask(bits), shape) == pytest.approx(1 - (1 + 3) / 8)


class Functional(nn.Module):
    """Pools, normalises and drops by functions instead of modules."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Linear(2, 2)

    def forward(self, x):
        x = F.dropout(F.max_pool2d(F.gelu(self.norm(self.conv(x))), 2), training=self.training)
        return F.log_softmax(self.fc(F.adaptive_max_pool2d(torch.sigmoid(x), 1).flatten(1)), 1)


def test_functions_are_treated_as_modules_are():
    model = Functional()
    mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(model).items()}
    assert effective_sparsity(model, Mask(mask), (1, 4, 4)) == 0
    mask["conv.weight"][1] = False
    assert effective_sparsity(model, Mask(mask), (1, 4, 4)) == pytest.approx(1 - (9 + 2) / 22)
    mask["conv.weight"][0, 0, :2] = False
    mask["conv.weight"][0, 0, 2, :2] = False
    assert effective_sparsity(model, Mask(mask), (1, 4, 4)) == pytest.approx(1 - (1 + 2) / 22)


def test_a_residual_path_keeps_what_follows_alive():
    model = build("resnet8", 3, width=2)
    mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(model).items()}
    mask["blocks.0.conv1.weight"] = torch.zeros_like(mask["blocks.0.conv1.weight"])
    dead = sum(mask[f"blocks.0.conv{i}.weight"].numel() for i in (1, 2))  # conv2 has no input, the rest has
    assert effective_sparsity(model, Mask(mask), (3, 16, 16)) == pytest.approx(dead / Mask(mask).size)


def test_kernels_on_a_map_of_one_pixel_use_their_centre_only():
    model = nn.Conv2d(2, 3, 3, padding=1)
    assert effective_sparsity(model, Mask.dense(model), (2, 1, 1)) == pytest.approx(8 / 9)


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_never_below_the_sparsity(share):
    model = build("resnet20", 10, width=8)
    mask = draw(model, share)
    assert mask.sparsity <= effective_sparsity(model, mask, (3, 32, 32)) <= 1


def test_is_the_same_for_values_that_floats_cannot_hold():
    """110 layers of dense paths overflow a float sum of paths, not a question of whether there is one."""
    model = build("resnet110", 10, width=4)
    assert effective_sparsity(model, Mask.dense(model), (3, 32, 32)) == 0


def test_an_empty_layer_of_a_chain_kills_everything():
    model = build("vgg11", 10, width=0.1)
    counts = ratios.keep_counts(model, "uniform", 0.5) | {"features.4.weight": 0}
    mask = masks.random_mask(prunable(model), counts, generator=seeded())
    assert effective_sparsity(model, mask, (3, 32, 32)) == 1


def test_leaves_the_model_as_found():
    model = build("resnet8", 10, width=4)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = [p.grad.clone() for p in model.parameters()]
    with torch.no_grad():
        effective_sparsity(model, draw(model, 0.3), (3, 8, 8))
    assert model.training and all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))


def test_a_dilated_max_pool_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2, dilation=2))
    with pytest.raises(TicketError, match="dilation 2"):
        effective_sparsity(model, Mask.dense(model), (1, 8, 8))


def test_a_mask_of_another_net_is_refused():
    with pytest.raises(TicketError, match="has shape"):
        effective_sparsity(build("resnet8", 10, width=4), Mask.dense(build("resnet8", 10, width=8)), (3, 8, 8))


def test_paths_that_training_cuts_at_random_count_as_there():
    class Depth(nn.Sequential):  # stochastic depth that has lost its branch
        def forward(self, x):
            return super().forward(x) * (0 if self.training else 1)

    net = Depth(nn.Linear(3, 2))
    mask = masks.Mask({"0.weight": torch.ones(2, 3).bool()})
    assert effective_sparsity(net, mask, (3,)) == 0 and net.training
