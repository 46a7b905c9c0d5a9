"""What the benchmarks share: fair clocks, two processes at once, and one row a figure."""

import multiprocessing
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ticketlib.experiments import machine

STAT, CPUINFO = Path("/proc/stat"), Path("/proc/cpuinfo")


@dataclass
class Figure:
    """One measurement, and what it was held against in the same run."""

    quantity: str  # what was measured
    value: float
    unit: str
    network: str = ""
    sparsity: str = ""  # fraction removed, decimal text
    engine: str = ""  # sparse, dense (ours), or usual loop
    phase: str = ""  # which part: of a step, of a network, of the work
    batch: int = 0  # images
    processes: int = 1  # that ran at once
    yardstick: str = ""  # what it is held against
    against: float | None = None  # the yardstick's value, same unit
    goals: dict[str, bool] = field(default_factory=dict)  # goal in words -> whether it was reached

    def row(self):
        """As plain JSON values, without what does not apply."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, {}) and
                (name, value) not in (("batch", 0), ("processes", 1))}  # fmt: skip


def processor():
    """The processor's model and vector instructions, and whether it has matrix units for 16 bits (AMX)."""
    units = CPUINFO.is_file() and "amx_bf16" in CPUINFO.read_text(encoding="utf-8")
    return machine.processor().removeprefix("cpu: ") + ", AMX" * units


def seconds(work, times=1):
    """Wall seconds of `times` calls."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - began


def side_by_side(works, rounds=5, times=3):
    """Median seconds a call of each of several functions, called in turn so that a slow minute hits all of them.

    Arguments: works, dict name -> function; rounds; times, calls a round. Returns: dict name -> seconds.
    """
    for work in works.values():
        work()
    found = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(seconds(work, times) / times)
    return {name: statistics.median(values) for name, values in found.items()}


def at_once(function, arguments, processes=2):
    """Results of the same function in several fresh single-thread processes at the same time."""
    with multiprocessing.get_context("spawn").Pool(processes, _one_thread) as pool:
        return pool.starmap(function, [arguments] * processes, chunksize=1)


def memory(what="VmRSS"):
    """MB this process holds now (VmRSS), or has held at most (VmHWM).

    The kernel's own count, since getrusage's maximum starts from what the parent process held.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024 / 1e6


def forget_peak():
    """Let the most memory held so far (VmHWM) begin again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _one_thread():
    import torch

    torch.set_num_threads(1)


def busy_share(wait=2.0):
    """Share of all processors' time that others use right now, 0 to 1; None where the system does not tell.

    Arguments: wait, seconds during which this process sleeps.
    """
    before = _processor_times()
    time.sleep(wait)
    both = list(zip(before, _processor_times(), strict=True))
    passed, idle = (sum(end - start for start, end in part) for part in (both, both[3:5]))
    return 1 - idle / passed if passed else None


def _processor_times():
    """Ticks since the start in each state, summed over processors; the fourth and fifth are idle."""
    if not STAT.is_file():
        return []
    return [int(ticks) for ticks in STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
