"""Beside the rows, never among them: who is at which run, what failed, how far a campaign is, and when it stops.

All of it lies in a folder `.campaign` of the ledger, which git ignores, and may be deleted when no campaign runs.
"""

import contextlib
import json
import math
import os
import re
import signal
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, checkpoints, machine
from ticketlib.experiments.config import cost

FOLDER, LOCKS = ".campaign", "locks"
SILENT = 60  # seconds without a sign of life after which a campaign is called silent
KEPT = 24 * 3600  # seconds for which the summary of a campaign that is over stays
BEAT = 5  # seconds between two signs of life
ECHO = 1  # seconds within which two signals are one: `timeout` sends its own twice
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def folder(ledger, below=""):
    """The folder beside the rows, or one in it.

    Raises: TicketError, before anything is trained, if nothing can be written there.
    """
    path = ledger.folder / FOLDER
    if not (path / below).is_dir():
        try:
            (path / below).mkdir(parents=True, exist_ok=True)
            (path / ".gitignore").write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise _unwritable(ledger, error) from None
    return path / below


def check_writable(ledger):
    """Raise TicketError if nothing can be written to a ledger, before anything is trained."""
    folder(ledger)
    try:
        tempfile.TemporaryFile(dir=ledger.folder).close()
    except OSError as error:
        raise _unwritable(ledger, error) from None


def _unwritable(ledger, error):
    return TicketError(f"ledger {str(ledger.folder)!r} cannot be written to: {error.strerror}.")


class Desk:
    """Where the campaigns on one ledger meet: a run is carried out by the one that holds its lock.

    A lock ends with the process that holds it, however it ends.
    """

    def __init__(self, ledger):
        self.ledger, self.held = ledger, {}
        self.old = set(ledger.names())  # a run among them is carried out for its checkpoint

    def take(self, config):
        """Whether this campaign may carry a run out."""
        if config.name not in self.held:
            lock = FileLock(folder(self.ledger, LOCKS) / config.name)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return False
            except OSError as error:
                raise _unwritable(self.ledger, error) from None
            self.held[config.name] = lock
        return True

    def made(self, config):
        """The row of a run that another campaign has made meanwhile, with its checkpoint if that was lost; None."""
        if config.name not in self.ledger:
            return None
        row = self.ledger[config.name]
        starts_others = config.name in self.old or row.get("checkpoint")  # its net may lie in another cache
        return None if starts_others and checkpoints.load(config.name) is None else row

    def release(self, config):
        """Say that a run is over. Whoever opened the lock's file before it went finds the row, or a run that failed."""
        if lock := self.held.pop(config.name, None):
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.held:  # runs that were given up
            self.held.popitem()[1].release()


class Journal:
    """What a ledger cannot say because there is no row: failed runs, and checkpoints that came out otherwise.

    One line of JSON each, appended; a line cut short by a kill is passed over.
    """

    def __init__(self, ledger):
        self.path = folder(ledger) / "journal.jsonl"

    def entries(self):
        """All entries, in order: dicts with what ("failed" or "checkpoint"), name, arm, said, code, when."""
        entries = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    entries.append(json.loads(line))
        return entries

    def note(self, outcome):
        """Append what has to be remembered of an outcome."""
        config, when = outcome.config, datetime.now().astimezone().isoformat(timespec="seconds")
        for what, said in (("failed", outcome.reason), ("checkpoint", outcome.warning)):
            if said:
                entry = {"what": what, "name": config.name, "arm": config.arm, "seed": config.seed, "said": said,
                         "code": machine.code_version(), "when": when}  # fmt: skip
                with contextlib.suppress(OSError), open(self.path, "a", encoding="utf-8") as file:
                    file.write("\n" + json.dumps(entry) + "\n")  # on a new line, as the last one may be cut short

    def given_up(self):
        """Runs that failed so often with this code that they are not tried again: dict from name to the last reason."""
        failed = [e for e in self.entries() if e["what"] == "failed" and e["code"] == machine.code_version()]
        names = [entry["name"] for entry in failed]
        return {entry["name"]: entry["said"] for entry in failed if names.count(entry["name"]) >= campaign.TRIES}


class Status:
    """How far a campaign is, written for whoever watches: a small file, replaced whole, with a sign of life in between.

    Used as a context: the signs of life end with it.
    """

    def __init__(self, ledger):
        self.folder = folder(ledger)
        self.path = self.folder / f"{os.getpid()}.status"
        self.facts, self.over = {}, threading.Event()
        for old in self.folder.glob("*.status"):
            facts = read_status(old)
            if facts is None or facts.get("over") or _silent(facts) > KEPT:
                old.unlink(missing_ok=True)

    def __enter__(self):
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.write(over=True, running=[])

    def _beat(self):
        while not self.over.wait(BEAT):
            self.write()

    def write(self, **facts):
        """Replace the file. A disk that is full costs the watcher a view, not the campaign its runs."""
        self.facts = self.facts | facts | {"updated": time.time()}
        temporary = self.path.with_suffix(f".{threading.get_ident()}.part")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(self.facts), encoding="utf-8")
            os.replace(temporary, self.path)


def read_status(path):
    """One campaign's summary, None if it is not one."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return facts if isinstance(facts["updated"], float) and isinstance(facts["total"], int) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def campaigns(ledger):
    """Summaries of the campaigns on a ledger, the last one that gave a sign of life first."""
    summaries = [read_status(path) for path in (ledger.folder / FOLDER).glob("*.status")]
    return sorted((facts for facts in summaries if facts), key=lambda facts: -facts["updated"])


def stop_time(until=None, hours=None, now=None):
    """When to start no further run: datetime, or None for never.

    Arguments: until, "HH:MM" on this machine's clock, the next time it shows that; hours, from now, more than 0; now,
        a datetime, the present if None.
    Raises: TicketError for anything else.
    """
    now, times = now or datetime.now(), []
    if hours is not None:
        if not 0 < hours <= 24 * 365:
            raise TicketError(f"hours {hours} is not allowed; it must be more than 0 and at most a year.")
        times.append(now + timedelta(hours=hours))
    if until is not None:
        clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", until, re.A)
        if not clock:
            raise TicketError(f"until {until!r} is not allowed; it must be a time of day such as 02:30.")
        at = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        times.append(at if at > now else at + timedelta(days=1))
    return min(times, default=None)


class Stop:
    """Whether to start no further run: the time is up, or a signal came. A second signal ends the campaign at once.

    Arguments: at, a datetime or None.
    """

    def __init__(self, at=None):
        self.at, self.reason, self.before, self.signalled = at, None, {}, -math.inf

    def __call__(self):
        if self.reason is None and self.at and datetime.now() >= self.at:
            self.reason = f"it is past {self.at:%H:%M}"
        return self.reason is not None

    def __enter__(self):
        self.before = {number: signal.signal(number, self._signalled) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _signalled(self, number, _):
        if self.reason is None:
            self.reason, self.signalled = f"{signal.Signals(number).name} came", time.monotonic()
        elif time.monotonic() - self.signalled > ECHO:
            raise KeyboardInterrupt


class Progress:
    """Says what becomes of each run: lines, a bar on a terminal, and a summary that another terminal can read.

    Arguments: configs, all that are to be carried out; status, a Status; say, a function that shows a line.
    """

    def __init__(self, configs, status, say):
        self.left = {config.name: cost(config) for config in configs}
        self.total, self.spent, self.began = len(configs), 0.0, time.monotonic()
        self.diverged, self.failed, self.warnings = [], [], []
        self.status, self.running, self.stopping = status, [], None
        self.say = say
        self.bar = tqdm(total=self.total, unit="run", disable=None, leave=False)
        self._write()

    def tick(self, running, stopping=None):
        """Note which runs are on, and that no further one starts."""
        names = [_named(config) for config in running]
        if stopping and not self.stopping:
            self.say(f"Stopping, as {stopping}: no further run starts, {len(running)} that are on will end.")
        if (names, stopping) != (self.running, self.stopping):
            self.running, self.stopping = names, stopping
            self._write()

    def add(self, outcome):
        """Count one outcome and say it."""
        took = self.left.pop(outcome.config.name, 0)
        self.spent += took if outcome.row else 0
        said = outcome.reason or ("made by another campaign" if outcome.row is None else _result(outcome.row))
        name = _named(outcome.config)
        for state, kept in (("diverged", self.diverged), ("failed", self.failed)):
            if outcome.state == state:
                kept.append(f"{name}: {said}")
        if outcome.warning:
            self.warnings.append(f"{name}: {outcome.warning}")
            said += f"; WARNING: {outcome.warning}"
        self.say(f"[{self.total - len(self.left)}/{self.total}] {name}: {said}; {self.remaining()}")
        self.bar.update()
        self.bar.set_postfix_str(f"{len(self.failed)} failed")
        self._write()

    def seconds_left(self):
        """Seconds until the last run ends, at the pace so far; None before the first."""
        return (time.monotonic() - self.began) * sum(self.left.values()) / self.spent if self.spent else None

    def remaining(self):
        """What is left and how long it takes, in words."""
        counts = f"{len(self.failed)} failed, {len(self.left)} left"
        seconds = self.seconds_left()
        if seconds is None or not self.left:
            return counts
        return f"{counts}, {_when(seconds, time.time())}"

    def _write(self):
        self.status.write(
            total=self.total, done=self.total - len(self.left), running=self.running, over=False,
            diverged=self.diverged, failed=self.failed, warnings=self.warnings,
            left_seconds=self.seconds_left(), stopping=self.stopping,
        )  # fmt: skip


def print_line(line):
    """Print a line above a bar, at once."""
    tqdm.write(line)
    sys.stdout.flush()


def conduct(ledger, work, configs, backend, stop, say=print_line):
    """Carry out runs and add their rows to a ledger.

    Arguments: ledger; work, a picklable function from a configuration to its row; configs, parents first; backend, as
        campaign.carry_out; stop, a Stop; say, as Progress.
    Returns: Progress, when all is over. Failures are in the journal too, so that none is tried for ever.
    """
    journal = Journal(ledger)
    with Status(ledger) as status, Desk(ledger) as desk:
        progress, queue = Progress(configs, status, say), campaign.Queue(list(configs), desk)
        with contextlib.closing(progress.bar):
            tick = lambda running: progress.tick(running, stop.reason)  # noqa: E731
            for made in campaign.carry_out(work, queue, backend, stop=stop, tick=tick):
                outcome = campaign.record(made, ledger)
                if outcome.row is None and made.row is not None:
                    stop.reason = stop.reason or outcome.reason  # the next row would find no room either
                if outcome.config.name in queue.tries:  # not what was lost with a run that it starts from
                    journal.note(outcome)
                progress.add(outcome)
    return progress


def summary(facts):
    """One campaign's summary in lines of text, from `campaigns`."""
    silent = _silent(facts)
    life = "over" if facts.get("over") else f"last sign of life {silent:.0f} s ago"
    if silent > SILENT and not facts.get("over"):
        life += ": killed, or its machine sleeps, or a clock was put back"
    left = facts.get("left_seconds")
    counts = ", ".join(f"{len(facts.get(what, []))} {what}" for what in ("running", "diverged", "failed"))
    lines = [f"{facts['done']} of {facts['total']} runs, {counts}; {life}"]
    if left and not facts.get("over"):
        lines.append(f"left: {_when(left, facts['updated'])}")
    if facts.get("stopping"):
        lines.append(f"stopping, as {facts['stopping']}")
    for what in ("running", "diverged", "failed", "warnings"):
        lines += [f"{what}: {said}" for said in facts.get(what, [])]
    return lines


def ended(facts):
    """Whether a campaign is over, or gives no sign of life."""
    return facts.get("over") or _silent(facts) > SILENT


def _silent(facts):
    """Seconds between now and the last sign of life, which lies ahead where a clock was put back."""
    return abs(time.time() - facts["updated"])


def duration(seconds):
    """How long something takes, "40 s", "12 min" or "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _when(seconds, since):
    return f"about {duration(seconds)}, until {datetime.fromtimestamp(since + seconds):%d %b %H:%M}"


def _named(config):
    return f"{config.arm} (seed {config.seed}, {config.epochs} epochs)"


def _result(row):
    result = "diverged" if row["diverged"] else f"{row['accuracy']:.2f} %"
    return f"{result} in {row['seconds']:.0f} s"
