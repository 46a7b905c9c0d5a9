"""Exact selection against a stable full sort."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketlib import masks
from ticketlib.errors import TicketError
from ticketlib.ranking import SAMPLE, kth_largest, top

unhurried = settings(deadline=None)  # a busy machine is no failure


def oracle(flat, count):  # by a stable full sort
    keep = np.zeros(len(flat), bool)
    keep[np.argsort(-flat, kind="stable")[:count]] = True
    return keep


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
        with pytest.raises(TicketError, match="0 <= sparsity < 1"):
            masks.asked_total(10, sparsity)


class TestSelection:
    @unhurried
    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.data())
    def test_top_is_the_stable_sort(self, values, data):
        flat, count = np.array(values, float), data.draw(st.integers(0, len(values)))
        assert (top(flat, count) == oracle(flat, count)).all()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(SAMPLE, 6 * SAMPLE), st.integers(1, 10**6), st.floats(0, 1))
    def test_kth_largest_of_many(self, seed, size, values, place):
        flat = np.random.default_rng(seed).integers(0, values, size).astype(np.float32)
        k = 1 + int(place * (size - 1))
        assert kth_largest(flat, k) == np.sort(flat)[size - k]

    @pytest.mark.parametrize(
        "flat", [np.arange(9e4), -np.arange(9e4), np.arange(9e4) % 22, np.repeat([0, 1, 2], [80_000, 9, 9])]
    )
    @pytest.mark.parametrize("place", [0, 0.02, 0.5, 0.98, 1])
    def test_kth_largest_of_patterns(self, flat, place):
        k = 1 + int(place * (flat.size - 1))
        assert kth_largest(flat.astype(np.float32), k) == np.sort(flat)[flat.size - k]

    def test_infinities_are_ranked(self):
        mask = masks.global_mask({"a": torch.tensor([-torch.inf, 1.0, torch.inf, 0.0])}, 0.25)
        assert mask["a"].tolist() == [False, True, True, True]
