"""Several runs on one machine: by threads, by processes, and by a daemon that lets processes share a GPU."""

import dataclasses
import os
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from synthetic import without_varying

from ticketlib import data
from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, grids, workers
from ticketlib.experiments import run as experiment

ARMS = ("dense@0", "snip+both@0.9", "grasp@0.9", "synflow@0.9", "lt+rearranged@0.9", "smart@0.9")


def arm(key, seed=0):
    return grids.arm("smoke", key, seed, data.load("digits"), epochs=1)


def test_a_run_among_threads_has_the_digits_that_it_has_alone(tmp_path, monkeypatch):
    configs, work = [arm(key) for key in ARMS], experiment.Work("digits", None, "cpu")
    with monkeypatch.context() as patched:
        patched.setenv("TICKETLIB_CACHE", str(tmp_path / "together"))
        together = list(campaign.carry_out(work, campaign.Queue(configs[:]), workers.Threads(4)))
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "alone"))
    alone = list(campaign.carry_out(work, campaign.Queue(configs), workers.InProcess()))
    assert [end.reason for end in together + alone] == [None] * 2 * len(ARMS)
    found, wanted = ({end.row["arm"]: without_varying(end.row) for end in ends} for ends in (together, alone))
    assert found == wanted and set(found) == set(ARMS)


class Meeting:
    """Work whose runs wait for each other, so that all must be on at the same time."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count, timeout=60)

    def __call__(self, config):
        self.barrier.wait()
        if config.seed == 1:
            raise ValueError("no")
        return {"name": config.name, "thread": threading.get_ident(), "diverged": False}


def test_threads_work_at_once_and_one_that_fails_takes_nothing_with_it():
    threads, queue = workers.Threads(3), campaign.Queue([arm("smart@0.9", seed) for seed in range(3)])
    found = list(campaign.carry_out(Meeting(3), queue, threads))
    assert sorted(end.reason or "" for end in found) == ["", "", "ValueError: no"]
    assert len({end.row["thread"] for end in found if end.row} | {threading.get_ident()}) == 3
    assert threads.free and threads.running == [] and threads.finished(0) == []


def test_a_gpu_that_is_not_there_fails_the_run_and_not_the_campaign():
    threads = workers.Threads(2, ("0", "1"))
    found = list(campaign.carry_out(Meeting(1), campaign.Queue([arm("smart@0.9", seed) for seed in range(2)]), threads))
    assert len(found) == 2 and all(end.reason for end in found) and threads.free


class Watched:
    """Work that notes which precisions are computed with at the same time."""

    def __init__(self):
        self.on, self.together = [], set()

    def __call__(self, config):
        self.on.append(config.precision)
        time.sleep(0.05)
        self.together.add(frozenset(self.on))
        self.on.remove(config.precision)
        return {"name": config.name, "diverged": False}


def test_threads_of_one_process_compute_in_one_precision_at_a_time():
    work = Watched()
    kinds = ("float32", "bf16") * 3
    configs = [dataclasses.replace(arm("smart@0.9", seed), precision=kind) for seed, kind in enumerate(kinds)]
    assert len(list(campaign.carry_out(work, campaign.Queue(configs), workers.Threads(6)))) == 6
    assert work.together == {frozenset({"float32"}), frozenset({"bf16"})}


def daemon(folder, monkeypatch, code):
    """Put a daemon's control of our own in the way: it notes what it is asked, and ends with a code."""
    script = folder / workers.MPS_CONTROL
    script.write_text(f'#!/bin/sh\necho "$CUDA_MPS_PIPE_DIRECTORY $@ $(test $# -gt 0 || cat)" >> {folder}/asked\n'
                      f"exit {code}\n")  # fmt: skip
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_MPS_LOG_DIRECTORY", "before")


def seen(config):
    shown = [os.environ[what] for what in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_VISIBLE_DEVICES")]
    return {"name": config.name, "seen": shown, "diverged": False}


def test_the_daemon_is_there_while_processes_share_a_gpu(tmp_path, monkeypatch):
    daemon(tmp_path, monkeypatch, 0)
    pool = workers.share("auto", 2, ("3", "3"))
    assert isinstance(pool, workers.Mps) and pool.folder.is_dir()
    [end] = campaign.carry_out(seen, campaign.Queue([arm("smart@0.9")]), pool)
    assert end.row["seen"] == [str(pool.folder), "3"]
    asked = [line.split() for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked == [[str(pool.folder), what] for what in ("-d", "get_server_list", "quit")]
    assert not pool.folder.exists() and os.environ["CUDA_MPS_LOG_DIRECTORY"] == "before"
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


@pytest.mark.parametrize("code", [1, None])
def test_threads_stand_in_for_a_daemon_that_does_not_start(tmp_path, monkeypatch, code):
    if code:
        daemon(tmp_path, monkeypatch, code)
    with pytest.raises(TicketError, match="mps"):
        workers.share("mps", 2, ("0", "0"))
    threads = workers.share("auto", 4, ("0", "1", "0", "1"))
    assert isinstance(threads, workers.Threads) and sorted(threads.devices) == [0, 0, 1, 1]
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


@pytest.mark.parametrize(("how", "devices", "kind"), [
    ("auto", ("", ""), workers.Pool), ("auto", ("0", "1"), workers.Pool), ("processes", ("0", "0"), workers.Pool),
    ("threads", ("", ""), workers.Threads), ("threads", ("0", "0"), workers.Threads),
])  # fmt: skip
def test_what_is_shared_by_what(how, devices, kind):
    assert type(workers.share(how, 2, devices)) is kind


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", {0: {1, 2, 5}}.__getitem__)
    assert workers.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert workers.cores() == 1


class Ray:
    """Stands in for Ray: two cores and a GPU; a task is what it was given."""

    def init(self, **options):
        self.options = options

    def cluster_resources(self):
        return {"CPU": 2.0, "GPU": 1.0}

    def remote(self, **options):
        return lambda function: SimpleNamespace(remote=lambda work, config: config.name)


def test_a_cluster_of_ones_own_listens_here_alone_and_has_room_for_what_it_has(monkeypatch):
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert workers.Cluster(per_gpu=3)._room() == 3 and workers.Cluster(workers=1)._room() == 2
    assert (ray.options["address"], ray.options["_node_ip_address"]) == ("local", "127.0.0.1")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    cluster, room = workers.Cluster(), []
    for seed in range(2):
        room.append(cluster.free)
        cluster.start(quickly, arm("smart@0.9", seed))
    assert room == [True, True] and not cluster.free and [config.seed for config in cluster.running] == [0, 1]
    with pytest.raises(TicketError, match="127.0.0.1:1' cannot be reached"):
        workers.Cluster("127.0.0.1:1")


def quickly(config):
    return {"name": config.name}
