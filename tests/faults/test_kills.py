"""kill -9 of workers and of whole campaigns, at random moments."""

import contextlib
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
from workshop import Toy, bytes_of, toy_configs, untimed

from ticketlib import data
from ticketlib.experiments import campaign
from ticketlib.experiments.ledger import Ledger

SCRIPT = Path(workshop.__file__)
FAULT = "a worker or a whole campaign is killed (kill -9) at a random moment"
PROMISE = "no half-written row, no finished row lost, and the resumed ledger equals the uninterrupted one"


def start(kind, folder, log=""):
    """A campaign in a process of its own."""
    return subprocess.Popen([sys.executable, SCRIPT, kind, folder, log], stdout=subprocess.DEVNULL)


def begun(kind, folder):
    """The same, once it has begun to carry out runs: a program that is still being imported has nothing to lose."""
    process = start(kind, folder)
    status = Path(folder) / ".campaign" / f"{process.pid}.status"
    while process.poll() is None and not status.exists():
        time.sleep(0.1)
    assert status.exists() or process.returncode == 0, "what does not start would be killed for ever"
    return process


def finish(kind, folder):
    """Let a campaign end by itself, again where a killed run was given up."""
    for _ in range(3):
        if start(kind, folder).wait(300) == 0 and len(Ledger(folder).names()) == len(configs_of(kind)):
            return untimed(Ledger(folder))
    raise AssertionError(f"the {kind} campaign does not come to its end")


def configs_of(kind):
    return toy_configs() if kind == "toy" else workshop.smoke_configs(data.load("digits"))


def children_of(pid):
    """Process ids of a process's children, by Linux' own list."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        return [int(child) for child in path.read_text().split()]
    return []


def workers_of(process):
    """Process ids of what carries out a campaign's runs: children of the server from which they are forked."""
    return [worker for child in children_of(process.pid) for worker in children_of(child)]


def kill_one(process, wanted):
    """Kill the campaign, or one of its workers as soon as it has some; whether it was there to be killed."""
    while wanted == "worker" and process.poll() is None and not workers_of(process):
        time.sleep(0.05)
    if process.poll() is not None:
        return False
    if wanted == "campaign":
        process.kill()
        return process.wait() == -signal.SIGKILL  # otherwise it had just ended by itself
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
        os.kill(workers_of(process)[-1], signal.SIGKILL)
        return True
    return False


def survive(kind, kills, longest, folder):
    """Kill and resume; returns the rows of every ledger that was completed on the way.

    Every second kill is a worker's, the others the campaign's. What had ended before its moment came is not counted.
    """
    choice, completed, process, killed = random.Random(kills), [], None, 0
    ledger = Ledger(folder / "0")
    while killed < kills:
        if process is None or process.poll() is not None:
            if len(ledger.names()) == len(configs_of(kind)):
                completed.append(untimed(ledger))
                shutil.rmtree(os.environ["TICKETLIB_CACHE"] + "/checkpoints")
                ledger = Ledger(folder / str(len(completed)))
            process = begun(kind, ledger.folder)
        before = bytes_of(ledger)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(choice.uniform(0, longest))
        killed += kill_one(process, "worker" if killed % 2 else "campaign")
        after = bytes_of(ledger)
        assert before.items() <= after.items()
        assert len(ledger.rows()) >= len(after)  # every row is whole
    process.kill()
    process.wait()
    return [*completed, finish(kind, ledger.folder)]


@pytest.mark.fault(FAULT, PROMISE)
def test_three_kills(tmp_path, tried):
    tried(3)
    found = survive("toy", 3, 4, tmp_path / "killed")
    ended = campaign.carry_out(Toy(0), campaign.Queue(toy_configs()), workshop.Here())
    uninterrupted = {outcome.row["name"]: workshop.without_varying(outcome.row) for outcome in ended}
    assert found == [uninterrupted] * len(found)


@pytest.mark.slow
@pytest.mark.fault(FAULT, PROMISE)
def test_fifty_kills_of_real_runs(tmp_path, tried):
    tried(50)
    began = time.monotonic()
    uninterrupted = finish("smoke", tmp_path / "whole")
    longest = min(time.monotonic() - began, 10)  # a moment after the end would kill nothing
    shutil.rmtree(os.environ["TICKETLIB_CACHE"] + "/checkpoints")
    for found in survive("smoke", 50, longest, tmp_path / "killed"):
        assert found == uninterrupted


@pytest.mark.fault("two campaigns work on one ledger at once", "each run is carried out once")
def test_two_campaigns_at_once(tmp_path):
    ledger, log = Ledger(tmp_path / "rows"), tmp_path / "log"
    ledger.add(Toy(0)(toy_configs()[0]))
    before = bytes_of(ledger)
    both = [start("toy", ledger.folder, log) for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    names = sorted(config.name for config in toy_configs())
    assert ledger.names() == names and before.items() <= bytes_of(ledger).items()
    assert sorted([*before, *log.read_text().split()]) == names
    assert not list((ledger.folder / ".campaign" / "locks").iterdir())
