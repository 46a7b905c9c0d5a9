"""The table of tickets as code: score, keep counts, the weights a ticket trains from, and its schedule."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ticketlib import masks, pruners, ratios
from ticketlib.errors import TicketError, one_of
from ticketlib.models import check_values, initialise, prunable
from ticketlib.registers import REGISTERS, named, register

CHECKS = REGISTERS.setdefault("check", {})  # name -> function (model, mask, streams, draw) -> Mask; see `check`
MOVES = set()  # the checks that give another mask; the others change values
ROUND_KEEPS = Decimal("0.8")  # iterative pruning removes 20 % of the survivors a round
REWIND_TO = Decimal("0.25")  # learning-rate rewinding restarts the schedule here
MASK = "mask/"  # prefix of the mask's tensors in a stored ticket


@dataclass(frozen=True)
class Composition:
    """What a ticket is made of: one line of the table of tickets."""

    score: str  # a method of pruners.METHODS, or "trained": the magnitude of trained weights
    rule: str  # "global": one threshold over all layers; "table": keep-counts handed in; else a rule of ratios.RULES
    start: str = "initial"  # the weights the ticket trains from: "initial" or "trained"
    schedule: str = "full"  # "full"; "rewound": from 25 % of its length; "last": as long as rewound, at the last rate
    rounds: bool = False  # iterative: each round starts from the trained net of the round before

    @property
    def needs_trained(self):
        """Whether it scores the weights of a trained network."""
        return self.score == "trained"

    @property
    def needs_batch(self):
        """Whether it scores with images and labels."""
        return self.score in pruners.NEEDS_BATCH


COMPOSED = {
    "dense": Composition("random", "global"),  # at sparsity 0: the mask keeps everything
    "lt": Composition("trained", "global"),
    "table": Composition("random", "table"),
    "lrr": Composition("trained", "global", "trained", "rewound"),
    "omp": Composition("trained", "global", "trained", "last"),
    "hybrid": Composition("trained", "smart", "trained", "rewound"),
    "imp": Composition("trained", "global", rounds=True),
    "imp_lrr": Composition("trained", "global", "trained", "rewound", rounds=True),
}
for _name, _composition in COMPOSED.items():
    register("ticket", _name, _composition)


class Tickets(Mapping):
    """Compositions by ticket: those of COMPOSED, and one for each pruner and each rule, also a new one."""

    def __getitem__(self, ticket):
        if ticket in pruners.METHODS:
            return Composition(ticket, "global")
        return Composition("random", ticket) if ticket in ratios.RULES else COMPOSED[ticket]

    def __iter__(self):
        return iter((*COMPOSED, *pruners.METHODS, *ratios.RULES))

    def __len__(self):
        return len(list(iter(self)))


TICKETS = Tickets()


def previous_round(sparsity):
    """Sparsity of the iterative round before the one that ends at `sparsity`; "0" before the first.

    Arguments: sparsity, decimal text in (0, 1).
    Returns: decimal text, one of 0, 0.2, 0.36, 0.488, ...
    """
    wanted, density = 1 - Decimal(sparsity), Decimal(1)
    while density * ROUND_KEEPS > wanted:
        density *= ROUND_KEEPS
    return f"{(1 - density).normalize():f}" if density < 1 else "0"


def find_mask(ticket, model, sparsity, streams, *, trained=None, batch=None, variant="default", redraw=False, **how):
    """Find a ticket's mask, before any check is applied to it.

    Arguments:
        ticket: a name of TICKETS. model: a network holding its initial weights.
        sparsity: fraction of the prunable weights removed, [0, 1), decimal text or float.
        streams: function from a stream's name to a torch.Generator.
        trained, batch, variant, redraw: as `find_scores` takes them.
        how: linear, min_per_layer, family, counts and previous, as `mask_of` takes them.
    Returns: a Mask that keeps exactly the asked total.
    Raises: TicketError for an unknown ticket, or where trained weights or a batch are missing.
    """
    scores = find_scores(ticket, model, sparsity, streams, trained=trained, batch=batch, variant=variant, redraw=redraw)
    return mask_of(ticket, scores, model, sparsity, streams, **how)


def find_scores(ticket, model, sparsity, streams, *, trained=None, batch=None, variant="default", redraw=False):
    """The scores of a ticket's first step; None where positions are drawn at random, or all are kept.

    Arguments: as `find_mask`; trained, dict name -> tensor, the trained weights, where the ticket scores those; batch,
        (images, labels), where the method needs data; variant, of pruners.VARIANTS; redraw, whether the authors' GraSP
        may draw the classifier afresh.
    Returns: dict name -> tensor, bigger = keep; SynFlow's alone depend on the sparsity.
    """
    made_of = TICKETS[one_of("ticket", ticket, TICKETS)]
    if made_of.needs_trained:
        if trained is None:
            raise TicketError(f"{ticket} scores trained weights, and none were given; train a dense network first.")
        for name, weight in prunable(model).items():
            seen, wanted = tuple(trained[name].shape) if name in trained else "none", tuple(weight.shape)
            if seen != wanted:
                raise TicketError(f"The trained weights of {name} have shape {seen}; the weight has {wanted}.")
        return {name: trained[name].abs() for name in prunable(model)}
    if ticket == "dense" or (made_of.score == "random" and made_of.rule != "global"):
        return None
    images, labels = batch if batch is not None else (None, None)
    generator = streams("mask") if redraw or made_of.score == "random" else None
    return pruners.score(model, made_of.score, images, labels, sparsity=sparsity, generator=generator, variant=variant)


def mask_of(ticket, scores, model, sparsity, streams, *, linear="own", min_per_layer=0, family=None, counts=None,
            previous=None):  # fmt: skip
    """Keep counts and mask of a ticket from its scores.

    Arguments: as `find_mask`; linear, what a global threshold does with the classifier: "own", "kept", "global" or a
        keep_ratio in decimal text; min_per_layer, the guard of ratios.keep_counts and masks.global_mask; family, as
        ratios.keep_counts; counts, dict layer -> int, of the ticket "table"; previous, the mask of the round before
        (iterative tickets).
    """
    made_of = TICKETS[ticket]
    if ticket == "dense":
        return masks.Mask.dense(model)
    if previous is not None:
        previous.check(model)
        scores = {name: s.masked_fill(~previous[name], -1.0) for name, s in scores.items()}  # pruned stays pruned
    if made_of.rule == "global":
        names = [layer.name for layer in ratios.layers(model) if layer.linear]
        linear = _linear(made_of, linear)
        return masks.global_mask(scores, sparsity, linear=linear, linear_names=names, min_per_layer=min_per_layer)
    if made_of.rule == "table":
        _check_total(ticket, counts, model, sparsity)
    else:
        counts = ratios.keep_counts(model, made_of.rule, sparsity, family=family, min_per_layer=min_per_layer)
    if scores is None:
        return masks.random_mask(prunable(model), counts, generator=streams("mask"))
    return masks.from_counts(scores, counts)


def _check_total(ticket, counts, model, sparsity):
    asked = masks.asked_total(sum(layer.size for layer in ratios.layers(model)), sparsity)
    given = None if counts is None else sum(counts.values())
    if given != asked:
        raise TicketError(f"{ticket} at {sparsity} was given keep-counts of {given} weights; {asked} are needed.")


def _linear(made_of, linear):
    """What a global threshold does with the classifier: tickets of trained magnitude keep all of it by default."""
    if linear == "own":
        return "kept" if made_of.needs_trained else "global"
    return linear if linear in ("kept", "global") else float(linear)


def check(name, *, moves=False):
    """Register an architecture check: a function (model, mask, streams, draw) -> the mask the ticket trains with.

    It changes the weights of the model in place, or, with `moves`, gives another mask. Arguments as `apply_check`;
    draw, a function from a generator to a network like the model, its weights drawn afresh.
    Raises: TicketError for a name that is taken, or that no arm could be written with.
    """
    return named("check", name, moves, MOVES)


def apply_check(check, model, mask, streams, network=None):
    """Carry out an architecture check on a ticket, in place, and return the mask it trains with.

    Arguments: check, a name of CHECKS; model, holding the weights the ticket trains from; mask; streams as `find_mask`;
        network, a function from a generator to a freshly drawn network, where the model is none of models.build.
    Returns: the mask, another one if the check moves it. The model's pruned weights are zero afterwards.
    Raises: TicketError for an unknown check, and for one that returns no mask.
    """
    draw = network or (lambda generator: initialise(copy.deepcopy(model), generator))
    mask = CHECKS[one_of("check", check, CHECKS)](model, mask, streams, draw)
    if not isinstance(mask, masks.Mask):
        raise TicketError(f"check {check!r} returned a {type(mask).__name__}; it must return the mask, a masks.Mask.")
    mask.apply(model)
    return mask


@check("none")
def as_found(model, mask, streams, draw):
    """The ticket as it was found."""
    return mask


@check("rearranged", moves=True)
def rearranged(model, mask, streams, draw):
    """As many places in each layer, drawn by lot."""
    return masks.rearrange(mask, streams("rearrange"))


@check("shuffled")
def shuffled(model, mask, streams, draw):
    """The kept weights of each layer in another order."""
    masks.shuffle_survivors(model, mask, streams("shuffle"))
    return mask


@check("shuffled_all")
def shuffled_all(model, mask, streams, draw):
    """All weights of each layer in another order, the removed ones among them."""
    masks.shuffle_all(model, streams("shuffle"), list(mask))
    return mask


@check("reinitialised")
def reinitialised(model, mask, streams, draw):
    """All weights drawn afresh."""
    model.load_state_dict(draw(streams("reinit")).state_dict())
    return mask


@check("random_signs")
def random_signs(model, mask, streams, draw):
    """The signs of the kept weights drawn afresh."""
    masks.random_signs(model, mask, streams("signs"))
    return mask


@check("fresh_magnitudes")
def fresh_magnitudes(model, mask, streams, draw):
    """The magnitudes of the kept weights drawn afresh, their signs as they were."""
    masks.fresh_magnitudes(model, mask, prunable(draw(streams("fresh"))))
    return mask


def pack(model, mask):
    """Weights and mask of a ticket as one dict of tensors on the CPU, none of which shares its memory."""
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    return weights | {MASK + name: kept.to(torch.uint8) for name, kept in mask.items()}


def unpack(tensors):
    """The inverse of `pack`: (state dict, Mask)."""
    kept = {name.removeprefix(MASK): value.bool() for name, value in tensors.items() if name.startswith(MASK)}
    return {name: value for name, value in tensors.items() if not name.startswith(MASK)}, masks.Mask(kept)


def save(path, model, mask):
    """Store a ticket, weights and mask, in one safetensors file.

    Arguments: path, of the file; model, holding the weights; mask, its Mask.
    Raises: TicketError for the mask of another network.
    """
    mask.check(model)
    check_values(model)
    save_file(pack(model, mask) | {MASK + name: kept for name, kept in mask.items()}, path)


def load(path, model):
    """Give a network the weights and the mask of a stored ticket.

    Arguments: path, as `save` wrote it; model, any network with layers of the same names and shapes.
    Returns: the Mask. The model's pruned weights are zero.
    Raises: TicketError for a file that is no ticket, and for a ticket of another network.
    """
    try:
        weights, mask = unpack(load_file(path))
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, TicketError) as error:
        reason = str(error).strip().splitlines()
        raise TicketError(f"{path} cannot be loaded into {type(model).__name__}: {' '.join(reason[:2])}") from None
    mask.apply(model)
    return mask
