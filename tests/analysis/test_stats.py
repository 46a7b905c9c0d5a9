"""Estimates, tests, power and the number of seeds: toys by hand, SciPy as oracle, simulation with a fixed seed."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

from ticketlib.analysis import stats
from ticketlib.errors import TicketError

unhurried = settings(deadline=None)  # a busy machine is no failure
points = st.lists(st.floats(-100, 100), min_size=2, max_size=10).filter(lambda values: np.ptp(values) > 1e-6)


def normal(shape, mean=0.0, sd=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, shape)


def test_t_interval_by_hand():
    estimate = stats.t_interval([1, 2, 3])
    half = 4.302652729911275 / math.sqrt(3)  # t table, 2 degrees of freedom; the deviation is 1
    assert (estimate.point, estimate.n, estimate.sd, estimate.confidence) == (2, 3, 1, 0.95)
    assert (estimate.low, estimate.high) == pytest.approx((2 - half, 2 + half))


def test_too_few_seeds_have_no_interval():
    assert stats.t_interval([]) == stats.Estimate(None, None, None, 0, None, 0.95)
    assert stats.t_interval([0.7]) == stats.Estimate(0.7, None, None, 1, None, 0.95)
    assert stats.p_above([0.7], 0) is stats.p_below([], 0) is None
    assert stats.t_interval([0.5, 0.7]).n == 2 and stats.p_above([0.5, 0.7], 0) < 0.06


def test_no_spread_is_certain():
    estimate = stats.t_interval([0.1] * 3)
    assert (estimate.low, estimate.point, estimate.high, estimate.sd) == (0.1, 0.1, 0.1, 0.0)
    assert stats.p_above([0.1] * 3, 0) == 0 and stats.p_below([0.1] * 3, 0) == 1
    assert stats.p_above([1.0] * 3, 1) == stats.p_below([1.0] * 3, 1) == 1  # on the bound is not beyond it
    assert stats.p_below([-2.0] * 2, -1) == 0 == stats.p_above([2.0] * 2, 1)


@pytest.mark.parametrize("values", [[1, math.nan], [1, math.inf], [[1, 2]], ["x"], None])
def test_values_that_are_no_numbers_are_refused(values):
    with pytest.raises(TicketError):
        stats.t_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, -1, 95, math.nan])
def test_confidence_is_checked(confidence):
    with pytest.raises(TicketError, match=str(confidence)):
        stats.t_interval([1, 2], confidence)


@unhurried
@given(points, st.floats(-5, 5), st.floats(0.5, 0.99))
def test_intervals_and_tests_agree_with_scipy(values, bound, confidence):
    for test, alternative in ((stats.p_above, "greater"), (stats.p_below, "less")):
        assert test(values, bound) == pytest.approx(oracle.ttest_1samp(values, bound, alternative=alternative).pvalue)
    there = oracle.ttest_1samp(values, 0).confidence_interval(confidence)
    estimate = stats.t_interval(values, confidence)
    assert (estimate.low, estimate.high) == pytest.approx((there.low, there.high), abs=1e-9)


def test_half_of_an_interval():
    assert stats.half_width(8, 0.75, 0.90) == pytest.approx(1.894579 * 0.75 / math.sqrt(8), rel=1e-6)  # ± .50
    assert stats.half_width(8, 0.75, 1 - 2 * 0.0125) == pytest.approx(0.753, abs=1e-3)
    found = stats.t_interval([1, 2, 4], 0.8)
    assert found.high - found.point == pytest.approx(stats.half_width(3, found.sd, 0.8))


def test_errors_over_seeds_and_images_by_hand():
    # Rows are seeds, columns images; what a seed adds, 0 and 2, and what an image adds, 0, 3 and 6, nothing together.
    assert stats.standard_errors([[0, 3, 6], [2, 5, 8]]) == pytest.approx((1.0, math.sqrt(9 / 3)))
    # Together alone: row and column means are all 0, so neither adds anything.
    assert stats.standard_errors([[1, -1], [-1, 1]]) == (0, 0)
    # Column means 0, 2: variance 2; rest ±1, noise 4 / 1 = 4, of which half is taken away: 0 is left.
    assert stats.standard_errors([[1, 1], [-1, 3]]) == pytest.approx((0, 0))
    assert stats.standard_errors([[1, 7], [-1, 9]]) == pytest.approx((0, math.sqrt((32 - 2) / 2)))


def test_errors_agree_with_simulation():
    draws = np.random.default_rng(0)
    seeds, images = draws.normal(0, 0.5, (300, 8, 1)), draws.normal(0, 3, (300, 1, 400))
    tables = seeds + images + draws.normal(0, 4, (300, 8, 400))
    errors = np.array([stats.standard_errors(table) for table in tables])
    assert np.sqrt((errors**2).mean(0)) == pytest.approx([math.sqrt(0.25 / 8 + 16 / 3200), 3 / 20], rel=0.05)


def test_interval_covers_as_often_as_it_says():
    covered = [estimate.low < 0.3 < estimate.high for estimate in map(stats.t_interval, normal((2000, 6), 0.3))]
    assert abs(np.mean(covered) - 0.95) < 0.015


@pytest.mark.parametrize(("n", "sd", "alpha"), [(6, 0.7, 0.05), (8, 0.8, 0.05), (8, 0.8, 0.0125), (10, 1.2, 0.05)])
def test_power_agrees_with_simulation(n, sd, alpha):
    draws = normal((4000, n), 0, sd, seed=n)
    above, below = (oracle.ttest_1samp(draws, bound, axis=1, alternative=alternative).pvalue
                    for bound, alternative in ((-1, "greater"), (1, "less")))  # fmt: skip
    assert abs(np.mean(np.maximum(above, below) < alpha) - stats.tost_power(n, sd, 1.0, alpha)) < 0.025


def test_power_at_its_ends():
    assert stats.tost_power(1, 1.0, 1.0) == 0 and stats.tost_power(2, 0, 1.0) == 1
    assert 0 < stats.tost_power(2, 0.1, 1.0) < 1 and stats.tost_power(10, 50.0, 1.0) < 0.001


@pytest.mark.parametrize("sd", [0.3, 0.6, 0.9, 1.5, 3.0])
def test_the_formula_reaches_its_power_and_one_seed_less_hardly_does(sd):
    asked = stats.seeds_needed(sd, 1.0)
    assert stats.tost_power(asked, sd, 1.0) >= 0.8 > stats.tost_power(asked - 2, sd, 1.0)


def test_seeds_by_hand():
    assert [stats.seeds_needed(sd, 1.0) for sd in (0, 0.8, 1.5)] == [2, 8, 21]
    assert stats.seeds_needed(3.0, 2.0) == 21  # only their ratio counts
    # (t.95 + t.9, 7 degrees of freedom) .8 = (1.8946 + 1.4149) .8 = 2.65, squared 7.01: 8 seeds; with 6 degrees 7.3 > 7
    assert stats.seeds_needed(0.8, 1.0, power=0.9) > 8


def test_a_mean_of_two_is_shown_without_an_interval():
    assert [stats.curve_cell(values)[1].low is None for values in ([1], [1, 2], [1, 2, 4])] == [True, True, False]
    assert stats.curve_cell(iter([1, 2]))[0] == [1, 2] and stats.curve_cell([1, 2])[1].point == 1.5


@pytest.mark.parametrize(("sd", "margin"), [
    (None, 1), (-1, 1), (math.nan, 1), (101, 1), (1, 0), (1, math.nan), (1, 101), (1, 0.009),
])  # fmt: skip
def test_seeds_refuse_bad_input(sd, margin):
    assert stats.seeds_needed(100, 100) == stats.seeds_needed(0.01, 0.01) == stats.seeds_needed(1, 1)  # the ends
    with pytest.raises(TicketError, match=str(sd)):
        stats.seeds_needed(sd, margin)
