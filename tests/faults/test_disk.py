"""Disks that are full, cannot be written to, have no hard links, or give back other bytes than they were given."""

import contextlib
import errno
import json
import os
import random
import re
import resource
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from synthetic import CIFAR
from workshop import ARMS, Here, Toy, bytes_of, conduct, row, smoke_configs, toy_configs, without_varying

from ticketlib import __main__ as command_line
from ticketlib import data
from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, grids, journal, machine, workers
from ticketlib.experiments.bundles import sweep
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.run import Work, execute
from ticketlib.masks import Mask

NET, MASK = torch.nn.Linear(40, 40), Mask({"weight": torch.ones(40, 40).bool()})


@contextlib.contextmanager
def no_file_above(size):
    """Files of this process end at `size` bytes: a write beyond fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.fault("the disk is full while a row is written", "nothing of the row is left, and rows before it stay")
def test_no_room_for_a_row(tmp_path, tried):
    ledger = Ledger(tmp_path / "rows")
    ledger.add(row("smart@0.9", 0, 50.0))
    before, sizes = bytes_of(ledger), (0, 1, 100, 500)
    for size in sizes:
        with no_file_above(size), pytest.raises(OSError):
            ledger.add(row("smart@0.9", 1, 50.0))
    assert bytes_of(ledger) == before and len(list(ledger.folder.iterdir())) == 1
    tried(len(sizes))


@pytest.mark.fault("the disk is full while a row is written", "nothing of the row is left, and rows before it stay")
def test_a_campaign_without_room_stops_and_says_so(tmp_path, monkeypatch, capsys):
    ledger, synced = Ledger(tmp_path / "rows"), []

    def full(handle):
        synced.append(handle)
        if len(synced) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    end = conduct(ledger, Toy(0), toy_configs())
    assert len(ledger.rows()) == 2 and len(end.left) == len(toy_configs()) - 3
    assert [line for line in end.failed if "its row was not written: No space left on device" in line]
    assert journal.Journal(ledger).entries()[0]["what"] == "failed"


@pytest.mark.fault("the disk is full while a checkpoint is written", "the run fails with that reason; no file is left")
def test_no_room_for_a_checkpoint(tmp_path, tried):
    sizes = (0, 10, 1000, 6000)
    for size in sizes:
        with no_file_above(size), pytest.raises(TicketError, match="cannot be written"):
            checkpoints.save("a" * 16, NET, MASK, tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    tried(len(sizes))


def _without_rights(action):
    """Whether an action ends in a TicketError, and its words, for a user who may write nowhere."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(PermissionError):
            os.setuid(65534)  # root may write anywhere
        try:
            action()
            said = b"nothing was refused"
        except TicketError as error:
            said = str(error).encode()
        except OSError as error:
            said = b"OSError: " + str(error).encode()
        os.write(writer, said)
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@pytest.mark.fault("the ledger is read-only", "refused in one sentence before anything is trained")
def test_a_ledger_that_cannot_be_written_to(tmp_path):
    place = tempfile.TemporaryDirectory()  # pytest's own folders are closed to others
    Path(place.name).chmod(0o755)
    ledger = Ledger(Path(place.name) / "rows")
    ledger.add(row("smart@0.9", 0, 50.0))
    ledger.folder.chmod(0o555)
    before = bytes_of(ledger)
    try:
        said = _without_rights(lambda: ledger.rows() and journal.check_writable(ledger))  # read it may be
    finally:
        ledger.folder.chmod(0o755)
    assert bytes_of(ledger) == before and len(list(ledger.folder.iterdir())) == 1
    assert said.startswith(f"ledger '{ledger.folder}' cannot be written to")
    (tmp_path / "file").write_text("")
    with pytest.raises(TicketError, match="cannot be written to"):
        journal.check_writable(Ledger(tmp_path / "file"))
    place.cleanup()


@contextlib.contextmanager
def small_disk(folder):
    """A file system of 32 KiB, where this system lets us mount one, else files that end there; which it is."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", folder]
    mounted = not subprocess.run(mount, capture_output=True).returncode
    try:
        with contextlib.nullcontext() if mounted else no_file_above(500):
            yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.fault("the disk is full while a row is written", "nothing of the row is left, and rows before it stay")
def test_a_campaign_fills_its_disk(tmp_path):
    with small_disk(tmp_path / "disk") as mounted:
        ledger = Ledger(tmp_path / "disk" / "rows")
        with contextlib.suppress(TicketError):  # no room for a lock either
            end = conduct(ledger, Toy(0), toy_configs(10))
            assert end.failed and end.left
            assert re.search("No space left" if mounted else "too large", end.failed[0])
        rows, files = ledger.rows(), list(ledger.folder.glob("*.json"))
        assert len(rows) == len(files) < 30 and not list(ledger.folder.glob(".*.part"))
        assert all(row == json.loads(json.dumps(Toy(0)(row.config))) for row in rows)


@pytest.mark.fault("the ledger's folder is removed during a campaign", "every run that ends after that is recorded")
def test_a_ledger_that_is_removed(tmp_path):
    ledger, made = Ledger(tmp_path / "rows"), []

    def work(config):
        made.append(config.name)
        if len(made) == 3:
            shutil.rmtree(ledger.folder)
        return Toy(0)(config)

    end = conduct(ledger, work, toy_configs(2))
    assert end.failed == [] and end.left == {} and ledger.names() == sorted(made[2:])


DAMAGE = "a checkpoint is truncated, or one of its bits is flipped"


@pytest.mark.fault(DAMAGE, "never loaded as something else; made again with the same digest, and that is said")
def test_a_damaged_checkpoint_is_absent(tmp_path, tried):
    checkpoints.save("a" * 16, NET, MASK, tmp_path)
    [path] = (tmp_path / "checkpoints").iterdir()
    whole, choice, times = path.read_bytes(), random.Random(0), 150
    sound = checkpoints.load("a" * 16, folder=tmp_path)[2]
    for turn in range(times):
        place, raw = choice.randrange(len(whole)), bytearray(whole)
        raw[place] ^= 1 << choice.randrange(8)
        path.write_bytes(raw if turn % 2 else whole[:place])
        found = checkpoints.load("a" * 16, folder=tmp_path)
        assert found is None or found[2] == sound
    tried(times)


@pytest.mark.fault(DAMAGE, "never loaded as something else; made again with the same digest, and that is said")
def test_a_damaged_parent_is_made_again_and_that_is_said(tmp_path, cache, capsys, monkeypatch):
    digits = data.load("digits")
    dense, child, _ = smoke_configs(digits)[: len(ARMS)]
    ledger, work = Ledger(tmp_path / "rows"), Work("digits", None, "cpu")
    conduct(ledger, work, [dense])
    path = cache / "checkpoints" / f"{dense.name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    before = bytes_of(ledger)
    end = conduct(ledger, work, [dense, child])
    assert end.failed == [] and end.warnings == [] and before.items() <= bytes_of(ledger).items()
    assert ledger[child.name]["parent_checkpoint"] == ledger[dense.name]["checkpoint"]
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(grids, "grid", lambda *_: smoke_configs(digits)[: len(ARMS)])
    monkeypatch.setattr(workers, "Pool", lambda *_: Here())
    assert command_line.main(["run", "--profile", "smoke", "--ledger", str(ledger.folder)]) == 0
    assert f"made again: {dense.arm} (seed 0)" not in capsys.readouterr().out  # no missing run needs that net
    ledger.path(child.name).unlink()
    assert command_line.main(["run", "--profile", "smoke", "--ledger", str(ledger.folder)]) == 0
    assert f"made again: {dense.arm} (seed 0): its trained net is lost or damaged" in capsys.readouterr().out


STATE = "the state of a run on its way is truncated, or one of its bits is flipped"


@pytest.mark.fault(STATE, "never gone on from as something else: the run begins anew, and its row is the same")
def test_a_damaged_state_is_none(tmp_path, tried, monkeypatch):
    digits = data.load("digits")
    config, save, options = smoke_configs(digits)[2], checkpoints.Keeper.save, dict(cache=tmp_path, progress=False)
    whole = execute(config, digits, **options)

    def save_and_stop(keeper, state):
        save(keeper, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoints.Keeper, "save", save_and_stop)
        execute(config, digits, save_every=0, **options)
    [path] = (tmp_path / "states").iterdir()
    keeper = checkpoints.Keeper(config.name, machine.facts("cpu"), every=0, folder=tmp_path)
    octets, choice, times = path.read_bytes(), random.Random(0), 150
    sound, facts = keeper.load()
    for turn in range(times):
        place, flipped = choice.randrange(len(octets)), bytearray(octets)
        flipped[place] ^= 1 << choice.randrange(8)
        path.write_bytes(flipped if turn % 2 else octets[:place])
        found = keeper.load()
        assert found is None or (found[1] == facts and checkpoints.digest(found[0]) == checkpoints.digest(sound))
    for spoilt in (octets[:-1], octets[:-100] + bytes([octets[-100] ^ 1]) + octets[-99:]):
        path.write_bytes(spoilt)
        row = execute(config, digits, **options)
        assert without_varying(row) == without_varying(whole) and "went_on" not in row
    tried(times + 2)


@pytest.mark.fault("a trained net that was lost comes out otherwise when made again", "said, and noted beside the rows")
def test_another_checkpoint_is_said(tmp_path, cache):
    ledger, work = Ledger(tmp_path / "rows"), Toy(0)
    dense, child = (grids.arm("smoke", key, 0, CIFAR) for key in ("dense", "lt@0.9"))
    ledger.add(row("dense", 0, 50.0, "smoke", checkpoint="0" * 64))
    end = conduct(ledger, work, [dense, child])
    assert len(end.warnings) == 2 and all(f"the trained net of {dense.name}" in said for said in end.warnings)
    assert [entry["what"] for entry in journal.Journal(ledger).entries()] == ["checkpoint"] * 2
    assert ledger[dense.name]["checkpoint"] == "0" * 64


@pytest.mark.fault("the file system has no hard links", "rows are added all the same, and the first one stays")
@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_no_hard_links(code, tmp_path, monkeypatch):
    def link(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    ledger = Ledger(tmp_path)
    assert ledger.add(row("smart@0.9", 0, 50.0)) and not ledger.add(row("smart@0.9", 0, 60.0))
    assert ledger.rows()[0]["accuracy"] == 50.0 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.fault("one row is added by several writers at once", "recorded once")
def test_one_row_by_many(tmp_path, tried):
    added, ledger = [], Ledger(tmp_path)
    for seed in range(20):
        made = row("smart@0.9", seed, 50.0)
        writers = [threading.Thread(target=lambda made=made: added.append(ledger.add(made))) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert added.count(True) == 20 == len(ledger.rows()) and len(added) == 80
    tried(20)


def test_what_a_killed_writer_left_is_swept_away_after_an_hour(tmp_path):
    for name, age in ((".old.part", 4000), (".new.part", 10)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, (tmp_path / name).stat().st_mtime - age))
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".new.part"]
