"""Whole claims judged on synthetic differences, Holm's adjustment included, and the claim table itself."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CLAIMS, CONFIDENCE, Claim, Comparison, Part
from ticketbook.verdicts_1 import FAILS, HOLDS, IN_PART, NOT_DEFINED, NOT_RUN, PROVISIONAL, UNDECIDED, Flags

from ticketlib.errors import TicketError

N = 6
STILL = np.array([-0.2, 0.1, 0.2, -0.1, 0.15, -0.1])  # points a seed, all about zero


def test_judge_all_hold_and_the_sentence():
    judged = verdicts.judge(CLAIMS["B"], {"snip": STILL, "grasp": STILL + 0.1, "lt": STILL - 0.1}, 1.0, N)
    assert judged.word == HOLDS and [row.verdict.word for row in judged.compared] == [HOLDS] * 3
    assert judged.sentence.startswith("holds: SNIP holds (+0.01, ") and judged.sentence.endswith("; n = 6")
    assert all(row.estimate.confidence == 0.9 for row in judged.compared)
    assert sorted(round(row.adjusted.confidence, 4) for row in judged.compared) == [0.9, 0.95, 0.9667]


def test_judge_shifts_give_each_word():
    def of(snip, grasp, lt):
        shifts = {"snip": snip, "grasp": grasp, "lt": lt}
        return verdicts.judge(CLAIMS["A"], {key: STILL + shift for key, shift in shifts.items()}, 1.0, N).word
    assert of(-5, -5, 5) == FAILS
    assert of(0, 0, -5) == of(0, 0, -1) == IN_PART
    assert of(-1, -1, -5) == UNDECIDED


def test_adjustment_can_undo_what_the_plain_interval_shows():
    alone = np.array([0.1, 0.9, 0.3, 1.4, 0.8, 0.2])
    noise = np.array([-3.0, 3.0, -2.0, 2.5, -1.0, 1.0])
    judged = verdicts.judge(CLAIMS["D1"], {"half": alone + 0.05, "shuffled": noise, "rearranged": noise[::-1]}, None, N)
    half = judged.compared[0]
    assert half.estimate.low > 0 > half.adjusted.low and half.verdict.word == UNDECIDED
    assert half.holm.p < 0.05 < half.holm.p_adjusted


def test_claim_c_is_worth_its_weakest_part():
    good = {"snip": STILL, "grasp": STILL, "lt": STILL}
    assert verdicts.judge(CLAIMS["C"], good | {"uniform": STILL + 6}, 1.0, N).word == HOLDS
    assert verdicts.judge(CLAIMS["C"], good | {"uniform": STILL}, 1.0, N).word == UNDECIDED
    assert verdicts.judge(CLAIMS["C"], good | {"uniform": STILL - 6}, 1.0, N).word == FAILS
    assert verdicts.judge(CLAIMS["C"], good | {"lt": STILL - 5, "uniform": STILL + 6}, 1.0, N).word == IN_PART


def test_judge_says_what_is_missing():
    assert verdicts.judge(CLAIMS["A"], {}, 1.0, N).sentence == NOT_RUN
    early = dict.fromkeys(("snip", "grasp", "lt"), STILL[:2])
    said = verdicts.judge(CLAIMS["A"], early, 1.0, N, {"lt": Flags(collapsed=3)}).sentence
    assert said == f"provisional, 2 of {N} seeds: SNIP; GraSP; LT (collapsed runs: 3)"
    judged = verdicts.judge(CLAIMS["A"], {"snip": STILL, "lt": STILL[:2]}, 1.0, N)
    assert judged.word == PROVISIONAL and judged.sentence.startswith("provisional, 0 of 6 seeds: SNIP holds")
    assert judged.sentence.endswith("; GraSP (not run); LT (provisional, 2 of 6 seeds)")
    assert judged.compared[2].holm.p is None and judged.compared[2].estimate.n == 2


def test_a_word_that_a_collapse_bars_is_said_on_the_board():
    barred = verdicts.judge(CLAIMS["D2"], {"hybrid": STILL + 6}, 1.0, N, {"hybrid": Flags(collapsed=2)})
    assert barred.word == UNDECIDED
    assert barred.sentence.endswith(", which would hold, but a collapse bars that word; collapsed runs: 2); n = 6")


def test_judge_heeds_flags():
    still = dict.fromkeys(("snip", "grasp", "lt"), STILL)
    idle = verdicts.judge(CLAIMS["B"], still, 1.0, N, {"lt": Flags(control_did_nothing=True)})
    assert idle.word == IN_PART and "LT (undecided: the control did nothing)" in idle.sentence
    undefined = verdicts.judge(CLAIMS["B"], still, 1.0, N, {"lt": Flags(not_defined=True)})
    assert undefined.word == HOLDS
    nowhere = dict.fromkeys(still, Flags(not_defined=True))
    assert verdicts.judge(CLAIMS["B"], {}, 1.0, N, nowhere).sentence == NOT_DEFINED


@pytest.mark.parametrize(("differences", "margin", "flags"), [
    ({"dense": STILL}, 1.0, {}), ({"snip": STILL}, 1.0, {"dense": Flags()}), ({"snip": [1.0, math.nan]}, 1.0, {}),
    ({"snip": [101.0, 0.0]}, 1.0, {}), ({"snip": STILL}, -1.0, {}), ({"snip": STILL}, math.nan, {}),
])
def test_judge_refuses(differences, margin, flags):
    with pytest.raises(TicketError):
        verdicts.judge(CLAIMS["A"], differences, margin, N, flags)


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(sorted(CLAIMS)), st.data())
def test_judge_is_total_and_words_follow_the_adjusted_interval(claim_id, data):
    claim = CLAIMS[claim_id]
    values = st.lists(st.floats(-100, 100) | st.floats(-2, 2), max_size=8)
    judged = verdicts.judge(claim, {c.key: data.draw(values) for c in claim.comparisons}, 1.0, N)
    assert judged.word in verdicts.WORDS + verdicts.NO_VERDICT
    for row in judged.compared:
        assert row.verdict.word == verdicts.verdict(row.kind, row.adjusted, 1.0, N).word
        if row.ready:
            assert row.holm.decided == (row.verdict.word in (HOLDS, FAILS))


def wrong_share(claim, means, wrong, correlated):
    """Share of 600 simulated claims, n = 6, in which any comparison gets a word that is wrong for its true mean."""
    generator = np.random.default_rng(1)
    errors = 0
    for _ in range(600):
        shared = generator.normal(0, 1, 6) if correlated else 0
        draws = {c.key: mean + shared + generator.normal(0, 1, 6)
                 for c, mean in zip(claim.comparisons, means, strict=True)}
        rows = verdicts.judge(claim, draws, 1.0, 6).compared
        errors += any(row.verdict.word in wrong for row in rows)
    return errors / 600


@pytest.mark.parametrize("correlated", [False, True])
def test_wrong_words_are_as_rare_as_alpha_says(correlated):
    noise = 3 * math.sqrt(0.05 * 0.95 / 600)
    assert wrong_share(CLAIMS["D1"], (0, 0, 0), (HOLDS, FAILS), correlated) <= 0.05 + noise
    assert wrong_share(CLAIMS["A"], (1.0, 1.0, 1.0), (HOLDS,), correlated) <= 0.05 + noise


def test_claim_table():
    assert list(CLAIMS) == ["A", "B", "C", "D1", "D2"]
    assert [len(claim.comparisons) for claim in CLAIMS.values()] == [3, 3, 4, 3, 1]
    assert [part.kind for part in CLAIMS["C"].parts] == ["noninferiority", "superiority"]
    assert CLAIMS["A"].comparisons[0][2:] == ("snip+both", "snip")
    assert CLAIMS["B"].keys("snip+rearranged") == ["snip+rearranged@0.9", "snip+rearranged@0.98"]
    for claim in CLAIMS.values():
        assert len({comparison.key for comparison in claim.comparisons}) == len(claim.comparisons)
        assert {part.kind for part in claim.parts} <= set(CONFIDENCE)


def test_a_claim_of_an_unknown_kind_is_refused():
    claim = Claim("X", "x", "x", (Part("likeness", (Comparison("snip", "SNIP", "a", "b"),)),))
    with pytest.raises(TicketError):
        verdicts.judge(claim, {}, 1.0, N)


def test_a_word_that_is_given_stays_the_best():
    of = {"half": np.array([5.0, 5.1]), "shuffled": np.array([5.0, 5.1]), "rearranged": np.array([5.0, 5.1])}
    idle = {"half": Flags(control_did_nothing=True)}
    assert verdicts.at_best(verdicts.judge(CLAIMS["D1"], of, None, 6, idle)) == "holds in part"


def test_a_comparison_that_is_not_defined_counts_no_seeds():
    still = np.array([0.1, -0.1, 0.05, 0.0, 0.1, -0.05])
    judged = verdicts.judge(CLAIMS["B"], {"snip": still, "grasp": still}, 1.0, 6, {"lt": Flags(not_defined=True)})
    assert judged.word == HOLDS and judged.sentence.endswith("; n = 6")
