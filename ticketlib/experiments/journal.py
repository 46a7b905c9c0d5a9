"""Beside the rows, never among them: which campaign is at which run, what failed, and how far a campaign is.

All of it lies in a folder `.campaign` of the ledger, which git ignores, and may be deleted when no campaign runs.
"""

import contextlib
import fcntl
import json
import math
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, machine
from ticketlib.experiments.campaign import TRIES

FOLDER, LOCKS = ".campaign", "locks"
SILENT = 60  # seconds without a sign of life after which a campaign is called silent
KEPT = 24 * 3600  # seconds for which the summary of a campaign that is over stays


def folder(ledger, below=""):
    """The folder beside the rows, or one in it.

    Raises: TicketError, before anything is trained, if nothing can be written there.
    """
    path = ledger.folder / FOLDER
    try:
        (path / below).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=ledger.folder).close()
        (path / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise TicketError(f"ledger {str(ledger.folder)!r} cannot be written to: {error.strerror}.") from None
    return path / below


class Desk:
    """Where the campaigns on one ledger meet: a run is carried out by the one that holds its lock.

    A lock ends with the process that holds it, however it ends. On file systems without locks everybody may carry out
    everything, and the first row stays.
    """

    def __init__(self, ledger, cache=None):
        self.ledger, self.cache, self.held = ledger, cache, {}
        self.old = set(ledger.names())  # a run among them is carried out for its checkpoint

    def take(self, config):
        """Whether this campaign may carry a run out."""
        if config.name in self.held:
            return True
        lock = self._opened(config)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        except OSError:
            pass
        if not _is_at_its_place(lock):  # its holder has removed it between our opening and our locking it
            lock.close()
            return self.take(config)
        self.held[config.name] = lock
        return True

    def _opened(self, config):
        path = self.ledger.folder / FOLDER / LOCKS / config.name
        try:
            return open(path, "a", encoding="utf-8")
        except FileNotFoundError:  # the first lock, or somebody has removed the ledger: rows to come are written again
            return open(folder(self.ledger, LOCKS) / config.name, "a", encoding="utf-8")
        except OSError as error:
            raise TicketError(f"ledger {str(self.ledger.folder)!r} cannot be written to: {error.strerror}.") from None

    def made(self, config):
        """The row of a run that another campaign has made meanwhile, with its checkpoint if that was lost; None."""
        name = config.name
        if name not in self.ledger or (name in self.old and checkpoints.load(name, folder=self.cache) is None):
            return None
        return self.ledger[name]

    def release(self, config):
        """Say that a run is over."""
        if lock := self.held.pop(config.name, None):
            with contextlib.suppress(OSError):
                Path(lock.name).unlink()
            lock.close()


def _is_at_its_place(file):
    """Whether an open file is still the one that its path leads to."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except FileNotFoundError:
        return False


class Journal:
    """What a ledger cannot say because there is no row: failed runs, and checkpoints that came out otherwise.

    One line of JSON each, appended; a line cut short by a kill is passed over.
    """

    def __init__(self, ledger):
        self.path = folder(ledger) / "journal.jsonl"

    def entries(self):
        """All entries, in order: dicts with what ("failed" or "checkpoint"), name, arm, said, code, when."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return [entry for entry in found if isinstance(entry, dict) and {"what", "name", "said"} <= set(entry)]

    def note(self, outcome):
        """Append what has to be remembered of an outcome."""
        said = {"failed": outcome.reason, "checkpoint": outcome.warning}
        for what, text in said.items():
            if text:
                self._append(what, outcome.config, text)

    def _append(self, what, config, text):
        entry = {"what": what, "name": config.name, "arm": config.arm, "seed": config.seed, "said": text,
                 "code": machine.code_version(), "when": now()}  # fmt: skip
        with contextlib.suppress(OSError), open(self.path, "a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(entry) + "\n")  # a new line first: the last one may have been cut short

    def given_up(self):
        """Runs that failed so often with this code that they are not tried again: dict from name to the last reason."""
        failed = [e for e in self.entries() if e["what"] == "failed" and e.get("code") == machine.code_version()]
        names = [entry["name"] for entry in failed]
        return {entry["name"]: entry["said"] for entry in failed if names.count(entry["name"]) >= TRIES}


def now():
    """The time in words, to the second, in this machine's zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


class Status:
    """How far a campaign is, written for whoever watches: a small file, replaced whole."""

    def __init__(self, ledger):
        self.folder = folder(ledger)
        self.path = self.folder / f"{os.getpid()}.status"
        self.facts, self.written = {}, -math.inf
        for old in self.folder.glob("*.status"):
            facts = read_status(old)
            if facts is None or facts.get("over") or time.time() - facts["updated"] > KEPT:
                old.unlink(missing_ok=True)

    def write(self, **facts):
        """Replace the file. A disk that is full costs the watcher a view, not the campaign its runs."""
        self.facts |= facts
        self.facts["updated"], self.written = time.time(), time.monotonic()  # the wall clock may be put back
        temporary = self.path.with_suffix(".part")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(self.facts), encoding="utf-8")
            os.replace(temporary, self.path)


def read_status(path):
    """One campaign's summary, None if it is not one."""
    try:
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
        return facts if isinstance(facts["updated"], float) and isinstance(facts["total"], int) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def campaigns(ledger):
    """Summaries of the campaigns on a ledger, the last one that gave a sign of life first."""
    found = [read_status(path) for path in (ledger.folder / FOLDER).glob("*.status")]
    return sorted((facts for facts in found if facts), key=lambda facts: -facts["updated"])
