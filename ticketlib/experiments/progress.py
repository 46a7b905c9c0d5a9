"""A campaign as its user sees it: when it stops, what it says as it goes, and the rows it adds."""

import math
import re
import signal
import sys
import time
from datetime import datetime, timedelta

from tqdm import tqdm

from ticketlib.errors import TicketError
from ticketlib.experiments import campaign
from ticketlib.experiments.journal import SILENT, Desk, Journal, Status

BEAT = 5  # seconds between two signs of life
ECHO = 1  # seconds within which two signals are one: `timeout` sends its own twice
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_time(until=None, hours=None, now=None):
    """When to start no further run: datetime, or None for never.

    Arguments: until, "HH:MM" on this machine's clock, the next time it shows that; hours, from now, more than 0; now,
        a datetime, the present if None.
    Raises: TicketError for anything else.
    """
    now, found = now or datetime.now(), []
    if hours is not None:
        if not 0 < hours <= 24 * 365:
            raise TicketError(f"hours {hours} is not allowed; it must be more than 0 and at most a year.")
        found.append(now + timedelta(hours=hours))
    if until is not None:
        clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", until, re.A)
        if not clock:
            raise TicketError(f"until {until!r} is not allowed; it must be a time of day such as 02:30.")
        at = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        found.append(at if at > now else at + timedelta(days=1))
    return min(found, default=None)


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

    Arguments: configs, all that are to be carried out; status, a journal.Status.
    """

    def __init__(self, configs, status):
        self.left = {config.name: campaign.cost(config) for config in configs}
        self.total, self.spent, self.began = len(configs), 0.0, time.monotonic()
        self.diverged, self.failed, self.warnings = [], [], []
        self.status, self.running, self.stopping = status, [], None
        self.bar = tqdm(total=self.total, unit="run", disable=None, leave=False)

    def tick(self, running, stopping=None):
        """Give a sign of life where something has changed, and every few seconds."""
        names = [_named(config) for config in running]
        if stopping and not self.stopping:
            self.say(f"Stopping, as {stopping}: no further run starts, {len(running)} that are on will end.")
        changed, self.running, self.stopping = (names, stopping) != (self.running, self.stopping), names, stopping
        if changed or time.monotonic() - self.status.written > BEAT:
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

    def say(self, line):
        """Print a line above the bar."""
        tqdm.write(line)
        sys.stdout.flush()

    def close(self):
        """Take the bar away and leave the last summary."""
        self.bar.close()
        self._write(over=True)

    def _write(self, over=False):
        self.status.write(
            total=self.total, done=self.total - len(self.left), running=[] if over else self.running, over=over,
            diverged=self.diverged, failed=self.failed, warnings=self.warnings,
            left_seconds=self.seconds_left(), stopping=self.stopping,
        )  # fmt: skip


def conduct(ledger, work, configs, backend, stop):
    """Carry out runs and add their rows to a ledger.

    Arguments: ledger; work, a picklable function from a configuration to its row; configs, parents first; backend, as
        campaign.carry_out; stop, a Stop.
    Returns: Progress, when all is over. Failures are in the journal too, so that none is tried for ever.
    """
    journal, desk, progress = Journal(ledger), Desk(ledger), Progress(configs, Status(ledger))
    try:
        queue = campaign.Queue(list(configs), desk)
        tick = lambda running: progress.tick(running, stop.reason)  # noqa: E731
        for found in campaign.carry_out(work, queue, backend, stop=stop, tick=tick):
            outcome = campaign.record(found, ledger)
            if outcome.row is None and found.row is not None:
                stop.reason = stop.reason or outcome.reason  # the next row would find no room either
            if outcome.config.name in queue.tries:  # not what was lost with a run that it starts from
                journal.note(outcome)
            progress.add(outcome)
    finally:
        progress.close()
    return progress


def summary(facts):
    """One campaign's summary in lines of text, from journal.campaigns."""
    silent = max(0, time.time() - facts["updated"])  # a clock may have been put back
    life = "over" if facts.get("over") else f"last sign of life {silent:.0f} s ago"
    if silent > SILENT and not facts.get("over"):
        life += ": killed, or its machine sleeps"
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
    return facts.get("over") or time.time() - facts["updated"] > SILENT


def _when(seconds, since):
    return f"about {seconds / 60:.0f} min, until {datetime.fromtimestamp(since + seconds):%d %b %H:%M}"


def _named(config):
    return f"{config.arm} (seed {config.seed}, {config.epochs} epochs)"


def _result(row):
    result = "diverged" if row["diverged"] else f"{row['accuracy']:.2f} %"
    return f"{result} in {row['seconds']:.0f} s"
