"""Estimates, tests, Holm and the number of seeds: toys by hand, SciPy as oracle, simulation with a fixed seed."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

from ticketlib.analysis import stats
from ticketlib.errors import TicketError

unhurried = settings(deadline=None)  # a busy machine is no failure
points = st.lists(st.floats(-100, 100), min_size=2, max_size=10)


def normal(shape, mean=0.0, sd=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, shape)


def test_paired_difference_averages_over_sparsities_within_a_seed():
    a = [[80, 70], [81, 72], [79, 71]]
    b = [[79, 72], [80, 70], [79, 70]]
    assert stats.paired_difference(a, b).tolist() == [-0.5, 1.5, 0.5]


def test_paired_difference_without_seeds_is_empty():
    empty = np.empty((0, 2))
    assert stats.paired_difference(empty, empty).shape == (0,)


@pytest.mark.parametrize("a", [[80.0], [[80.0, None]], [[80.0, math.nan]], [[80.0, 101.0]], [[80.0, -1.0]], [[]],
                               [["x", "y"]], [[80.0], [79.0]], [[1, 2], [3]]])
def test_paired_difference_refuses(a):
    with pytest.raises(TicketError):
        stats.paired_difference(a, [[80.0, 70.0]])


def test_seed_table_keeps_complete_seeds_in_order():
    accuracies = {"a": {2: 80.0, 0: 81.0, 5: 82.0}, "b": {0: 71.0, 2: 72.0, 3: 73.0}}
    seeds, table = stats.seed_table(accuracies, ["b", "a"])
    assert seeds == [0, 2] and table.tolist() == [[71.0, 81.0], [72.0, 80.0]]
    seeds, table = stats.seed_table(accuracies, ["a", "missing"])
    assert seeds == [] and table.shape == (0, 2)


def test_t_interval_by_hand():
    estimate = stats.t_interval([1, 2, 3])
    half = 4.302652729911275 / math.sqrt(3)  # t table, 2 degrees of freedom; the deviation is 1
    assert (estimate.point, estimate.n, estimate.sd, estimate.confidence) == (2, 3, 1, 0.95)
    assert (estimate.low, estimate.high) == pytest.approx((2 - half, 2 + half))


def test_too_few_seeds_have_no_interval():
    assert stats.t_interval([]) == stats.Estimate(None, None, None, 0, None, 0.95)
    assert stats.t_interval([0.7]) == stats.Estimate(0.7, None, None, 1, None, 0.95)
    for values in ([], [0.7]):
        assert stats.superiority_p(values) is stats.tost_p(values, 1) is stats.noninferiority_p(values, 1) is None


def test_no_spread_is_certain():
    estimate = stats.t_interval([0.1] * 3)
    assert (estimate.low, estimate.point, estimate.high, estimate.sd) == (0.1, 0.1, 0.1, 0.0)
    assert stats.superiority_p([0.1] * 3) == 0 and stats.superiority_p([0.0] * 3) == 1
    assert stats.tost_p([0.1] * 3, 1) == 0 and stats.tost_p([1.0] * 3, 1) == 1 and stats.tost_p([2.0] * 3, 1) == 1


@pytest.mark.parametrize("values", [[1, math.nan], [1, math.inf], [[1, 2]], ["x"], None])
def test_values_that_are_no_numbers_are_refused(values):
    with pytest.raises(TicketError):
        stats.t_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, -1, 95, math.nan])
def test_confidence_is_checked(confidence):
    with pytest.raises(TicketError):
        stats.t_interval([1, 2], confidence)


@unhurried
@given(points, st.floats(0.1, 5))
def test_tests_agree_with_scipy(values, margin):
    if np.ptp(values) < 1e-6:
        return
    above = oracle.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = oracle.ttest_1samp(values, margin, alternative="less").pvalue
    assert stats.noninferiority_p(values, margin) == pytest.approx(above)
    assert stats.tost_p(values, margin) == pytest.approx(max(above, below))
    one_sided = oracle.ttest_1samp(values, 0, alternative="greater").pvalue
    assert stats.superiority_p(values) == pytest.approx(min(1, 2 * one_sided))


@unhurried
@given(points, st.floats(0.1, 5))
def test_each_test_matches_its_interval(values, margin):
    ninety, ninety_five = stats.t_interval(values, 0.90), stats.t_interval(values, 0.95)
    assert (stats.tost_p(values, margin) < 0.05) == (-margin < ninety.low and ninety.high < margin)
    assert (stats.noninferiority_p(values, margin) < 0.05) == (ninety.low > -margin)
    assert (stats.superiority_p(values) < 0.05) == (ninety_five.low > 0)


def test_decisive_p_counts_evidence_either_way():
    good, bad = [3.0, 3.1, 2.9], [-3.0, -3.1, -2.9]
    assert stats.decisive_p("superiority", good, None) == stats.decisive_p("superiority", bad, None) < 0.01
    assert stats.decisive_p("noninferiority", bad, 1) == stats.p_below(bad, -1) < 0.01
    assert stats.decisive_p("equivalence", good, 1) == stats.p_above(good, 1) < 0.01
    assert stats.decisive_p("equivalence", bad, 1) == pytest.approx(stats.decisive_p("equivalence", good, 1))
    assert stats.decisive_p("equivalence", [0.1, -0.1, 0.05], 1) == stats.tost_p([0.1, -0.1, 0.05], 1)
    assert stats.decisive_p("equivalence", [1.0], 1) is None


def test_holm_by_hand():
    adjusted = stats.holm([0.01, 0.04, 0.03, 0.005])
    assert [holm.p_adjusted for holm in adjusted] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [holm.decided for holm in adjusted] == [True, False, False, True]
    assert [holm.level for holm in adjusted] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_holm_counts_what_has_no_p_yet():
    first, missing = stats.holm([0.03, None])
    assert not first.decided and first.level == 0.025 and first.p_adjusted == 0.06
    assert missing == stats.Holm(None, None, 0.025, False)
    assert stats.holm([]) == []


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p(p):
    with pytest.raises(TicketError):
        stats.holm([0.5, p])


@unhurried
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_decides_between_bonferroni_and_none(p_values):
    adjusted = stats.holm(p_values)
    for p, holm in zip(p_values, adjusted, strict=True):
        assert p <= holm.p_adjusted <= 1 and 0.05 / len(p_values) <= holm.level <= 0.05
        assert holm.decided == (p <= holm.level)  # the interval at this level says the same as the step-down
        assert holm.decided or p > 0.05 / len(p_values)


@unhurried
@given(st.lists(points, min_size=1, max_size=4), st.floats(0.1, 5))
def test_holm_decision_is_that_of_the_adjusted_interval(family, margin):
    for values, holm in zip(family, stats.holm([stats.tost_p(values, margin) for values in family]), strict=True):
        adjusted, plain = stats.t_interval(values, 1 - 2 * holm.level), stats.t_interval(values, 0.90)
        assert holm.decided == (-margin < adjusted.low and adjusted.high < margin)
        assert adjusted.low <= plain.low + 1e-9 and plain.high <= adjusted.high + 1e-9


def test_interval_covers_as_often_as_it_says():
    covered = [estimate.low < 0.3 < estimate.high for estimate in map(stats.t_interval, normal((2000, 6), 0.3))]
    assert abs(np.mean(covered) - 0.95) < 0.015


def test_power_agrees_with_simulation():
    for n, sd in ((6, 0.7), (8, 0.8), (10, 1.2)):
        simulated = np.mean([stats.tost_p(values, 1.0) < 0.05 for values in normal((1500, n), 0, sd, seed=n)])
        assert abs(simulated - stats.tost_power(n, sd, 1.0)) < 0.04


def test_power_at_its_ends():
    assert stats.tost_power(1, 1.0, 1.0) == 0 and stats.tost_power(5, 0, 1.0) == 1
    assert stats.tost_power(10, 50.0, 1.0) < 0.001


@pytest.mark.parametrize("sd", [0.3, 0.6, 0.9, 1.5, 3.0])
def test_the_formula_reaches_its_power_and_one_seed_less_hardly_does(sd):
    asked = stats.seeds_needed(sd, 1.0).asked
    assert stats.tost_power(asked, sd, 1.0) >= 0.8 > stats.tost_power(asked - 2, sd, 1.0)


def test_seeds_are_clipped_and_the_sentence_says_so():
    few, some, many = (stats.seeds_needed(sd, 1.0) for sd in (0.0, 0.8, 1.5))
    assert (few.asked, few.n, few.power) == (2, 6, 1.0)
    assert (some.asked, some.n) == (8, 8) and some.power > 0.8 > some.strictest
    assert some.sentence == (
        "A spread of 0.80 points, at a margin of 1, needs 8 seeds. With 8, a true difference of zero is shown to be "
        f"none with a chance of {100 * some.power:.0f} % ({100 * some.strictest:.0f} % at Holm's strictest level)."
    )
    assert "The protocol takes at least 6. With 6, " in few.sentence
    assert "needs 21 seeds. The protocol takes at most 10. With 10, " in many.sentence
    assert (many.asked, many.n) == (21, 10) and many.power < 0.3
    assert f"10 seeds resolve a margin of {many.resolves:.2f} points" in many.sentence
    assert stats.seeds_needed(1.5, many.resolves + 1e-9).asked == 10


@pytest.mark.parametrize(("sd", "margin"), [(None, 1), (-1, 1), (math.nan, 1), (1, 0), (1, math.nan), (1, 999)])
def test_seeds_refuse_bad_input(sd, margin):
    with pytest.raises(TicketError):
        stats.seeds_needed(sd, margin)


def test_accuracies_of_none_and_of_all_are_accuracies():
    assert stats.paired_difference([[100.0, 0.0]], [[0.0, 0.0]]).tolist() == [50]
