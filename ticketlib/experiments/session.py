"""What notebooks need: a check of their parameters, Markdown and numbers for the page, and where results came from."""

import difflib
import re
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from IPython.display import Markdown, display

from ticketlib.analysis.words import folded
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments.places import book_ledger, run_ledger
from ticketlib.experiments.profiles import PROFILES

PARAMETERS = ("profile", "source", "ledger", "seeds", "device", "data_root")
SOURCES = ("stored", "run")
JUPYTERS_OWN = ("In", "Out")
MOST_SEEDS = 1000  # more would be a slip of the pen, and take hours to list


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
    found = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if not found:
        raise TicketError(f"device {device!r} is not known; allowed: auto, cpu, cuda, cuda:0, cuda:1, ...")
    if device.startswith("cuda") and int(found[1] or 0) >= torch.cuda.device_count():
        raise TicketError(f"device {device!r} is not on this machine; it has {torch.cuda.device_count()} CUDA devices.")


def _ledger(named, source, profile):
    try:
        folder = Path(named).expanduser().resolve() if named else None
    except (OSError, RuntimeError) as error:  # a loop of links, a home that nobody has
        raise TicketError(f"ledger {named!r} is not allowed ({error}); it must be the path of a folder.") from None
    if source == "stored":
        if named and not folder.is_dir():
            raise TicketError(f"ledger {named!r} is not a folder; stored rows need one, or '' for the book's own.")
        return folder or book_ledger(profile)
    folder = folder or run_ledger(profile).resolve()
    if book_ledger().resolve() in (folder, *folder.parents):
        raise TicketError(f"ledger {str(folder)!r} is the book's own, which no notebook writes; name another folder.")
    if folder.exists() and not folder.is_dir():
        raise TicketError(f"ledger {str(folder)!r} is a file; it must be a folder, which may not be there yet.")
    return folder


def show_markdown(text):
    """Show text as Markdown, in a raw notebook and in the built book alike; nothing for an empty text."""
    if text:  # an empty one would be printed as the name of its class
        display(Markdown(text))


def provenance(run, rows=()):
    """Show where a page's results came from: rows, devices, versions, time, code.

    Arguments: run, a NotebookRun. rows: the ledger rows the page used; what a row lacks is left out.
    """
    rows = list(rows)
    facts = {"parameters": f"profile {run.profile}, source {run.source}", "rows": str(len(rows))}
    for what in ("device", "threads", "versions", "code"):
        facts[what] = "; ".join(_counted(row[what] for row in rows if row.get(what)))
    facts["hours"] = f"{sum(row.get('seconds', 0) for row in rows) / 3600:.2f}" if rows else ""
    lines = ["| made from | |", "| --- | --- |", *(f"| {what} | {fact} |" for what, fact in facts.items() if fact)]
    if rows:
        names = " ".join(row["name"] for row in rows)  # plain: marked as code, two thousand would weigh 200 kB
        lines += ["", folded("Names of the rows", names)]
    show_markdown("\n".join(lines))


def _counted(values):
    texts = (", ".join(f"{k} {v[k]}" for k in sorted(v)) if isinstance(v, dict) else str(v) for v in values)
    return [f"{text} ({n} rows)" for text, n in sorted(Counter(texts).items())]
