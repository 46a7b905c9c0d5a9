"""Many runs: what is missing, in which order, in a pool of single-thread processes that can be stopped and resumed."""

import multiprocessing
import os
import signal
import statistics
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from ticketlib import checkpoints
from ticketlib.runs import parent
from ticketlib.tickets import REWIND_TO, TICKETS

TRIES = 2  # a run whose worker died is tried once more, then listed as failed


@dataclass
class Outcome:
    """What became of one run: its row, or the reason it failed."""

    config: object
    row: dict | None = None
    reason: str | None = None


@dataclass
class Queue:
    """Runs still to do, in order; one becomes ready when its parent is no longer to do."""

    waiting: list
    running: dict = field(default_factory=dict)  # future -> config
    tries: dict = field(default_factory=dict)  # name -> how often started

    def next_ready(self):
        """Take out the first run whose parent is neither waiting nor running; None if there is none."""
        busy = {c.name for c in self.waiting} | {c.name for c in self.running.values()}
        for config in self.waiting:
            before = parent(config)
            if before is None or before.name not in busy:
                self.waiting.remove(config)
                return config
        return None


def missing(configs, ledger, cache=None):
    """The runs that have to be carried out so that the ledger holds all of `configs`, parents included, in order.

    A parent whose row exists is carried out again only if a missing run needs its checkpoint and the cache has lost it.
    """
    done, needed = set(ledger.names()), {}

    def need(config):
        before = parent(config)
        if before is not None and (before.name not in done or checkpoints.load(before.name, folder=cache) is None):
            need(before)
        needed.setdefault(config.name, config)

    for config in configs:
        if config.name not in done:
            need(config)
    return list(needed.values())


def carry_out(work, configs, *, workers=1, stop_at=None):
    """Carry out runs in a pool of single-thread processes.

    Arguments: work, a picklable function from a configuration to its row; configs, in order; workers, processes;
        stop_at, time.time() after which no further run is started.
    Returns: a generator of Outcomes as runs finish. A worker that dies takes no other run's result with it.
    """
    queue = Queue(list(configs))
    while queue.waiting:
        try:
            yield from _one_pool(work, queue, workers, stop_at)
            return
        except BrokenProcessPool:
            lost = list(queue.running.values())
            queue.running.clear()
            for config in lost:
                if queue.tries[config.name] >= TRIES:
                    yield Outcome(config, reason="the process that carried it out was killed")
                else:
                    queue.waiting.insert(0, config)


def _one_pool(work, queue, workers, stop_at):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_single_thread) as pool:
        while queue.waiting or queue.running:
            _fill(pool, work, queue, workers, stop_at)
            if not queue.running:
                return
            for future in wait(queue.running, return_when=FIRST_COMPLETED).done:
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise error
                config = queue.running.pop(future)
                yield Outcome(config, reason=f"{type(error).__name__}: {error}") if error else Outcome(
                    config, row=future.result()
                )


def _fill(pool, work, queue, workers, stop_at):
    while len(queue.running) < workers and not (stop_at and time.time() > stop_at):
        config = queue.next_ready()
        if config is None:
            return
        queue.tries[config.name] = queue.tries.get(config.name, 0) + 1
        queue.running[pool.submit(work, config)] = config


def _single_thread():
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the campaign itself stops its workers
    parent_id = os.getppid()
    _die_with(parent_id)


def _die_with(parent_id):
    """End this worker when the campaign is gone, so that a killed campaign leaves nothing running."""
    import threading

    def watch():
        while os.getppid() == parent_id:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def speeds(rows):
    """Training images a second measured so far: dict from (network, engine, sparsity) to the median over rows."""
    found = {}
    for row in rows:
        if row["kind"] == "run":
            found.setdefault(_kind(row.config), []).append(row["images_per_second"])
    return {kind: statistics.median(values) for kind, values in found.items()}


def estimate(config, speeds, epoch_size=50_000):
    """Seconds one core needs for a run at the measured speeds; None where its kind was never measured."""
    if _kind(config) not in speeds:
        return None
    share = 1 if TICKETS[config.ticket].schedule == "full" else 1 - float(REWIND_TO)
    return share * config.epochs * epoch_size / speeds[_kind(config)]


def _kind(config):
    return config.network, config.engine, config.sparsity
