"""Exact selection on flat arrays: the best, the best of several layers together, random ones."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from math import floor

import numpy as np
import torch

from ticketlib.errors import TicketError, one_of

SAMPLE, MARGIN = 4096, 256  # the bracket holds about an eighth of the values; a miss costs one more pass


def nearest(density, size):
    """`density` (a Decimal) x `size` as an integer, to nearest, ties to even."""
    return int((density * size).to_integral_value(ROUND_HALF_EVEN))


def asked_total(size, sparsity):
    """How many of `size` weights a sparsity keeps: density x size, to nearest, ties to even.

    The density is taken from the sparsity's decimal text, since 1 - .98 in floats is not .02.

    Arguments: size, integer >= 0; sparsity, fraction removed, 0 <= sparsity < 1, a number or decimal text.
    Returns: int.
    Raises: TicketError for a sparsity out of range or not a number.
    """
    try:
        density = 1 - Decimal(str(sparsity))
    except InvalidOperation:
        density = Decimal("nan")
    if density.is_nan() or not 0 < density <= 1:
        raise TicketError(f"sparsity {sparsity!r} is not allowed; it must be a number, 0 <= sparsity < 1.")
    return nearest(density, size)


def random_bits(size, count, generator):
    """Draw bool (size,), exactly `count` of them True, every choice as likely as any other."""
    rare = min(count, size - count)
    bits, missing = torch.zeros(size, dtype=torch.bool), rare
    while missing:  # a batch holds no more draws than are missing, so it never overshoots; each has a new one by 1/2
        bits.index_fill_(0, (torch.rand(missing, dtype=torch.float64, generator=generator) * size).long(), True)
        missing = rare - int(bits.count_nonzero())
    return bits if rare == count else ~bits


def flatten(name, tensor):
    """Scores of a layer as a float array (n,) on the CPU; TicketError names a layer with NaN or without scores."""
    dtype = torch.float32 if tensor.dtype in (torch.float32, torch.float16, torch.bfloat16) else torch.float64
    flat = tensor.detach().reshape(-1).to("cpu", dtype).numpy()
    if not flat.size:
        raise TicketError(f"The scores of {name} are empty; each layer must have at least one.")
    if np.isnan(flat.min()):  # a minimum passes NaN on, without a temporary of full size
        raise TicketError(f"The scores of {name} hold NaN; only numbers can be ranked.")
    return flat


def top(flat, count):
    """Bool (n,), True at the `count` largest of a float array (n,) without NaN; ties go to the lowest index."""
    if count == 0 or count == flat.size:
        return np.full(flat.size, count > 0)
    threshold = kth_largest(flat, count)
    bits = flat > threshold
    bits[np.flatnonzero(flat == threshold)[: count - np.count_nonzero(bits)]] = True
    return bits


def kth_largest(flat, k):
    """The k-th largest value of a float array without NaN, by selection in O(n): a few passes, no sort, no full copy.

    A sorted sample brackets the value; what lies outside the bracket is dropped, and its ends as well, so that many
    equal values (SynFlow's removed weights, tied scores) cost no more than different ones; numpy.partition is some
    twenty times slower on those.
    """
    while flat.size > SAMPLE:
        sample = np.sort(flat[:: flat.size // SAMPLE])
        place = int(sample.size * (1 - k / flat.size))
        low, high = sample[max(place - MARGIN, 0)], sample[min(place + MARGIN, sample.size - 1)]
        above_low, above_high = np.count_nonzero(flat > low), np.count_nonzero(flat > high)
        if k <= above_high:
            flat = flat[flat > high]
        elif k <= (from_high := np.count_nonzero(flat >= high)):
            return high
        elif k <= above_low:
            flat, k = flat[(flat > low) & (flat < high)], k - from_high
        elif k <= (from_low := np.count_nonzero(flat >= low)):
            return low
        else:
            flat, k = flat[flat < low], k - from_low
    return np.partition(flat, flat.size - k)[flat.size - k]


def top_jointly(free, reserved, spare):
    """The best of several layers together: the `reserved` best of each, then the `spare` best of all the others.

    Arguments: free, dict name -> float (n,); reserved, dict name -> count; spare, a count.
    Returns: dict name -> bool (n,).
    """
    bits = np.concatenate([top(values, reserved[name]) for name, values in free.items()])
    flat = np.concatenate(list(free.values()))
    if any(reserved.values()):
        rest = np.flatnonzero(~bits)
        bits[rest[top(flat[rest], spare)]] = True
    else:
        bits = top(flat, spare)
    return dict(zip(free, np.split(bits, np.cumsum([len(values) for values in free.values()])[:-1]), strict=True))


def fixed_linear(flat, linear, names):
    """The keep-counts that `linear` prescribes for the linear layers named: dict name -> count, empty for "global".

    Arguments: flat, dict name -> float (n,), all layers; linear, "global", "kept" or a keep-ratio from 0 to 1.
    Raises: TicketError for another value, and for names that are not among the layers.
    """
    if isinstance(linear, bool) or not isinstance(linear, int | float):
        one_of("linear", linear, ("global", "kept", "a keep_ratio from 0 to 1"))
        if linear == "global":
            return {}
        linear = 1
    if not 0 <= linear <= 1:
        raise TicketError(f"linear {linear!r} is not allowed; as a keep_ratio it must be from 0 to 1.")
    unknown = [name for name in names if name not in flat]
    if unknown or not names:
        raise TicketError(f"linear_names {list(names)} is not allowed; name linear layers among {', '.join(flat)}.")
    return {name: nearest(Decimal(str(linear)), len(flat[name])) for name in names}


def does_not_fit(sparsity, size, least, most):
    """The TicketError that says which sparsities fit, where `least` to `most` of `size` weights can be kept."""
    low, high = (size - most) / size, floor((size - least) / size * 1e6) / 1e6
    return TicketError(
        f"sparsity {sparsity} does not fit the layers kept by rule, which need {least} of {size} weights and leave "
        f"room for {most}; the largest feasible sparsity is {high}, the smallest {low:.6f}."
    )
