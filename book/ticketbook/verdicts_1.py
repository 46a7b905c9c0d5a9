"""The rule that turns the paired differences of a claim into a word, total and in writing."""
import inspect
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple

from ticketbook import stats_1
from ticketbook.claims_1 import CONFIDENCE, Claim, Comparison
from ticketlib.analysis import stats
from ticketlib.analysis.words import signed
from ticketlib.errors import TicketError, one_of

HOLDS, IN_PART, FAILS, UNDECIDED = WORDS = ("holds", "holds in part", "does not hold", "undecided")
PROVISIONAL, NOT_RUN, NOT_DEFINED = NO_VERDICT = ("provisional", "not run", "not defined here")
BARRED = ", which would hold, but a collapse bars that word"
STRENGTH = (FAILS, UNDECIDED, IN_PART, HOLDS)  # weakest first


@dataclass(frozen=True)
class Flags:
    """What is known of a comparison beside its numbers."""

    control_did_nothing: bool = False  # a manipulation check failed
    collapsed: int = 0  # collapsed runs in either arm
    refused: tuple[str, ...] = ()  # the fields in which pairs differed: "device", "threads", ...
    not_defined: bool = False  # the rule is infeasible here or leaves a layer empty


class Verdict(NamedTuple):
    """A word of WORDS or NO_VERDICT, and the sentence that says why."""

    word: str
    sentence: str


class Compared(NamedTuple):
    """One comparison of a judged claim."""

    comparison: Comparison
    kind: str
    verdict: Verdict
    estimate: stats.Estimate  # unadjusted: 90 % interval, or 95 % for superiority
    adjusted: stats.Estimate  # at the level Holm read it: this one decides
    holm: stats_1.Holm
    ready: bool  # nothing stands before the interval: the protocol's seeds are there and comparable
    collapsed: int  # runs in either arm


class Judged(NamedTuple):
    """A claim with its word, the sentence for the board (without scope), and what came of each comparison."""

    claim: Claim
    word: str
    sentence: str
    compared: tuple[Compared, ...]


def _is_number(value):
    """Say whether a value is a finite real number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _check(kind, estimate, margin, n_required, flags):
    """Raise TicketError for anything that the rule cannot read."""
    one_of("kind of comparison", kind, tuple(CONFIDENCE))
    if kind != "superiority" and not (_is_number(margin) and margin > 0):
        raise TicketError(f"Margin {margin!r} is not allowed; it is a number of points above 0.")
    if not (isinstance(n_required, Integral) and n_required >= 2):
        raise TicketError(f"A protocol of {n_required!r} seeds is not allowed; an interval needs 2 or more.")
    for what, count in (("collapsed runs", flags.collapsed), ("seeds", estimate.n)):
        if not (isinstance(count, Integral) and count >= 0):
            raise TicketError(f"{count!r} {what} are not allowed; it is a count from 0.")
    if not isinstance(flags.refused, tuple):
        raise TicketError(f"Refused fields {flags.refused!r} are not allowed; they are a tuple of names.")
    if estimate.n >= 2:
        _check_interval(kind, estimate)


def _check_interval(kind, estimate):
    """Raise TicketError unless the interval is complete, ordered, and as confident as its kind asks."""
    ends = estimate.low, estimate.point, estimate.high
    if not (all(map(_is_number, (*ends, estimate.sd))) and ends[0] <= ends[1] <= ends[2]):
        raise TicketError(f"{estimate} is not allowed; low, point, high and sd are finite numbers in this order.")
    if not (_is_number(estimate.confidence) and CONFIDENCE[kind] - 1e-9 <= estimate.confidence < 1):
        raise TicketError(f"Confidence {estimate.confidence!r} is not allowed; {kind} asks {CONFIDENCE[kind]} or more.")


def read(kind, low, high, margin):
    """The word of an interval by itself, and the reason in words."""
    if kind == "equivalence":
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
        seen = "a difference is seen, its size is not settled" if low > 0 or high < 0 else "too wide to tell"
        reasons = f"inside ±{margin:g}", f"wholly outside ±{margin:g}", f"across the edge of ±{margin:g}, {seen}"
    else:
        bound = -margin if kind == "noninferiority" else 0
        inside, outside = low > bound, high < bound
        edge = f"{bound:g}".replace("-", "−")
        reasons = f"wholly above {edge}", f"wholly below {edge}", f"across {edge}"
    return (HOLDS, reasons[0]) if inside else (FAILS, reasons[1]) if outside else (UNDECIDED, reasons[2])


def _collapses(flags):
    """Count collapsed runs in words, nothing where there are none."""
    return f"; collapsed runs: {flags.collapsed}" if flags.collapsed else ""


def _standing(estimate, n_required, flags):
    """Return the verdict of whatever stands before the interval, None if nothing does."""
    if flags.not_defined:
        return Verdict(NOT_DEFINED, NOT_DEFINED)
    if estimate.n == 0 and not flags.refused:
        return Verdict(NOT_RUN, NOT_RUN)
    if flags.control_did_nothing or (estimate.n >= 2 and estimate.point == estimate.sd == 0):
        return Verdict(UNDECIDED, f"{UNDECIDED}: the control did nothing")
    if flags.refused:
        return Verdict(UNDECIDED, f"{UNDECIDED}: pairs refused, they differ in {', '.join(map(str, flags.refused))}")
    if estimate.n < n_required:
        return Verdict(PROVISIONAL, f"{PROVISIONAL}, {estimate.n} of {n_required} seeds{_collapses(flags)}")
    return None


def effect(estimate):
    """Write an estimate in one phrase: point, interval, n."""
    if estimate.low is None:
        return "no runs" if estimate.n == 0 else f"{signed(estimate.point)} points, one seed, no interval"
    confidence = f"{100 * estimate.confidence:.1f}".removesuffix(".0")
    ends = f"{signed(estimate.low)} to {signed(estimate.high)}"
    return f"{signed(estimate.point)} points, {confidence} % interval {ends}, n = {estimate.n}"


def verdict(kind, estimate, margin, n_required, flags=Flags()):  # noqa: B008 (frozen)
    """The word of one comparison, *a* minus *b*: the first line that applies decides.

    1. a rule that is infeasible here, or leaves a layer empty: *not defined here*, no verdict;
    2. no runs: *not run*, no verdict;
    3. a manipulation check failed, or every difference is exactly zero: *undecided: the control did nothing*;
    4. pairs differ in device, threads, engine, precision, versions or recipe: *undecided*, refused;
    5. fewer seeds than the protocol's n: *provisional, k of n seeds*, no verdict;
    6. the Holm-adjusted interval. Equivalence (90 %): inside the margin *holds*, wholly outside on one side *does not
       hold*. Non-inferiority (one-sided 95 %, the ends of the 90 % interval): wholly above minus the margin *holds*,
       wholly below it *does not hold*. Superiority (95 %): wholly above 0 *holds*, wholly below 0 *does not hold*.
       Anything else is *undecided*: absence of evidence is never evidence of absence;
    7. collapsed runs in an arm are counted in the sentence, and turn *holds* into *undecided*.

    Arguments: kind, a key of CONFIDENCE; estimate, the adjusted stats.Estimate in points; margin, points, above 0
        (unused by superiority); n_required, the protocol's seeds, 2 or more; flags, Flags.
    Returns: Verdict(word, sentence).
    Raises: TicketError for input that cannot be read, and nothing else.
    """
    _check(kind, estimate, margin, n_required, flags)
    standing = _standing(estimate, n_required, flags)
    if standing:
        return standing
    word, reason = read(kind, estimate.low, estimate.high, margin)
    barred = BARRED if word == HOLDS and flags.collapsed else ""
    word = UNDECIDED if barred else word
    return Verdict(word, f"{word}: {effect(estimate)}, {reason}{barred}{_collapses(flags)}")


def combine(parts):
    """The word of a claim follows from those of its comparisons.

    Comparisons *not defined here* take no part. If none is left the claim is *not defined here*; if none has run, *not
    run*; if any has not run or is provisional, *provisional*. Else each part of the claim has a word of its own:
    *holds* if all its comparisons hold, *does not hold* if each of them does not, *holds in part* if some hold and
    others do not or are undecided, *undecided* otherwise. A claim of several parts (C) is worth its weakest part, in
    the order *does not hold*, *undecided*, *holds in part*, *holds*.

    Arguments: parts, one list of words for each part of the claim, at least one word in all.
    Returns: a word.
    Raises: TicketError for an unknown word, or none.
    """
    defined = [[one_of("word", word, WORDS + NO_VERDICT) for word in part if word != NOT_DEFINED] for part in parts]
    words = [word for part in defined for word in part]
    if not any(map(len, parts)):
        raise TicketError("A claim without comparisons has no verdict; give at least one word.")
    if not words:
        return NOT_DEFINED
    if NOT_RUN in words or PROVISIONAL in words:
        return NOT_RUN if set(words) == {NOT_RUN} else PROVISIONAL
    return min(map(_part_word, filter(None, defined)), key=STRENGTH.index)


def at_best(judged):
    """The strongest word that a judged claim can still get: seeds to come cannot undo that a collapse bars *holds*."""
    reach = {one.comparison: UNDECIDED if one.collapsed else HOLDS for one in judged.compared}
    words = {one.comparison: one.verdict.word for one in judged.compared}
    given = {comparison: word for comparison, word in words.items() if word not in (PROVISIONAL, NOT_RUN)}
    return _of_parts(judged.claim, reach | given)


def _of_parts(claim, words):
    """Combine the words of a claim's comparisons, {Comparison: word}, part by part."""
    return combine([[words[comparison] for comparison in part.comparisons] for part in claim.parts])


def _part_word(words):
    """Give the word of one part of a claim."""
    if len(set(words)) == 1:
        return words[0]
    return IN_PART if HOLDS in words or IN_PART in words else UNDECIDED


def _per_comparison(claim, given, default):
    """Return what is given for each comparison of the claim, in order, `default` where nothing is."""
    keys = tuple(comparison.key for comparison in claim.comparisons)
    for key in given:
        one_of(f"comparison of claim {claim.id}", key, keys)
    return [given.get(key, default) for key in keys]


def _points(values):
    """Return differences as a float array, checked to lie within -100 to 100 points."""
    array = stats.sample(values)
    if (abs(array) > 100).any():
        raise TicketError(f"Differences {values!r} are not allowed; they lie between -100 and 100 points.")
    return array


def _short(one, head=""):
    """Write one comparison for the board; what the head of the sentence says is not said again."""
    label, said = one.comparison.label, one.verdict.sentence
    if head and said.startswith(head):
        rest = said.removeprefix(head).removeprefix("; ")
        return f"{label} ({rest})" if rest else label
    if not one.ready:
        return f"{label} ({said})"
    point, ends = effect(one.adjusted).rpartition(", n = ")[0].split(" points, ")
    counted = "".join(said.partition("; collapsed")[1:])  # wherever a word is given
    return f"{label} {one.verdict.word} ({point}, {ends}{BARRED * (BARRED in said)}{counted})"


def judge(claim, differences, margin, n_required, flags=None):
    """Judge a claim: tests, Holm's adjustment over all its comparisons, a word for each, and one for the claim.

    Holm orders by the smaller p of the tests for and against, since either settles a comparison; comparisons that
    cannot have a word yet (too few seeds, refused, ...) count in the family and are never decided.
    Arguments: claim, a Claim; differences, {comparison key: points a seed, shape (num_seeds,)}, absent where not run;
        margin, points, above 0; n_required, the protocol's seeds; flags, {comparison key: Flags}.
    Returns: Judged.
    Raises: TicketError for input that cannot be read.
    """
    arrays = list(map(_points, _per_comparison(claim, differences, ())))
    flags = _per_comparison(claim, flags or {}, Flags())
    kinds = [one_of("kind", part.kind, tuple(CONFIDENCE)) for part in claim.parts for _ in part.comparisons]
    plain = [stats.t_interval(values, CONFIDENCE[kind]) for values, kind in zip(arrays, kinds, strict=True)]
    for kind, estimate, flag in zip(kinds, plain, flags, strict=True):
        _check(kind, estimate, margin, n_required, flag)
    ready = [_standing(estimate, n_required, flag) is None for estimate, flag in zip(plain, flags, strict=True)]
    levels = stats_1.holm([stats_1.decisive_p(kind, values, margin) if is_ready else None
                         for kind, values, is_ready in zip(kinds, arrays, ready, strict=True)])
    adjusted = [stats.t_interval(values, 1 - holm.level * (1 - CONFIDENCE[kind]) / stats_1.ALPHA)
                for kind, values, holm in zip(kinds, arrays, levels, strict=True)]
    verdicts = [verdict(kind, estimate, margin, n_required, flag)
                for kind, estimate, flag in zip(kinds, adjusted, flags, strict=True)]
    collapsed = [flag.collapsed for flag in flags]
    compared = tuple(map(Compared, claim.comparisons, kinds, verdicts, plain, adjusted, levels, ready, collapsed))
    word = _of_parts(claim, {one.comparison: one.verdict.word for one in compared})
    return Judged(claim, word, _board_sentence(word, compared, n_required), compared)


def _board_sentence(word, compared, n_required):
    """Write the sentence of a claim: its word, then every comparison with effect, interval and n."""
    if word in (NOT_RUN, NOT_DEFINED):
        return word
    seeds = min(one.estimate.n for one in compared if one.verdict.word != NOT_DEFINED)
    if word == PROVISIONAL:
        head = f"{word}, {seeds} of {n_required} seeds"
        return f"{head}: {'; '.join(_short(one, head) for one in compared)}"
    return f"{word}: {'; '.join(map(_short, compared))}; n = {seeds}"


def rules():
    """Return the written rules for a comparison and for a claim, Markdown, as the protocol page quotes them."""
    return "\n\n".join(inspect.getdoc(rule).split("\n\nArguments:")[0] for rule in (verdict, combine))
