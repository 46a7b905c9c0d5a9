"""What grows with the work: data sets, ledgers, grids, processes."""

import dataclasses
import json
import resource
import tempfile
from types import SimpleNamespace

import numpy as np
import torch
from dense import MEAN, STD, our_loop
from timing import Figure, at_once, seconds

from ticketlib import campaign, data, grids, runs
from ticketlib.ledger import Ledger, Row

SOMEWHERE = SimpleNamespace(name="cifar10", fingerprint="0" * 16)


def batch_seconds(count):
    """Seconds to draw, crop, flip and normalise a batch from `count` images."""
    padded = data.pad(np.zeros((count, 3, 32, 32), np.uint8), 4)
    draw = torch.Generator().manual_seed(0)
    index = torch.randint(count, (128,), generator=draw)
    work = lambda: data.normalise(data.crop_flip(padded, index, draw, 32), MEAN, STD)  # noqa: E731
    work()
    return seconds(work, 200) / 200


def full_ledger(folder, count):
    """A ledger of `count` rows as large as real ones."""
    ledger, config = Ledger(folder), grids.arm("laptop", "smart@0.9", 0, SOMEWHERE)
    for seed in range(count):
        one = dataclasses.replace(config, seed=seed)
        row = Row(kind="run", name=one.name, config=one.as_dict(), arm=one.arm, diverged=False, accuracy=80.0)
        row |= {"correct": "A" * 1668, "num_test": 10_000, "images_per_second": 2000.0}
        row |= {"curve": [[epoch, 80.0, 0.5] for epoch in range(10)]}
        ledger.path(one.name).write_text(json.dumps(row))
    return ledger


def memory(net, sparsity):
    """The most memory a process has held after some steps of our dense loop, images included, in MB."""
    our_loop(net, sparsity, 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure():
    """All figures of upkeep."""
    torch.set_num_threads(1)
    few, many = batch_seconds(10), batch_seconds(50_000)
    yield Figure("upkeep", "a batch from 50,000 images", 1000 * many, "ms", "from 10 images", 1000 * few)
    with tempfile.TemporaryDirectory() as folder:
        ledger = full_ledger(folder, 10_000)
        took = seconds(ledger.rows)
        yield Figure("upkeep", "a ledger of 10,000 rows read and checked", took, "s", "goal", 1, "below 1 s", took < 1)
        configs = grids.grid("step1", "laptop", SOMEWHERE)
        took = seconds(lambda: campaign.missing(configs, ledger, folder))
        yield Figure("upkeep", "missing runs among 10,000 rows", took, "s", "goal", 1, "below 1 s", took < 1)
    alone = at_once(our_loop, ("laptop ResNet-20", "0.9", 40), 1)[0][0]
    both = sum(speed for speed, _ in at_once(our_loop, ("laptop ResNet-20", "0.9", 40), 2))
    yield Figure("upkeep", "two processes on two cores, dense", both, "images/s", "one process", alone)
    most = at_once(memory, ("laptop ResNet-20", "0.9"), 1)[0]
    yield Figure("upkeep", "memory of a process that trains, dense, 50,000 images", most, "MB")
    shared = [c for name in ("step1", "step2", "step3", "step4") for c in grids.grid(name, "laptop", SOMEWHERE)]
    units = grids.units(shared, "laptop")
    alone = units + sum(runs.parent(c) is not None for c in shared)
    yield Figure("upkeep", "the grid of steps 1 to 4, pretraining shared", units, "units", "one script a cell", alone)
