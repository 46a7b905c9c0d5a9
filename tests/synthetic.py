"""Rows as a campaign would write them, without any training: for tests of evidence, board and pages."""

import zlib

import numpy as np

from ticketlib import grids
from ticketlib.data import Dataset, Split
from ticketlib.ledger import Row

NOTHING = Split(np.zeros((0, 3, 32, 32), np.uint8), np.zeros(0, np.int64))
CIFAR = Dataset("cifar10", tuple("abcdefghij"), NOTHING, NOTHING, (0.5,) * 3, (0.2,) * 3, "0" * 16, "synthetic")


def row(key, seed, accuracy, profile="laptop", *, control=None, changes=None, **facts):
    """One run row of an arm: accuracy in percent; `changes` to the configuration, further facts to the row."""
    config = grids.arm(profile, key, seed, CIFAR, **(changes or {}))
    values = {
        "kind": "run", "name": config.name, "config": config.as_dict(), "arm": config.arm, "diverged": False,
        "accuracy": accuracy, "best_accuracy": accuracy, "loss": 0.5, "curve": [[1.0, accuracy, 0.5]],
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
