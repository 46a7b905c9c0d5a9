"""The rule from differences to words: hand-known intervals, every line of the scale, Holm by hand, whole claims."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from synthetic import row

from ticketlib.analysis import pairs, verdicts
from ticketlib.analysis.pairs import Difference
from ticketlib.errors import TicketError
from ticketlib.experiments import claims
from ticketlib.experiments.claims import BETTER, CLAIMS, FAR_BETTER, FAR_WORSE, NOT_BETTER, NOT_WORSE, SAME, WORSE
from ticketlib.experiments.ledger import frame
from ticketlib.experiments.machine import kind

ZIGZAG = (-1, 1, -1, 1, -1, 1)  # mean 0; t quantiles of five degrees of freedom: 2.015 and 2.571, so the 90 % interval
# of m + s * ZIGZAG is m ± .901 s and the 95 % interval m ± 1.150 s
READ = (*verdicts.SETTLED, NOT_WORSE, NOT_BETTER, verdicts.OPEN)
A, B, C, D1, D2 = CLAIMS.values()


def difference(points, collapsed=0, **against):
    """A difference of so many seeds, of which some runs of arm a collapsed."""
    a, b = (pd.DataFrame({"collapsed": pd.Series([i < k for i in range(len(points))], dtype=bool)})
            for k in (collapsed, 0))  # fmt: skip
    return Difference(pd.Series(points, dtype=float), a, b, **against)


def zigzag(mean, size):
    return [mean + size * z for z in ZIGZAG]


@pytest.mark.parametrize(("mean", "size", "word", "off_zero"), [
    (0, 1, SAME, False), (0.5, 0.5, SAME, False), (0.5, 0.4, SAME, True), (-0.5, 0.4, SAME, True),
    (3, 1, FAR_BETTER, False), (-3, 1, FAR_WORSE, False), (1.5, 1, BETTER, False), (-1.5, 1, WORSE, False),
    (0.5, 1, NOT_WORSE, False), (-0.5, 1, NOT_BETTER, False), (0, 2, verdicts.OPEN, False),
    (1, 0.95, NOT_WORSE, False), (1, 0.85, BETTER, False),  # .90 and 1.15 sizes
    (1, 0, BETTER, False), (-1, 0, WORSE, False), (0.9, 0, SAME, True),  # no spread: an end on the margin is not inside
])  # fmt: skip
def test_words_of_intervals(mean, size, word, off_zero):
    reading = verdicts.read(difference(zigzag(mean, size)), 1.0, 6)
    assert (reading.word, reading.off_zero, reading.n, reading.alpha) == (word, off_zero, 6, 0.05)
    assert reading.mean == pytest.approx(mean) and reading.said.startswith(word.replace("the margin", "1"))
    assert reading.narrow == pytest.approx((mean - 0.9011 * size, mean + 0.9011 * size), abs=1e-3)
    assert reading.wide == pytest.approx((mean - 1.1496 * size, mean + 1.1496 * size), abs=1e-3)


@pytest.mark.parametrize(("narrow", "wide", "word"), [
    ((-1, 0.5), (-1.1, 0.6), NOT_BETTER), ((-0.5, 1), (-0.6, 1.1), NOT_WORSE), ((-1, 1), (-2, 2), verdicts.OPEN),
    ((1, 2), (0, 3), NOT_WORSE), ((1, 2), (0.1, 3), BETTER), ((-2, -1), (-3, 0), NOT_BETTER),
    ((-2, -1), (-3, -0.1), WORSE), ((1.1, 2), (0, 3), FAR_BETTER), ((-2, -1.1), (-3, 0), FAR_WORSE),
    ((-0.9, 0.9), (-3, 3), SAME),
])  # fmt: skip
def test_an_end_that_touches_a_bound_is_not_beyond_it(narrow, wide, word):
    assert verdicts.settled(narrow, wide, 1) == word


def test_a_stricter_level_widens_both_intervals():
    reading = verdicts.read(difference(zigzag(0.5, 0.5)), 1.0, 6, alpha=0.025)
    assert reading.narrow == pytest.approx((0.5 - 0.5748, 0.5 + 0.5748), abs=1e-3)  # the 95 % interval
    assert reading.word == NOT_WORSE and verdicts.read(difference(zigzag(0.5, 0.5)), 2.0, 6, 0.025).word == SAME


LINES = [  # what stands against a difference, in the protocol's order
    (verdicts.NOT_DEFINED, "not defined here", dict(undefined="no solution")),
    (verdicts.NOT_TESTABLE, "not testable here", dict(untested=("no weights moved (seed 3)",))),
    (verdicts.REFUSED, "refused: device, threads differ", dict(refused=("device", "threads"))),
    (verdicts.SEEDS_MISSING, "7 of 8 seeds", dict(points=[0.1] * 7)),
    (verdicts.COLLAPSED, "collapsed 3 of 16 runs", dict(collapsed=3)),
]


@pytest.mark.parametrize("line", range(len(LINES)))
def test_the_first_line_that_applies_gives_the_word(line):
    word, said, _ = LINES[line]
    given = {"points": [0.1] * 8}
    for _, _, against in LINES[line:]:
        given |= against
    reading = verdicts.read(difference(**given), 1.0, 8)
    assert reading.word == word and reading.said == said.replace("16", str(2 * len(given["points"])))


def test_without_pairs_a_difference_is_not_run_unless_it_cannot_be():
    assert verdicts.read(difference([]), 1.0, 8).word == verdicts.NOT_RUN
    assert verdicts.read(difference([], undefined="no solution"), 1.0, 8).word == verdicts.NOT_DEFINED
    assert verdicts.read(difference([], untested=("known to fail",)), 1.0, 8).word == verdicts.NOT_TESTABLE
    assert verdicts.read(difference([0.0] * 8), 1.0, 8).word == verdicts.NOT_TESTABLE
    assert verdicts.read(difference([0.0] * 7 + [0.1]), 1.0, 8).word == SAME


def test_no_word_rests_on_fewer_than_six_seeds():
    assert verdicts.read(difference([0.1, 0.2, 0.1, 0.2, 0.1]), 1.0, 2).said == "5 of 6 seeds"
    assert verdicts.read(difference([0.1, 0.2] * 3), 1.0, 2).word == SAME
    assert verdicts.read(difference([0.1]), 1.0, 2).narrow is None


values = st.lists(st.floats(-20, 20) | st.floats(-2, 2) | st.just(0.0), max_size=10)
flags = st.fixed_dictionaries({}, optional=dict(
    untested=st.just(("x",)), refused=st.just(("device",)), undefined=st.just("x"), collapsed=st.integers(0, 3)))


@settings(deadline=None)
@given(values, flags, st.floats(0.1, 5), st.integers(1, 10), st.floats(0.005, 0.05))
def test_the_rule_is_total_and_says_what_the_interval_says(points, against, margin, n, alpha):
    reading = verdicts.read(difference(points, **against), margin, n, alpha)
    assert reading.word in (*verdicts.UNREAD, *READ) and reading.n == len(points)
    for demand in {one.demand for claim in CLAIMS.values() for one in claim.demanded}:
        slack = verdicts.slack(reading, demand, margin)
        assert (slack is None) == (reading.word in verdicts.UNREAD)
        assert slack is None or (slack > 0) == (reading.word in demand)
    assert verdicts.slack(reading, (), margin) is None
    turned = verdicts.read(difference([-point for point in points], **against), margin, n, alpha)
    opposite = {BETTER: WORSE, FAR_BETTER: FAR_WORSE, NOT_WORSE: NOT_BETTER}
    opposite |= {b: a for a, b in opposite.items()}
    assert turned.word == opposite.get(reading.word, reading.word)


def test_slack_by_hand():
    def of(mean, size, demand):
        reading = verdicts.read(difference(zigzag(mean, size)), 1.0, 6)
        return pytest.approx(verdicts.slack(reading, demand, 1.0), abs=2e-3)

    assert of(0.5, 0.5, (SAME,)) == 1 - 0.9506 == of(-0.5, 0.5, (SAME,))
    assert of(0.5, 1, (SAME, NOT_WORSE, BETTER, FAR_BETTER)) == 1 - 0.4011
    assert of(3, 1, (BETTER, FAR_BETTER)) == 3 - 1.1496  # above zero
    assert of(1.2, 0.1, (BETTER, FAR_BETTER)) == 1.2 + 0.0901 - 1  # past the margin, else it is the same
    assert of(-3, 1, (WORSE, FAR_WORSE)) == 3 - 1.1496 and of(3, 1, (WORSE, FAR_WORSE)) == -3 - 1.1496


def test_the_smallest_p_is_that_of_the_tests_the_scale_makes():
    def p(points, bound, alternative):
        return ttest_1samp(points, bound, alternative=alternative).pvalue

    near, above, below, far = zigzag(0.1, 0.5), zigzag(0.9, 1), zigzag(-0.9, 1), zigzag(3, 1)
    assert verdicts.smallest_p(near, 1) == pytest.approx(p(near, 1, "less"))  # inside: the larger of the two
    assert verdicts.smallest_p(above, 1) == pytest.approx(p(above, 0, "two-sided"))
    assert verdicts.smallest_p(below, 1) == pytest.approx(p(below, 0, "two-sided"))
    assert verdicts.smallest_p(above, 1, noninferiority=True) == pytest.approx(p(above, -1, "greater"))
    assert verdicts.smallest_p(far, 1) == pytest.approx(min(p(far, 0, "two-sided"), p(far, 1, "greater")))
    high = zigzag(30, 1)
    assert verdicts.smallest_p(high, 25) == pytest.approx(p(high, 0, "two-sided"))
    assert verdicts.smallest_p(zigzag(30, 1), 0.1) == pytest.approx(p(high, 0.1, "greater"))
    assert verdicts.smallest_p(zigzag(-30, 1), 0.1) == pytest.approx(p(high, 0.1, "greater"))


def test_holm_by_hand():
    assert verdicts.holm_levels([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])
    assert verdicts.holm_levels([0.001, 0.002, 0.003]) == pytest.approx([0.05 / 3, 0.025, 0.05])
    assert verdicts.holm_levels([0.03, None]) == [0.025, 0.025]  # what has no interval is counted last
    assert verdicts.holm_levels([None, 0.01]) == [0.05, 0.025]
    assert verdicts.holm_levels([0.025, 0.05]) == [0.025, 0.05]  # a p at its level has not failed
    assert verdicts.holm_levels([None]) == [0.05] and verdicts.holm_levels([]) == []


@given(st.lists(st.floats(0, 1) | st.none(), max_size=6))
def test_holm_lies_between_bonferroni_and_none(p_values):
    for p, level in zip(p_values, verdicts.holm_levels(p_values), strict=True):
        assert 0.05 / len(p_values) <= level <= 0.05
        if p is not None and p <= 0.05 / len(p_values):
            assert p <= level


# claims


def words(*of):
    """The word of a claim whose demanded comparisons, each of which demands *same*, have these words."""
    return verdicts.claim_word(pd.DataFrame([dict(word=w, demanded=True, as_claimed=w == SAME) for w in of]
                                            + [dict(word=verdicts.NOT_RUN, demanded=False, as_claimed=False)]))


@pytest.mark.parametrize(("of", "word"), [
    ((SAME, SAME, SAME), "yes"), ((SAME, WORSE, SAME), "in part"), ((SAME, verdicts.OPEN, verdicts.OPEN), "in part"),
    ((WORSE, FAR_WORSE, BETTER), "no"), ((FAR_BETTER, BETTER), "no"), ((WORSE, NOT_BETTER), "open"),
    ((WORSE, NOT_WORSE), "open"), ((verdicts.OPEN, WORSE), "open"), ((WORSE, verdicts.COLLAPSED), "open"),
    ((SAME, verdicts.COLLAPSED), "in part"), ((verdicts.COLLAPSED,), "open"),
    ((verdicts.NOT_RUN, verdicts.NOT_RUN), "not run"), ((verdicts.NOT_RUN, SAME), verdicts.SEEDS_MISSING),
    ((verdicts.SEEDS_MISSING, SAME), verdicts.SEEDS_MISSING), ((verdicts.SEEDS_MISSING,) * 2, verdicts.SEEDS_MISSING),
    ((verdicts.NOT_TESTABLE, SAME, SAME), "yes"), ((verdicts.REFUSED, WORSE), "no"),
    ((verdicts.NOT_DEFINED, SAME, WORSE), "in part"), ((verdicts.NOT_TESTABLE, verdicts.NOT_RUN), "not run"),
    ((verdicts.NOT_TESTABLE, verdicts.SEEDS_MISSING), verdicts.SEEDS_MISSING),
    ((verdicts.NOT_TESTABLE, verdicts.REFUSED, verdicts.NOT_DEFINED), "not testable here"),
])  # fmt: skip
def test_words_of_claims(of, word):
    assert words(*of) == word


def levels(claim, *of):
    """The words and levels of a claim's comparisons from their points."""
    readings = verdicts.readings_of(claim, [difference(points) for points in of], 1.0, 6)
    return [reading.word for reading in readings], [reading.alpha for reading in readings]


def test_a_claims_family_shares_its_level_and_what_stands_beside_does_not():
    sure, unsure, wide = zigzag(-3, 0.2), zigzag(-0.9, 0.8), zigzag(0, 2)
    # -.9 ± 1.150 * .8 at 5 %: just within zero, and not at 2.5 %
    assert levels(D1, sure, zigzag(-0.93, 0.8), wide) == ([FAR_WORSE, WORSE, verdicts.OPEN], [0.025, 0.05, 0.05])
    assert levels(D1, wide, zigzag(-0.93, 0.8), sure)[0] == [verdicts.OPEN, NOT_BETTER, FAR_WORSE]
    assert levels(D1, wide, unsure, sure)[1] == [0.025, 0.025, 0.05]
    assert levels(D2, zigzag(1.5, 1), wide) == ([BETTER, verdicts.OPEN], [0.05, 0.05])


def test_what_cannot_be_read_is_counted_last():
    of = [difference(zigzag(0, 0.5)), difference(zigzag(0, 0.5), untested=("x",)), difference([])]
    readings = verdicts.readings_of(A, of, 1.0, 6)
    assert [reading.word for reading in readings] == [SAME, verdicts.NOT_TESTABLE, verdicts.NOT_RUN]
    assert [reading.alpha for reading in readings] == pytest.approx([0.05 / 3, 0.025, 0.025])


def test_only_claim_c_gains_from_a_test_against_loss():
    gain = zigzag(0.6, 0.9)  # above -1 at p = .005; no other test of it is below .18
    assert levels(C, gain, gain, gain, zigzag(9, 1))[1] == pytest.approx([0.05 / 3, 0.025, 0.05, 0.0125])
    assert levels(B, gain, gain, gain)[1] == pytest.approx([0.05 / 3] * 3)
    assert levels(C, gain, gain, gain, zigzag(0, 3))[1] == pytest.approx([0.0125, 0.05 / 3, 0.025, 0.05])


# whole boards from made-up rows

PLAN = claims.Plan(tuple(range(6)), 20, ("0.9",), 1.0)
MEANS = {"dense": 90, "dense+both": 12, "dense+half": 89, "snip": 80, "grasp": 79, "lt": 81, "smart": 80.5,
         "uniform": 70, "lrr": 84, "hybrid": 86}  # fmt: skip
CHECKED = {"shuffled": 3, "rearranged": 2, "linear=0.3": 0.2}
LAST = {"dense+both": 2.0}  # training loss: the network learnt something from the noise


def made(seeds=range(6), drop=(), **changes):
    """Rows of every arm at 90 %; `changes` maps an arm to facts that differ, "seed" limits them to one seed."""
    arms = ["dense@0", "dense+both@0", "dense+half@0"]
    arms += [f"{t}{c}@0.9" for t in ("snip", "grasp", "lt") for c in ("", "+both", "+rearranged")]
    arms += ["smart@0.9", "uniform@0.9", "hybrid@0.9"]
    arms += [f"lrr{c}@0.9" for c in ("", "+shuffled", "+rearranged", "+half", "+linear=0.3")]
    for arm in arms:
        name = arm.partition("@")[0]
        for seed in seeds:
            if (name, seed) not in drop and name not in drop:
                facts = changes.get(name.replace("+", "_"), {})
                facts = {} if facts.get("seed", seed) != seed else {k: v for k, v in facts.items() if k != "seed"}
                yield row(arm, seed, **({"accuracy": accuracy(name, seed), "loss": LAST.get(name, 0.5)} | facts))


def accuracy(name, seed):
    ticket, _, change = name.partition("+")
    mean = MEANS.get(name) or MEANS[ticket] - (CHECKED.get(change, 0) if ticket == "lrr" else 0)
    return mean + 0.1 * ZIGZAG[seed % 6] * (2 if change else 1)


def board(plan=PLAN, **given):
    words, comparisons = verdicts.board(frame(list(made(**given))), plan)
    return words["0.9"], comparisons.set_index(["claim", "key"])


def test_a_board_with_all_as_demanded():
    words, comparisons = board()
    assert words.to_dict() == {"A": "yes", "B": "yes", "C": "yes", "D1": "yes", "D2": "yes"}
    line = comparisons.loc["D1", "shuffled"]
    assert (line["a"], line["b"], line["n"], line["asked"], line["demanded"]) == ("lrr+shuffled", "lrr", 6, 6, True)
    assert line["mean"] == pytest.approx(-3) and line["accuracy_b"] == pytest.approx(84) and line["word"] == FAR_WORSE
    assert line["low_wide"] < line["low"] < -3 < line["high"] < line["high_wide"] < -2.5
    for word, ends, kept in (("worse", ["low_wide", "high_wide"], 1), ("worse by more", ["low", "high"], 2)):
        assert verdicts.rests_on({**line, "word": word}) == tuple(line[ends])
        assert verdicts.confidence({**line, "word": word}) == 1 - kept * line["alpha"]
    assert list(line["points"].index) == list(range(6)) and line["slack"] == pytest.approx(-line["low"] - 1)
    assert not comparisons.loc["D1", "half"]["demanded"] and comparisons.loc["D2", "lrr"]["mean"] == pytest.approx(2)


def test_half_the_margin_is_a_reading_of_its_own():
    words, comparisons = board(snip_both={"accuracy": 80.7})
    line = comparisons.loc["A", "snip"]
    assert line["word"] == SAME and line["off_zero"] and line["said_at_half"] == "better by more than 0.5"


def test_a_rearrangement_that_does_nothing_is_not_testable():
    words, comparisons = board(snip_rearranged={"control": {"moved_share": 0.05}, "seed": 3})
    line = comparisons.loc["B", "snip"]
    assert words["B"] == "yes" and line["word"] == verdicts.NOT_TESTABLE and "seed 3" in line["why"]
    equal = {f"{t}_rearranged": {"control": {}} for t in ("snip", "grasp", "lt")}  # never measured
    assert board(**equal)[0]["B"] == verdicts.NOT_TESTABLE


def test_a_network_that_learnt_nothing_from_noise_finds_no_ticket():
    words, comparisons = board(dense_both={"loss": 2.302, "seed": 5})
    line = comparisons.loc["A", "lt"]
    assert line["word"] == verdicts.NOT_TESTABLE and "noise" in line["why"] and words["A"] == "yes"
    assert comparisons.loc["A", "snip"]["word"] == SAME  # it needs no trained network


def test_what_is_known_to_fail_and_not_run_again_is_not_testable():
    plan = replace(PLAN, not_again=("lt+both",))
    for drop, word in ((("lt+both",), verdicts.NOT_TESTABLE), ((), SAME)):
        words, comparisons = board(plan, drop=drop)
        assert comparisons.loc["A", "lt"]["word"] == word and words["A"] == "yes"
    assert board(PLAN, drop=("lt+both",))[0]["A"] == verdicts.SEEDS_MISSING


def test_one_collapsed_run_opens_a_comparison():
    words, comparisons = board(grasp_both={"accuracy": 19.9, "seed": 0})
    assert comparisons.loc["A", "grasp"]["said"] == "collapsed 1 of 12 runs" and words["A"] == "in part"
    cut = board(grasp_both={"effective_sparsity": 1, "seed": 0})[1].loc["A", "grasp"]
    assert cut["word"] == verdicts.COLLAPSED and cut["collapsed"] == 1
    empty = board(grasp_both={"empty_layers": ["a"], "effective_sparsity": 0.9, "seed": 0})[1].loc["A", "grasp"]
    assert empty["word"] == SAME and (empty["empty_a"], empty["empty_b"]) == (1, 0)  # no collapse


def test_mixed_machines_are_refused_within_a_seed_alone():
    words, comparisons = board(snip_both={"device": "another", "seed": 2})
    assert comparisons.loc["A", "snip"]["said"] == "refused: device differ" and words["A"] == "yes"
    rows = [one | {"device": f"kind {one['config']['seed'] % 2}"} for one in made()]
    rows = [type(next(made()))(one) for one in rows]
    words, _ = verdicts.board(frame(rows), PLAN)
    assert words["0.9"].to_dict()["A"] == "yes"


def test_a_seed_short_leaves_no_word():
    words, comparisons = board(drop={("snip", 4)})
    assert words.tolist() == [verdicts.SEEDS_MISSING] * 3 + ["yes"] * 2
    assert comparisons.loc["C", "snip"]["said"] == "5 of 6 seeds" and comparisons.loc["C", "lt"]["word"] == SAME
    assert board(drop=("lrr+linear=0.3",))[0]["D2"] == verdicts.NOT_RUN
    assert board(seeds=())[0].tolist() == [verdicts.NOT_RUN] * 5


def test_rows_outside_the_plan_change_nothing_and_are_counted():
    rows = list(made())
    extra = [row("snip@0.9", 7, 1.0), row("snip@0.9", 0, 1.0, changes={"epochs": 40}), row("snip@0.95", 0, 1.0)]
    both = [verdicts.board(frame(of), PLAN)[1].drop(columns="points") for of in (rows, rows + extra)]
    pd.testing.assert_frame_equal(*both)
    left = verdicts.outside(frame(rows + extra), PLAN)
    assert left.runs.sum() == 3 and verdicts.outside(frame(rows), PLAN).empty
    assert left.set_index(["epochs", "sparsity"])["runs"].to_dict() == {(20, "0.9"): 1, (20, "0.95"): 1, (40, "0.9"): 1}
    assert left.first_seed.tolist() == [7, 0, 0] == left.last_seed.tolist()


def test_a_claim_is_not_run_where_it_is_not_judged():
    words, comparisons = verdicts.board(frame(list(made())), claims.Plan(PLAN.seeds, 20, ("0.8", "0.9"), 1.0))
    assert list(words.columns) == ["0.8", "0.9"] and list(words.index) == list(CLAIMS)
    assert words.loc["D1", "0.8"] == verdicts.NOT_RUN
    assert set(comparisons[comparisons.sparsity == "0.8"].claim) == {"A", "B", "C"}


def test_each_seed_has_one_kind_of_machine():
    table = frame(list(made(seeds=(0, 1))))
    kinds = verdicts.kinds_by_seed(table, table.name)
    assert kinds.index.tolist() == [0, 1] and set(kinds) == {kind(next(made()))}
    mixed = frame(list(made(seeds=(0, 1), smart={"threads": 2, "seed": 1})))
    with pytest.raises(TicketError, match="seed 1"):
        verdicts.kinds_by_seed(mixed, mixed.name)
    assert verdicts.kinds_by_seed(mixed, mixed.name[mixed.arm != "smart@0.9"]).index.tolist() == [0, 1]


def test_the_words_are_wrong_as_rarely_as_they_promise():
    draws, wrong = np.random.default_rng(1), 0
    for _ in range(400):  # three true differences on the margin: *same* would be wrong
        readings = verdicts.readings_of(A, [difference(draws.normal(1, 1, 8)) for _ in range(3)], 1.0, 8)
        wrong += any(reading.word in (SAME, FAR_BETTER) for reading in readings)
    assert wrong / 400 <= 2 * 0.05 + 3 * math.sqrt(0.09 / 400)


def test_a_rule_without_a_solution_is_not_defined(monkeypatch):
    monkeypatch.setattr(pairs, "not_defined", lambda profile, arm, network: "no solution" if "smart" in arm else "")
    words, comparisons = board(drop=("smart",))
    assert words["C"] == verdicts.NOT_TESTABLE and set(comparisons.loc["C"].word) == {verdicts.NOT_DEFINED}
    assert set(comparisons.loc["C"].why) == {"no solution"} and words["A"] == "yes"
