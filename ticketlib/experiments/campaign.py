"""Many runs: what is missing, in which order, and what became of each, on whichever back end."""

import json
import statistics
import time
from dataclasses import dataclass, field
from functools import cache

from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, machine, places
from ticketlib.experiments.config import cost, cost_alone, lineage, parent
from ticketlib.experiments.profiles import PROFILES

TRIES = 2  # a run whose worker died is tried once more, then listed as failed
POLL = 1.0  # seconds between two looks at the clock and at what other campaigns do


@dataclass
class Outcome:
    """What became of one run: its row, or the reason there is none."""

    config: object
    row: dict | None = None
    reason: str | None = None
    warning: str | None = None  # what else has to be said of it

    @property
    def state(self):
        """In one word: done, diverged, failed, or elsewhere (another campaign has made its row)."""
        if self.reason:
            return "failed"
        if self.row is None:
            return "elsewhere"
        return "diverged" if self.row.get("diverged") else "done"


class Alone:
    """No other campaign is at these runs."""

    def take(self, config):
        """Whether this campaign may carry a run out."""
        return True

    def made(self, config):
        """The row of a run that somebody else has made meanwhile, None if nobody has."""

    def release(self, config):
        """Say that a run is over."""


@dataclass
class Queue:
    """Runs still to do, in order; one becomes ready when its parent is neither waiting nor running."""

    waiting: list
    desk: object = field(default_factory=Alone)  # or journal.Desk, where several campaigns meet
    tries: dict = field(default_factory=dict)  # name -> how often started

    def next_ready(self, running):
        """Take out the first run that may start; None if there is none."""
        busy = {c.name for c in [*self.waiting, *running]}
        for config in self.waiting:
            before = parent(config)
            if (before is None or before.name not in busy) and self.desk.take(config):
                self.waiting.remove(config)
                return config
        return None

    def settle(self, end):
        """The Outcomes of one finished run: its own, and those of the runs that cannot be made any more."""
        if end.lost and self.tries[end.config.name] < TRIES:
            self.waiting.insert(0, end.config)
            return []
        outcome = Outcome(end.config, end.row, end.reason)
        return [outcome, *self.lost_with(end.config, outcome.state)]

    def lost_with(self, config, state):
        """Take out the runs that start from one that diverged or failed: their Outcomes."""
        lost = self._descendants(config) if state in ("diverged", "failed") else []
        self.waiting = [other for other in self.waiting if other not in lost]
        return [Outcome(other, reason=without_parent(other, config, state)) for other in lost]

    def _descendants(self, config):
        names, below = {config.name}, []
        for other in self.waiting:  # parents stand before their children
            if (before := parent(other)) is not None and before.name in names:
                names.add(other.name)
                below.append(other)
        return below


def without_parent(config, before, why):
    """Why a run cannot be made: the sentence for its outcome."""
    return f"{before.arm} ({before.name}), from which {config.arm} starts, {why}"


def missing(configs, ledger):
    """The runs that have to be carried out so that the ledger holds all of `configs`, parents included, in order.

    A parent whose row exists is carried out again only if a missing run needs its checkpoint and the cache has lost
    it; one that diverged never is: its children are left out, and `blocked` lists them.
    """
    done, needed = set(ledger.names()), {}
    hopeless = {outcome.config.name for outcome in blocked(configs, ledger)}

    def need(config):
        before = parent(config)
        if before is not None and (before.name not in done or checkpoints.load(before.name) is None):
            need(before)
        needed.setdefault(config.name, config)

    for config in configs:
        if config.name not in done and config.name not in hopeless:
            need(config)
    return list(needed.values())


def blocked(configs, ledger):
    """The runs that cannot be made because a run they start from diverged: Outcomes that say so."""
    done, row, outcomes = set(ledger.names()), cache(ledger.__getitem__), []
    for config in configs:
        line = [] if config.name in done else lineage(config)[:-1]
        before = next((one for one in line if one.name in done and row(one.name)["diverged"]), None)
        if before:
            outcomes.append(Outcome(config, reason=without_parent(config, before, "diverged")))
    return outcomes


def one_kind_a_seed(configs, rows, here):
    """Which runs may be made here where all runs of a seed must come from one kind of machine.

    Seeds begun on this kind go on; one more may begin once they are complete; seeds begun elsewhere are left alone.
    Arguments: configs, of a grid, seed by seed; rows, of a ledger; here, machine.kind of what this machine would write.
    Returns: (configs of the seeds to go on with, or else of the first that nobody has begun; dict of the other begun
        and unfinished seeds: seed -> kind).
    Raises: TicketError for a seed whose rows come from several kinds.
    """
    wanted, made = {}, {}
    for config in configs:
        wanted.setdefault(config.seed, []).append(config)
    by_name = {row["name"]: row for row in rows}
    for seed, own in wanted.items():
        kinds = {machine.kind(by_name[config.name]) for config in own if config.name in by_name}
        if len(kinds) > 1:
            named = "; ".join(sorted(kinds))
            raise TicketError(f"seed {seed} has rows of several kinds of machines ({named}); all runs of a seed must "
                              "be of one kind: keep the others in a folder of their own.")  # fmt: skip
        made[seed] = kinds.pop() if kinds else None
    unfinished = [seed for seed, own in wanted.items() if any(config.name not in by_name for config in own)]
    elsewhere = {seed: made[seed] for seed in unfinished if made[seed] not in (None, here)}
    begun = [seed for seed in unfinished if made[seed] == here]
    fresh = [seed for seed in unfinished if made[seed] is None]
    return [config for seed in begun or fresh[:1] for config in wanted[seed]], elsewhere


def carry_out(work, queue, backend, *, stop=lambda: False, tick=lambda running: None):
    """Carry out runs.

    Arguments: work, a picklable function from a configuration to its row; queue, a Queue; backend, a class of
        `workers`; stop, whether to start no further run; tick, called about every second with the configurations being
        carried out.
    Returns: a generator of Outcomes as runs finish. A run that cannot be made is never tried for ever.
    """
    try:
        while True:
            yield from _fill(work, queue, backend, stop)
            tick(backend.running)
            if backend.running:
                for end in backend.finished(POLL):
                    for outcome in queue.settle(end):
                        yield outcome
                        queue.desk.release(outcome.config)  # its row is in the ledger by now
            elif stop() or not queue.waiting:
                return
            else:
                time.sleep(POLL)  # another campaign is at all that could start
    finally:
        backend.close()


def _fill(work, queue, backend, stop):
    """Start as many runs as there is room for; yields the Outcomes of those that somebody else has made."""
    while backend.free and not stop() and (config := queue.next_ready(backend.running)):
        row = queue.desk.made(config)
        if row is None:
            queue.tries[config.name] = queue.tries.get(config.name, 0) + 1
            backend.start(work, config)
            continue
        queue.desk.release(config)
        yield Outcome(config)
        yield from queue.lost_with(config, "diverged" if row["diverged"] else "elsewhere")


def record(outcome, ledger):
    """Add the row of a finished run to the ledger.

    A row that cannot be written fails the run. A checkpoint that is not the one of the row it belongs to is said in
    the Outcome's `warning`: a net trained again has come out otherwise, and rows made from it cannot be audited.
    """
    if not outcome.row:
        return outcome
    try:
        new = ledger.add(outcome.row)
    except (OSError, TicketError) as error:
        said = f"its row was not written: {getattr(error, 'strerror', None) or error}"
        return Outcome(outcome.config, reason=said)
    try:
        outcome.warning = differing_checkpoint(outcome.row, ledger, new)
    except TicketError as error:  # another row, which is unsound
        outcome.warning = str(error)
    return outcome


def differing_checkpoint(row, ledger, new=True):
    """What is wrong with the trained net a row was made from, or made again, beside the one on record; None."""
    name, made = (row.get("parent"), row.get("parent_checkpoint")) if new else (row["name"], row.get("checkpoint"))
    if made is None or name not in ledger:
        return None
    on_record = ledger[name].get("checkpoint")
    if on_record in (None, made):
        return None
    return f"the trained net of {name} was made again and differs: {made[:12]}, on record {on_record[:12]}"


def epochs(configs):
    """Epochs that runs take: with every run made once, those they start from too, and with a script a cell.

    Returns: (float, float); the second trains what each cell needs again for every cell.
    """
    once = {one.name: one for config in configs for one in lineage(config)}
    return sum(map(cost, once.values())), sum(map(cost_alone, configs))


def speeds(rows):
    """Training images a second measured so far, by whatever made most of the rows, processors or GPUs.

    Returns: dict from (network, engine, sparsity) to the median over rows.
    """
    runs = [row for row in rows if row["kind"] == "run" and not row["diverged"]]
    most = 2 * sum(map(on_processor, runs)) >= len(runs)
    by_kind = {}
    for row in runs:
        if on_processor(row) == most:
            by_kind.setdefault(pace_key(row.config), []).append(row["images_per_second"])
    return {kind: statistics.median(values) for kind, values in by_kind.items()}


def estimate(config, speeds, epoch_size=50_000):
    """Seconds one core needs for a run at the measured speeds; None where its kind was never measured.

    Arguments: config; speeds, as `speeds` gives; epoch_size, training images, those that the run holds out among them.
    """
    images = cost(config) * (epoch_size - config.held_out)
    return images / speeds[pace_key(config)] if pace_key(config) in speeds else None


def gpu_paces():
    """Every pace that is stored for a GPU; none where the book is not there.

    Returns: list of dicts with date, device, network, precision, at_once and images_per_second of all runs on it.
    """
    if not places.GPU_PACES.is_file():
        return []
    stored = json.loads(places.GPU_PACES.read_text(encoding="utf-8"))
    return [{"date": of["date"], "device": of["machine"]["device"], "precision": "float32"} | pace
            for of in (stored, *stored.get("sets", ())) for pace in of["paces"]]  # fmt: skip


def fastest_paces():
    """The fastest of these: dict from (models.build's name, precision) to (images/s, device, date)."""
    fastest = {}
    for pace in gpu_paces():
        name = PROFILES["paper"].networks.get(pace["network"], [pace["network"]])[0]
        key = name.split()[-1].replace("-", "").lower(), pace["precision"]
        fastest[key] = max(fastest.get(key, (0,)), (pace["images_per_second"], pace["device"], pace["date"]))
    return fastest


def gpu_estimate(configs, epoch_size=50_000):
    """Hours that the training of runs takes on one GPU, at the stored paces.

    Returns: dict from (device, date) of a pace to (hours, how many runs); runs of the sparse engine, or of a network or
        precision that no GPU was timed with, are left out.
    """
    paces, found = fastest_paces(), {}
    for config in configs:
        pace, *where = paces.get((config.network, config.precision), (0,))
        if pace and config.engine == "dense":
            hours, count = found.get(tuple(where), (0, 0))
            images = cost(config) * (epoch_size - config.held_out)
            found[tuple(where)] = hours + images / pace / 3600, count + 1
    return found


def on_processor(row):
    """Whether a row was made on a processor, not on a GPU."""
    return row["device"].startswith("cpu")


def pace_key(config):
    """What the speed of a run depends on, on one machine: network, engine, sparsity."""
    return config.network, config.engine, config.sparsity
