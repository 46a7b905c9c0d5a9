"""Random masks and the checks made of them: each moves what it says, and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ticketlib import masks
from ticketlib.errors import TicketError
from ticketlib.masks import Mask
from ticketlib.models import build, prunable

unhurried = settings(deadline=None)  # a busy machine is no failure


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bits(*rows):
    return torch.tensor(rows, dtype=torch.bool)


@pytest.fixture
def toy():
    return Mask({"a": bits([1, 0, 0], [0, 1, 1]), "b": bits([0, 0])})


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))


class TestRandomMask:
    @unhurried
    @given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=4), st.integers(0, 99))
    def test_counts_are_exact(self, pairs, seed):
        shapes = {str(i): (size,) for i, (size, _) in enumerate(pairs)}
        counts = {str(i): min(count, size) for i, (size, count) in enumerate(pairs)}
        assert masks.random_mask(shapes, counts, generator=seeded(seed)).counts == counts

    def test_every_subset_is_as_likely(self):
        generator, seen = seeded(1), {}
        for _ in range(6000):
            mask = masks.random_mask({"a": (4,)}, {"a": 2}, generator=generator)
            key = tuple(mask["a"].tolist())
            seen[key] = seen.get(key, 0) + 1
        expected = 6000 / 6
        assert len(seen) == 6 and sum((n - expected) ** 2 / expected for n in seen.values()) < 20.5  # 0.1 % of chi2(5)

    def test_repeats_with_the_generator_alone(self):
        torch.manual_seed(0)
        first = masks.random_mask({"a": (30, 9)}, {"a": 100}, generator=seeded(3))
        torch.manual_seed(1)
        assert masks.random_mask({"a": (30, 9)}, {"a": 100}, generator=seeded(3)) == first
        assert masks.random_mask({"a": (30, 9)}, {"a": 100}, generator=seeded(4)) != first


class TestControls:
    def test_rearranged_differs_and_keeps_its_counts(self):
        model = build("resnet8", 10, width=8)
        mask = masks.random_mask(
            prunable(model), {n: w.numel() // 3 for n, w in prunable(model).items()}, generator=seeded()
        )
        other = masks.rearrange(mask, seeded(1))
        assert other.counts == mask.counts and list(other) == list(mask)
        assert all(not torch.equal(other[name], mask[name]) for name in mask)
        assert masks.moved_share(mask, other) == pytest.approx(masks.movable_share(mask), abs=0.02)

    def test_rearranging_whole_layers_moves_nothing(self, net):
        dense = Mask.dense(net)
        assert masks.rearrange(dense, seeded()) == dense and masks.movable_share(dense) == 0

    def test_shuffled_survivors_move_among_their_positions(self):
        model = build("resnet8", 10, width=8)
        mask = masks.random_mask(
            prunable(model), {n: w.numel() // 2 for n, w in prunable(model).items()}, generator=seeded()
        )
        before = {name: w.detach().clone() for name, w in prunable(model).items()}
        masks.shuffle_survivors(model, mask, seeded(1))
        for name, weight in prunable(model).items():
            kept = mask[name]
            assert torch.equal(weight[~kept], before[name][~kept])
            assert not torch.equal(weight[kept], before[name][kept])
            assert torch.equal(weight[kept].sort().values, before[name][kept].sort().values)

    def test_shuffled_all_mixes_pruned_values_in(self):
        model = build("resnet8", 10, width=8)
        before = {name: w.detach().clone() for name, w in prunable(model).items()}
        names = [name for name in before if name != "fc.weight"]
        masks.shuffle_all(model, seeded(1), names)
        for name, weight in prunable(model).items():
            assert torch.equal(weight.flatten().sort().values, before[name].flatten().sort().values)
            assert torch.equal(weight, before[name]) == (name == "fc.weight")

    def test_shuffle_all_of_an_unknown_name_moves_nothing(self, net):
        before = net[0].weight.detach().clone()
        with pytest.raises(TicketError, match="'0.bias' is not prunable"):
            masks.shuffle_all(net, seeded(), ["0.weight", "0.bias"])
        assert torch.equal(net[0].weight, before)

    def test_shuffle_survivors_checks_the_mask(self, net, toy):
        with pytest.raises(TicketError, match="lacks"):
            masks.shuffle_survivors(net, toy, seeded())


class TestOverlap:
    def test_by_hand(self):
        a = Mask({"x": bits([1, 1, 0, 0]), "y": bits([1, 0])})
        b = Mask({"x": bits([0, 1, 1, 0]), "y": bits([1, 0])})
        assert masks.overlap(a, b) == 2 / 3 and masks.moved_share(a, b) == pytest.approx(1 / 3)
        assert masks.chance_overlap(a, b) == (2 * 2 / 4 + 1 * 1 / 2) / 3
        assert masks.movable_share(a) == pytest.approx(1 / 2)

    def test_chance_is_the_mean_over_rearranged_pairs(self):
        a = masks.random_mask({"x": (40,), "y": (10,)}, {"x": 8, "y": 9}, generator=seeded())
        b = masks.random_mask({"x": (40,), "y": (10,)}, {"x": 15, "y": 2}, generator=seeded())
        generator = seeded(5)
        seen = [masks.overlap(masks.rearrange(a, generator), masks.rearrange(b, generator)) for _ in range(2000)]
        assert np.mean(seen) == pytest.approx(masks.chance_overlap(a, b), abs=4 * np.std(seen) / 2000**0.5)

    def test_bad_pairs(self, toy):
        with pytest.raises(TicketError, match="keep 3 and 8"):
            masks.overlap(toy, Mask({name: torch.ones_like(tensor) for name, tensor in toy.items()}))
        with pytest.raises(TicketError, match=r"differ in a .*no such layer"):
            masks.overlap(toy, Mask({"b": toy["b"]}))
        empty = Mask({"a": bits([0, 0])})
        with pytest.raises(TicketError, match="keeps nothing"):
            masks.overlap(empty, empty)
