"""Keep counts: how many weights each layer keeps under a rule, in exact integers."""

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor, inf, prod
from typing import NamedTuple

import numpy as np

from ticketlib.errors import TicketError, one_of
from ticketlib.masks import asked_total, nearest
from ticketlib.models import FAMILIES, prunable
from ticketlib.models import family as family_of
from ticketlib.registers import REGISTERS, named

RULES = REGISTERS.setdefault("rule", {})  # name -> function (layers, total, family) -> keep counts up to a factor
FIXES_LINEAR = set()  # the rules that fix linear layers at a keep_ratio and share out the rest
NOT_DEFINED = "not defined here: "  # before the reason why a rule cannot be met
BUDGET = "; the budget is "  # in the reason why a rule is not defined, before the number of weights that may stay


class NotDefined(TicketError):
    """A rule cannot be met on this network at this sparsity."""


class Layer(NamedTuple):
    """One prunable weight: its name, shape, size and whether it is linear."""

    name: str
    shape: tuple
    size: int
    linear: bool


def layers(model):
    """List the prunable layers of a model in the order of `models.prunable`."""
    return [Layer(name, tuple(w.shape), w.numel(), w.ndim == 2) for name, w in prunable(model).items()]


def called(table, name):
    """How prose names a layer by its place: "the first convolution", "layer 2", "the classifier" for a linear last one.

    Arguments: table, list of Layer in forward order; name, of one of them.
    """
    number = 1 + [layer.name for layer in table].index(name)
    if number == len(table) and table[-1].linear:
        return "the classifier"
    return "the first convolution" if number == 1 and not table[0].linear else f"layer {number}"


def rule(name, *, fixes_linear=False):
    """Register a rule: a function (layers, total, family) -> a share for each layer, proportional to its keep count.

    With `fixes_linear` the linear layers stand at `linear_keep_ratio` and only the other layers share the rest.
    Raises: TicketError for a name that is taken, or that no arm could be written with.
    """
    return named("rule", name, fixes_linear, FIXES_LINEAR)


def keep_counts(model, rule, sparsity, *, linear_keep_ratio=0.3, family=None, min_per_layer=0):
    """Compute how many weights each layer keeps; the total is exactly density x size, to nearest, ties to even.

    Smart, linear, cubic and ascending fix each linear layer at `linear_keep_ratio`, as the paper's code does with
    however many there are (none: the convolutions share everything). What the other layers cannot hold flows back
    into the linear ones. Other rules treat a linear layer as any other. A rule's literal counts may leave a layer
    empty (ascending on a ResNet does); `min_per_layer` guards against that.

    Arguments:
        model: any module with prunable weights, or a list of Layer. Rules by depth take their order for depth.
        rule: a name of RULES.
        sparsity: fraction removed over all prunable weights, 0 <= sparsity < 1.
        linear_keep_ratio: fraction kept in each linear layer, 0 to 1, to nearest, ties to even.
        family: "resnet" or "vgg", the form of the smart ratio and its ablations; None takes it from the model.
        min_per_layer: each layer keeps at least this many weights (all, if it has fewer); layers that would fall
            below are held there, and the rest is shared out again among the others.
    Returns: dict from name to int, in the order of the layers.
    Raises: TicketError for an unknown rule or option; NotDefined where the rule cannot be met.
    Source: each rule's in its own docstring; overflow in the order of the paper's code (`fill`).
    """
    table = model if isinstance(model, list) else layers(model)
    total = asked_total(sum(_sizes(table)), sparsity)
    if not total:
        raise NotDefined(f"{NOT_DEFINED}sparsity {sparsity} keeps none of the weights.")
    if family is not None:
        one_of("family", family, FAMILIES)
    function = RULES[one_of("rule", rule, RULES)]
    if rule in FIXES_LINEAR and family is None:
        family = family_of(model)
    shares = _checked_shares(rule, table, function(table, total, family))
    held = _held(table, rule, total, linear_keep_ratio)
    return _guarded(table, shares, total, held, min_per_layer)


def _checked_shares(rule, table, shares):
    """What a rule gave, if it is one finite number of at least 0 for each layer."""
    listed = isinstance(shares, list | tuple)
    if not listed or len(shares) != len(table):
        seen = f"{len(shares)} shares" if listed else f"a {type(shares).__name__}"
        raise TicketError(f"rule {rule!r} gave {seen} for {len(table)} layers, {table[0].name} to {table[-1].name}; "
                          "allowed: a list of one number for each.")  # fmt: skip
    shares = [share.item() if isinstance(share, np.generic) else share for share in shares]
    for layer, share in zip(table, shares, strict=True):
        number = isinstance(share, int | float | Fraction) and not isinstance(share, bool)
        if not number or not 0 <= share < inf:
            raise TicketError(f"rule {rule!r} gave {layer.name} {share!r}; allowed: a finite number, at least 0.")
    return shares


def why_not(model, rule, sparsity, *, family=None):
    """Why a rule cannot be met on a network at a sparsity, in words; "" where it can. Arguments as `keep_counts`."""
    try:
        keep_counts(model, rule, sparsity, family=family)
    except NotDefined as error:
        return str(error).removeprefix(NOT_DEFINED)
    return ""


def defined_counts(model, rule, sparsity, *, family=None):
    """`keep_counts` of a rule; None where it cannot be met or leaves a layer empty."""
    try:
        counts = keep_counts(model, rule, sparsity, family=family)
    except NotDefined:
        return None
    return counts if all(counts.values()) else None


@rule("smart", fixes_linear=True)
def smart(table, total, family):
    """Smart ratio: keep_ratio of layer `$l$` of `$L$` proportional to `$(L-l+1)^2 + (L-l+1)$`, over `$l^2$` for VGGs.

    Source: the paper's code, pruner/SmartRatio.py.
    """
    return _by_depth(table, family, lambda i, L: (L - i + 1) ** 2 + (L - i + 1))


@rule("linear", fixes_linear=True)
def linear_decay(table, total, family):
    """Ablation of the smart ratio: keep_ratio proportional to `$L-l+1$`, divided by `$l^2$` on VGGs."""
    return _by_depth(table, family, lambda i, L: L - i + 1)


@rule("cubic", fixes_linear=True)
def cubic(table, total, family):
    """Ablation of the smart ratio: keep_ratio proportional to `$(L-l+1)^3$`, divided by `$l^2$` on VGGs."""
    return _by_depth(table, family, lambda i, L: (L - i + 1) ** 3)


@rule("ascending", fixes_linear=True)
def ascending(table, total, family):
    """Ablation of the smart ratio: keep_ratio proportional to `$l^2 + l$`, divided by `$l^2$` on VGGs.

    So it is almost uniform on a VGG, and on a ResNet it can leave the first convolution empty.
    """
    return _by_depth(table, family, lambda i, L: i**2 + i)


@rule("uniform")
def uniform(table, total, family):
    """The same keep_ratio in each layer."""
    return _sizes(table)


@rule("uniform_plus")
def uniform_plus(table, total, family):
    """First convolution dense, last linear layer at 20 % or more, the others uniform (Gale et al. 2019)."""
    first = next((layer for layer in table if not layer.linear), None)
    last = next((layer for layer in reversed(table) if layer.linear), None)
    held = {first.name: first.size} if first else {}
    keep_ratio = _spread(table, held, total)
    if last and (keep_ratio is None or keep_ratio < Fraction(1, 5)):
        held[last.name] = ceil(Fraction(last.size, 5))
        keep_ratio = _spread(table, held, total)
    if keep_ratio is None or keep_ratio < 0:
        raise NotDefined(
            f"{NOT_DEFINED}uniform_plus needs {sum(held.values()):,} weights for "
            f"{' and '.join(called(table, name) for name in held)}{BUDGET}{total:,}."
        )
    return [held.get(layer.name, keep_ratio * layer.size) for layer in table]


@rule("er")
def er(table, total, family):
    """Erdos-Renyi: keep_ratio proportional to `$1 / n_{in} + 1 / n_{out}$`, solved as `erk` (Mocanu et al. 2018)."""
    return solve_again(_sizes(table), [sum(layer.shape[:2]) * prod(layer.shape[2:]) for layer in table], total)


@rule("erk")
def erk(table, total, family):
    """Erdos-Renyi-kernel: keep_ratio proportional to the sum over the product of a weight's dimensions.

    Layers that would keep more than all become dense, and the others are solved again (Evci et al. 2020).
    """
    return solve_again(_sizes(table), [sum(layer.shape) for layer in table], total)


@rule("igq")
def igq(table, total, family):
    """Ideal gas quota: keep_ratio `$1 / (1 + F n)$`, `$F$` such that the total fits (Vysogorets and Kempe 2023)."""
    kept = lambda F: [layer.size / (1 + F * layer.size) for layer in table]  # noqa: E731
    F = bisect(lambda F: sum(kept(F)) > total, 0.0, len(table) / total)
    return [Fraction(count) for count in kept(F)]


@rule("balanced")
def balanced(table, total, family):
    """The same keep count in each layer (Gadhikar et al. 2023).

    Their code (RelationalML/sparse_to_sparse) caps a layer at its size and loses the excess, so that it keeps fewer
    weights than asked for; here the excess fills the next layers, as it does for every rule, and the total is exact.
    """
    return [1] * len(table)


@rule("pyramidal")
def pyramidal(table, total, family):
    """keep_ratio `$r^l$` of layer `$l = 1, 2, ...$`, `$r$` such that the total fits (Gadhikar et al. 2023)."""
    kept = lambda r: [r**i * layer.size for i, layer in enumerate(table, 1)]  # noqa: E731
    r = bisect(lambda r: sum(kept(r)) < total, 0.0, 1.0)
    return [Fraction(count) for count in kept(r)]


def _sizes(table):
    return [layer.size for layer in table]


def _by_depth(table, family, keep_ratio):  # weights proportional to keep counts
    L = len(table)
    squared = {"vgg": 2, "resnet": 0}[family]
    return [Fraction(keep_ratio(i, L), i**squared) * layer.size for i, layer in enumerate(table, 1)]


def _spread(table, held, total):  # the one keep_ratio of the layers that are not held, None if there are none
    size = sum(layer.size for layer in table if layer.name not in held)
    return Fraction(total - sum(held.values()), size) if size else None


def _held(table, rule, total, keep_ratio):  # -> counts of the linear layers under the rules that fix them
    if rule not in FIXES_LINEAR:
        return {}
    if isinstance(keep_ratio, bool) or not isinstance(keep_ratio, int | float) or not 0 <= keep_ratio <= 1:
        raise TicketError(f"linear_keep_ratio {keep_ratio!r} is not allowed; it must be a number from 0 to 1.")
    held = {layer.name: nearest(Decimal(str(keep_ratio)), layer.size) for layer in table if layer.linear}
    if len(held) == len(table):
        raise NotDefined(f"{NOT_DEFINED}{rule} fixes linear layers, and they are all there is.")
    if sum(held.values()) > total:
        raise NotDefined(
            f"{NOT_DEFINED}{rule} keeps {keep_ratio} of the linear layers, {sum(held.values()):,} weights"
            f"{BUDGET}{total:,}."
        )
    surplus = total - sum(held.values()) - sum(layer.size for layer in table if not layer.linear)
    if surplus > 0:  # below a few per cent sparsity the other layers cannot hold the rest
        first, *others = held.values()
        counts = fill([layer.size for layer in table if layer.linear], [first + surplus, *others])
        held = dict(zip(held, counts, strict=True))
    return held


def _guarded(table, shares, total, held, minimum):
    if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 0:
        raise TicketError(f"min_per_layer {minimum!r} is not allowed; it must be an integer, at least 0.")
    least = {layer.name: min(minimum, layer.size) for layer in table}
    held = {name: max(count, least[name]) for name, count in held.items()}
    if sum((least | held).values()) > total:
        raise NotDefined(f"{NOT_DEFINED}min_per_layer {minimum} needs more than the budget of {total} weights.")
    while True:
        free = [i for i, layer in enumerate(table) if layer.name not in held]
        sizes = [table[i].size for i in free]
        counts = apportion(sizes, [shares[i] for i in free], total - sum(held.values()))
        counts = held | {table[i].name: count for i, count in zip(free, counts, strict=True)}
        low = {name: least[name] for name, count in counts.items() if count < least[name]}
        if not low:
            return {layer.name: counts[layer.name] for layer in table}
        held |= low


def apportion(sizes, shares, total):
    """Turn shares into integer keep counts whose sum is exactly `total`.

    Arguments: sizes, integers; shares, as many integers, floats or Fractions >= 0, in any unit; total, 0 to sum(sizes).
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

    Arguments: as `apportion`, shares above 0. Returns: list of Fraction, none above its size, of sum `total`.
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
