"""One run carried out: find the mask, apply the check, train, and say everything in a ledger row."""

import contextlib
import dataclasses
import functools
import time
from dataclasses import dataclass

import numpy as np
import torch

from ticketlib import corrupt, data, feed, masks, models, tickets, train
from ticketlib.effective import effective_sparsity
from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, machine
from ticketlib.experiments.config import composition_of, given_counts, parent, streams
from ticketlib.experiments.ledger import Row, pack_bits

HELD_OUT_SEED = 2020  # the held-out images are the same in every run
SAVE_EVERY = 180.0  # seconds between two states of a run on its way
CONTROL_IMAGES = 1000  # images on which a corruption is checked to have done something


def execute(
    config, dataset, *, device="cpu", cache=None, progress=True, steps=None, keep=None, network=None, find=None,
    save_every=SAVE_EVERY,
):  # fmt: skip
    """Carry out one run.

    Arguments: config, Config; dataset, the data.Dataset it names; device, "cpu" or "cuda"; cache, folder of the
        checkpoints (None: the default one); progress, whether a bar may be shown; steps, for a rehearsal: stop training
        after so many updates. The row of a rehearsal says so, and is for no ledger; keep, a function that is handed the
        trained model and its mask; network, a function from a CPU generator to a freshly drawn network, where it is
        none of models.build; find, a function as `ticket_mask`, where the ticket is none of TICKETS; save_every,
        seconds between two states from which a run goes on if it is stopped.
    Returns: ledger.Row. A parent whose checkpoint is missing is carried out first.
    Raises: TicketError if the data are not those of the configuration, the run it starts from diverged, the device is
        not what the engine needs, or a rehearsal has no cache of its own: its nets must not pass for trained ones.
    """
    if steps and cache is None:
        raise TicketError(f"a rehearsal of {steps} steps needs a cache of its own; none was given.")
    if dataset.fingerprint != config.fingerprint:
        raise TicketError(
            f"data fingerprint {dataset.fingerprint} of {dataset.name} is not the configuration's "
            f"{config.fingerprint}; the same images are needed."
        )
    began, stream, made_of = time.perf_counter(), streams(config), composition_of(config.ticket)
    options = dict(device=device, cache=cache, progress=progress, steps=steps, save_every=save_every)
    trained, origin = _parent(config, dataset, options)
    dataset = evaluated_on(dataset, config)
    epoch_size = len(dataset.train.labels)
    model = network(stream("init")) if network else build(config, dataset)
    as_found, control = (find or ticket_mask)(config, dataset, model, trained)
    if config.ticket == "dense" and config.corruption != "none":
        dataset, control = _corrupted(dataset, config, stream)
    if made_of.start == "trained":
        model.load_state_dict(trained[0])
    before = {name: weight.detach().clone() for name, weight in models.prunable(model).items()}
    mask = tickets.apply_check(config.check, model, as_found, stream, network)
    control |= _moved(config.check, as_found, mask, before, model)
    net = engine(config, model, mask, dataset, device)
    keeper = None if steps else checkpoints.Keeper(config.name, machine.facts(device), every=save_every, folder=cache)
    result = _fitted(
        net, config, dataset, stream, schedule=made_of.schedule, epoch_size=epoch_size, progress=progress, steps=steps,
        keeper=keeper,
    )  # fmt: skip
    net.write_back(model)
    if keep:
        keep(model, mask)
    row = Row(kind="run", name=config.name, config=config.as_dict(), arm=config.arm)
    row |= _measured(result, dataset) | _ticket_facts(model, mask, dataset) | origin | machine.facts(device)
    if control:
        row["control"] = control
    if steps:
        row["kind"] = "rehearsal"
    if (config.ticket == "dense" or made_of.rounds) and not result.diverged:
        row["checkpoint"] = checkpoints.save(config.name, model, mask, cache)
    row["seconds"] = round(time.perf_counter() - began + result.before, 2)
    if keeper:
        keeper.over()
        row |= {"went_on": keeper.went_on} if keeper.went_on else {}
    return row


def _fitted(net, config, *given, **options):
    """train.fit; a GPU whose memory is full ends the run with one sentence."""
    try:
        return train.fit(net, config, *given, **options)
    except torch.cuda.OutOfMemoryError:
        raise TicketError(f"{config.arm} (batch {config.batch}) does not fit the memory that is left on the GPU; "
                          "share it among fewer runs, or take a smaller batch.") from None  # fmt: skip


def evaluated_on(dataset, config):
    """The data set with its test split, or with the held-out training images in its place."""
    if not config.held_out:
        return dataset
    return data.hold_out(dataset, config.held_out, torch.Generator().manual_seed(HELD_OUT_SEED))


def ticket_mask(config, dataset, model, trained=None):
    """The mask a configuration finds, before any check: (Mask, dict of manipulation checks).

    Arguments: model, with its initial weights; trained, (state dict, Mask) of the parent, where there is one.
    """
    previous = trained[1] if trained and composition_of(config.ticket).rounds else None
    batch, control = find_batch(config, dataset)
    mask = tickets.find_mask(
        config.ticket, model, config.sparsity, streams(config), previous=previous,
        trained=trained and trained[0], batch=batch, variant=config.variant, redraw=config.scoring == "authors",
        linear=config.linear, min_per_layer=config.min_per_layer, counts=given_counts(config),
    )  # fmt: skip
    return mask, control


def find_batch(config, dataset, batch_stream="batch"):
    """The scoring batch of a ticket and its manipulation checks; (None, {}) for one that looks at no data."""
    if not composition_of(config.ticket).needs_batch:
        return None, {}
    return scoring_batch(dataset, config, batch_stream)


@dataclass(frozen=True)
class Work:
    """`execute` as a worker process needs it: it loads the data itself, once."""

    dataset: str
    data_root: str | None
    device: str
    save_every: float = SAVE_EVERY

    def __call__(self, config):
        """Carry out one run quietly; returns its row."""
        dataset = _loaded(self.dataset, self.data_root)
        return execute(config, dataset, device=self.device, progress=False, save_every=self.save_every)


_loaded = functools.cache(data.load)


def build(config, dataset):
    """The configuration's network with its initial weights."""
    return models.build(
        config.network, len(dataset.classes), dataset.train.images.shape[1],
        generator=streams(config)("init"), width=config.width, stem_stride=config.stem_stride,
    )  # fmt: skip


def engine(config, model, mask, dataset, device):
    """The trainer a configuration asks for; the sparse engine runs on the CPU only."""
    if config.engine == "dense":
        return train.DenseNet(model, mask, device=device, precision=config.precision)
    if str(device) != "cpu":
        raise TicketError(f"device {device!r} is not allowed with the sparse engine; it runs on cpu.")
    from ticketlib.sparse.net import SparseNet  # numba takes seconds to import

    return SparseNet(model, mask, config.batch, dataset.train.images.shape[1:])


def check_device(device, configs, profile, allowed):
    """Refuse, before anything is trained, a device that the engine of some run does not have.

    Arguments: device, of the runs; configs, of the runs; profile and allowed devices, as the error names them.
    """
    if device != "cpu" and any(config.engine == "sparse" for config in configs):
        raise TicketError(f"device {device!r} is not allowed with profile {profile!r}, whose sparse engine runs on the "
                          f"CPU; allowed: {allowed}.")  # fmt: skip


def scoring_batch(dataset, config, batch_stream):
    """Images and labels a data-dependent score sees, and how far corruption changed them.

    Balanced on the labels the scorer sees: those are corrupted first, then the images of the chosen batch.
    Returns: ((images float32 (B, C, H, W), labels int64 (B,)), dict of manipulation checks).
    """
    stream, split, classes = streams(config), dataset.train, len(dataset.classes)
    source = stream("corrupt")
    seen = split.labels
    if config.corruption in ("labels", "both"):
        seen = corrupt.random_labels(split.labels, classes, source)
    chosen = data.balanced_batch(seen, config.per_class, classes, stream(batch_stream)).numpy()
    images, control = split.images[chosen], {}
    if config.corruption in ("pixels", "both"):
        clean, images = images, corrupt.random_pixels(images, source)
        control["pixel_correlation"] = corrupt.pixel_correlation(clean, images)
    if config.corruption in ("labels", "both"):
        control["label_agreement"] = corrupt.label_agreement(split.labels, seen)
    images, seen = torch.as_tensor(images), torch.as_tensor(np.asarray(seen)[chosen])
    if config.scoring == "authors":
        order = seen.argsort(stable=True)
        draw = stream("augment/score")
        batch = feed.augment(images[order], dataset, draw, padding=config.padding, flip=config.flip)
        return (batch.tensor(), seen[order]), control
    return (feed.plain(images, dataset).tensor(), seen), control


def _corrupted(dataset, config, stream):
    clean = dataset.train
    split = corrupt.apply(clean, config.corruption, len(dataset.classes), stream("corrupt"))
    control = {}
    if config.corruption == "half":
        control["images_kept"] = len(split.labels) / len(clean.labels)
    if config.corruption in ("labels", "both"):
        control["label_agreement"] = corrupt.label_agreement(clean.labels, split.labels)
    if config.corruption in ("pixels", "both"):
        some = slice(0, CONTROL_IMAGES)
        control["pixel_correlation"] = corrupt.pixel_correlation(clean.images[some], split.images[some])
    return dataclasses.replace(dataset, train=split), control


def _parent(config, dataset, options):
    """((state dict, mask), facts for the row) of the run this one starts from; (None, {}) if it needs none."""
    before = parent(config)
    if before is None:
        return None, {}
    stored = checkpoints.load(before.name, folder=options["cache"])
    if stored is None:
        execute(before, dataset, **options)
        stored = checkpoints.load(before.name, folder=options["cache"])
    if stored is None:
        raise TicketError(f"parent run {before.name} ({before.arm}) diverged, so {config.arm} cannot be made.")
    state, mask, digest = stored
    return (state, mask), {"parent": before.name, "parent_checkpoint": digest}


def _moved(check, as_found, mask, before, model):
    """How much an architecture check changed: the share of kept positions, or of kept weights' values."""
    if check == "none":
        return {}
    if check in tickets.MOVES:
        return {"moved_share": masks.moved_share(as_found, mask)}
    after = models.prunable(model)
    control = {"changed_share": sum(int((before[name] != after[name])[mask[name]].sum()) for name in after) / mask.kept}
    if check in ("random_signs", "fresh_magnitudes"):
        same = (int((before[name].signbit() == after[name].signbit())[mask[name]].sum()) for name in after)
        control["signs_kept"] = sum(same) / mask.kept
    return control


def _measured(result, dataset):
    """What training measured, for the row; an unmeasured value is left out."""
    facts = {
        "diverged": result.diverged,
        "curve": result.curve,
        "images": result.images,
        "num_test": len(dataset.test.labels),
        "num_classes": len(dataset.classes),
        "train_seconds": round(result.train_seconds, 2),
        "eval_seconds": round(result.eval_seconds, 2),
        "images_per_second": round(result.images / result.train_seconds, 1),
    }
    if not result.diverged:
        facts |= {"accuracy": round(result.accuracy, 4), "best_accuracy": max(point[1] for point in result.curve)}
        facts |= {"loss": result.loss, "correct": pack_bits(result.correct)}
    return facts


def _ticket_facts(model, mask, dataset):
    names = list(mask)
    facts = {
        "keep_counts": mask.counts,
        "empty_layers": mask.empty_layers,
        "achieved_sparsity": mask.sparsity,
        "classifier_share": mask.counts[names[-1]] / mask.kept,
        "mask_digest": mask.digest(),
    }
    with contextlib.suppress(TicketError):  # it is not defined for every network
        facts["effective_sparsity"] = effective_sparsity(model, mask, dataset.train.images.shape[1:])
    return facts
