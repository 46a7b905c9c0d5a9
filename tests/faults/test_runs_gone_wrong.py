"""Runs that diverge or find no memory, and image files that change while they are read."""

import os
import re
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from shards import write_cifar10
from synthetic import CIFAR
from workshop import Here, Toy, conduct, kept, smoke_configs, toy_configs

from ticketlib import data, image_files
from ticketlib.experiments import campaign, grids, journal, run, workers
from ticketlib.experiments.config import parent
from ticketlib.experiments.ledger import Ledger

ROOM = 256 * 2**20  # bytes beyond those in use
ASKED = 2**33


def little_memory(config):
    """A run that asks for far more memory than its process may have; even seeds by numpy, odd ones by torch."""
    if config.ticket != "dense":
        return Toy(0)(config)
    used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        return np.zeros(ASKED, np.uint8) + 1 if config.seed % 2 == 0 else torch.ones(ASKED, dtype=torch.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))


@pytest.mark.fault("a worker finds no memory", "its run fails with that reason, the others are made")
def test_no_memory(tried, tmp_path):
    configs, ledger = [config for config in toy_configs(2) if config.ticket in ("dense", "smart")], Ledger(tmp_path)
    with kept(ledger, added=2):
        end = conduct(ledger, little_memory, configs, workers.Pool(1))
    assert [said.split(" (")[0] for said in end.failed] == ["dense@0"] * 2
    assert end.failed[0].split(": ")[1].startswith(("MemoryError", "numpy")) and "memory" in end.failed[1]
    assert {row["arm"] for row in ledger.rows()} == {"uniform@0.5", "smart@0.9"}
    tried(2)


@pytest.mark.fault("a run diverges", "its row says so; what starts from it fails with the reason; it is not made again")
def test_a_run_that_diverges(tmp_path):
    digits, backend, ledger = data.load("digits"), Here(), Ledger(tmp_path / "rows")
    keys = ("dense", "lt@0.9", "imp@0.36")
    configs = [grids.arm("smoke", key, 0, digits, epochs=1, lr=1e30) for key in keys]
    work = run.Work("digits", None, "cpu")
    with kept(ledger, added=1):
        end = conduct(ledger, work, configs, backend)
    row = ledger[configs[0].name]
    assert row["diverged"] and "accuracy" not in row and "checkpoint" not in row
    assert len(end.diverged) == 1 and len(end.failed) == 3  # imp brings its first round along
    assert all("from which" in said and said.endswith("diverged") for said in end.failed)
    again = conduct(ledger, work, configs, backend)
    assert backend.started == ["dense@0"] and again.total == 0
    assert {o.config.arm for o in campaign.blocked(configs, ledger)} == {"lt@0.9", "imp@0.36"}


@pytest.mark.fault("a run fails every time", "given up after two campaigns with the same code, and listed")
def test_a_run_that_always_fails(tmp_path):
    ledger, configs = Ledger(tmp_path / "rows"), toy_configs(1)[2:]

    def broken(config):
        raise ValueError("no luck")

    for _ in range(2):
        with kept(ledger):
            end = conduct(ledger, broken, configs)
        assert end.failed == ["smart@0.9 (seed 0, 6 epochs): ValueError: no luck"]
    assert journal.Journal(ledger).given_up() == {configs[0].name: "ValueError: no luck"}


def test_runs_lost_with_another_are_no_tries_of_their_own(tmp_path):
    ledger, [dense, *_] = Ledger(tmp_path / "rows"), toy_configs(1)
    child = grids.arm("smoke", "lt@0.9", 0, CIFAR)
    assert parent(child).name == dense.name

    def broken(config):
        raise ValueError("no luck")

    assert len(conduct(ledger, broken, [dense, child]).failed) == 2
    assert [entry["name"] for entry in journal.Journal(ledger).entries()] == [dense.name]


def test_a_journal_line_cut_short_is_passed_over(tmp_path):
    book = journal.Journal(Ledger(tmp_path))
    config = toy_configs(1)[0]
    book.note(campaign.Outcome(config, reason="first"))
    with open(book.path, "a", encoding="utf-8") as file:
        file.write('{"what": "failed", "na')
    book.note(campaign.Outcome(config, reason="second"))
    assert [entry["said"] for entry in book.entries()] == ["first", "second"]


BACK = 24 * 3600 + 1  # seconds


@pytest.mark.fault("the clock is put back by a day in mid-campaign", "every run is made, and no time in a row is wrong")
def test_a_clock_that_is_put_back(tmp_path, monkeypatch):
    true, ledger, digits = time.time, Ledger(tmp_path / "rows"), data.load("digits")
    work = run.Work("digits", None, "cpu")

    def put_back(config):
        monkeypatch.setattr(time, "time", lambda: true() - BACK)
        return work(config)

    began = time.monotonic()
    with kept(ledger, added=3):
        end = conduct(ledger, put_back, smoke_configs(digits)[:3])
    made = [row for row in ledger.rows() if row["arm"] != "uniform@0.5"]
    assert end.failed == [] and end.left == {} and len(made) == 3
    assert all(0 < row["train_seconds"] <= row["seconds"] <= time.monotonic() - began for row in made)
    assert all(row["images_per_second"] > 0 for row in made)


@pytest.mark.fault("a killed campaign's files have times to come", "passed over: its runs are made, and no one waits")
def test_files_from_a_time_to_come(tmp_path, cache, capsys):
    ledger, configs = Ledger(tmp_path / "rows"), toy_configs(1)
    with kept(ledger, added=len(configs)):
        Toy(0)(configs[0])  # a checkpoint without its row
        with journal.Status(ledger) as killed:
            killed.write(total=3, done=0, running=["dense@0"], over=False)
            lost = killed.path.read_text()
        killed.path.rename(killed.path.with_name("1.status")).write_text(lost.replace('"updated": ', '"updated": 9'))
        (journal.folder(ledger, journal.LOCKS) / configs[0].name).touch()
        journal.Journal(ledger).note(campaign.Outcome(configs[0], reason="killed"))
        ahead = time.time() + BACK
        for path in [path for folder in (ledger.folder, cache) for path in folder.rglob("*") if path.is_file()]:
            os.utime(path, (ahead, ahead))
        [status] = journal.campaigns(ledger)
        assert status["updated"] > ahead and journal.ended(status) and "clock" in "".join(journal.summary(status))
        end = conduct(ledger, Toy(0), configs)
        assert end.failed == [] and end.left == {}
    assert [facts["done"] for facts in journal.campaigns(ledger)] == [len(configs)]


@pytest.mark.fault("an image file shrinks while it is read", "refused in one sentence; nothing is cached")
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_data_file_that_shrinks(share, tmp_path, cache, monkeypatch):
    write_cifar10(tmp_path / "root")
    [shard] = (tmp_path / "root").rglob("test-*.parquet")
    read = image_files.read_parquet

    def shrink_while_reading(paths, num_classes):
        if paths[0] != shard:  # the other split is read first
            raw = shard.read_bytes()
            shard.write_bytes(raw[: int(share * len(raw))])
        return read(paths, num_classes)

    monkeypatch.setattr(image_files, "read_parquet", shrink_while_reading)
    run._loaded.cache_clear()
    work, ledger = run.Work("cifar10", tmp_path / "root", "cpu"), Ledger(tmp_path / "rows")
    with kept(ledger):
        end = conduct(ledger, work, [grids.arm("smoke", "smart@0.9", 0, CIFAR)])
    assert len(end.failed) == 1 and "TicketError" in end.failed[0] and re.search("parquet|changed", end.failed[0])
    assert not cache.exists()
