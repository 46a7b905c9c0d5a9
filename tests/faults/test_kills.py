"""kill -9 of workers and of whole campaigns, at random moments."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import workshop
from workshop import Pool, bytes_of, toy_configs, untimed

from ticketlib import campaign, data
from ticketlib.ledger import Ledger

SCRIPT = Path(workshop.__file__)
FAULT = "a worker or a whole campaign is killed (kill -9) at a random moment"
PROMISE = "no half-written row, no finished row lost, and the resumed ledger equals the uninterrupted one"


def start(kind, folder, log=""):
    """A campaign in a process of its own."""
    return subprocess.Popen([sys.executable, SCRIPT, kind, folder, log], stdout=subprocess.DEVNULL)


def begun(kind, folder):
    """The same, once it has begun to carry out runs: a program that is still being imported has nothing to lose."""
    process = start(kind, folder)
    while process.poll() is None and not (Path(folder) / ".campaign" / f"{process.pid}.status").exists():
        time.sleep(0.1)
    return process


def finish(kind, folder):
    """Let a campaign end by itself, again where a killed run was given up."""
    for _ in range(3):
        if start(kind, folder).wait(300) == 0 and len(Ledger(folder).names()) == len(configs_of(kind)):
            return untimed(Ledger(folder))
    raise AssertionError(f"the {kind} campaign does not come to its end")


def configs_of(kind):
    return toy_configs() if kind == "toy" else workshop.smoke_configs(data.load("digits"))


def workers_of(process):
    """Process ids of a campaign's children, by Linux' own list; the semaphore keeper among them is nobody's worker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def kill_one(process, choice):
    """Kill the campaign or one of its workers."""
    try:
        workers = workers_of(process)
        os.kill(choice.choice(workers) if workers and choice.random() < 0.5 else process.pid, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        pass  # it has just ended by itself


def survive(kind, kills, longest, folder):
    """Kill and resume; returns the rows of every ledger that was completed on the way."""
    choice, completed, process = random.Random(kills), [], None
    ledger = Ledger(folder / "0")
    for _ in range(kills):
        if len(ledger.names()) == len(configs_of(kind)):
            process.wait(300)
            completed.append(untimed(ledger))
            shutil.rmtree(os.environ["TICKETLIB_CACHE"] + "/checkpoints")
            ledger = Ledger(folder / str(len(completed)))
        if process is None or process.poll() is not None:
            process = begun(kind, ledger.folder)
        before = bytes_of(ledger)
        time.sleep(choice.uniform(0, longest))
        kill_one(process, choice)
        after = bytes_of(ledger)
        assert before.items() <= after.items()
        assert len(ledger.rows()) >= len(after)  # every row is whole
    process.kill()
    process.wait()
    return [*completed, finish(kind, ledger.folder)]


@pytest.mark.fault(FAULT, PROMISE)
def test_three_kills(tmp_path, tried):
    tried(3)
    [found] = survive("toy", 3, 4, tmp_path / "killed")
    pool = campaign.carry_out(workshop.Toy(), toy_configs(), Pool(1))
    assert found == {o.row["name"]: workshop.without_varying(o.row) for o in pool}


@pytest.mark.slow
@pytest.mark.fault(FAULT, PROMISE)
def test_fifty_kills_of_real_runs(tmp_path, tried):
    tried(50)
    uninterrupted = finish("smoke", tmp_path / "whole")
    shutil.rmtree(os.environ["TICKETLIB_CACHE"] + "/checkpoints")
    for found in survive("smoke", 50, 10, tmp_path / "killed"):
        assert found == uninterrupted


@pytest.mark.fault("two campaigns work on one ledger at once", "each run is carried out once")
def test_two_campaigns_at_once(tmp_path):
    log = tmp_path / "log"
    both = [start("toy", tmp_path / "rows", log) for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    names = [config.name for config in toy_configs()]
    assert sorted(Ledger(tmp_path / "rows").names()) == sorted(names)
    assert sorted(log.read_text().split()) == sorted(names)
    assert not list((tmp_path / "rows" / ".campaign" / "locks").iterdir())
