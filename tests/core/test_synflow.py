"""SynFlow: its definition in numpy, conservation, rounds, and a range that no depth overflows."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from ticketlib import masks, pruners, synflow
from ticketlib.errors import TicketError
from ticketlib.models import build, prunable
from ticketlib.ratios import layers


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chain(*widths):
    model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in zip(widths, widths[1:], strict=False)])
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=seeded(layer.weight.numel())))
    return model


def relative(scores):  # every score over the best
    flat = torch.cat([s.double().flatten() for s in scores.values()])
    return flat / flat.max()


def oracle(matrices, sparsity, rounds):
    """Rounds of prune-by-threshold on the chain 1' |W3| |W2| |W1| 1, by closed formula; returns the kept bits."""
    size = sum(w.size for w in matrices)
    alive = [np.ones(w.shape, bool) for w in matrices]
    for done in range(1, rounds + 1):
        w = [abs(m) * a for m, a in zip(matrices, alive, strict=True)]
        scores = []
        for i in range(len(w)):
            below, above = np.ones(w[0].shape[1]), np.ones(w[-1].shape[0])
            for m in w[:i]:
                below = m @ below
            for m in w[:i:-1]:
                above = above @ m
            scores.append(np.where(alive[i], np.outer(above, below) * w[i], -1).ravel())
        count = round(size * (round((1 - sparsity) * size) / size) ** (done / rounds))
        kept = np.zeros(size, bool)
        kept[np.argsort(-np.concatenate(scores), kind="stable")[:count]] = True
        ends = np.cumsum([m.size for m in matrices])[:-1]
        alive = [k.reshape(m.shape) for k, m in zip(np.split(kept, ends), matrices, strict=True)]
    return alive


@pytest.mark.parametrize("rounds", [1, 2, 10, 100])
def test_is_the_closed_formula_on_a_chain(rounds):
    model = chain(6, 8, 7, 3)
    scores = pruners.score(model, "synflow", torch.zeros(1, 6), sparsity=0.8, rounds=rounds)
    mask = masks.global_mask(scores, 0.8)
    wanted = oracle([w.detach().numpy().astype(float) for w in prunable(model).values()], 0.8, rounds)
    for got, want in zip(mask.values(), wanted, strict=True):
        assert (got.numpy() == want).all()


def test_removed_weights_rank_below_all_others():
    model = build("resnet8", 10, width=8)
    scores = pruners.score(model, "synflow", sparsity=0.9, rounds=10)
    size = sum(s.numel() for s in scores.values())
    alive = sum(int((s >= 0).sum()) for s in scores.values())
    assert alive == round(size * 0.1**0.9) and all(((s == -1) | (s >= 0)).all() for s in scores.values())


def test_rounds_avoid_the_collapse_of_a_single_shot():
    """In one shot the wide layers of a deep narrow chain lose all; in rounds every layer keeps a path."""
    model = chain(4, 200, 200, 200, 4)
    one, many = (
        masks.global_mask(pruners.score(model, "synflow", torch.zeros(1, 4), sparsity=0.9995, rounds=r), 0.9995)
        for r in (1, 100)
    )
    assert not many.empty_layers and min(many.counts.values()) > min(one.counts.values())


def test_schedule_has_no_effect_at_sparsity_zero():
    model = build("resnet8", 10, width=4)
    scores = pruners.score(model, "synflow", sparsity=0, rounds=5)
    single = pruners.score(model, "synflow", sparsity=0, rounds=1)
    torch.testing.assert_close(relative(scores), relative(single))


def test_signs_biases_and_running_means_change_nothing():
    model = build("vgg11", 10, width=0.25)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, tensor in other.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.add_(3)
        for weight in prunable(other).values():
            weight.neg_()
    one, two = (relative(pruners.score(m, "synflow", sparsity=0.5, rounds=3)) for m in (model, other))
    torch.testing.assert_close(one, two)


def test_batch_norm_scales_count():
    model = build("vgg11", 10, width=0.25)
    with torch.no_grad():
        model.features[1].weight[0] = 0  # kills the first channel of the first convolution
    scores = pruners.score(model, "synflow", sparsity=0.5, rounds=1)
    assert (scores["features.0.weight"][0] == 0).all() and (scores["features.0.weight"][1] > 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e9])
def test_scale_of_the_weights_does_not_matter(scale):
    model = chain(5, 6, 6, 6, 6, 6, 6, 6, 3)
    one = pruners.score(model, "synflow", torch.zeros(1, 5), sparsity=0.6, rounds=4)
    with torch.no_grad():
        for weight in prunable(model).values():
            weight.mul_(scale)
    two = pruners.score(model, "synflow", torch.zeros(1, 5), sparsity=0.6, rounds=4)
    assert masks.global_mask(one, 0.6) == masks.global_mask(two, 0.6)
    torch.testing.assert_close(relative(one), relative(two), rtol=1e-3, atol=1e-6)


def test_a_net_that_no_flow_passes_has_no_scores():
    model = chain(4, 5, 3)
    with torch.no_grad():
        model[1].weight.zero_()
    with pytest.raises(TicketError, match="no flow"):
        pruners.score(model, "synflow", torch.zeros(1, 4), sparsity=0.5, rounds=5)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        nn.Sequential(nn.Conv1d(2, 4, 3, groups=2), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 2)),
    ],
)
def test_the_input_is_taken_from_the_first_layer_where_no_image_is_given(model):
    scores = pruners.score(model, "synflow", sparsity=0.5, rounds=2)
    assert masks.global_mask(scores, 0.5).kept == masks.asked_total(sum(x.size for x in layers(model)), 0.5)


def test_the_input_size_follows_the_images():
    model = build("resnet8", 10, in_channels=1, width=4)
    small, large = (
        pruners.score(model, "synflow", torch.zeros(2, 1, size, size), sparsity=0.5, rounds=1) for size in (4, 32)
    )
    assert not torch.allclose(relative(small), relative(large), rtol=0.01)
    assert math.isfinite(float(relative(small).sum()))


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_density_falls_exponentially_over_the_rounds(monkeypatch, rounds):
    model, counts, keep = chain(6, 8, 7, 3), [], synflow.Flow.keep
    monkeypatch.setattr(synflow.Flow, "keep", lambda self, count: (counts.append(count), keep(self, count)))
    pruners.score(model, "synflow", torch.zeros(1, 6), sparsity=0.8, rounds=rounds)
    size, final = 125, 25
    assert counts == [round(size * (final / size) ** (done / rounds)) for done in range(1, rounds)]


def test_a_flow_that_only_a_logarithm_holds():
    """Beyond float32 in either direction the scores are still those of the same net at another scale."""
    for depth, factor in ((30, 1e9), (30, 1e-9), (16, 1e-20), (16, 1e20)):
        plain = chain(*[4] * (depth + 1))
        scaled = copy.deepcopy(plain)
        with torch.no_grad():
            for weight in prunable(scaled).values():
                weight.mul_(factor)
        one, two = (pruners.score(m, "synflow", torch.zeros(1, 4), sparsity=0.5, rounds=1) for m in (plain, scaled))
        torch.testing.assert_close(relative(one), relative(two), rtol=1e-3, atol=1e-6)


def test_a_buffer_that_is_no_number_stays_as_it_is():
    class Gated(nn.Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.register_buffer("open", torch.tensor([True, False]))

        def forward(self, x):
            return torch.where(self.open, super().forward(x), 0.0)

    scores = pruners.score(Gated(), "synflow", torch.ones(1, 3), sparsity="0.5", rounds=1)["weight"]
    assert (scores[0] > 0).all() and not scores[1].any()
