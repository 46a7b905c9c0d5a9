"""Probes: ledger rows of what needs images or a trained net but no ticket training, such as keep counts and overlaps."""

import time
from dataclasses import replace

from ticketlib import checkpoints, experiment, masks, paths
from ticketlib.errors import TicketError
from ticketlib.ledger import Row, name_of
from ticketlib.runs import parent
from ticketlib.tickets import TICKETS

FIELDS = (
    "recipe", "dataset", "fingerprint", "network", "width", "stem_stride", "ticket", "sparsity", "seed", "corruption",
    "linear", "variant", "min_per_layer", "per_class",
)  # fmt: skip
TRAINING = ("epochs", "batch", "lr", "momentum", "weight_decay", "drops", "padding", "flip", "precision", "order")


def configuration(config):
    """What names the probe of a run's mask: the fields of its Config that decide the mask, as plain JSON values.

    How the parent was trained belongs to it where trained weights are scored.
    """
    values = config.as_dict()
    wanted = FIELDS + (TRAINING if TICKETS[config.ticket].needs_trained else ())
    return {"probe": "mask"} | {what: values[what] for what in wanted}


def measure(config, dataset, cache=None):
    """Find a ticket's mask and describe it beside the clean one; nothing is trained.

    Arguments: config, runs.Config; dataset, the data.Dataset it names; cache, folder of the checkpoints.
    Returns: ledger.Row with keep_counts, sizes, empty_layers, effective_sparsity, movable_share, classifier_share, and,
        where the ticket looks at data, `overlap` and `chance` with the clean mask and `ceiling`, the overlap of the
        clean masks of two scoring batches.
    Raises: TicketError if a trained net is needed and the cache does not have it.
    """
    began, model = time.perf_counter(), experiment.build(config, dataset)
    mask, control = _mask(config, dataset, model, cache)
    values = configuration(config)
    row = Row(kind="probe", name=name_of(values), config=values, arm=config.arm, keep_counts=mask.counts)
    row |= {
        "sizes": mask.sizes,
        "empty_layers": mask.empty_layers,
        "effective_sparsity": paths.effective_sparsity(model, mask, dataset.train.images.shape[1:]),
        "movable_share": masks.movable_share(mask),
        "classifier_share": mask.counts[list(mask)[-1]] / mask.kept,
        "mask_digest": mask.digest(),
        "control": control,
    }
    if TICKETS[config.ticket].needs_batch:
        row |= _against_clean(config, dataset, model, mask, cache)
    return row | experiment.machine("cpu") | {"seconds": round(time.perf_counter() - began, 2)}


def _mask(config, dataset, model, cache, batch_stream="batch"):
    before = parent(config)
    trained = checkpoints.load(before.name, folder=cache) if before else None
    if before and trained is None:
        raise TicketError(f"checkpoint {before.name} ({before.arm}) is not in the cache; carry out that run first.")
    return experiment.ticket_mask(config, dataset, model, trained, batch_stream)


def _against_clean(config, dataset, model, mask, cache):
    clean = replace(config, corruption="none")
    first, _ = _mask(clean, dataset, model, cache)
    second, _ = _mask(clean, dataset, model, cache, "second batch")
    return {
        "overlap": masks.overlap(mask, first),
        "chance": masks.chance_overlap(mask, first),
        "ceiling": masks.overlap(second, first),
    }
