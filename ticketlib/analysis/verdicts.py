"""The written rule of the protocol, version 2: from paired differences to a word, from words to a claim's."""

from dataclasses import dataclass, replace

import pandas as pd

from ticketlib.analysis import pairs, stats
from ticketlib.analysis.stats import ALPHA
from ticketlib.errors import TicketError
from ticketlib.experiments.claims import BETTER, CLAIMS, FAR_BETTER, FAR_WORSE, NOT_BETTER, NOT_WORSE, SAME, WORSE

FEWEST = 6  # seeds below which a claim gets no word, whatever a plan asks for
NOT_RUN, NOT_DEFINED, NOT_TESTABLE = "not run", "not defined here", "not testable here"
REFUSED, SEEDS_MISSING, COLLAPSED, OPEN = "refused", "seeds missing", "collapsed", "open"
YES, IN_PART, NO = "yes", "in part", "no"
UNREAD = (NOT_RUN, NOT_DEFINED, NOT_TESTABLE, REFUSED, SEEDS_MISSING, COLLAPSED)  # words 1 to 6: no interval is read
LEFT_OUT = (NOT_DEFINED, NOT_TESTABLE, REFUSED)  # words 2 to 4: a claim is judged without them
SETTLED = (SAME, FAR_BETTER, FAR_WORSE, BETTER, WORSE)  # words 7 to 9


@dataclass(frozen=True)
class Reading:
    """What is said of one difference."""

    word: str  # one of the eleven
    said: str  # the word with its numbers, as tables show it: "3 of 8 seeds", "collapsed 2 of 16 runs"
    mean: float | None  # points; None without seeds
    narrow: tuple[float, float] | None  # the 1 - 2 alpha interval, in points
    wide: tuple[float, float] | None  # the 1 - alpha interval
    alpha: float  # the level at which it was read
    n: int  # seeds
    off_zero: bool = False  # same, and yet the wide interval excludes zero


def read(difference, margin, n, alpha=ALPHA, fewest=FEWEST):
    """The word of one difference: the first of the protocol's eleven lines that applies.

    1. not run: there are no pairs, though there could be. 2. not defined here: a rule has no solution for an arm.
    3. not testable here: a manipulation check failed or is missing in a seed, or every difference is exactly zero.
    4. refused: fields that a pair must share differ. 5. k of n seeds. 6. collapsed k of 2n runs.
    7. same: the narrow interval lies within the margin on both sides. 8. better or worse by more than the margin: it
    lies wholly beyond. 9. better, worse: the wide interval excludes zero. 10. not worse, not better: the narrow one
    lies above minus the margin, or below the margin. 11. open. An end that touches a bound is not beyond it.

    Arguments: difference, pairs.Difference; margin, points, above 0; n, the seeds asked for; alpha, 0 to 1/2;
        fewest, seeds below which there is no word, at least 2.
    Returns: Reading.
    """
    points = difference.points.to_numpy(float)
    narrow, wide = (_interval(points, confidence) for confidence in (1 - 2 * alpha, 1 - alpha))
    n = max(n, fewest)
    word = _unread(difference, points, n) or settled(narrow, wide, margin)
    said = {
        SEEDS_MISSING: f"{len(points)} of {n} seeds",
        COLLAPSED: f"collapsed {difference.collapsed} of {2 * len(points)} runs",
        REFUSED: f"refused: {', '.join(difference.refused)} differ",
        FAR_BETTER: f"better by more than {margin:g}",
        FAR_WORSE: f"worse by more than {margin:g}",
    }.get(word, word)
    off_zero = word == SAME and not wide[0] <= 0 <= wide[1]
    mean = float(points.mean()) if len(points) else None
    return Reading(word, f"{said}, off zero" if off_zero else said, mean, narrow, wide, alpha, len(points), off_zero)


def _interval(points, confidence):
    estimate = stats.t_interval(points, confidence)
    return None if estimate.low is None else (estimate.low, estimate.high)


def _unread(difference, points, n):
    """The first of words 1 to 6 that applies; None where an interval is to be read."""
    lines = (
        (NOT_DEFINED, difference.undefined),  # such a cell has no pairs either
        (NOT_RUN, len(points) == 0 and not difference.untested),
        (NOT_TESTABLE, difference.untested or not points.any()),
        (REFUSED, difference.refused),
        (SEEDS_MISSING, len(points) < n),
        (COLLAPSED, difference.collapsed),
    )
    return next((word for word, applies in lines if applies), None)


def settled(narrow, wide, margin):
    """The word of an interval: lines 7 to 11 of the protocol.

    Arguments: narrow, wide, the ends of the 1 - 2 alpha and the 1 - alpha interval, in points; margin, points.
    """
    lines = (
        (SAME, -margin < narrow[0] and narrow[1] < margin),
        (FAR_BETTER, narrow[0] > margin),
        (FAR_WORSE, narrow[1] < -margin),
        (BETTER, wide[0] > 0),
        (WORSE, wide[1] < 0),
        (NOT_WORSE, narrow[0] > -margin),
        (NOT_BETTER, narrow[1] < margin),
    )
    return next((word for word, applies in lines if applies), OPEN)


def smallest_p(points, margin, noninferiority=False):
    """The smallest p of the tests that the scale makes of one difference.

    Inside the margin (the larger of two one-sided tests), beyond it, below minus it, different from zero (two-sided);
    above minus the margin too where a loss is all that counts.
    """
    above_minus, below_plus = stats.p_above(points, -margin), stats.p_below(points, margin)
    inside = max(above_minus, below_plus)
    zero = 2 * min(stats.p_above(points, 0), stats.p_below(points, 0), 0.5)
    beyond = stats.p_above(points, margin), stats.p_below(points, -margin)
    return min(inside, zero, *beyond, *([above_minus] if noninferiority else []))


def holm_levels(p_values):
    """The level at which each comparison of a family is read, by Holm's method.

    The r-th smallest of m is held against .05 / (m - r + 1); from the first that is larger on, all later ones are read
    at that level. Arguments: p_values, a p for each, or None for what has no interval to read, counted last.
    Returns: list of levels, in the order given.
    Source: Holm (1979).
    """
    order = sorted(range(len(p_values)), key=lambda i: 2 if p_values[i] is None else p_values[i])
    levels, failed = [None] * len(p_values), None
    for rank, i in enumerate(order):
        level = failed or ALPHA / (len(p_values) - rank)
        levels[i] = level
        if p_values[i] is None or p_values[i] > level:
            failed = level
    return levels


def judge(runs, claim, sparsity, plan, profile="laptop", network="resnet"):
    """Judge one claim at one sparsity.

    Arguments: runs, as pairs.planned gives; claim, claims.Claim; sparsity, decimal text; plan, claims.Plan: seeds that
        count, and the margin; profile and network, for rules that have no solution there.
    Returns: (the claim's word, DataFrame with a line a comparison: see `board`).
    """
    differences = [_difference(runs, one, sparsity, plan, profile, network) for one in claim.comparisons]
    readings, halves = (readings_of(claim, differences, margin, len(plan.seeds))
                        for margin in (plan.margin, plan.margin / 2))  # fmt: skip
    lines = [_line(claim, one, sparsity, plan, *facts)
             for one, *facts in zip(claim.comparisons, differences, readings, halves, strict=True)]  # fmt: skip
    table = pd.DataFrame(lines)
    return claim_word(table), table


def readings_of(claim, differences, margin, n):
    """Read a claim's differences, those that it demands at Holm's levels: list of Reading, in the order given."""
    readings = [read(one, margin, n) for one in differences]
    family = [i for i, one in enumerate(claim.comparisons) if one.demand]
    p_values = [None if readings[i].word in UNREAD else
                smallest_p(differences[i].points.to_numpy(float), margin, NOT_WORSE in claim.comparisons[i].demand)
                for i in family]  # fmt: skip
    for i, level in zip(family, holm_levels(p_values), strict=True):
        readings[i] = read(differences[i], margin, n, level)
    return readings


def _difference(runs, comparison, sparsity, plan, profile, network):
    difference = pairs.difference_at(runs, comparison.a, comparison.b, sparsity, profile, network)
    if difference.points.empty and comparison.a in plan.not_again:
        difference = replace(difference, untested=("its control is known to fail at this length, so it is not run",))
    return difference


def _line(claim, comparison, sparsity, plan, difference, reading, half):
    return {
        "claim": claim.id, "key": comparison.key, "label": comparison.label, "sparsity": sparsity,
        "a": comparison.a, "b": comparison.b, "demanded": bool(comparison.demand),
        "as_claimed": reading.word in comparison.demand, "slack": slack(reading, comparison.demand, plan.margin),
        "said_at_half": half.said, "asked": max(len(plan.seeds), FEWEST),
    } | line_of(difference, reading)  # fmt: skip


def line_of(difference, reading):
    """What was read of a difference, as the columns of `board` that no claim decides: dict."""
    low, high = reading.narrow or (None, None)
    low_wide, high_wide = reading.wide or (None, None)
    return {
        "word": reading.word, "said": reading.said, "off_zero": reading.off_zero,
        "mean": reading.mean, "low": low, "high": high, "low_wide": low_wide, "high_wide": high_wide,
        "alpha": reading.alpha, "n": reading.n, "points": difference.points,
        "accuracy_a": difference.a.accuracy.mean(), "accuracy_b": difference.b.accuracy.mean(),
        "best_a": difference.a.best_accuracy.mean(), "best_b": difference.b.best_accuracy.mean(),
        "collapsed": difference.collapsed, "empty_a": int((difference.a.empty_layers > 0).sum()),
        "empty_b": int((difference.b.empty_layers > 0).sum()),
        "why": next(iter(difference.untested), difference.undefined),
    }  # fmt: skip


def rests_on(line):
    """The interval on which the word of a comparison rests: better and worse rest on the wide one.

    Arguments: line, dict with the columns of `board`; without a word, its narrow interval is given.
    Returns: (low, high), in points.
    """
    return (line["low_wide"], line["high_wide"]) if line.get("word") in (BETTER, WORSE) else (line["low"], line["high"])


def confidence(line):
    """The confidence of that interval, 0 to 1."""
    return 1 - (1 if line["word"] in (BETTER, WORSE) else 2) * line["alpha"]


def slack(reading, demand, margin):
    """How far an interval could be moved before it is no longer as claimed, in points: above 0 where it is, else not.

    The least of a claim's comparisons decides its word. None for what was not demanded, or not read.
    """
    if not demand or reading.word in UNREAD:
        return None
    (low, high), (low_wide, high_wide) = reading.narrow, reading.wide
    if demand == (SAME,):
        return margin - max(-low, high)
    if NOT_WORSE in demand:
        return low + margin
    if WORSE in demand:  # as better, with both ends turned round
        low, high, low_wide = -high, -low, -high_wide
    return max(low - margin, min(low_wide, high - margin))


def claim_word(table):
    """The word of a claim at a sparsity, from its comparisons (the lines of `board` that were demanded).

    k of n seeds while any lacks runs or seeds. Comparisons that are not defined, not testable or refused are left out;
    none left: not testable here. Yes if all are as claimed, in part if some are, no if none is and all are settled
    (words 7 to 9), open otherwise.
    """
    asked = table[table.demanded]
    left = asked[~asked.word.isin(LEFT_OUT)]
    if left.word.isin((NOT_RUN, SEEDS_MISSING)).any():
        return NOT_RUN if (left.word == NOT_RUN).all() else SEEDS_MISSING
    if left.empty:
        return NOT_TESTABLE
    if left.as_claimed.all():
        return YES
    if left.as_claimed.any():
        return IN_PART
    return NO if left.word.isin(SETTLED).all() else OPEN


def board(frame, plan, profile="laptop", network="resnet", **changes):
    """Every claim at every sparsity of a plan, judged from the runs of a ledger.

    Arguments: frame, as ledger.frame gives; plan, claims.Plan; profile, network and changes, as pairs.select.
    Returns: (words, comparisons). words: DataFrame, index claim, a column a sparsity, the word of each. comparisons:
        DataFrame, a line a comparison and sparsity: claim, key, label, sparsity, a, b (arms), demanded, as_claimed,
        slack, word, said, off_zero, said_at_half (at half the margin), mean, low, high (1 - 2 alpha interval),
        low_wide, high_wide (1 - alpha), alpha, n, asked (seeds), points (Series, a value a seed), accuracy_a,
        accuracy_b, best_a, best_b (best epoch), collapsed (runs), empty_a, empty_b (runs with an empty layer), why (a
        failed check, or why not defined).
    """
    runs = pairs.planned(frame, plan, profile, network, **changes)
    words, tables = {}, []
    for claim in CLAIMS.values():
        for sparsity in plan.sparsities:
            if sparsity not in claim.sparsities:
                words[claim.id, sparsity] = NOT_RUN
                continue
            words[claim.id, sparsity], table = judge(runs, claim, sparsity, plan, profile, network)
            tables.append(table)
    words = pd.Series(words).unstack().loc[list(CLAIMS), list(plan.sparsities)]
    return words, pd.concat(tables, ignore_index=True)


def outside(frame, plan):
    """The runs of a ledger that a plan leaves out, counted by network, data, length and sparsity: DataFrame."""
    wanted = set(pairs.planned(frame, plan).name)
    rest = frame[~frame.name.isin(wanted)]
    return rest.groupby(["network", "dataset", "epochs", "sparsity"], as_index=False).agg(
        runs=("name", "size"), first_seed=("seed", "min"), last_seed=("seed", "max")
    )


def kinds_by_seed(frame, names):
    """The kind of machine that a seed's runs were made on: Series. Raises: TicketError for a seed with several."""
    of = frame[frame.name.isin(names)]
    kinds = (of.device + ", " + of.threads.astype(str) + " thread, " + of.versions).groupby(of.seed).unique()
    for seed, named in kinds.items():
        if len(named) > 1:
            raise TicketError(f"seed {seed} mixes kinds of machines ({'; '.join(sorted(named))}); one is allowed.")
    return kinds.map(lambda named: named[0])
