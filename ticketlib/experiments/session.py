"""What a reader asked for, checked; and runs made in this process, after an estimate of their time."""

import difflib
import os
import re
import sys
import time
import types
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from IPython import get_ipython
from IPython.display import Markdown, display

from ticketlib import data, train
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments import campaign, places, probe
from ticketlib.experiments.config import streams
from ticketlib.experiments.journal import Stop, check_writable, conduct, duration
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.machine import facts, threads
from ticketlib.experiments.profiles import PROFILES
from ticketlib.experiments.run import build, check_device, engine, execute, ticket_mask
from ticketlib.experiments.workers import InProcess

PARAMETERS = ("profile", "source", "ledger", "seeds", "device", "data_root")
SOURCES = ("stored", "run")
JUPYTERS_OWN = ("In", "Out")
MOST_SEEDS = 1000  # more would be a slip of the pen, and take hours to list
TIMED_STEPS = 10  # a speed that no row has measured is taken from so many
REHEARSAL = "A few steps will tell how long they take; the first on a machine are compiled, which can take minutes."


@dataclass(frozen=True)
class NotebookRun:
    """The checked parameters of one notebook."""

    profile: str  # a name of profiles.PROFILES
    source: str  # "stored": read rows; "run": make those that are missing
    ledger: Path  # the folder the rows are in
    seeds: int  # how many; 0 is the profile's own number
    device: str  # "auto", "cpu", "cuda" or "cuda:" and a number
    data_root: str  # where image data lie; "" is the usual search


def check(namespace):
    """Check the name and the value of every parameter a notebook was given, before it does anything.

    Papermill only warns of a mistyped name and then runs with the defaults; here it is an error.

    Arguments: namespace, the notebook's `globals()`.
    Returns: NotebookRun.
    Raises: TicketError for an unknown or missing name, or a value that is not allowed.
    """
    _check_names(namespace)
    given = {name: namespace[name] for name in PARAMETERS}
    for name in ("profile", "source", "ledger", "device", "data_root"):
        if not isinstance(given[name], str) or not given[name].isprintable():
            raise TicketError(f"{name} {given[name]!r} is not allowed; it must be text of one line.")
    one_of("profile", given["profile"], PROFILES)
    one_of("source", given["source"], SOURCES)
    _check_seeds(given["seeds"])
    _check_device(given["device"])
    return NotebookRun(**{**given, "ledger": _ledger(given["ledger"], given["source"], given["profile"])})


def _check_names(namespace):
    for name in PARAMETERS:
        if name not in namespace:
            raise TicketError(f"parameter {name!r} is missing; a notebook defines {', '.join(PARAMETERS)}.")
    # Run again by hand, the check finds what later cells made; papermill always starts afresh.
    if any(isinstance(value, NotebookRun) for value in namespace.values()):
        return
    for name in [n for n, value in namespace.items() if _looks_given(n, value)]:
        close = difflib.get_close_matches(name.lower(), PARAMETERS, 1, 0.5)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise TicketError(f"parameter {name!r} is not known{hint}; allowed: {', '.join(PARAMETERS)}.")


def _looks_given(name, value):
    code = callable(value) or isinstance(value, types.ModuleType)
    private = name.startswith("_") and name.strip("_") not in PARAMETERS  # `_profile` is a slip of the pen
    return not (code or private or name in PARAMETERS or name in JUPYTERS_OWN)


def _check_seeds(seeds):
    if type(seeds) is not int or not 0 <= seeds <= MOST_SEEDS:
        allowed = f"a whole number up to {MOST_SEEDS}, 0 for the profile's own"
        raise TicketError(f"seeds {seeds!r} is not allowed; it must be {allowed}.")


def _check_device(device):
    cuda = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if not cuda:
        raise TicketError(f"device {device!r} is not known; allowed: auto, cpu, cuda, cuda:0, cuda:1, ...")
    if device.startswith("cuda") and int(cuda[1] or 0) >= torch.cuda.device_count():
        raise TicketError(f"device {device!r} is not on this machine; it has {torch.cuda.device_count()} CUDA devices.")


def _ledger(named, source, profile):
    try:
        folder = Path(named).expanduser().resolve() if named else None
    except (OSError, RuntimeError) as error:  # a loop of links, a home that nobody has
        raise TicketError(f"ledger {named!r} is not allowed ({error}); it must be the path of a folder.") from None
    if source == "stored":
        if named and not folder.is_dir():
            raise TicketError(f"ledger {named!r} is not a folder; stored rows need one, or '' for the book's own.")
        return folder or places.book_ledger(profile)
    folder = folder or places.run_ledger(profile).resolve()
    if places.book_ledger().resolve() in (folder, *folder.parents):
        raise TicketError(f"ledger {str(folder)!r} is the book's own, which no notebook writes; name another folder.")
    places.check_folder(folder)
    return folder


# rows read, or made


def rows_of(run):
    """The rows of a notebook's ledger; with source "run" those of its own images, as others may lie beside them."""
    rows = Ledger(run.ledger).rows()
    if run.source == "stored":
        return rows
    own = images(run).fingerprint
    return [row for row in rows if row["config"]["fingerprint"] == own]


def images(run):
    """The data set of a notebook's profile."""
    return data.load(PROFILES[run.profile].dataset, run.data_root or None)


def seeds(run):
    """How many seeds a notebook carries out: its parameter, or the profile's own number."""
    return run.seeds or PROFILES[run.profile].seeds


def make_runs(run, to_do, dataset):
    """Carry out runs one after another in this process, on one thread, with an estimate of the time first.

    A row is written as soon as its run ends: stopped and started again, this goes on where it was. Meanwhile
    `python -m ticketlib watch` sees it as it sees a campaign.

    Arguments: run, NotebookRun; to_do, list of Config, parents first; dataset, the data.Dataset they name.
    Raises: TicketError for a device that the engine does not have or a ledger that cannot be written to, before
        anything is trained.
    """
    if not to_do:
        return
    device, ledger = device_of(run, to_do), Ledger(run.ledger)
    check_writable(ledger)
    lost = {o.config: f"{o.config.arm} (seed {o.config.seed}): {o.reason}" for o in campaign.blocked(to_do, ledger)}
    to_do = [config for config in to_do if config not in lost]
    with one_thread(device):
        say = Speaker(f"{len(to_do)} runs to carry out. {REHEARSAL}")
        expected, began = f"about {duration(_estimate(run, to_do, dataset, device))}", time.monotonic()
        say(f"{len(to_do)} runs to carry out. Time expected: {expected}.")
        work = partial(execute, dataset=dataset, device=device, progress=False)
        end = conduct(ledger, work, to_do, InProcess(), Stop(), say)
    made, took = len(to_do) - len(end.failed) - len(end.left), duration(time.monotonic() - began)
    left = f"; {len(end.left)} are left" if end.left else ""
    say(f"{made} runs carried out in {took} (expected: {expected}){left}.")
    _show_list("Not made:", [*lost.values(), *end.failed])
    _show_list("Made, with a warning:", end.warnings)


class Text(Markdown):
    """Markdown whose plain form is its own text, for terminals and logs."""

    def __repr__(self):
        return self.data


class Speaker:
    """Says how far work is: line by line on stderr, and on the page in place of what it said before."""

    def __init__(self, text):
        has_page = hasattr(get_ipython(), "kernel")
        self.handle = display(Text(text), display_id=True) if has_page else None
        _to_terminal(text)

    def __call__(self, text):
        """Say the next line."""
        if self.handle:
            self.handle.update(Text(text))
        _to_terminal(text)


def _to_terminal(text):
    """Say a line on stderr: a kernel's where it was started, as in papermill's terminal; its print reaches the page."""
    try:
        os.write(sys.stderr.fileno(), f"{text}\n".encode())
    except (OSError, ValueError):  # it has no file of its own
        print(text, file=sys.stderr, flush=True)


def _show_list(title, lines):
    if lines:
        display(Text("\n".join([title, "", *(f"- {line}" for line in lines)])))


def device_of(run, to_do):
    """The device that a notebook's runs are made on; "auto" takes a GPU only where every engine can use it.

    Raises: TicketError for a device that the engine of a run does not have.
    """
    if run.device == "auto":
        sparse = any(config.engine == "sparse" for config in to_do)
        return "cuda" if torch.cuda.is_available() and not sparse else "cpu"
    check_device(run.device, to_do, run.profile, "auto, cpu")
    return run.device


def one_thread(device="cpu"):
    """Compute as the command line's workers do on a CPU, so that rows of both may be paired."""
    return threads(1 if device == "cpu" else torch.get_num_threads())


def _estimate(run, to_do, dataset, device):
    """Seconds of training, from the speeds of rows made before and, for kinds without a row, from a few steps now."""
    here = facts(device)["device"]
    speeds = campaign.speeds(row for row in Ledger(run.ledger).rows() if row["device"] == here)
    for config in to_do:
        if campaign.pace_key(config) not in speeds:
            speeds[campaign.pace_key(config)] = _speed(config, dataset, device)
    return sum(campaign.estimate(config, speeds, len(dataset.train)) for config in to_do)


def _speed(config, dataset, device):
    """Training images a second at a configuration's size and sparsity, measured on a few steps."""
    few = slice(0, TIMED_STEPS * config.batch)
    part = data.Split(dataset.train.images[few], dataset.train.labels[few])
    tiny = replace(dataset, train=part, test=part)
    any_ticket = "dense" if config.sparsity == "0" else "uniform"
    short = replace(config, ticket=any_ticket, check="none", corruption="none", epochs=1)
    model = build(short, tiny)
    mask, _ = ticket_mask(short, tiny, model)
    net = engine(short, model, mask, tiny, device)
    for _ in range(2):  # the first one warms up
        result = train.fit(net, short, tiny, streams(short), progress=False)
    return result.images / result.train_seconds


def make_probes(run, configs, dataset, seconds):
    """Make the probes that the ledger lacks.

    Arguments: run, NotebookRun; configs, list of Config; dataset, the data.Dataset they name; seconds, the estimate,
        None where nothing is known.
    """
    ledger = Ledger(run.ledger)
    to_do = [config for config in configs if probe.name(config) not in ledger]
    if not to_do:
        return
    expected = "the first one will tell" if seconds is None else f"about {duration(seconds)}"
    say = Speaker(f"{len(to_do)} masks to find. Time expected: {expected}.")
    with one_thread():
        _show_list("Not made:", probe.measure_all(probe.Prober(dataset), to_do, ledger, say))
