"""Rows as a campaign would write them, without any training: for tests of evidence, board and pages."""

import functools
import zlib

import numpy as np

from ticketlib import ratios
from ticketlib.data import Dataset, Split
from ticketlib.experiments import grids
from ticketlib.experiments.config import Config, parent
from ticketlib.experiments.ledger import Row
from ticketlib.experiments.profiles import Images

NOTHING = Split(np.zeros((0, 3, 32, 32), np.uint8), np.zeros(0, np.int64))
VARYING = {"seconds", "train_seconds", "eval_seconds", "images_per_second", "code"}  # one may commit in mid-test
CIFAR = Dataset("cifar10", tuple("abcdefghij"), NOTHING, NOTHING, (0.5,) * 3, (0.2,) * 3, "0" * 16, "synthetic")


def make(ticket="snip", sparsity="0.9", seed=0, **changes):
    """A configuration on the digits, as small as they come."""
    values = dict(
        recipe=1, dataset="digits", fingerprint="0" * 16, network="resnet8", width=8, stem_stride=1, epochs=2, batch=64,
        lr=0.1, momentum=0.9, weight_decay=5e-4, drops=("0.5", "0.75"), padding=1, flip=False, eval_every=1,
        precision="float32", engine="dense",
    )  # fmt: skip
    return Config(**{**values, "ticket": ticket, "sparsity": sparsity, "seed": seed, **changes})


def without_varying(row):
    """A row minus what a clock measured and what names the commit."""
    return {key: value for key, value in row.items() if key not in VARYING}


def row(key, seed, accuracy, profile="laptop", *, control=None, changes=None, **facts):
    """One run row of an arm: accuracy in percent; `changes` to the configuration, further facts to the row."""
    config = grids.arm(profile, key, seed, CIFAR, **(changes or {}))
    return row_of(config, accuracy, control=control, **facts)


def row_of(config, accuracy, *, control=None, loss=0.5, **facts):
    """The row of a configuration, as `row` makes it."""
    values = {
        "kind": "run", "name": config.name, "config": config.as_dict(), "arm": config.arm, "diverged": False,
        "accuracy": accuracy, "best_accuracy": accuracy, "loss": loss, "curve": [[1.0, accuracy, loss]],
        "num_classes": 10, "num_test": 10000, "empty_layers": [], "device": "cpu: synthetic", "threads": 1,
        "versions": {"torch": "2"}, "seconds": 100.0, "images": 1000, "images_per_second": 1000.0, "code": "synthetic",
        "control": passed(config) if control is None else control,
    }  # fmt: skip
    return Row(values | facts)


def passed(config):
    """Manipulation checks of a control that did its work."""
    found = {}
    if config.check != "none":
        found["moved_share" if config.check == "rearranged" else "changed_share"] = 0.8
    found |= {"random_signs": {"signs_kept": 0.5}, "fresh_magnitudes": {"signs_kept": 1}}.get(config.check, {})
    if config.corruption in ("labels", "both"):
        found["label_agreement"] = 0.1
    if config.corruption in ("pixels", "both"):
        found["pixel_correlation"] = 0.01
    return found | ({"images_kept": 0.5} if config.corruption == "half" else {})


def noise(key, seed):
    """A fixed small number of points for an arm and seed, within 0.2 of zero."""
    return (zlib.crc32(f"{key}/{seed}".encode()) % 401 - 200) / 1000


def arms(means, seeds=range(6), **options):
    """Rows of several arms at both sparsities: `means` maps an arm without sparsity to its accuracy."""
    return [
        row(f"{arm}@{sparsity}", seed, mean + noise(arm + sparsity, seed), **options)
        for arm, mean in means.items()
        for sparsity in ("0.9", "0.98")
        for seed in seeds
    ]


LEVELS = {"0": 90.0, "0.9": 85.0, "0.98": 76.0, "0.995": 62.0}
BETTER = {"lrr": 3.0, "hybrid": 3.8, "omp": 2.5, "uniform": -7.0, "erk": -1.0, "magnitude": -0.8, "linear": -0.5,
          "cubic": -1.5, "ascending": -9.0}  # fmt: skip
CHECKED = {"shuffled": -2.0, "rearranged": -1.6, "reinitialised": -0.3}  # of a trained ticket; others hardly change


def book(steps=("step1", "step2", "step3", "step4", "step5"), profile="laptop"):
    """All rows of some grids, as a finished campaign would leave them: what a chapter shows in the end."""
    seen = {step: Images(grids.data_of(step, profile), CIFAR.fingerprint) for step in steps}
    found = {config.name: config for step in steps for config in grids.grid(step, profile, seen[step])}
    return [made(config) for config in found.values()]


def made(config):
    """A row of a configuration whose accuracy follows from its ticket and what was done to it."""
    mean = LEVELS.get(config.sparsity, 88.0) + BETTER.get(config.ticket, 0) + 0.03 * config.epochs
    mean -= 4 * ("vgg" in config.network)
    trained, before = config.ticket in ("lrr", "hybrid", "omp"), parent(config)
    mean += CHECKED.get(config.check, 0) * (1 if trained else 0.1) - trained * (config.corruption == "half")
    if config.ticket == "dense" and config.corruption in ("labels", "pixels", "both"):
        mean = 12.0
    family = "vgg" if "vgg" in config.network else "resnet"
    counts = _counts("laptop", family, config.sparsity)
    facts = {"loss": 2.25 if mean == 12.0 else 0.3, "keep_counts": counts, "effective_sparsity": float(config.sparsity),
             "classifier_share": list(counts.values())[-1] / sum(counts.values())}  # fmt: skip
    if before is not None:
        facts |= {"parent": before.name, "parent_checkpoint": "a" * 64}
    if config.ticket == "dense":
        facts |= {"checkpoint": "a" * 64}
    return row_of(config, round(mean + 2 * noise(config.arm, config.seed), 2), **facts)


@functools.cache
def _counts(profile, family, sparsity):
    """Keep counts of a network of a profile: the smart ratio's for every ticket, all weights of a dense net."""
    layers = grids.layers(profile, family)
    if sparsity == "0":
        return {layer.name: layer.size for layer in layers}
    return ratios.keep_counts(layers, "smart", sparsity, family=family)
