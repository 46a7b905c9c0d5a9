"""Estimates over seeds: intervals, one-sided tests, the power of the equivalence test, how many seeds a margin needs.

The unit is the seed. Intervals cover seeds, neither test images nor recipes.
"""
import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from ticketlib.errors import TicketError

ALPHA = 0.05  # of every family of tests


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; what cannot be computed is None, never 0."""

    point: float | None  # mean over seeds, in points; None without seeds
    low: float | None  # ends of the interval; None for fewer than two seeds
    high: float | None
    n: int  # seeds
    sd: float | None  # standard deviation over seeds (n - 1), None for fewer than two
    confidence: float  # 0 to 1


def sample(values):
    """Return `values` as a float array of shape (num_seeds,), or raise TicketError for anything not finite."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise TicketError(f"Values per seed must be numbers, not {values!r}.") from None
    if array.ndim != 1 or not np.isfinite(array).all():
        raise TicketError(f"Values per seed must be a list of finite numbers, one a seed, not {values!r}.")
    return array


def _moments(values):
    """Return mean, standard deviation and count, equal values having a deviation of exactly 0."""
    n = len(values)
    if n == 0:
        return None, None, 0
    same = (values == values[0]).all()
    point = float(values[0] if same else values.mean())
    return point, (None if n < 2 else 0.0 if same else float(values.std(ddof=1))), n


def _quantile(probability, n):
    """Return the quantile of Student's t with n - 1 degrees of freedom."""
    return float(distributions.t.ppf(probability, n - 1))


def t_interval(values, confidence=0.95):
    """Estimate the mean over seeds with a two-sided t interval.

    Arguments: values, one a seed, shape (num_seeds,), usually differences in points; confidence, 0 to 1.
    Returns: Estimate; with one seed a point alone, without seeds nothing but n = 0.
    Raises: TicketError for a value that is not finite, or a confidence not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise TicketError(f"Confidence {confidence} is not allowed; it lies between 0 and 1.")
    point, sd, n = _moments(sample(values))
    if n < 2:
        return Estimate(point, None, None, n, None, confidence)
    half = half_width(n, sd, confidence)
    return Estimate(point, point - half, point + half, n, sd, confidence)


def curve_cell(values):
    """A cell of `plots.curves`: values a seed and their mean, without an interval for two, wider than any figure.

    Returns: (list of float, Estimate).
    """
    values = list(values)
    mean = t_interval(values)
    return values, mean if mean.n > 2 else dataclasses.replace(mean, low=None, high=None)


def half_width(n, sd, confidence):
    """How far the t interval of a mean over n seeds reaches to either side, for a standard deviation over seeds."""
    return _quantile((1 + confidence) / 2, n) * sd / math.sqrt(n)


def standard_errors(differences):
    """What the choice of seeds and what the choice of test images adds to a mean over both, as standard errors.

    Seeds and images are crossed random effects, and every image is classified once a seed. A t interval over seeds
    holds the first error; the second is left when what a seed and an image do together is taken away.
    Arguments: differences, shape (num_seeds, num_images), at least (2, 2): one arm minus the other, of every image.
    Returns: (over seeds, over images), in the unit of `differences`.
    """
    table = np.asarray(differences, dtype=float)
    (n, images), by_seed, by_image = table.shape, table.mean(1), table.mean(0)
    rest = table - by_seed[:, None] - by_image + table.mean()
    noise = (rest**2).sum() / ((n - 1) * (images - 1))
    left = max(0.0, by_image.var(ddof=1) - noise / n)
    return float(by_seed.std(ddof=1) / math.sqrt(n)), math.sqrt(left / images)


def p_above(values, bound):
    """Test that the mean lies above `bound`: one-sided p of the null 'mean <= bound', None for fewer than two seeds."""
    point, sd, n = _moments(sample(values))
    if n < 2:
        return None
    if sd == 0:  # no spread: certain either way, and a mean on the bound is not above it
        return 0.0 if point > bound else 1.0
    return float(distributions.t.sf((point - bound) * math.sqrt(n) / sd, n - 1))


def p_below(values, bound):
    """Test that the mean lies below `bound`: one-sided p of the null 'mean >= bound'."""
    return p_above(-sample(values), -bound)


def tost_power(n, sd, margin, alpha=ALPHA):
    """Return the power of the equivalence test at a true difference of zero, 0 to 1, averaged over the sample's sd."""
    if n < 2:
        return 0.0
    if sd == 0:
        return 1.0
    chances = (np.arange(4000) + 0.5) / 4000
    sample_sd = sd * np.sqrt(distributions.chi2.ppf(chances, n - 1) / (n - 1))
    room = margin - _quantile(1 - alpha, n) * sample_sd / math.sqrt(n)  # how far the mean may lie from zero
    return float(np.mean(np.maximum(0, 2 * distributions.norm.cdf(room * math.sqrt(n) / sd) - 1)))


def seeds_needed(sd, margin, *, power=0.8):
    r"""The smallest n with `$n \ge ((t_{.95, n-1} + t_{1-\beta/2, n-1}) \, sd / margin)^2$`.

    The formula is that of two one-sided tests, each at alpha = .05, for a true difference of zero; beta = 1 - power.
    Arguments: sd, standard deviation of paired differences in points, 0 to 100; margin, points, 0.01 to 100;
        power, 0 to 1.
    Raises: TicketError for a spread or a margin outside these ranges.
    """
    if not (sd is not None and 0 <= sd <= 100 and 0.01 <= margin <= 100):
        raise TicketError(f"sd {sd} and margin {margin} are not allowed; sd is 0 to 100 points, margin 0.01 to 100.")
    tails = 1 - ALPHA, (1 + power) / 2
    n = max(2, math.ceil((sum(map(distributions.norm.ppf, tails)) * sd / margin) ** 2))  # t only asks for more
    while n < (sum(_quantile(tail, n) for tail in tails) * sd / margin) ** 2:
        n += 1
    return n
