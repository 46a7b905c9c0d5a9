"""Masks: checked values, exact counts, ties by index."""

import pickle
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ticketlib import masks
from ticketlib.errors import TicketError
from ticketlib.masks import SAMPLE, Mask, kth_largest, top_k
from ticketlib.models import prunable

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


def counted(net):
    return masks.random_mask(prunable(net), {"0.weight": 4, "2.weight": 1}, generator=seeded())


def oracle(flat, count):  # by a stable full sort
    keep = np.zeros(len(flat), bool)
    keep[np.argsort(-flat, kind="stable")[:count]] = True
    return keep


class TestMask:
    def test_facts(self, toy):
        assert toy.counts == {"a": 3, "b": 0} and toy.sizes == {"a": 6, "b": 2}
        assert (toy.kept, toy.size, toy.sparsity, toy.empty_layers) == (3, 8, 5 / 8, ["b"])
        assert list(toy) == ["a", "b"] and len(toy) == 2 and toy["b"].shape == (1, 2)
        assert repr(toy) == "Mask(3 of 8 weights kept in 2 layers)"

    def test_copies_what_it_is_given(self):
        tensor = bits([1, 0])
        mask = Mask({"a": tensor})
        digest = mask.digest()
        tensor.fill_(True)
        assert mask["a"].tolist() == [[True, False]] and mask.digest() == digest

    def test_equality_and_digest_go_by_content(self, toy):
        again = Mask({"b": toy["b"], "a": toy["a"]})
        assert again == toy and hash(again) == hash(toy) and again.digest() == toy.digest()
        assert pickle.loads(pickle.dumps(toy)) == toy
        flipped, reshaped, renamed = bits([0, 0, 0], [0, 1, 1]), toy["a"].view(3, 2), {"c": toy["a"], "b": toy["b"]}
        for other in ({"a": flipped, "b": toy["b"]}, {"a": reshaped, "b": toy["b"]}, renamed):
            assert Mask(other) != toy and Mask(other).digest() != toy.digest()

    def test_digest_is_frozen(self, toy):
        assert toy.digest() == "c9e96c7b264aeb703c8d3173324889aa41dc4a8413483a693ceb7c484931d5c3"

    @pytest.mark.parametrize("value", [torch.ones(2), torch.ones(2, dtype=torch.uint8), [True]])
    def test_only_bool_tensors(self, value):
        with pytest.raises(TicketError, match="late"):
            Mask({"early": bits([1]), "late": value})

    def test_no_layers(self):
        with pytest.raises(TicketError, match="at least one"):
            Mask({})

    def test_kept_must_be_asked(self):
        assert Mask({"a": bits([1, 0])}, asked=1).kept == 1
        with pytest.raises(TicketError, match="1.*2"):
            Mask({"a": bits([1, 0])}, asked=2)

    def test_check_names_the_layer(self, net):
        good = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(net).items()}
        Mask(good).check(net)
        with pytest.raises(TicketError, match=r"2\.weight"):
            Mask({"0.weight": good["0.weight"]}).check(net)
        with pytest.raises(TicketError, match="extra"):
            Mask(good | {"extra": bits([1])}).check(net)
        with pytest.raises(TicketError, match=r"2\.weight has shape \(2, 1\); the weight has \(1, 2\)"):
            Mask(good | {"2.weight": bits([1], [1])}).check(net)

    def test_apply_zeroes_pruned_weights_alone(self, net):
        mask, before = counted(net), {name: w.detach().clone() for name, w in net.named_parameters()}
        with torch.no_grad():
            net[0].weight[~mask["0.weight"]] = float("nan")
        mask.apply(net)
        for name, weight in prunable(net).items():
            assert torch.equal(weight[mask[name]], before[name][mask[name]])
            assert (weight[~mask[name]] == 0).all()
        assert torch.equal(net[0].bias, before["0.bias"])

    def test_dense(self, net):
        assert Mask.dense(net).counts == {"0.weight": 6, "2.weight": 2} and Mask.dense(net).sparsity == 0


class TestAskedTotal:
    @pytest.mark.parametrize(
        ("size", "sparsity", "kept"),
        [(100, 0.98, 2), (20_024_000, 0.98, 400_480), (270_896, 0.9, 27_090), (10, 0, 10), (5, 0.5, 2), (7, 0.5, 4)]
        + [(3, "0.5", 2), (1, 0.6, 0), (1_000, np.float32(0.9), 100), (1_000, Decimal("0.9995"), 0)],
    )
    def test_nearest_ties_to_even(self, size, sparsity, kept):
        assert masks.asked_total(size, sparsity) == kept

    @unhurried
    @given(st.integers(0, 10**9), st.integers(0, 9999))
    def test_is_the_fraction(self, size, removed):
        density = 1 - Fraction(removed, 10_000)
        assert masks.asked_total(size, removed / 10_000) == round(density * size)

    @pytest.mark.parametrize("sparsity", [1, 1.0, -0.1, float("nan"), float("inf"), "much", None, True, [0.5], "nan"])
    def test_out_of_range(self, sparsity):
        with pytest.raises(TicketError, match="sparsity"):
            masks.asked_total(10, sparsity)


class TestSelection:
    @unhurried
    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.data())
    def test_top_k_is_the_stable_sort(self, values, data):
        flat, count = np.array(values, float), data.draw(st.integers(0, len(values)))
        assert (top_k(flat, count) == oracle(flat, count)).all()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(SAMPLE, 6 * SAMPLE), st.integers(1, 10**6), st.floats(0, 1))
    def test_kth_largest_of_many(self, seed, size, values, place):
        flat = np.random.default_rng(seed).integers(0, values, size).astype(np.float32)
        k = 1 + int(place * (size - 1))
        assert kth_largest(flat, k) == np.sort(flat)[size - k]

    @pytest.mark.parametrize("values", [3, 20, 10**6])
    def test_kth_largest_of_every_place(self, monkeypatch, values):
        monkeypatch.setattr(masks, "SAMPLE", 16)
        monkeypatch.setattr(masks, "MARGIN", 1)
        flat = np.random.default_rng(values).integers(0, values, 150).astype(np.float32)
        ranked = np.sort(flat)[::-1]
        assert [kth_largest(flat, k) for k in range(1, 151)] == ranked.tolist()

    def test_infinities_are_ranked(self):
        mask = masks.global_mask({"a": torch.tensor([-torch.inf, 1.0, torch.inf, 0.0])}, 0.25)
        assert mask["a"].tolist() == [False, True, True, True]


class TestGlobalMask:
    def test_by_hand(self):
        scores = {"a": torch.tensor([[5.0, 1.0], [4.0, -7.0]]), "b": torch.tensor([3.0, 4.5])}
        mask = masks.global_mask(scores, 0.5)
        assert mask["a"].tolist() == [[True, False], [True, False]] and mask["b"].tolist() == [False, True]

    def test_ties_by_index_then_by_layer(self):
        mask = masks.global_mask({"a": torch.ones(3), "b": torch.tensor([1.0, 1.0, 0.0])}, 1 / 3)
        assert mask["a"].tolist() == [True] * 3 and mask["b"].tolist() == [True, False, False]

    @unhurried
    @given(st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=12), min_size=1, max_size=5), st.integers(0, 99))
    def test_is_the_stable_sort_of_all(self, layers, percent):
        scores = {str(i): torch.tensor(values, dtype=torch.float32) for i, values in enumerate([*layers, [3]])}
        layers = [*layers, [3]]  # not all the same
        mask = masks.global_mask(scores, percent / 100)
        flat = np.concatenate([np.array(values, float) for values in layers])
        wanted = oracle(flat, round(Fraction(100 - percent, 100) * len(flat)))
        assert (torch.cat(list(mask.values())).numpy() == wanted).all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
    def test_any_dtype(self, dtype):
        scores = {"a": torch.tensor([1, 9, 3, 7]).to(dtype), "b": torch.tensor([8, 2]).to(dtype)}
        assert masks.global_mask(scores, 0.5).counts == {"a": 2, "b": 1}

    def test_memory_layout_does_not_matter(self):
        scores = torch.randint(0, 3, (4, 5, 3, 3), generator=seeded()).float()
        other = scores.to(memory_format=torch.channels_last)
        assert masks.global_mask({"a": scores}, 0.7) == masks.global_mask({"a": other}, 0.7)

    def test_linear_kept(self):
        scores = {"conv": torch.arange(10.0), "fc": -torch.arange(1.0, 5.0)}
        mask = masks.global_mask(scores, 0.5, linear="kept", linear_names=["fc"])
        assert mask.counts == {"conv": 3, "fc": 4} and mask["conv"].nonzero().flatten().tolist() == [7, 8, 9]

    def test_linear_at_a_keep_ratio_keeps_its_best(self):
        scores = {"conv": torch.arange(10.0), "fc": torch.tensor([1.0, 99.0, 98.0, 97.0])}
        mask = masks.global_mask(scores, 0.5, linear=0.25, linear_names=["fc"])
        assert mask.counts == {"conv": 6, "fc": 1} and mask["fc"].tolist() == [False, True, False, False]

    def test_linear_kept_that_does_not_fit_names_what_does(self):
        scores = {"conv": torch.rand(90, generator=seeded()), "fc": torch.rand(10, generator=seeded())}
        with pytest.raises(TicketError, match=r" 0\.9,"):
            masks.global_mask(scores, 0.95, linear="kept", linear_names=["fc"])
        assert masks.global_mask(scores, 0.9, linear="kept", linear_names=["fc"]).counts == {"conv": 0, "fc": 10}
        with pytest.raises(TicketError, match="0.050000"):
            masks.global_mask(scores, 0, linear=0.5, linear_names=["fc"])

    def test_the_largest_feasible_sparsity_is_feasible(self):
        scores = {"conv": torch.rand(1_854_304, generator=seeded()), "fc": torch.rand(25_600, generator=seeded())}
        with pytest.raises(TicketError, match="0.986382,"):
            masks.global_mask(scores, 0.99, linear="kept", linear_names=["fc"])
        assert masks.global_mask(scores, 0.986382, linear="kept", linear_names=["fc"]).counts["fc"] == 25_600

    @unhurried
    @given(st.integers(0, 500), st.integers(0, 4), st.integers(30, 84))
    def test_min_per_layer(self, seed, least, percent):
        scores = {
            "a": torch.rand(50, generator=seeded(seed)) + 1,
            "b": torch.rand(20, generator=seeded(seed)),
            "c": torch.rand(3, generator=seeded(seed)),
        }
        mask = masks.global_mask(scores, percent / 100, min_per_layer=least)
        assert mask.kept == masks.asked_total(73, percent / 100)
        for name, count in mask.counts.items():
            assert count >= min(least, mask.sizes[name])
            assert (mask[name].numpy() == oracle(scores[name].numpy(), count)).all()
        if all(count >= least for count in masks.global_mask(scores, percent / 100).counts.values()):
            assert mask == masks.global_mask(scores, percent / 100)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"linear": "all"}, "linear 'all'"),
            ({"linear": 1.5, "linear_names": ["a"]}, "linear 1.5"),
            ({"linear": "kept"}, "linear_names"),
            ({"linear": "kept", "linear_names": ["nowhere"]}, "nowhere"),
            ({"min_per_layer": -1}, "min_per_layer -1"),
            ({"min_per_layer": 5}, "does not fit"),
        ],
    )
    def test_bad_options(self, options, match):
        with pytest.raises(TicketError, match=match):
            masks.global_mask({"a": torch.rand(5), "b": torch.rand(5)}, 0.5, **options)

    def test_bad_scores_name_the_layer(self):
        with pytest.raises(TicketError, match="b.*NaN"):
            masks.global_mask({"a": torch.rand(5), "b": torch.tensor([1.0, torch.nan])}, 0.5)
        with pytest.raises(TicketError, match="b"):
            masks.global_mask({"a": torch.rand(5), "b": torch.rand(0)}, 0.5)


class TestFromCounts:
    def test_by_hand_with_ties(self):
        mask = masks.from_counts(
            {"a": torch.tensor([1.0, 2.0, 2.0, 2.0]), "b": torch.tensor([[3.0], [4.0]])}, {"b": 1, "a": 2}
        )
        assert mask["a"].tolist() == [False, True, True, False] and mask["b"].tolist() == [[False], [True]]
        assert list(mask) == ["a", "b"]

    @pytest.mark.parametrize("count", [-1, 3, 1.0, True, None])
    def test_bad_counts(self, count):
        for call in (
            lambda: masks.from_counts({"a": torch.rand(2)}, {"a": count}),
            lambda: masks.random_mask({"a": (2,)}, {"a": count}, generator=seeded()),
        ):
            with pytest.raises(TicketError, match="a.*0 to 2"):
                call()

    def test_other_names(self):
        with pytest.raises(TicketError, match="a, b"):
            masks.from_counts({"a": torch.rand(2)}, {"b": 1})


class TestRandomMask:
    @unhurried
    @given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=4), st.integers(0, 99))
    def test_counts_are_exact(self, layers, seed):
        shapes = {str(i): (size, 1) for i, (size, _) in enumerate(layers)}
        counts = {str(i): round(size * share) for i, (size, share) in enumerate(layers)}
        mask = masks.random_mask(shapes, counts, generator=seed)
        assert mask.counts == counts and all(mask[name].shape == shape for name, shape in shapes.items())

    @pytest.mark.parametrize("count", [1, 3, 5])
    def test_every_place_is_as_likely(self, count):
        generator = seeded()
        drawn = sum(masks.random_bits(6, count, generator).int() for _ in range(3000))
        assert (abs(drawn - 500 * count) < 100).all()  # four standard deviations

    def test_rearranging_keeps_counts_and_moves_places(self):
        mask = masks.random_mask({"a": (8, 5), "b": (3,)}, {"a": 20, "b": 3}, generator=1)
        moved = masks.rearrange(mask, seeded(2))
        assert moved.counts == mask.counts and moved != mask and moved == masks.rearrange(mask, seeded(2))
        counts = {"a": 300, "b": 900}
        wide = masks.random_mask({"a": (1000,), "b": (1000,)}, counts, generator=0)
        share = masks.moved_share(wide, masks.rearrange(wide, seeded(9)))
        assert share == pytest.approx(masks.movable_share(wide), abs=0.03)

    def test_rearranging_whole_layers_moves_nothing(self, net):
        dense = Mask.dense(net)
        assert masks.rearrange(dense, seeded()) == dense and masks.movable_share(dense) == 0

    def test_every_subset_is_as_likely(self):
        generator = seeded(1)
        drawn = (masks.random_mask({"a": (4,)}, {"a": 2}, generator=generator)["a"] for _ in range(6000))
        seen = Counter(tuple(places.tolist()) for places in drawn).values()
        assert len(seen) == 6 and sum((n - 1000) ** 2 / 1000 for n in seen) < 20.5  # 0.1 % of chi2(5)


class TestShuffles:
    @pytest.fixture
    def wide(self):
        net = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10))
        return net, masks.random_mask(prunable(net), {"0.weight": 300, "1.weight": 40}, generator=0)

    def test_survivors_change_places_among_themselves(self, wide):
        net, mask = wide
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        masks.shuffle_survivors(net, mask, 1)
        for name, weight in prunable(net).items():
            now, then = weight.detach()[mask[name]], before[name][mask[name]]
            assert torch.equal(now.sort()[0], then.sort()[0]) and (now != then).sum() > 0.8 * len(now)
            assert torch.equal(weight.detach()[~mask[name]], before[name][~mask[name]])
        assert torch.equal(net[0].bias, before["0.bias"])

    def test_all_values_of_the_named_layers_change_places(self, wide):
        net, _ = wide
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        with pytest.raises(TicketError, match="'2.weight'"):
            masks.shuffle_all(net, 1, ["0.weight", "2.weight"])
        assert torch.equal(net[0].weight, before["0.weight"])
        masks.shuffle_all(net, 1, ["0.weight"])
        assert torch.equal(net[0].weight.flatten().sort()[0], before["0.weight"].flatten().sort()[0])
        assert (net[0].weight != before["0.weight"]).sum() > 500 and torch.equal(net[1].weight, before["1.weight"])
        order = torch.randperm(600, generator=seeded(1))  # the generator alone decides
        assert torch.equal(net[0].weight.flatten(), before["0.weight"].flatten()[order])


class TestOverlap:
    a = Mask({"x": bits([1, 1, 0, 0]), "y": bits([1, 0])})
    b = Mask({"x": bits([0, 1, 1, 1]), "y": bits([0, 0])})

    def test_by_hand(self):
        assert masks.overlap(self.a, self.b) == masks.overlap(self.b, self.a) == 1 / 3
        assert masks.moved_share(self.a, self.b) == pytest.approx(2 / 3)
        assert masks.chance_overlap(self.a, self.b) == (2 * 3 / 4 + 1 * 0 / 2) / 3
        assert masks.movable_share(Mask({"x": bits([1, 1, 0, 0]), "y": bits([1, 1])})) == 1 - (4 / 4 + 4 / 2) / 4
        assert masks.movable_share(Mask({"x": bits([1, 1, 1])})) == 0

    def test_chance_is_the_mean_over_all_rearrangements(self):
        places = [Mask({"x": bits([int(i in kept) for i in range(4)])}) for kept in ({0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3})]  # fmt: skip # noqa: E501
        shares = [masks.overlap(one, other) for one in places for other in places]
        assert masks.chance_overlap(places[0], places[1]) == pytest.approx(np.mean(shares))

    def test_masks_that_cannot_be_compared(self):
        for other, named in ((Mask({"x": bits([1, 1, 0, 0])}), "y"), (Mask({"x": bits([1, 0, 0, 0]), "y": bits([0, 0])}), "1")):  # fmt: skip # noqa: E501
            with pytest.raises(TicketError, match=named):
                masks.overlap(self.a, other)
        empty = Mask({"x": bits([0, 0, 0, 0]), "y": bits([0, 0])})
        with pytest.raises(TicketError, match="nothing"):
            masks.chance_overlap(empty, empty)


@pytest.mark.parametrize(("linear", "kept"), [(0, 0), (0.0, 0), (1, 4), (0.3, 1), (0.4, 2)])
def test_linear_layers_at_the_ends_of_a_keep_ratio(linear, kept):
    scores = {"conv": torch.arange(10.0), "fc": torch.arange(4.0)}
    assert masks.global_mask(scores, 0.5, linear=linear, linear_names=["fc"]).counts == {"conv": 7 - kept, "fc": kept}


def test_a_budget_that_the_reserve_just_fits():
    scores = {"a": torch.arange(6.0) + 9, "b": torch.arange(4.0)}
    assert masks.global_mask(scores, 0.6, min_per_layer=2).counts == {"a": 2, "b": 2}
    with pytest.raises(TicketError, match=" 0.6,"):
        masks.global_mask(scores, 0.7, min_per_layer=2)
    with pytest.raises(TicketError, match="0.300000"):
        masks.global_mask(scores, 0.2, linear=0.25, linear_names=["b"])


def test_random_signs_are_drawn_by_fair_coins_and_change_nothing_else():
    net = nn.Sequential(nn.Linear(100, 100))
    before = net[0].weight.detach().clone()
    mask = Mask({"0.weight": torch.rand(100, 100, generator=seeded()) < 0.5})
    kept = mask["0.weight"]
    masks.random_signs(net, mask, seeded(1))
    after = net[0].weight.detach().clone()
    coins = torch.randint(2, (mask.kept,), generator=seeded(1))
    assert torch.equal(after.abs(), before.abs()) and torch.equal(after[~kept], before[~kept])
    assert torch.equal(after[kept] < 0, coins == 1)  # whatever the sign was before
    assert 0.4 < (after != before)[kept].float().mean() < 0.6
    masks.random_signs(net, mask, seeded(1))
    assert torch.equal(net[0].weight, after)


def test_fresh_magnitudes_keep_signs_places_and_the_norm_of_a_layer(net):
    for layer, values in ((net[0], [[3.0, -4.0, 9.0], [0.0, 0.0, 0.0]]), (net[2], [[2.0, -2.0]])):
        layer.weight.data = torch.tensor(values)
    mask = Mask({"0.weight": bits([1, 1, 0], [0, 0, 0]), "2.weight": bits([0, 0])})
    fresh = {"0.weight": torch.tensor([[-1.0, 1.0, 5.0], [1.0, 1.0, 1.0]]), "2.weight": torch.ones(1, 2)}
    masks.fresh_magnitudes(net, mask, fresh)
    half = (25 / 2) ** 0.5  # two equal values with the norm of 3 and 4
    assert torch.allclose(net[0].weight, torch.tensor([[half, -half, 9.0], [0.0, 0.0, 0.0]]))
    assert torch.equal(net[2].weight, torch.tensor([[2.0, -2.0]]))
