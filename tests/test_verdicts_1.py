"""The verdict function: every branch on synthetic rows, totality, and how often it is wrong."""
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CONFIDENCE
from ticketbook.verdicts_1 import FAILS, HOLDS, IN_PART, NOT_DEFINED, NOT_RUN, PROVISIONAL, UNDECIDED, Flags

from ticketlib.analysis.stats import Estimate
from ticketlib.errors import TicketError

N = 6
unhurried = settings(deadline=None)  # a busy machine is no failure


def estimate(low, high, n=N, confidence=0.97):
    return Estimate((low + high) / 2, low, high, n, 0.5, confidence)


def word(kind, low, high, **flags):
    return verdicts.verdict(kind, estimate(low, high), 1.0, N, Flags(**flags)).word


@pytest.mark.parametrize(("kind", "low", "high", "expected"), [
    ("equivalence", -0.5, 0.9, HOLDS), ("equivalence", 0.2, 0.9, HOLDS), ("equivalence", -0.5, 1.0, UNDECIDED),
    ("equivalence", -1.0, 0.0, UNDECIDED), ("equivalence", 0.5, 1.5, UNDECIDED), ("equivalence", -3, 3, UNDECIDED),
    ("equivalence", 1.0, 2.0, UNDECIDED), ("equivalence", 1.1, 2.0, FAILS), ("equivalence", -2.0, -1.1, FAILS),
    ("noninferiority", -0.9, 5.0, HOLDS), ("noninferiority", -1.0, 5.0, UNDECIDED),
    ("noninferiority", -2.0, 0.5, UNDECIDED), ("noninferiority", -2.0, -1.1, FAILS),
    ("superiority", 0.1, 2.0, HOLDS), ("superiority", 0.0, 2.0, UNDECIDED), ("superiority", -1.0, 2.0, UNDECIDED),
    ("superiority", -2.0, 0.0, UNDECIDED), ("superiority", -2.0, -0.1, FAILS),
])
def test_interval_gives_the_word(kind, low, high, expected):
    assert word(kind, low, high) == expected


def test_sentence_carries_effect_interval_and_n():
    sentence = verdicts.verdict("equivalence", estimate(-0.5, 0.9, confidence=1 - 0.1 / 3), 1.0, N).sentence
    assert sentence == "holds: +0.20 points, 96.7 % interval −0.50 to +0.90, n = 6, inside ±1"
    seen = verdicts.verdict("equivalence", estimate(0.5, 1.5), 1.0, N).sentence
    assert "a difference is seen, its size is not settled" in seen
    assert "too wide to tell" in verdicts.verdict("equivalence", estimate(-2, 2), 1.0, N).sentence


def test_effect_of_few_seeds():
    assert verdicts.effect(Estimate(None, None, None, 0, None, 0.9)) == "no runs"
    assert verdicts.effect(Estimate(0.5, None, None, 1, None, 0.9)) == "+0.50 points, one seed, no interval"


def test_collapse_bars_holds_and_is_counted():
    barred = verdicts.verdict("superiority", estimate(0.5, 2.0), 1.0, N, Flags(collapsed=2))
    assert barred.word == UNDECIDED and "a collapse bars that word" in barred.sentence
    assert barred.sentence.endswith("collapsed runs: 2")
    failing = verdicts.verdict("equivalence", estimate(-9, -5), 1.0, N, Flags(collapsed=1))
    assert failing.word == FAILS and failing.sentence.endswith("collapsed runs: 1")


def test_control_that_did_nothing():
    expected = (UNDECIDED, "undecided: the control did nothing")
    flagged = Flags(control_did_nothing=True)
    assert verdicts.verdict("equivalence", estimate(-0.1, 0.1), 1.0, N, flagged) == expected
    assert verdicts.verdict("equivalence", estimate(-0.1, 0.1, n=2), 1.0, N, flagged) == expected
    identical = Estimate(0.0, 0.0, 0.0, N, 0.0, 0.95)  # a rearrange that does nothing: the very same accuracies
    assert verdicts.verdict("equivalence", identical, 1.0, N) == expected


def test_mixed_devices_are_refused():
    refused = verdicts.verdict("equivalence", estimate(-0.1, 0.1), 1.0, N, Flags(refused=("device", "threads")))
    assert refused == (UNDECIDED, "undecided: pairs refused, they differ in device, threads")
    none_left = Estimate(None, None, None, 0, None, 0.95)
    assert verdicts.verdict("equivalence", none_left, 1.0, N, Flags(refused=("device",))).word == UNDECIDED


def test_no_verdict_before_the_protocols_seeds():
    early = verdicts.verdict("equivalence", estimate(-0.1, 0.1, n=5), 1.0, N, Flags(collapsed=1))
    assert early == (PROVISIONAL, "provisional, 5 of 6 seeds; collapsed runs: 1")
    one = Estimate(0.0, None, None, 1, None, 0.95)
    assert verdicts.verdict("equivalence", one, 1.0, N) == (PROVISIONAL, "provisional, 1 of 6 seeds")


def test_not_run_and_not_defined():
    nothing = Estimate(None, None, None, 0, None, 0.95)
    assert verdicts.verdict("superiority", nothing, None, N) == (NOT_RUN, NOT_RUN)
    assert verdicts.verdict("superiority", nothing, None, N, Flags(not_defined=True)) == (NOT_DEFINED, NOT_DEFINED)


@pytest.mark.parametrize(("kind", "margin", "n_required", "change"), [
    ("likeness", 1.0, N, {}), ("equivalence", 0.0, N, {}), ("equivalence", None, N, {}),
    ("equivalence", math.nan, N, {}), ("equivalence", 1.0, 1, {}), ("equivalence", 1.0, 6.0, {}),
    ("equivalence", 1.0, N, {"low": math.nan}), ("equivalence", 1.0, N, {"low": None}),
    ("equivalence", 1.0, N, {"high": math.inf}), ("equivalence", 1.0, N, {"low": 0.5}),
    ("equivalence", 1.0, N, {"sd": None}), ("equivalence", 1.0, N, {"n": -1}), ("equivalence", 1.0, N, {"n": 6.5}),
    ("equivalence", 1.0, N, {"confidence": 0.8}), ("superiority", 1.0, N, {"confidence": 0.9}),
])
def test_what_cannot_be_read_is_refused(kind, margin, n_required, change):
    fields = {"point": 0.0, "low": -0.1, "high": 0.1, "n": N, "sd": 0.2, "confidence": 0.9} | change
    with pytest.raises(TicketError):
        verdicts.verdict(kind, Estimate(**fields), margin, n_required)


@pytest.mark.parametrize("flags", [Flags(collapsed=-1), Flags(collapsed=0.5), Flags(refused="device")])
def test_flags_are_checked(flags):
    with pytest.raises(TicketError):
        verdicts.verdict("equivalence", estimate(-0.1, 0.1), 1.0, N, flags)


numbers = st.one_of(st.none(), st.floats(), st.floats(-2, 2), st.integers(-2, 12))
estimates = st.builds(Estimate, numbers, numbers, numbers, st.one_of(st.integers(-1, 12), numbers), numbers,
                      st.one_of(st.sampled_from([0.9, 0.95, 0.99]), numbers))
some_flags = st.builds(Flags, st.booleans(), st.integers(-1, 3), st.sampled_from([(), ("device",)]), st.booleans())


@unhurried
@given(st.sampled_from([*CONFIDENCE, "other"]), estimates, numbers, numbers, some_flags)
def test_the_verdict_is_total(kind, estimate, margin, n_required, flags):
    try:
        given_word, sentence = verdicts.verdict(kind, estimate, margin, n_required, flags)
    except TicketError:
        return
    assert given_word in verdicts.WORDS + verdicts.NO_VERDICT and sentence.startswith(given_word)
    assert not (given_word == HOLDS and flags.collapsed)


def ordered(values):
    low, point, high = sorted(values)
    return Estimate(point, low, high, N, 0.5, 0.95)


@unhurried
@given(st.sampled_from([*CONFIDENCE]), st.tuples(*[st.floats(-1e300, 1e300)] * 3).map(ordered), st.floats(0.01, 1e9),
       some_flags.filter(lambda flags: flags.collapsed >= 0))
def test_every_readable_input_has_a_word(kind, estimate, margin, flags):
    assert verdicts.verdict(kind, estimate, margin, N, flags).word in (*verdicts.WORDS, NOT_DEFINED)


@pytest.mark.parametrize(("parts", "expected"), [
    ([[HOLDS, HOLDS]], HOLDS), ([[FAILS, FAILS]], FAILS), ([[UNDECIDED, UNDECIDED]], UNDECIDED),
    ([[HOLDS, FAILS]], IN_PART), ([[HOLDS, UNDECIDED]], IN_PART), ([[HOLDS, UNDECIDED, FAILS]], IN_PART),
    ([[FAILS, UNDECIDED]], UNDECIDED),
    ([[HOLDS, HOLDS], [HOLDS]], HOLDS), ([[HOLDS], [UNDECIDED]], UNDECIDED), ([[HOLDS], [FAILS]], FAILS),
    ([[FAILS, FAILS], [HOLDS]], FAILS), ([[HOLDS, FAILS], [HOLDS]], IN_PART),
    ([[HOLDS, FAILS], [UNDECIDED]], UNDECIDED),
    ([[NOT_RUN, NOT_RUN], [NOT_RUN]], NOT_RUN), ([[HOLDS, NOT_RUN]], PROVISIONAL),
    ([[HOLDS, PROVISIONAL]], PROVISIONAL), ([[PROVISIONAL, NOT_RUN]], PROVISIONAL),
    ([[NOT_DEFINED, HOLDS]], HOLDS), ([[NOT_DEFINED], [FAILS]], FAILS), ([[NOT_DEFINED], [NOT_DEFINED]], NOT_DEFINED),
    ([[NOT_DEFINED, NOT_RUN]], NOT_RUN),
])
def test_words_combine(parts, expected):
    assert verdicts.combine(parts) == expected


@pytest.mark.parametrize("parts", [[], [[]], [["maybe"]], [[HOLDS, None]]])
def test_what_is_no_word_does_not_combine(parts):
    with pytest.raises(TicketError):
        verdicts.combine(parts)


@unhurried
@given(st.lists(st.lists(st.sampled_from(verdicts.WORDS + verdicts.NO_VERDICT), min_size=1), min_size=1))
def test_combine_is_total(parts):
    assert verdicts.combine(parts) in verdicts.WORDS + verdicts.NO_VERDICT


def test_rules_can_be_quoted():
    text = verdicts.rules()
    assert all(f"*{w}*" in " ".join(text.split()) for w in (HOLDS, FAILS, IN_PART, UNDECIDED, NOT_RUN, NOT_DEFINED))
    assert "Arguments" not in text and "weakest part" in text


def test_a_difference_below_zero_is_seen_as_well():
    low = Estimate(-1.0, -1.5, -0.5, 6, 0.5, 0.97)
    said = verdicts.verdict("equivalence", low, 1.0, 6).sentence
    assert said.endswith("a difference is seen, its size is not settled")
