"""Where runs are carried out: in this process or its threads, in processes of their own, or on a Ray cluster.

All are used the same way: `free` says whether another run may start, `start` starts one, `running` lists those
that are on, `finished` waits for some, `close` ends what is left.
"""

import contextlib
import functools
import importlib
import multiprocessing
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

from tqdm import tqdm

from ticketlib.errors import TicketError

CONNECT_SECONDS = 10
GRACE = 5  # seconds a process has to end by itself once its run is over
KILLED = "the process that carried it out was killed"


@dataclass
class Finished:
    """The end of one run: its row, or the reason it failed; `lost` if it never had the chance to say."""

    config: object
    row: dict | None = None
    reason: str | None = None
    lost: bool = False


class InProcess:
    """This very process, one run at a time: `finished` carries out what was started."""

    def __init__(self):
        self.job = None  # (work, config)

    @property
    def free(self):
        """Whether another run may start now."""
        return self.job is None

    @property
    def running(self):
        """The configurations being carried out."""
        return [] if self.job is None else [self.job[1]]

    def start(self, work, config):
        """Remember one run."""
        self.job = work, config

    def finished(self, timeout):
        """Carry out what was started, however long it takes; returns a list of one Finished."""
        (work, config), self.job = self.job, None
        return [Finished(config, *_attempt(work, config))]

    def close(self):
        """Forget what was started and never carried out."""
        self.job = None


class Pool:
    """Single-threaded processes on this machine, one a run; one that is killed takes nothing with it but its own run.

    They are forked from one server process that has torch imported, so that a new one is there at once.

    Arguments: workers, runs at once; devices, CUDA device of each worker in turn, "" leaves the choice alone.
    """

    def __init__(self, workers, devices=("",)):
        self.devices = [devices[i % len(devices)] for i in range(workers)]  # those that are free
        self.busy = {}  # pipe -> (process, device, config)
        self.environment = {}  # what a process has beside the campaign's own
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["ticketlib.experiments.run"])

    @property
    def free(self):
        """Whether another run may start now."""
        return bool(self.devices)

    @property
    def running(self):
        """The configurations being carried out."""
        return [config for _, _, config in self.busy.values()]

    def start(self, work, config):
        """Start one run in a process of its own."""
        here, there = self.context.Pipe()
        device = self.devices.pop()
        environment = os.environ | self.environment | ({"CUDA_VISIBLE_DEVICES": device} if device else {})
        process = self.context.Process(target=_serve, args=(there, work, config, environment), daemon=True)
        process.start()
        there.close()  # so that the pipe ends with the process
        self.busy[here] = process, device, config

    def finished(self, timeout):
        """Wait at most `timeout` seconds; returns the list of Finished, empty if nothing has ended."""
        return [self._collect(pipe) for pipe in connection.wait(list(self.busy), timeout)]

    def _collect(self, pipe):
        process, device, config = self.busy.pop(pipe)
        try:
            row, reason = pipe.recv()
            process.join(GRACE)
        except (EOFError, OSError):
            return Finished(config, reason=KILLED, lost=True)
        finally:
            pipe.close()
            process.kill()  # nothing, where it has ended
            self.devices.append(device)
        return Finished(config, row, reason)

    def close(self):
        """End every process; a run that is still on is given up."""
        for pipe, (process, device, _) in self.busy.items():
            process.kill()
            process.join()
            pipe.close()
            self.devices.append(device)
        self.busy.clear()


MPS_CONTROL = "nvidia-cuda-mps-control"  # NVIDIA's daemon, through which processes compute on one GPU side by side
MPS_SECONDS = 20  # it has to answer within


class Mps(Pool):
    """A Pool whose processes compute on a GPU at the same time, by NVIDIA's MPS, instead of taking turns.

    A daemon is started here, in a folder of its own, and ends with the pool. Arguments: as Pool.
    Raises: TicketError if the daemon cannot be started.
    """

    def __init__(self, workers, devices):
        super().__init__(workers, devices)
        self.folder = Path(tempfile.mkdtemp(prefix="mps-"))
        self.environment = dict.fromkeys(("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"), str(self.folder))
        try:
            self._control("-d")
            self._control(asked="get_server_list\n")
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            raise TicketError(f"share 'mps' needs {MPS_CONTROL}, which did not start ({error}); allowed here: threads, "
                              "processes.") from None  # fmt: skip

    def _control(self, *options, asked=""):
        subprocess.run([MPS_CONTROL, *options], input=asked, text=True, check=True, capture_output=True,
                       timeout=MPS_SECONDS, env=os.environ | self.environment)  # fmt: skip

    def close(self):
        """End every process, and the daemon."""
        super().close()
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self._control(asked="quit\n")
        shutil.rmtree(self.folder, ignore_errors=True)


class Threads:
    """Threads of this process, one a run; on a GPU each has a stream of its own, so that runs compute side by side.

    No daemon is needed. What kills the process costs every run that is on what it did since its last state. Runs of
    another precision wait until the others are over: whether a GPU rounds to tf32 is one switch of the process.

    Arguments: workers, runs at once; devices, as Pool.
    """

    def __init__(self, workers, devices=("",)):
        names = list(dict.fromkeys(devices))  # a thread counts GPUs as the process sees them
        self.devices = [names.index(devices[i % len(devices)]) if any(names) else None for i in range(workers)]
        self.busy, self.ended = {}, queue.SimpleQueue()  # config's name -> (config, device); Finished
        self.at_work, self.changed = [], threading.Condition()  # precision of each run that has begun

    @property
    def free(self):
        """Whether another run may start now."""
        return bool(self.devices)

    @property
    def running(self):
        """The configurations being carried out."""
        return [config for config, _ in self.busy.values()]

    def start(self, work, config):
        """Start one run in a thread of its own."""
        device = self.devices.pop()
        self.busy[config.name] = config, device
        threading.Thread(target=self._carry_out, args=(work, config, device), daemon=True).start()

    def _carry_out(self, work, config, device):
        placed = work if device is None else functools.partial(_on_gpu, work, device)
        with self.changed:
            self.changed.wait_for(lambda: set(self.at_work) <= {config.precision})
            self.at_work.append(config.precision)
        end = Finished(config, *_carry_out(placed, config))
        with self.changed:
            self.at_work.remove(config.precision)
            self.changed.notify_all()
        self.ended.put(end)

    def finished(self, timeout):
        """Wait at most `timeout` seconds; returns the list of Finished, empty if nothing has ended."""
        try:
            end = self.ended.get(timeout=timeout)
        except queue.Empty:
            return []
        self.devices.append(self.busy.pop(end.config.name)[1])
        return [end]

    def close(self):
        """Give up what is still on; its threads end with the process."""
        self.busy.clear()


SHARES = {"mps": Mps, "threads": Threads, "processes": Pool}


def share(how, workers, devices):
    """The back end of runs on this machine.

    Arguments: how, a name of SHARES, or "auto": processes, but where several runs share a GPU MPS if its daemon can be
        started, and threads if not; workers and devices, as Pool.
    Returns: Pool, Mps or Threads. Raises: TicketError for "mps" where it cannot be started.
    """
    if how != "auto" or len(set(devices)) == len(devices) or not any(devices):
        return SHARES.get(how, Pool)(workers, devices)
    try:
        return Mps(workers, devices)
    except TicketError:
        return Threads(workers, devices)


def _serve(pipe, work, config, environment):
    """What a process of the pool does: carry out one run and say what came of it.

    Arguments: environment, the campaign's own; the server from which this process is forked has that of its beginning.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the campaign itself stops its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with, args=(pipe,), daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own would be a semaphore of the system, which a kill leaves behind
    pipe.send(_carry_out(work, config))


def _carry_out(work, config):
    """One run on one thread: (row, None) or (None, why it failed)."""
    import torch

    torch.set_num_threads(1)
    return _attempt(work, config)


def _on_gpu(work, device, config):
    """Carry out a run on a GPU of this thread."""
    import torch

    torch.cuda.set_device(device)
    return work(config)


def _attempt(work, config):
    try:
        return work(config), None
    except Exception as error:  # whatever a run raises is its own failure, not the campaign's
        return None, f"{type(error).__name__}: {error}"


def _die_with(pipe):
    """End this process when the other end of its pipe is gone, so that a killed campaign leaves nothing running."""
    pipe.poll(None)
    os._exit(1)


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_slots(per_gpu):
    """CUDA devices this process may use, each `per_gpu` times. Raises: TicketError if there is none."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    if not torch.cuda.is_available():
        raise TicketError("device 'cuda' is not on this machine; allowed here: cpu.")
    if len(devices) > torch.cuda.device_count():
        raise TicketError(f"CUDA_VISIBLE_DEVICES {named!r} names {len(devices)} devices, of which torch finds "
                          f"{torch.cuda.device_count()}; allowed: devices that are there.")  # fmt: skip
    return tuple(devices * per_gpu)


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
        resources = self.ray.cluster_resources()
        return int(min(resources.get(what[4:-1].upper(), 0) / needed for what, needed in self.share.items() if needed))

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
