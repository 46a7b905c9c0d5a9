"""Where runs are carried out: a pool of processes on this machine, or a Ray cluster.

Both are used the same way: `free` says whether another run may start, `start` starts one, `finished` waits for some,
`close` ends what is left.
"""

import importlib
import multiprocessing
import os
import secrets
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from multiprocessing import connection

from ticketlib.errors import TicketError

CONNECT_SECONDS = 10
GRACE = 5  # seconds an idle process has to end by itself
KILLED = "the process that carried it out was killed"


@dataclass
class Finished:
    """The end of one run: its row, or the reason it failed; `lost` if it never had the chance to say."""

    config: object
    row: dict | None = None
    reason: str | None = None
    lost: bool = False


@dataclass
class Worker:
    """One process of a pool, and the run it is at."""

    process: multiprocessing.Process
    pipe: connection.Connection
    device: str
    config: object = None


@dataclass
class Pool:
    """Single-thread processes on this machine; one that dies takes nothing with it but its own run."""

    workers: int
    devices: tuple = ("",)  # CUDA device of each worker in turn; "" leaves the choice alone
    idle: list = field(default_factory=list)
    busy: dict = field(default_factory=dict)  # pipe -> Worker

    def __post_init__(self):
        self.slots = [self.devices[i % len(self.devices)] for i in range(self.workers)]
        self.context = multiprocessing.get_context("spawn")

    @property
    def free(self):
        """Whether another run may start now."""
        return len(self.busy) < self.workers

    @property
    def running(self):
        """The configurations being carried out."""
        return [worker.config for worker in self.busy.values()]

    def start(self, work, config):
        """Start one run in an idle process, or in a new one."""
        worker = self.idle.pop() if self.idle else self._new()
        worker.config = config
        self.busy[worker.pipe] = worker
        try:
            worker.pipe.send((work, config))
        except OSError:  # killed while idle: `finished` finds the pipe closed and says so
            worker.process.kill()

    def finished(self, timeout):
        """Wait at most `timeout` seconds; returns the list of Finished, empty if nothing has ended."""
        return [self._collect(self.busy.pop(pipe)) for pipe in connection.wait(list(self.busy), timeout)]

    def _collect(self, worker):
        try:
            row, reason = worker.pipe.recv()
        except (EOFError, OSError):
            self._end(worker)
            return Finished(worker.config, reason=KILLED, lost=True)
        self.idle.append(worker)
        return Finished(worker.config, row, reason)

    def _new(self):
        here, there = self.context.Pipe()
        device = self.slots.pop()
        process = self.context.Process(target=_serve, args=(there, device, os.getpid()), daemon=True)
        process.start()
        there.close()  # so that the pipe ends with the process
        return Worker(process, here, device)

    def _end(self, worker):
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()
        self.slots.append(worker.device)

    def close(self):
        """End every process; a run that is still on is given up."""
        for worker in self.idle:
            worker.pipe.close()  # an idle process ends by itself when its pipe does
        for worker in self.idle:
            worker.process.join(GRACE)
        for worker in [*self.idle, *self.busy.values()]:
            self._end(worker)
        self.idle.clear()
        self.busy.clear()


def _serve(pipe, device, campaign_id):
    """What a worker process does: carry out one run after another until the pipe ends."""
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the campaign itself stops its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with, args=(campaign_id,), daemon=True).start()
    while True:
        try:
            pipe.send(_carry_out(*pipe.recv()))
        except (EOFError, OSError):
            return


def _carry_out(work, config):
    """One run on one thread: (row, None) or (None, why it failed)."""
    import torch

    torch.set_num_threads(1)
    try:
        return work(config), None
    except Exception as error:  # whatever a run raises is its own failure, not the campaign's
        return None, f"{type(error).__name__}: {error}"


def _die_with(campaign_id):
    """End this process when the campaign is gone, so that a killed campaign leaves nothing running."""
    while os.getppid() == campaign_id:
        time.sleep(0.5)
    os._exit(1)


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_slots(per_gpu):
    """CUDA devices this process may use, each `per_gpu` times. Raises: TicketError if there is none."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    if not torch.cuda.is_available():
        raise TicketError("device 'cuda' is not on this machine; allowed here: cpu.")
    return tuple(found * per_gpu)


def _knock(address):
    """Raise TicketError unless something listens at "host:port"; Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise TicketError(
            f"Ray cluster {address!r} cannot be reached ({error}); it must be local, or host:port of one that is there."
        ) from None


class Cluster:
    """A Ray cluster: a fresh process a run, started again if its node is lost.

    Without an address a cluster is started here, which listens on loopback. Token authentication is on and usage
    reports are off, unless the environment says otherwise.

    Arguments: address, of a cluster that is there, such as "10.0.0.1:6379", or "local"; workers, runs at once, None
        for as many as the cluster has room for; per_gpu, runs that share one GPU, 0 for runs on CPUs.
    Raises: TicketError if Ray is not installed or the cluster cannot be reached.
    """

    RETRIES = 2  # after a lost node or a killed process

    def __init__(self, address="local", workers=None, per_gpu=0):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        local = address == "local"
        if local:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            self.ray = importlib.import_module("ray")
        except ImportError:
            raise TicketError("backend 'ray' needs Ray; pip install -r requirements-ray.txt.") from None
        if not local:
            _knock(address)
        options = dict(include_dashboard=False, _node_ip_address="127.0.0.1") if local else {}
        try:
            self.ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
        except Exception as error:  # Ray has no class of its own for this, and raises Exception itself
            raise TicketError(f"Ray cluster {address!r} cannot be reached: {str(error).splitlines()[0]}") from None
        self.workers, self.busy = workers, {}
        self.share = dict(num_cpus=0, num_gpus=1 / per_gpu) if per_gpu else dict(num_cpus=1)
        if not self._room():
            self.ray.shutdown()
            raise TicketError(f"Ray cluster {address!r} has no {'GPU' if per_gpu else 'core'}; a run needs one.")
        self.task = self.ray.remote(max_calls=1, max_retries=self.RETRIES, **self.share)(_carry_out)

    @property
    def free(self):
        """Whether another run may start now."""
        return len(self.busy) < (self.workers or self._room())

    @property
    def running(self):
        """The configurations being carried out."""
        return list(self.busy.values())

    def _room(self):
        found = self.ray.cluster_resources()
        return int(min(found.get(what[4:-1].upper(), 0) / needed for what, needed in self.share.items() if needed))

    def start(self, work, config):
        """Hand one run to the cluster."""
        self.busy[self.task.remote(work, config)] = config

    def finished(self, timeout):
        """Wait at most `timeout` seconds; returns the list of Finished, empty if nothing has ended."""
        done, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=timeout)
        return [self._collect(future, self.busy.pop(future)) for future in done]

    def _collect(self, future, config):
        try:
            row, reason = self.ray.get(future)
        except self.ray.exceptions.RayTaskError as error:  # not even begun: the node cannot import ticketlib, say
            return Finished(config, reason=str(error).strip().splitlines()[-1])
        except self.ray.exceptions.RayError as error:
            return Finished(config, reason=f"{KILLED} ({type(error).__name__})", lost=True)
        return Finished(config, row, reason)

    def close(self):
        """Leave the cluster; one that was started here ends, and runs that are still on are given up."""
        for future in self.busy:
            self.ray.cancel(future, force=True)
        self.busy.clear()
        self.ray.shutdown()
