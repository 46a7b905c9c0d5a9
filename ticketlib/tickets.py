"""The table of tickets as code: score, keep counts, the weights a ticket trains from, and its schedule."""

from dataclasses import dataclass
from decimal import Decimal

from ticketlib import masks, pruners, ratios
from ticketlib.errors import TicketError, one_of
from ticketlib.models import initialise, prunable

CHECKS = ("none", "rearranged", "shuffled", "shuffled_all", "reinitialised")
ROUND_KEEPS = Decimal("0.8")  # iterative pruning removes 20 % of the survivors a round
REWIND_TO = Decimal("0.25")  # learning-rate rewinding restarts the schedule here


@dataclass(frozen=True)
class Recipe:
    """One line of the table of tickets."""

    score: str  # a method of pruners.METHODS, or "trained": the magnitude of trained weights
    counts: str  # "global": one threshold over all layers; else a rule of ratios.RULES
    start: str = "initial"  # the weights the ticket trains from: "initial" or "trained"
    schedule: str = "full"  # "full"; "rewound": from 25 % of its length; "last": as long as rewound, at the last rate
    rounds: bool = False  # iterative: each round starts from the trained net of the round before

    @property
    def needs_trained(self):
        return self.score == "trained"

    @property
    def needs_batch(self):
        return self.score in ("snip", "grasp")


TICKETS = {
    "dense": Recipe("random", "global"),  # at sparsity 0: the mask keeps everything
    "snip": Recipe("snip", "global"),
    "grasp": Recipe("grasp", "global"),
    "synflow": Recipe("synflow", "global"),
    "magnitude": Recipe("magnitude", "global"),
    "random": Recipe("random", "global"),
    "lt": Recipe("trained", "global"),
    **{rule: Recipe("random", rule) for rule in ratios.RULES},
    "lrr": Recipe("trained", "global", "trained", "rewound"),
    "omp": Recipe("trained", "global", "trained", "last"),
    "hybrid": Recipe("trained", "smart", "trained", "rewound"),
    "imp": Recipe("trained", "global", rounds=True),
    "imp_lrr": Recipe("trained", "global", "trained", "rewound", rounds=True),
}


def previous_round(sparsity):
    """Sparsity of the iterative round before the one that ends at `sparsity`; "0" before the first.

    Arguments: sparsity, decimal text in (0, 1). Returns: decimal text, one of 0, 0.2, 0.36, 0.488, ...
    """
    wanted, density = 1 - Decimal(sparsity), Decimal(1)
    while density * ROUND_KEEPS > wanted:
        density *= ROUND_KEEPS
    return f"{(1 - density).normalize():f}" if density < 1 else "0"


def find_mask(ticket, model, sparsity, streams, *, trained=None, batch=None, previous=None, **options):
    """Find a ticket's mask, before any check is applied to it.

    Arguments:
        ticket: a name of TICKETS. model: a network holding its initial weights.
        sparsity: fraction of the prunable weights removed, [0, 1), decimal text or float.
        streams: function from a stream's name to a torch.Generator.
        trained: dict name -> tensor, the trained weights, where the recipe scores those.
        batch: (images, labels), where the method needs data. previous: the mask of the round before (iterative).
        options: linear ("own", "kept", "global" or a keep_ratio), variant, min_per_layer.
    Returns: a Mask that keeps exactly the asked total.
    Raises: TicketError for an unknown ticket, or where trained weights or a batch are missing.
    """
    recipe = TICKETS[one_of("ticket", ticket, TICKETS)]
    if ticket == "dense":
        return masks.Mask.dense(model)
    counts = None
    if recipe.counts != "global":
        counts = ratios.keep_counts(model, recipe.counts, sparsity, min_per_layer=options["min_per_layer"])
    if counts and recipe.score == "random":
        return masks.random_mask(prunable(model), counts, generator=streams("mask"))
    scores = _scores(recipe, model, sparsity, streams, trained=trained, batch=batch, variant=options["variant"])
    if previous is not None:
        scores = {name: s.masked_fill(~previous[name], -1.0) for name, s in scores.items()}  # pruned stays pruned
    if counts:
        return masks.from_counts(scores, counts)
    return masks.global_mask(
        scores,
        sparsity,
        linear=_linear(recipe, options["linear"]),
        linear_names=[layer.name for layer in ratios.layers(model) if layer.linear],
        min_per_layer=options["min_per_layer"],
    )


def _linear(recipe, linear):
    """What a global threshold does with the classifier: tickets of trained magnitude keep all of it by default."""
    if linear == "own":
        return "kept" if recipe.needs_trained else "global"
    return linear if linear in ("kept", "global") else float(linear)


def _scores(recipe, model, sparsity, streams, *, trained, batch, variant):
    if recipe.needs_trained:
        if trained is None:
            raise TicketError("this ticket scores trained weights, and none were given; train a dense network first.")
        return {name: trained[name].abs() for name in prunable(model)}
    images, labels = batch if batch is not None else (None, None)
    generator = streams("mask") if recipe.score == "random" else None  # GraSP would redraw its linear layer
    return pruners.score(model, recipe.score, images, labels, sparsity=sparsity, generator=generator, variant=variant)


def apply_check(check, model, mask, streams):
    """Carry out an architecture check on a ticket, in place, and return the mask it trains with.

    Arguments: check, one of CHECKS; model, holding the weights the ticket trains from; mask; streams as `find_mask`.
    Returns: the mask, rearranged if that is the check. The model's pruned weights are zero afterwards.
    """
    one_of("check", check, CHECKS)
    if check == "rearranged":
        mask = masks.rearrange(mask, streams("rearrange"))
    elif check == "reinitialised":
        initialise(model, streams("reinit"))
    elif check == "shuffled":
        masks.shuffle_survivors(model, mask, streams("shuffle"))
    elif check == "shuffled_all":
        masks.shuffle_all(model, streams("shuffle"), list(mask))
    mask.apply(model)
    return mask
