"""Integer apportionment: real-valued shares of a budget become exact counts, each within its size."""

from fractions import Fraction
from math import floor


def allocate(sizes, shares, total):
    """Turn shares into integer keep counts whose sum is exactly `total`.

    Arguments: sizes, integers; shares, as many integers or Fractions >= 0, in any unit; total, 0 to sum(sizes).
    Returns: list of int, each from 0 to its size; the remainder goes by largest fraction, ties by order.
    """
    shares = shares if any(shares) else sizes
    scale = Fraction(total) / sum(shares)
    targets = fill(sizes, [share * scale for share in shares])
    counts = [floor(target) for target in targets]
    by_fraction = sorted(range(len(sizes)), key=lambda i: (counts[i] - targets[i], i))
    for i in by_fraction[: total - sum(counts)]:
        counts[i] += 1
    return counts


def fill(sizes, targets):
    """Cap targets at the sizes: a surplus fills the next layer, then the one after; at the end, the earliest with room.

    Source: the order of the paper's code (pruner/SmartRatio.py), whose loop stops at the first layer without a surplus
    and so loses what overflows later; here nothing is lost.
    """
    filled, surplus = list(targets), 0
    for _ in range(2):  # once through the targets, once more for what is left at the end
        for i, size in enumerate(sizes):
            wanted = filled[i] + surplus
            filled[i] = min(wanted, size)
            surplus = wanted - filled[i]
    return filled


def solve_again(sizes, shares, total):
    """Scale shares to a total; layers above their size become dense and the others are solved again, until none is.

    Arguments: as `allocate`, shares above 0. Returns: list of Fraction, none above its size, of sum `total`.
    """
    dense = set()
    while True:
        rest = [i for i in range(len(sizes)) if i not in dense]
        scale = Fraction(total - sum(sizes[i] for i in dense), sum(shares[i] for i in rest))
        above = {i for i in rest if scale * shares[i] > sizes[i]}
        if not above:
            return [Fraction(sizes[i]) if i in dense else scale * shares[i] for i in range(len(sizes))]
        dense |= above


def bisect(below, low, high):
    """Find the point between the floats `low` and `high` up to which the predicate `below` holds."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high
