"""Masks: which weights stay. Checked values with exact counts, and what the sanity checks do to them."""

import hashlib
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from math import floor

import numpy as np
import torch

from ticketlib.errors import TicketError, one_of
from ticketlib.models import check_values, prunable, random_stream

SAMPLE, MARGIN = 4096, 256  # the bracket holds about an eighth of the values; a miss costs one more pass


class Mask(Mapping):
    """A checked mapping from parameter name to a bool tensor, True where a weight stays.

    The tensors are copies on the CPU; treat them as read-only. Equality and hash go by content.

    Arguments:
        tensors: mapping from parameter name to bool tensor of the parameter's shape, in forward order.
        asked: the number of weights that must be kept in all; None for any.
    Raises: TicketError if there is no layer, a tensor is not bool, or kept differs from asked.
    """

    def __init__(self, tensors, *, asked=None):
        if not tensors:
            raise TicketError("A mask of no layers is not allowed; it needs at least one.")
        for name, tensor in tensors.items():
            if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.bool:
                kind = getattr(tensor, "dtype", type(tensor).__name__)
                raise TicketError(f"The mask of {name} is {kind}; only bool tensors are allowed.")
        self._tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        self.counts = {name: int(tensor.count_nonzero()) for name, tensor in self._tensors.items()}
        self.sizes = {name: tensor.numel() for name, tensor in self._tensors.items()}
        self.kept, self.size = sum(self.counts.values()), sum(self.sizes.values())
        if asked is not None and asked != self.kept:
            raise TicketError(f"The mask keeps {self.kept} weights; exactly {asked} were asked for.")

    def __getitem__(self, name):
        return self._tensors[name]

    def __iter__(self):
        return iter(self._tensors)

    def __len__(self):
        return len(self._tensors)

    def __eq__(self, other):
        return isinstance(other, Mask) and self.digest() == other.digest()

    def __hash__(self):
        return hash(self.digest())

    def __repr__(self):
        return f"Mask({self.kept:,} of {self.size:,} weights kept in {len(self)} layers)"

    @classmethod
    def dense(cls, model):
        """The mask that keeps every prunable weight."""
        return cls({name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in prunable(model).items()})

    @property
    def sparsity(self):
        """Fraction removed over all prunable weights, 0 to 1."""
        return (self.size - self.kept) / self.size

    @property
    def empty_layers(self):
        """Names of the layers that keep nothing."""
        return [name for name, count in self.counts.items() if count == 0]

    def digest(self):
        """The sha256, in hex, of names, shapes and bits; the order of the layers does not matter."""
        digest = hashlib.sha256()
        for name in sorted(self):
            digest.update(f"{name}{tuple(self[name].shape)}".encode())
            digest.update(np.packbits(self[name].numpy().reshape(-1)).tobytes())
        return digest.hexdigest()

    def check(self, model):
        """Raise TicketError, naming the layers, unless this mask has exactly the model's prunable names and shapes."""
        weights = prunable(model)
        for what, names in (("lacks", weights.keys() - self.keys()), ("has unknown", self.keys() - weights.keys())):
            if names:
                raise TicketError(f"The mask {what} {', '.join(sorted(names))}; it must name each prunable weight.")
        for name, weight in weights.items():
            if weight.shape != self[name].shape:
                seen, wanted = tuple(self[name].shape), tuple(weight.shape)
                raise TicketError(f"The mask of {name} has shape {seen}; the weight has {wanted}.")

    @torch.no_grad()
    def apply(self, model):
        """Set the pruned weights of a model to zero, in place, after `check`."""
        for _, weight, kept in _survivors(model, self):
            weight.masked_fill_(~kept, 0)  # unlike a product, clears NaN and never makes -0


def _survivors(model, mask):
    """Each prunable weight and where it survives, after `Mask.check`: list of (name, weight, bool tensor beside it)."""
    mask.check(model)
    check_values(model)
    return [(name, weight, mask[name].to(weight.device)) for name, weight in prunable(model).items()]


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


def global_mask(scores, sparsity, *, linear="global", linear_names=(), min_per_layer=0):
    """Keep the best scores of the whole network at one threshold; the kept total is exact.

    Ties are broken by index within a layer and by layer order across layers.

    Arguments:
        scores: mapping from name to score tensor or array, bigger = keep, in forward order.
        sparsity: fraction removed over all the scores, 0 <= sparsity < 1.
        linear: "global" (linear layers are layers like any other), "kept" (all of them is kept), or a keep_ratio,
            0 to 1, at which each of them is fixed; the threshold then runs over the other layers.
        linear_names: the names `linear` speaks of; needed unless it is "global".
        min_per_layer: each layer keeps at least this many of its best weights (all, if it has fewer).
    Returns: Mask.
    Raises: TicketError for bad scores, or where `linear` or `min_per_layer` does not fit the budget.
    Source: SNIP's, GraSP's and SynFlow's code for "global"; the paper's LT_prune.py for "kept" (but its strict
        threshold keeps one weight too few; here the count is exact).
    """
    flat = flat_scores(scores)
    size = sum(map(len, flat.values()))
    total = asked_total(size, sparsity)
    if total < size:
        _check_unequal(flat)
    fixed = fixed_linear(flat, linear, linear_names)
    kept = {name: top_k(flat[name], count) for name, count in fixed.items()}
    free = {name: values for name, values in flat.items() if name not in fixed}
    if not isinstance(min_per_layer, int) or min_per_layer < 0:
        raise TicketError(f"min_per_layer {min_per_layer!r} is not allowed; it must be an integer, at least 0.")
    reserved = {name: min(min_per_layer, len(values)) for name, values in free.items()}
    least = sum(fixed.values()) + sum(reserved.values())
    most = sum(fixed.values()) + sum(map(len, free.values()))
    if not least <= total <= most:
        raise does_not_fit(sparsity, size, least, most)
    kept |= top_jointly(free, reserved, total - least) if free else {}
    return Mask({name: _shaped(kept[name], scores[name]) for name in scores}, asked=total)


def from_counts(scores, counts):
    """Keep the best scores of each layer, as many as its keep count; ties by lowest index.

    Arguments: scores, mapping from name to tensor or array, bigger = keep; counts, from the same names to integers.
    Returns: Mask.
    Raises: TicketError for bad scores, unequal names, or a count outside 0 to the layer's size.
    """
    flat = flat_scores(scores)
    _check_counts({name: len(values) for name, values in flat.items()}, counts)
    if any(0 < count < len(flat[name]) for name, count in counts.items()):
        _check_unequal(flat)
    kept = {name: _shaped(top_k(flat[name], counts[name]), values) for name, values in scores.items()}
    return Mask(kept, asked=sum(counts.values()))


def random_mask(shapes, counts, *, generator):
    """Keep uniformly random positions of each layer, as many as its keep count.

    Positions are drawn until enough different ones are found, which costs as many draws as weights are kept (or
    removed, if those are fewer) and is free of the ties of random scores.

    Arguments: shapes, mapping from name to shape (or anything with a `.shape`); counts, integers; generator, a CPU
        torch.Generator or a seed.
    Returns: Mask.
    Raises: TicketError for unequal names or a count outside 0 to the layer's size.
    """
    shapes = {name: torch.Size(getattr(shape, "shape", shape)) for name, shape in shapes.items()}
    _check_counts({name: shape.numel() for name, shape in shapes.items()}, counts)
    generator = random_stream(generator)
    kept = {name: random_bits(shape.numel(), counts[name], generator).view(shape) for name, shape in shapes.items()}
    return Mask(kept, asked=sum(counts.values()))


def rearrange(mask, generator):
    """Move the kept weights of each layer to random positions: the same counts, another mask.

    Source: the paper's layerwise rearranging; layers kept whole cannot change (see `movable_share`).
    """
    return random_mask(mask, mask.counts, generator=generator)


@torch.no_grad()
def shuffle_survivors(model, mask, generator):
    """Permute, in place and within each layer, the values of the surviving weights among the surviving positions.

    Arguments: model; mask, a Mask of it (TicketError if it is not); generator. Pruned positions stay as they are.
    Source: the paper's "shuffle unmasked weights" check.
    """
    survivors, generator = _survivors(model, mask), random_stream(generator)
    for name, weight, kept in survivors:
        order = torch.randperm(mask.counts[name], generator=generator).to(weight.device)
        weight[kept] = weight[kept][order]


@torch.no_grad()
def random_signs(model, mask, generator):
    """Draw the sign of every surviving weight anew, in place; places and absolute values stay.

    Arguments: as `shuffle_survivors`. Source: Zhou et al. (2019) ask what of a ticket is in its signs.
    """
    survivors, generator = _survivors(model, mask), random_stream(generator)
    for name, weight, kept in survivors:
        coins = 0.5 - torch.randint(2, (mask.counts[name],), generator=generator)
        weight[kept] = torch.copysign(weight[kept], coins.to(weight))


@torch.no_grad()
def fresh_magnitudes(model, mask, fresh):
    """Give every surviving weight the absolute value of a fresh one, in place; places and signs stay.

    Each layer's surviving weights keep their common norm, so that the scale that training found stays too.
    Arguments: model; mask, a Mask of it (TicketError if it is not); fresh, dict name -> tensor, weights drawn anew.
    """
    survivors = _survivors(model, mask)
    if empty := [name for name in mask if mask.counts[name] and not fresh[name].cpu()[mask[name]].any()]:
        raise TicketError(f"The fresh weights of {', '.join(empty)} are all 0; allowed: some that have a magnitude.")
    for name, weight, kept in survivors:
        size = fresh[name].to(weight)[kept].abs()
        weight[kept] = torch.copysign(size * (weight[kept].norm() / size.norm()), weight[kept])


@torch.no_grad()
def shuffle_all(model, generator, names):
    """Permute, in place and within each layer, all values of the named weights, pruned ones included.

    A different test from `shuffle_survivors`: small values that the mask removed come back among the survivors.

    Arguments: model; generator, on the CPU; names, an iterable of prunable names.
    Raises: TicketError for a name that is not prunable, before anything is moved.
    Source: the EPFL reproduction (CS-433), which shuffles before it masks.
    """
    weights, names, generator = prunable(model), list(names), random_stream(generator)
    for name in names:
        if name not in weights:
            raise TicketError(f"Weight {name!r} is not prunable; allowed: {', '.join(weights)}.")
    for name in names:
        flat = weights[name].reshape(-1)
        order = torch.randperm(len(flat), generator=generator).to(flat.device)
        weights[name].copy_(flat[order].view_as(weights[name]))


def overlap(a, b):
    """Share, 0 to 1, of the weights that mask `a` keeps which mask `b` keeps as well.

    Raises: TicketError unless both have the same layers and the same kept total, above zero.
    """
    _check_alike(a, b)
    if a.kept != b.kept:
        raise TicketError(f"Masks that keep {a.kept} and {b.kept} weights have no one overlap; totals must be equal.")
    return sum(int((a[name] & b[name]).count_nonzero()) for name in a) / a.kept


def chance_overlap(a, b):
    """The exact expectation of `overlap` once both are rearranged in layers: `$\\sum_l (a_l b_l/n_l) / \\sum_l a_l$`.

    Taken within layers, never from the global density, which would credit equal keep counts to the weights' choice.
    """
    _check_alike(a, b)
    return chance_of(a.counts, b.counts, a.sizes)


def chance_of(a, b, sizes):
    """`chance_overlap` of two masks with these keep-counts: dicts name -> int, of the same layers."""
    return sum(count * b[name] / sizes[name] for name, count in a.items()) / sum(a.values())


def moved_share(a, b):
    """Share, 0 to 1, of the positions that mask `a` keeps which mask `b` does not: 1 - `overlap`."""
    return 1 - overlap(a, b)


def movable_share(mask):
    """The exact expectation of `moved_share` under `rearrange`; 0 if every layer is kept whole."""
    return 1 - chance_overlap(mask, mask)


def random_bits(size, count, generator):
    """Draw bool (size,), exactly `count` of them True, every choice as likely as any other."""
    rare = min(count, size - count)
    bits, missing = torch.zeros(size, dtype=torch.bool), rare
    while missing:  # a batch holds no more draws than are missing, so it never overshoots; each has a new one by 1/2
        bits.index_fill_(0, (torch.rand(missing, dtype=torch.float64, generator=generator) * size).long(), True)
        missing = rare - int(bits.count_nonzero())
    return bits if rare == count else ~bits


def flat_scores(scores):
    """Scores of each layer as a float array (n,) on the CPU.

    Raises: TicketError naming a layer whose scores are no real numbers, hold NaN, or are not there.
    """
    return {name: _flatten(name, values) for name, values in scores.items()}


def _flatten(name, scores):
    try:
        tensor = torch.as_tensor(scores)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(scores).__name__
        raise TicketError(f"The scores of {name} are {kind}; allowed: a tensor or an array.") from error
    if tensor.is_complex() or tensor.is_meta:
        kind = "complex" if tensor.is_complex() else "on the meta device, without values"
        raise TicketError(f"The scores of {name} are {kind}; allowed: real numbers.")
    dtype = torch.float32 if tensor.dtype in (torch.float32, torch.float16, torch.bfloat16) else torch.float64
    flat = tensor.detach().reshape(-1).to("cpu", dtype).numpy()
    if not flat.size:
        raise TicketError(f"The scores of {name} are empty; each layer must have at least one.")
    if np.isnan(flat.min()):  # a minimum passes NaN on, without a temporary of full size
        raise TicketError(f"The scores of {name} hold NaN; only numbers can be ranked.")
    return flat


def top_k(flat, count):
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
    bits = np.concatenate([top_k(values, reserved[name]) for name, values in free.items()])
    flat = np.concatenate(list(free.values()))
    if any(reserved.values()):
        rest = np.flatnonzero(~bits)
        bits[rest[top_k(flat[rest], spare)]] = True
    else:
        bits = top_k(flat, spare)
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


def _check_alike(a, b):
    for name in sorted(a.keys() | b.keys()):
        shapes = [tuple(mask[name].shape) if name in mask else "no such layer" for mask in (a, b)]
        if shapes[0] != shapes[1]:
            raise TicketError(f"Masks differ in {name} ({shapes[0]}, {shapes[1]}); they must be of one network.")
    if not a.kept:
        raise TicketError("A mask that keeps nothing has no overlap; it must keep at least one weight.")


def _check_unequal(flat):
    """Scores that are all the same choose nothing, and the first weights by index would stay: an error, not a mask."""
    least, most = min(values.min() for values in flat.values()), max(values.max() for values in flat.values())
    if least == most:
        raise TicketError(
            f"All scores are {most:g}, so they choose no weight; scores must differ. Scores by gradient are all zero "
            "where the last layer's weights are, as some networks are drawn, or where weights are so small that all "
            "vanish: draw them otherwise, or train a little."
        )


def _check_counts(sizes, counts):
    if sizes.keys() != counts.keys():
        names = ", ".join(sorted(sizes.keys() ^ counts.keys()))
        raise TicketError(f"Layers and keep counts differ in {names}; a keep count is needed for each layer, no more.")
    for name, count in counts.items():
        size = sizes[name]
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 0 <= count <= size:
            raise TicketError(f"The keep count {count!r} of {name} is not allowed; allowed: integers 0 to {size}.")


def _shaped(bits, like):
    return torch.from_numpy(bits).view(like.shape)
