"""Keep-counts compared: hand values, scipy's and sklearn-free independent formulas, invariants."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import linregress

from ticketlib import masks, ratios
from ticketlib.analysis import layerwise

SIZES = {"first": 100, "second": 900}
CLEAN, SPOILT = {"first": 50, "second": 50}, {"first": 60, "second": 40}
COUNTS = st.tuples(st.integers(1, 100), st.integers(0, 900)).map(lambda pair: dict(zip(SIZES, pair, strict=True)))


def test_ratios_and_shares_stand_in_the_order_of_the_sizes():
    backwards = {"second": 50, "first": 150}
    assert layerwise.keep_ratios({"second": 9, "first": 50}, SIZES) == pytest.approx([0.5, 0.01])
    assert layerwise.layer_shares(backwards, SIZES) == pytest.approx([0.75, 0.25])


def test_total_variation_by_hand():
    assert layerwise.total_variation(CLEAN, SPOILT) == pytest.approx(0.1)
    smart, uniform = {"a": 4, "b": 4, "c": 1}, {"c": 3, "b": 3, "a": 3}  # by name, not by place
    assert layerwise.total_variation(smart, uniform) == pytest.approx(2 / 9)
    assert layerwise.total_variation({"a": 2, "b": 0}, {"a": 0, "b": 7}) == 1  # of shares, not of counts


def test_the_largest_change_is_that_of_a_keep_ratio():
    assert layerwise.largest_change(CLEAN, SPOILT, SIZES) == (pytest.approx(0.1), "first")
    assert layerwise.largest_change(CLEAN, {"first": 49, "second": 500}, SIZES) == (pytest.approx(0.5), "second")


def test_divergence_is_scipys_weighted_by_size():
    parts = [size / 1000 * jensenshannon([p, 1 - p], [q, 1 - q], base=2) ** 2
             for size, p, q in ((100, 0.5, 0.6), (900, 50 / 900, 40 / 900))]  # fmt: skip
    assert layerwise.divergence(CLEAN, SPOILT, SIZES) == pytest.approx(sum(parts))
    assert layerwise.divergence(SIZES, dict.fromkeys(SIZES, 0), SIZES) == pytest.approx(1)


@given(COUNTS, COUNTS)
def test_distances_are_symmetric_within_zero_and_one_and_zero_for_equal_counts(a, b):
    for far in (layerwise.total_variation, lambda a, b: layerwise.divergence(a, b, SIZES)):
        assert far(a, b) == pytest.approx(far(b, a)) and -1e-12 < far(a, b) < 1 + 1e-12
        assert far(a, a) == pytest.approx(0, abs=1e-12)


def test_the_movable_share_is_that_of_a_mask():
    generator = torch.Generator().manual_seed(0)
    mask = masks.random_mask({"first": (10, 10), "second": (30, 30)}, CLEAN, generator=generator)
    assert layerwise.movable_share(CLEAN, SIZES) == pytest.approx(masks.movable_share(mask))
    assert layerwise.movable_share(CLEAN, SIZES) == pytest.approx((50 * 50 / 100 + 50 * 850 / 900) / 100)


def test_agreement_left_divides_means_not_seeds():
    assert layerwise.agreement_left(0.5, 0.25, 0.75, 0.25) == 0.5
    left = layerwise.agreement_left([0.5, 0.35], [0.25, 0.25], [0.75, 0.35], [0.25, 0.25])
    assert left == pytest.approx((0.25 + 0.1) / (0.5 + 0.1))
    assert np.isnan(layerwise.agreement_left(0.5, 0.25, 0.25, 0.25))


def test_the_live_share_is_taken_of_the_kept_weights():
    assert layerwise.live_share(0.9, CLEAN, SIZES) == pytest.approx(1)
    assert layerwise.live_share(0.975, CLEAN, SIZES) == pytest.approx(0.25)
    assert layerwise.live_share(0.975, {"first": 50, "second": 0}, SIZES) == pytest.approx(0.5)


def layers(*sizes, linear=0):
    last = len(sizes) - linear
    return [ratios.Layer(f"{i}", (size,), size, i >= last) for i, size in enumerate(sizes)]


def test_inner_layers_are_the_convolutions_but_the_first():
    assert [layer.size for layer in layerwise.inner(layers(9, 20, 30, 5, linear=1))] == [20, 30]


def test_depth_and_size_go_together_or_against_each_other():
    assert layerwise.depth_and_size(layers(3, 4, 70, 80, 1, linear=1)) == pytest.approx(1)
    assert layerwise.depth_and_size(layers(80, 70, 4, 3, 99, linear=1)) == pytest.approx(-1)


def test_what_a_line_explains():
    sizes = [10, 40, 10, 40, 10]
    assert layerwise.depth_and_size_r2([0.16, 0.08, 0.04, 0.02, 0.01], sizes) == pytest.approx((1, 0))
    assert layerwise.depth_and_size_r2([0.4, 0.1, 0.4, 0.1, 0.4], sizes) == pytest.approx((0, 1))
    kept, by = [0.4, 0.0, 0.1, 0.3], [1.0, 2.0, 3.0, 5.0]  # an empty layer has no logarithm
    oracle = linregress([1, 3, 5], np.log([0.4, 0.1, 0.3])).rvalue ** 2
    assert layerwise.r_squared(kept, by) == pytest.approx(oracle)
    halves = layerwise.depth_and_size_r2([0.5, 0.4, 0.1], [2, 4, 16])[1]
    assert halves == pytest.approx(linregress(np.log([2, 4, 16]), np.log([0.5, 0.4, 0.1])).rvalue ** 2)
    assert np.isnan(layerwise.r_squared([0.1, 0.2], [5, 5])) and np.isnan(layerwise.r_squared([0.1, 0.1], [1, 2]))


def test_first_over_last_averages_three_layers_at_either_end():
    assert layerwise.first_over_last([0.2, 0.4, 0.6, 0.9, 0.1, 0.05, 0.15]) == pytest.approx(4)
    assert layerwise.first_over_last([0.4, 0.4, 0.4, 0, 0, 0]) == float("inf")


@pytest.mark.parametrize("equal, shrinking, word", [
    ([4, 2], [4, 2], "place"), ([1, 1.9], [0.5, 0.3], "size"), ([1, 1], [1, 1], "neither"),
    ([4, 2], [2, 1], "place and size"), ([4, 2], [2.1, 1], "place"), ([4, 1.9], [0.5, 0.51], "neither"),
    ([4, 2], [0.5, 0.5], "place and size"),
])  # fmt: skip
def test_the_word_follows_the_rule(equal, shrinking, word):
    assert layerwise.follows(equal, shrinking) == word
