"""What fault tests share: quick stand-ins for runs, a back end without processes, and rows without their timing."""

import contextlib
import os
import sys
import time
from pathlib import Path

import torch

from ticketlib import data
from ticketlib.experiments import campaign, checkpoints, grids, journal
from ticketlib.experiments.config import parent, streams
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.run import Work
from ticketlib.experiments.workers import InProcess, Pool
from ticketlib.masks import Mask

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from synthetic import CIFAR, row, without_varying  # noqa: E402

ARMS = ("dense", "lt@0.9", "smart@0.9")


def toy_configs(seeds=3):
    """Configurations for `Toy`: as a campaign orders them, seed by seed."""
    return [grids.arm("smoke", key, seed, CIFAR) for seed in range(seeds) for key in ARMS]


class Toy:
    """A run that trains nothing: its row and checkpoint follow from its configuration, and it takes a moment."""

    def __init__(self, seconds=0.1, log=None):
        self.seconds, self.log = seconds, log

    def __call__(self, config):
        """Wait, store or load a small net, return a row that depends on it."""
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(config.name + "\n")
        time.sleep(self.seconds)
        net = torch.nn.Linear(8, 8, bias=False)
        torch.nn.init.normal_(net.weight, generator=streams(config)("init"))
        facts = {}
        if config.ticket == "dense":
            facts["checkpoint"] = checkpoints.save(config.name, net, Mask({"weight": torch.ones(8, 8).bool()}))
        elif before := parent(config):
            if checkpoints.load(before.name) is None:
                self(before)
            facts = {"parent": before.name, "parent_checkpoint": checkpoints.load(before.name)[2]}
        loss = net.weight[0, 0].item()
        return row(config.arm, config.seed, 50.0, "smoke", loss=loss, curve=[[1.0, 50.0, round(loss, 6)]], **facts)


class Here(InProcess):
    """Runs in this process; remembers what was started."""

    def __init__(self):
        super().__init__()
        self.started = []

    def start(self, work, config):
        """Remember a run."""
        super().start(work, config)
        self.started.append(config.arm)


def conduct(ledger, work, configs, backend=None, stop=None):
    """A campaign in this process; returns journal.Progress."""
    return journal.conduct(ledger, work, campaign.missing(configs, ledger), backend or Here(), stop or journal.Stop())


@contextlib.contextmanager
def kept(ledger, added=0):
    """Whatever happens inside, rows that were there stay as they were, byte for byte, and so many come along."""
    ledger.add(row("uniform@0.5", 77, 50.0, "smoke"))
    before = bytes_of(ledger)
    yield
    after = bytes_of(ledger)
    assert before.items() <= after.items() and len(after) == len(before) + added
    assert len(ledger.rows()) == len(after)


def untimed(ledger):
    """All rows of a ledger by name, minus what a clock measured and what names the commit."""
    return {row["name"]: without_varying(row) for row in ledger.rows()}


def bytes_of(ledger):
    """The rows of a ledger as they lie on disk: dict from name to bytes."""
    return {name: ledger.path(name).read_bytes() for name in ledger.names()}


def smoke_configs(digits):
    """A few real runs, each under a second."""
    return [grids.arm("smoke", key, seed, digits, epochs=1) for seed in range(2) for key in ARMS]


def main(kind, folder, log):
    """A campaign to be killed: `toy` or `smoke` runs in two processes, until the ledger has them all."""
    ledger = Ledger(folder)
    if kind == "toy":
        work, configs = Toy(log=log or None), toy_configs()
    else:
        work, configs = Work("digits", None, "cpu"), smoke_configs(data.load("digits"))
    journal.conduct(ledger, work, campaign.missing(configs, ledger), Pool(2), journal.Stop())


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    main(*sys.argv[1:])
