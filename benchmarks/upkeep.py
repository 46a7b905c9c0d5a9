"""What grows with the work: data sets, ledgers, grids, processes."""

import dataclasses
import functools
import json
import tempfile

import torch
from loops import augmented, our_loop, pixels, ticket
from timing import Figure, at_once, memory, seconds, side_by_side

from ticketlib import device, ratios
from ticketlib.__main__ import plan_lines
from ticketlib.experiments import campaign, grids, machine, profiles
from ticketlib.experiments.ledger import Ledger, Row, pack_bits
from ticketlib.sparse.net import SparseNet

NET = "laptop ResNet-20"
COUNTS = (10, 1000, 50_000)  # images
EVERY = "all grids that count"
MOST = 1500  # MB of a process
FLAT = 0.95  # of the speed from ten images


def sparse_loop(net, sparsity, batches):
    """Our loop in the sparse engine: images/s, and nothing more."""
    device.keep_memory()
    images, labels, draw = pixels(50_000), torch.arange(50_000) % 10, torch.Generator().manual_seed(0)
    trainer = SparseNet(*ticket(net, sparsity), 128, (3, 32, 32))

    def work():
        index = torch.randint(len(images), (128,), generator=draw)
        trainer.step(augmented(images, index, draw), labels[index])
        trainer.update(0.1, 0.9, 5e-4)

    work()
    return 128 * batches / seconds(work, batches), None


def flat():
    """Images/s of the whole step from few and from many images, in turn: dict number of images -> speed."""
    found = [{count: our_loop(NET, "0.9", 10, count)[0] for count in COUNTS} for _ in range(3)]
    return {count: sorted(speeds[count] for speeds in found)[1] for count in COUNTS}


def full_ledger(folder, count):
    """A ledger of `count` rows with all fields that real ones have."""
    ledger, facts = Ledger(folder), machine.facts("cpu")
    config = grids.arm("laptop", "smart@0.9", 0, profiles.NO_IMAGES)
    counts = ratios.keep_counts(ticket(NET, "0.9")[0], "smart", "0.9")
    bits = pack_bits([True] * 8000 + [False] * 2000)
    measured = {
        "accuracy": 80.0, "best_accuracy": 80.0, "loss": 0.5, "correct": bits, "num_test": 10_000,
        "num_classes": 10, "images": 1_000_000, "images_per_second": 2000.0, "train_seconds": 500.0, "seconds": 510.0,
        "keep_counts": counts, "empty_layers": [], "curve": [[epoch, 80.0, 0.5] for epoch in range(10)],
        "mask_digest": "0" * 64, "achieved_sparsity": 0.9, "effective_sparsity": 0.9, "classifier_share": 0.1,
    }  # fmt: skip
    for seed in range(count):
        one = dataclasses.replace(config, seed=seed)
        row = Row(kind="run", name=one.name, config=one.as_dict(), arm=one.arm, diverged=False)
        ledger.path(one.name).write_text(json.dumps(row | measured | facts, sort_keys=True, indent=0))
    return ledger


def memory_of(loop, net, sparsity):
    """The most memory a process has held after some steps of a loop, images included, in MB."""
    loop(net, sparsity, 10)
    return memory("VmHWM")


def of_ledgers():
    """Figures of a ledger of 10,000 rows."""
    configs = grids.grid("step1", "laptop", profiles.NO_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        ledger = full_ledger(folder, 10_000)
        works = {
            "read and checked": ledger.rows,
            "plan, but for loading the images": lambda: list(
                plan_lines(configs, ledger, "step1", 50_000)
            ),
        }
        for what, took in side_by_side(works, 3, 1).items():
            yield Figure("ledger of 10,000 rows", took, "s", phase=what, goals={"below 1 s": took < 1})


def of_grids():
    """Epochs of every grid, with each trained net made once, and with a script a cell."""
    for name in grids.GRIDS:
        once, alone = campaign.epochs(grids.grid(name, "laptop", profiles.NO_IMAGES))
        yield Figure("epochs", once, "epochs", phase=name, yardstick="a script a cell", against=alone)
    steps = [grids.grid(name, "laptop", profiles.NO_IMAGES) for name in grids.GRIDS if name.startswith("step")]
    once, alone = campaign.epochs([config for step in steps for config in step])
    yield Figure("epochs", once, "epochs", phase=EVERY, yardstick="a script a cell", against=alone)


def of_processes():
    """Throughput of one process and of two, and the memory of each."""
    for engine, loop in (("dense", our_loop), ("sparse", sparse_loop)):
        alone, both = (sum(speed for speed, _ in at_once(loop, (NET, "0.9", 40), n)) for n in (1, 2))
        this = functools.partial(Figure, network=NET, sparsity="0.9", engine=engine)
        yield this("training together", both, "images/s", processes=2, yardstick="one process", against=alone)
        most = at_once(memory_of, (loop, NET, "0.9"), 1)[0]
        yield this("memory of a process", most, "MB", goals={f"at most {MOST:,} MB": most <= MOST})


def measure():
    """All figures of upkeep."""
    torch.set_num_threads(1)
    few, *_, many = (found := flat()).values()
    for count, fast in found.items():
        goals = {"within 5 % of it": many >= FLAT * few} if count == COUNTS[-1] else {}
        this = dict(network=NET, sparsity="0.9", engine="dense", phase=f"{count:,} images", goals=goals)
        yield Figure("training from few images", fast, "images/s", **this, yardstick="from 10 images", against=few)
    yield from of_ledgers()
    yield from of_processes()
    yield from of_grids()
