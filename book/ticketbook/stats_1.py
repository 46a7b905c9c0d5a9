"""Version 1's statistics: means over sparsities, the smaller p of two directions, Holm's step-down. History."""
import math
from dataclasses import dataclass

import numpy as np

from ticketlib.analysis import stats
from ticketlib.analysis.stats import p_above, p_below, sample
from ticketlib.errors import TicketError

ALPHA = 0.05  # of every claim, shared out among its comparisons by Holm


@dataclass(frozen=True)
class Holm:
    """What Holm's step-down says of one comparison of a family."""

    p: float | None  # as given
    p_adjusted: float | None  # at most alpha exactly when decided
    level: float  # the alpha this comparison was read at, see `holm`
    decided: bool


def _accuracies(values):
    """Return accuracies in percent as a float array of shape (num_seeds, num_sparsities), checked."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise TicketError(f"Accuracies must be a table of numbers, not {values!r}.") from None
    if array.ndim != 2 or array.shape[1] == 0:
        raise TicketError(f"Accuracies must have shape (num_seeds, num_sparsities), not {array.shape}.")
    if not ((array >= 0) & (array <= 100)).all():
        raise TicketError("Accuracies must be percent, 0 to 100, all measured; a diverged run counts as chance.")
    return array


def seed_table(accuracies, keys):
    """Line up arms by seed, keeping the seeds that every arm has.

    Arguments: accuracies, {arm key: {seed: percent}}; keys, the arms wanted, in order of the columns.
    Returns: list of seeds, ascending, and a float array of shape (num_seeds, len(keys)).
    """
    arms = [accuracies.get(key, {}) for key in keys]
    seeds = sorted(set.intersection(*(set(arm) for arm in arms)) if arms else ())
    return seeds, np.array([[arm[seed] for arm in arms] for seed in seeds], dtype=float).reshape(len(seeds), len(keys))


def paired_difference(a, b):
    """Return, for each seed, the mean over sparsities of a minus b.

    Arguments: a, b, accuracy in percent, shape (num_seeds, num_sparsities), paired by row.
    Returns: points, float array of shape (num_seeds,).
    Raises: TicketError for unequal shapes, or a value missing or outside 0 to 100.
    """
    a, b = _accuracies(a), _accuracies(b)
    if a.shape != b.shape:
        raise TicketError(f"Paired arms need the same shape, not {a.shape} and {b.shape}.")
    return (a - b).mean(axis=1)


def _unless_none(combine, *p_values):
    """Combine p-values, None if any is None."""
    return None if None in p_values else combine(*p_values)


def superiority_p(values):
    """Test a mean above 0: twice the one-sided p, at most 1, so that .05 goes with the 95 % interval."""
    return _unless_none(lambda p: min(1.0, 2 * p), p_above(values, 0))


def noninferiority_p(values, margin):
    """Test a mean above -margin: one-sided, so that .05 goes with the one-sided 95 % bound."""
    return p_above(values, -margin)


def tost_p(values, margin):
    """Test a mean inside (-margin, margin): the larger of two one-sided p, so that .05 goes with the 90 % interval."""
    return _unless_none(max, p_above(values, -margin), p_below(values, margin))


def decisive_p(kind, values, margin):
    """Return the smaller p of the tests for and against a comparison: the alpha at which its interval settles it."""
    if kind == "equivalence":
        return _unless_none(min, tost_p(values, margin), p_above(values, margin), p_below(values, -margin))
    if kind == "noninferiority":
        return _unless_none(min, noninferiority_p(values, margin), p_below(values, -margin))
    return _unless_none(min, superiority_p(values), superiority_p(-sample(values)))


def holm(p_values, alpha=ALPHA):
    """Decide a family of comparisons by Holm's step-down, and say at which level each was read.

    In order of p, the smallest is held against alpha / m, the next against alpha / (m - 1), and so on; at the first
    that is larger the rest stay undecided, and are read at that same level. So a comparison is decided *exactly* when
    its interval at its own level (confidence 1 - level, or 1 - 2 level for one-sided tests) is decisive: interval and
    decision cannot disagree. The unadjusted interval is narrower and may look decisive where the adjusted one is not;
    the adjusted one decides. For tests in one direction Holm bounds the chance of any false decision in the family;
    here the smaller p of two directions is read, so the bound is close to alpha and not exact. Each adjusted interval
    contains the unadjusted one, so by itself it covers at least as often; together they promise no joint coverage.
    Arguments: p_values, list of p, 0 to 1, None where there are too few seeds: never decided, yet counted in m.
    Returns: list of Holm, in the order given.
    Raises: TicketError for a p outside its range.
    Source: Holm (1979).
    """
    if any(p is not None and not 0 <= p <= 1 for p in p_values):
        raise TicketError(f"p-values {p_values} are not allowed; each lies between 0 and 1, or is None.")
    m, stopped, running, level = len(p_values), False, 0.0, alpha
    decided = [None] * m
    for rank, i in enumerate(sorted(range(m), key=lambda i: 2 if p_values[i] is None else p_values[i])):
        p = p_values[i]
        level = level if stopped else alpha / (m - rank)
        stopped = stopped or p is None or p > level
        running = max(running, min(1.0, (p if p is not None else 1) * (m - rank)))
        decided[i] = Holm(p, None if p is None else running, level, not stopped)
    return decided


@dataclass(frozen=True)
class Plan:
    """How many seeds the protocol takes, and what they can do."""

    n: int  # after clipping
    asked: int  # by the formula
    power: float  # reached at n and the full alpha, 0 to 1, for a true difference of zero
    strictest: float  # the same at alpha / family, the level Holm holds the smallest p against
    resolves: float  # the margin in points that n seeds show with the wanted power
    sentence: str  # values and outcome in words


def seeds_needed(sd, margin, *, power=0.8, limits=(6, 10), family=3):
    r"""Return the smallest n with `$n \ge ((t_{.95, n-1} + t_{1-\beta/2, n-1}) \, sd / margin)^2$`, within the limits.

    The formula is that of two one-sided tests, each at alpha = .05, for a true difference of zero; beta = 1 - power.
    Non-inferiority needs fewer. Holm's first step in a family is stricter: the power left there is told as well.
    Where the formula asks for more than the upper limit, the limit is taken, and the sentence says which power is
    left and which margin the limit could resolve: such a comparison may stay undecided for want of seeds.
    Arguments: sd, standard deviation of paired differences in points, 0 to 100; margin, points, 0.01 to 100;
        power, 0 to 1; limits, smallest and largest n; family, comparisons in the largest equivalence claim.
    Returns: Plan.
    Raises: TicketError for a spread or a margin outside these ranges.
    """
    tails = 1 - ALPHA, (1 + power) / 2
    asked = stats.seeds_needed(sd, margin, power=power)
    n = min(max(asked, limits[0]), limits[1])
    reached, strictest = (stats.tost_power(n, sd, margin, alpha) for alpha in (ALPHA, ALPHA / family))
    resolves = sum(stats._quantile(tail, n) for tail in tails) * sd / math.sqrt(n)
    bound = f" The protocol takes at {'most' if asked > n else 'least'} {n}." if asked != n else ""
    sentence = (f"A spread of {sd:.2f} points, at a margin of {margin:g}, needs {asked} seeds."
                f"{bound} With {n}, a true difference of zero is shown to be none with a chance of "
                f"{100 * reached:.0f} % ({100 * strictest:.0f} % at Holm's strictest level).")
    if asked > limits[1]:
        sentence += f" {n} seeds resolve a margin of {resolves:.2f} points; below that a verdict may stay undecided."
    return Plan(n, asked, reached, strictest, resolves, sentence)
