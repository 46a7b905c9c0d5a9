"""Keep counts: formulas again in numpy, exact totals for any network, errors that name the value."""

from fractions import Fraction
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ticketlib import ratios
from ticketlib.errors import TicketError
from ticketlib.masks import asked_total
from ticketlib.models import build, prunable
from ticketlib.ratios import Layer, apportion, fill, keep_counts, solve_again

unhurried = settings(deadline=None)  # a busy machine is no failure

NAMES = ["smart", "linear", "cubic", "ascending", "uniform", "uniform_plus", "er", "erk", "igq"]
NAMES += ["balanced", "pyramidal"]
FIXING = ("smart", "linear", "cubic", "ascending")


@pytest.fixture(scope="module")
def nets():
    return {name: build(name, 10) for name in ("vgg19", "resnet32")}


def layer(size, kernel=1, linear=False):
    shape = (size, 1) if linear else (size, 1, kernel, kernel)
    return Layer(f"layer{size}", shape, prod(shape), linear)


def table(*sizes, linear=()):
    return [layer(size)._replace(name=str(i)) for i, size in enumerate(sizes)] + [
        layer(size, linear=True)._replace(name=f"fc{i}") for i, size in enumerate(linear)
    ]


class TestFormulas:
    """Each rule again in floats, on a table where the caps do and do not bite."""

    layers = [
        Layer("a", (8, 3, 3, 3), 216, False),
        Layer("b", (16, 8, 3, 3), 1152, False),
        Layer("c", (16, 8, 1, 1), 128, False),
        Layer("d", (32, 16, 3, 3), 4608, False),
        Layer("e", (10, 32), 320, True),
    ]
    n = np.array([216, 1152, 128, 4608, 320.0])
    N = 6424

    def near(self, counts, wanted):
        assert np.abs(np.array(list(counts.values())) - wanted).max() < 1
        assert sum(counts.values()) == round(sum(wanted))

    def test_uniform(self):
        self.near(keep_counts(self.layers, "uniform", 0.75), 0.25 * self.n)

    @pytest.mark.parametrize(("name", "sums"), [("er", [99, 216, 24, 432, 42]), ("erk", [17, 30, 26, 54, 42])])
    @pytest.mark.parametrize("sparsity", [0.5, 0.75, 0.95])
    def test_erdos_renyi_solves_again(self, name, sums, sparsity):
        sums, dense = np.array(sums, float), np.zeros(5, bool)
        while True:
            total = (1 - sparsity) * self.N - self.n[dense].sum()
            wanted = np.where(dense, self.n, sums * total / sums[~dense].sum())
            if (wanted <= self.n).all():
                break
            dense |= wanted > self.n
        self.near(keep_counts(self.layers, name, sparsity), wanted)
        if sparsity == 0.5:
            assert dense.any()

    def test_igq(self):
        counts = np.array(list(keep_counts(self.layers, "igq", 0.9).values()))
        F = (self.n / counts - 1) / self.n  # one constant for all layers, up to the rounding of a count
        assert F.std() / F.mean() < 0.02 and (np.diff(counts[np.argsort(self.n)]) > 0).all()

    def test_pyramidal(self):
        counts = np.array(list(keep_counts(self.layers, "pyramidal", 0.75).values()))
        r = (counts / self.n) ** (1 / np.arange(1, 6))
        assert r.std() < 0.002 and counts.sum() == asked_total(self.N, 0.75)

    def test_balanced(self):
        assert list(keep_counts(self.layers, "balanced", 0.9).values()) == [129, 128, 128, 129, 128]

    def test_balanced_passes_its_excess_on(self):
        # 321.2 each: a fills and hands b 105.2, c hands d 193.2, e hands 1.2 back to b; the remainder goes to b's .6.
        assert list(keep_counts(self.layers, "balanced", 0.75).values()) == [216, 428, 128, 514, 320]

    def test_uniform_plus(self):
        counts = keep_counts(self.layers, "uniform_plus", 0.9)
        others = 0.1 * self.N - 216 - 64
        self.near(counts, np.r_[216, self.n[1:4] * others / self.n[1:4].sum(), 64])

    def test_uniform_plus_where_a_fifth_is_less_than_uniform(self):
        self.near(keep_counts(self.layers, "uniform_plus", 0.5), np.r_[216, self.n[1:] * (3212 - 216) / (self.N - 216)])

    @pytest.mark.parametrize("family", ["resnet", "vgg"])
    @pytest.mark.parametrize(("rule", "p"), [
        ("smart", [30, 20, 12, 6]), ("linear", [5, 4, 3, 2]), ("cubic", [125, 64, 27, 8]),
        ("ascending", [2, 6, 12, 20]),
    ])  # fmt: skip
    def test_rules_by_depth_in_floats(self, family, rule, p):
        p = np.array(p) / (np.arange(1, 5) ** 2 if family == "vgg" else 1)
        wanted = p * self.n[:4] * (0.05 * self.N - 96) / (p * self.n[:4]).sum()
        self.near(keep_counts(self.layers, rule, 0.95, family=family), np.r_[wanted, 96])


class TestEveryRule:
    def test_names(self):
        assert list(ratios.RULES) == NAMES and set(FIXING) == ratios.FIXES_LINEAR

    @unhurried
    @given(
        st.sampled_from(NAMES),
        st.lists(st.integers(1, 3000), min_size=1, max_size=8),
        st.lists(st.integers(1, 300), max_size=2),
        st.integers(0, 999),
        st.sampled_from(["vgg", "resnet"]),
        st.integers(0, 3),
    )
    def test_total_is_exact_and_counts_fit(self, rule, sizes, linear, removed, family, least):
        layers = table(*sizes, linear=linear)
        try:
            counts = keep_counts(layers, rule, removed / 1000, family=family, min_per_layer=least)
        except TicketError as error:
            assert isinstance(error, ratios.NotDefined)
            return
        assert list(counts) == [x.name for x in layers]
        assert sum(counts.values()) == round((1 - Fraction(removed, 1000)) * sum(x.size for x in layers))
        assert all(type(counts[x.name]) is int and min(least, x.size) <= counts[x.name] <= x.size for x in layers)

    @pytest.mark.parametrize("rule", NAMES)
    @pytest.mark.parametrize("name", ["vgg19", "resnet32"])
    def test_denser_keeps_no_less_anywhere(self, nets, rule, name):
        before = None
        for sparsity in (0.99, 0.98, 0.95, 0.9, 0.8, 0.5, 0.2, 0.0):
            counts = keep_counts(nets[name], rule, sparsity)
            # One weight of a layer's own can go to another with the remainder.
            assert before is None or all(counts[n] >= before[n] - 1 for n in counts)
            before = counts
        assert before == {n: w.numel() for n, w in prunable(nets[name]).items()}

    @pytest.mark.parametrize("rule", FIXING)
    def test_linear_layers_are_fixed(self, nets, rule):
        assert keep_counts(nets["vgg19"], rule, 0.98)["fc.weight"] == 1536
        assert keep_counts(nets["vgg19"], rule, 0.98, linear_keep_ratio=1)["fc.weight"] == 5120

    @pytest.mark.parametrize("rule", FIXING)
    def test_the_family_is_the_model_s_or_an_option(self, nets, rule):
        own = keep_counts(nets["resnet32"], rule, 0.9)
        assert own == keep_counts(nets["resnet32"], rule, 0.9, family="resnet")
        assert own != keep_counts(nets["resnet32"], rule, 0.9, family="vgg")
        with pytest.raises(TicketError, match="family"):
            keep_counts(nn.Sequential(nn.Conv2d(3, 8, 3)), rule, 0.9)


class TestLinearLayers:
    def test_none(self):
        counts = keep_counts(nn.Sequential(nn.Conv2d(1, 10, 1), nn.Conv2d(10, 10, 1)), "smart", 0.9, family="resnet")
        assert sum(counts.values()) == 11

    def test_several_are_all_fixed(self):
        counts = keep_counts(table(1000, 1000, linear=(100, 50)), "smart", 0.9, family="resnet")
        assert counts["fc0"] == 30 and counts["fc1"] == 15 and sum(counts.values()) == 215

    def test_nothing_else(self):
        with pytest.raises(TicketError, match="smart"):
            keep_counts(table(linear=(100, 50)), "smart", 0.9, family="resnet")

    def test_more_than_the_budget(self):
        with pytest.raises(TicketError, match="7,680.*1,880"):
            keep_counts(build("resnet32", 200), "smart", 0.999)

    def test_take_what_the_others_cannot_hold(self):
        counts = keep_counts(table(10, linear=(100,)), "smart", 0.1, family="resnet")
        assert counts == {"0": 10, "fc0": 89}


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"rule": "clever"}, "'clever'"),
            ({"rule": None}, "None"),
            ({"sparsity": 1}, "0 <= sparsity < 1"),
            ({"sparsity": -0.1}, "0 <= sparsity < 1"),
            ({"sparsity": 0.9999}, "0.9999"),
            ({"family": "lenet"}, "family 'lenet'"),
            ({"linear_keep_ratio": 1.2}, "linear_keep_ratio 1.2"),
            ({"linear_keep_ratio": "all"}, "linear_keep_ratio 'all'"),
            ({"min_per_layer": -1}, "min_per_layer -1"),
            ({"min_per_layer": 1.5}, "min_per_layer 1.5"),
            ({"min_per_layer": 99}, "min_per_layer 99"),
            ({"rule": "uniform_plus", "sparsity": 0.9}, "uniform_plus"),
        ],
    )
    def test_one_sentence_names_the_value(self, options, match):
        options = {"rule": "smart", "sparsity": 0.5, "family": "resnet"} | options
        with pytest.raises(TicketError, match=match):
            keep_counts(table(50, 40, linear=(20,)), options.pop("rule"), options.pop("sparsity"), **options)


def test_layers_are_named_by_their_place():
    layers = table(5, 6, 7, linear=(8,))
    assert "2" in ratios.called(layers, "1") and "3" in ratios.called(layers, "2")
    assert len({ratios.called(layers, layer.name) for layer in layers}) == 4


def test_layers(nets):
    layers = ratios.layers(nets["resnet32"])
    assert layers[0] == Layer("conv.weight", (32, 3, 3, 3), 864, False)
    assert layers[-1] == Layer("fc.weight", (10, 128), 1280, True) and len(layers) == 34


def test_a_rule_of_one_s_own_is_registered_by_one_decorator():
    @ratios.rule("last_only")
    def last_only(layers, total, family):
        return [0] * (len(layers) - 1) + [1]

    try:
        assert keep_counts(table(10, 10), "last_only", 0.5) == {"0": 0, "1": 10}
        assert keep_counts(table(10, 10), "last_only", 0.4) == {"0": 2, "1": 10}
    finally:
        del ratios.RULES["last_only"]


@pytest.mark.parametrize(("shares", "named"), [
    ([1.0], "1 shares for 2 layers, a to b"), ([1, 1, 1], "3 shares for 2 layers"), ({"a": 1, "b": 1}, "a dict"),
    (torch.ones(2), "a Tensor"), ((i for i in (1, 1)), "a generator"), (None, "a NoneType"),
    ([1, float("nan")], "b nan"), ([float("inf"), 1], "a inf"), ([1, -0.5], "b -0.5"), ([1, "1"], "b '1'"),
    ([True, 1], "a True"), ([torch.tensor(1.0), 1], "a tensor"),
])  # fmt: skip
def test_what_is_no_share_for_each_layer_is_refused_by_rule_layer_and_value(shares, named, monkeypatch):
    monkeypatch.setitem(ratios.RULES, "mine", lambda *_: shares)
    layers = [layer(10)._replace(name=name) for name in "ab"]
    with pytest.raises(TicketError, match=f"rule 'mine' gave {named}"):
        keep_counts(layers, "mine", 0.5)
    for fine in ([0, 1], (0.0, 0.5), [np.int64(0), np.float32(2)]):
        monkeypatch.setitem(ratios.RULES, "mine", lambda *_, fine=fine: fine)
        assert keep_counts(layers, "mine", 0.5) == {"a": 0, "b": 10}


def test_why_a_rule_cannot_be_met_and_what_leaves_a_layer_empty():
    assert ratios.why_not(table(10, 10), "uniform", "0.5") == ""
    assert ratios.defined_counts(table(10, 10), "uniform", "0.5") == {"0": 5, "1": 5}
    assert ratios.why_not(table(10, 10), "uniform", "0.99") == "sparsity 0.99 keeps none of the weights."
    assert ratios.defined_counts(table(10, 10), "uniform", "0.99") is None
    resnet = build("resnet32", 10)
    assert ratios.why_not(resnet, "ascending", "0.98") == ""  # it empties the first layer
    assert ratios.defined_counts(resnet, "ascending", "0.98") is None
    with pytest.raises(TicketError, match="ascendingly"):
        ratios.why_not(resnet, "ascendingly", "0.98")


def test_linear_layers_to_nearest_and_a_fifth_or_more_and_a_budget_that_just_fits():
    assert keep_counts(table(1000, linear=(12,)), "smart", 0.9, family="resnet")["fc0"] == 4  # 3.6
    assert keep_counts(table(1000, linear=(12,)), "smart", 0.9, family="resnet", linear_keep_ratio=0)["fc0"] == 0
    assert keep_counts(table(10, 1000, linear=(51,)), "uniform_plus", 0.9)["fc0"] == 11  # 10.2
    assert keep_counts(table(10, 10), "uniform", 0.8, min_per_layer=2) == {"0": 2, "1": 2}


class TestApportion:
    def test_surplus_goes_to_the_next_layers_and_then_back(self):
        assert fill([10, 10, 10], [25, 1, 1]) == [10, 10, 7]
        assert fill([10, 10, 10], [1, 1, 25]) == [10, 7, 10]
        assert fill([10, 10, 10], [5, 12, 3]) == [5, 10, 5]

    def test_a_late_overflow_is_not_lost(self):
        """The paper's loop keeps 170 of these 220, as it stops at the first layer that does not overflow."""
        assert apportion([100] * 3, [20, 50, 150], 220) == [70, 50, 100]

    def test_remainder_by_largest_fraction_ties_by_order(self):
        assert apportion([9, 9, 9], [1, 1, 1], 4) == [2, 1, 1]
        assert apportion([9, 9, 9], [Fraction(5, 4), Fraction(3, 2), Fraction(5, 4)], 4) == [1, 2, 1]

    def test_no_shares_means_by_size(self):
        assert apportion([4, 8], [0, 0], 6) == [2, 4]

    @given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 1000)), min_size=1, max_size=9), st.floats(0, 1))
    def test_apportion_is_exact(self, pairs, part):
        sizes, shares = zip(*pairs, strict=True)
        total = round(part * sum(sizes))
        counts = apportion(list(sizes), list(shares), total)
        assert sum(counts) == total and all(0 <= c <= n for c, n in zip(counts, sizes, strict=True))

    @given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 1000)), min_size=1, max_size=9), st.floats(0.01, 1))
    def test_solve_again_never_overflows(self, pairs, part):
        sizes, shares = zip(*pairs, strict=True)
        total = round(part * sum(sizes))
        solved = solve_again(sizes, shares, total)
        assert sum(solved) == total and all(0 <= c <= n for c, n in zip(solved, sizes, strict=True))


# Kept fractions of the paper's rule, calculated from its code: CIFAR-10, the classifier (at .3) left out.
VGG19 = {
    0.90: [1.0] * 6 + [0.3177, 0.1730, 0.1119, 0.0725, 0.0466, 0.0294, 0.0179, 0.0103, 0.0054, 0.0024],
    0.95: [1.0] * 4 + [0.6686, 0.2180, 0.1355, 0.0865, 0.0559, 0.0362, 0.0233, 0.0147, 0.0089, 0.0051, 0.0027, 0.0012],
    0.98: [1.0] * 2
    + [0.8384, 0.2635, 0.1461, 0.0870, 0.0541, 0.0345, 0.0223, 0.0145, 0.0093, 0.0059, 0.0036, 0.0020, 0.0011, 0.0005],
}
RESNET32 = {0.90: (0.7975, 0.0040), 0.95: (0.3981, 0.0020), 0.98: (0.1574, 0.0008)}


def authors_floor(layers, sparsity, squared):  # the paper's arithmetic, floors and all, without its early break
    conv = [x for x in layers if not x.linear]
    linear = sum(x.size for x in layers if x.linear)
    L = len(layers)
    p = np.array([((L - i) ** 2 + (L - i)) / (i + 1) ** squared for i in range(len(conv))])
    n = np.array([x.size for x in conv], float)
    p *= (round((1 - sparsity) * (n.sum() + linear)) - int(0.3 * linear)) / (p * n).sum()
    surplus = 0.0
    for i in range(len(conv)):
        p[i] += surplus / n[i]
        surplus = max(p[i] - 1, 0) * n[i]
        p[i] = min(p[i], 1)
    return np.floor(p * n + 1e-6).astype(int)


class TestGolden:
    @pytest.mark.parametrize("sparsity", VGG19)
    def test_vgg19(self, nets, sparsity):
        layers = ratios.layers(nets["vgg19"])
        sizes = np.array([x.size for x in layers[:-1]])
        floors = authors_floor(layers, sparsity, 2)
        assert (floors / sizes).round(4).tolist() == VGG19[sparsity]
        counts = np.array(list(keep_counts(nets["vgg19"], "smart", sparsity).values()))
        assert set(counts[:-1] - floors) <= {0, 1} and counts[-1] == 1536  # the remainder goes by largest fraction
        assert counts.sum() == asked_total(20_024_000, sparsity)

    @pytest.mark.parametrize("sparsity", RESNET32)
    def test_resnet32(self, nets, sparsity):
        layers = ratios.layers(nets["resnet32"])
        floors = authors_floor(layers, sparsity, 0)
        ends = (floors[0] / layers[0].size, floors[-1] / layers[-2].size)
        assert tuple(np.round(ends, 4)) == RESNET32[sparsity]
        counts = np.array(list(keep_counts(nets["resnet32"], "smart", sparsity).values()))
        assert set(counts[:-1] - floors) <= {0, 1} and counts[-1] == 384
        assert counts.sum() == asked_total(1_855_584, sparsity)

    def test_ablations_on_resnet32(self, nets):
        share = {
            rule: [count / x.size for count, x in zip(counts.values(), ratios.layers(nets["resnet32"]), strict=True)]
            for rule in FIXING
            for counts in [keep_counts(nets["resnet32"], rule, 0.98)]
        }
        assert [round(x, 3) for x in (share["linear"][0], share["linear"][-2])] == [0.069, 0.004]
        assert 254 <= 864 * share["cubic"][0] <= 255 and share["cubic"][-2] < 1e-4  # .2940 with the floors
        assert share["ascending"][0] == 0

    @pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.98])
    def test_ascending_on_a_resnet_leaves_the_first_layer_empty_unless_guarded(self, nets, sparsity):
        literal = keep_counts(nets["resnet32"], "ascending", sparsity)
        guarded = keep_counts(nets["resnet32"], "ascending", sparsity, min_per_layer=32)
        assert literal["conv.weight"] == 0 and guarded["conv.weight"] == 32
        assert sum(literal.values()) == sum(guarded.values())

    def test_ascending_on_a_vgg_is_almost_uniform(self, nets):
        counts = keep_counts(nets["vgg19"], "ascending", 0.9)
        share = [count / x.size for count, x in zip(counts.values(), ratios.layers(nets["vgg19"]), strict=True)]
        assert round(share[0], 3) == 0.183 and round(share[-2], 3) == 0.097

    def test_cubic_on_resnet32_at_90_keeps_the_first_layer_whole(self, nets):
        counts = keep_counts(nets["resnet32"], "cubic", 0.9)
        assert counts["conv.weight"] == 864 and sum(counts.values()) == asked_total(1_855_584, 0.9)
