"""The audit: rows of a ledger, drawn by lot, are carried out again and compared to the last digit."""

import contextlib
import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ticketlib.data import Dataset, cache_folder
from ticketlib.errors import TicketError
from ticketlib.experiments import grids, journal, machine
from ticketlib.experiments.config import lineage, name_of, parent
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.machine import SAME_IN_A_PAIR
from ticketlib.experiments.profiles import Images
from ticketlib.experiments.run import execute

NOT_COMPARED = (*SAME_IN_A_PAIR, "code", "seconds", "train_seconds", "eval_seconds", "images_per_second", "went_on")
EQUAL, DIFFERS, ELSEWHERE = "equal to the last digit", "differs", "made on another machine"
SPREAD = "other arithmetic"  # the outcome of a run that was changed on purpose
CHANGES = (("dense", {"threads": 2}), ("dense", {"precision": "float32"}))
DENSE = {"engine": "dense"}  # the change that lets a run of the sparse engine be made on a GPU
DENSE_ARMS, DENSE_SEEDS = ("snip@0.98", "snip+rearranged@0.98", "smart@0.98", "uniform@0.98"), range(3)


@dataclass(frozen=True)
class Draw:
    """One audit: which rows, and what they were drawn by."""

    code: str  # version of the code that carries them out
    date: str  # year-month-day, UTC
    rows: tuple[str, ...]

    @property
    def name(self):
        """16 hexadecimal digits, for its cache of trained nets."""
        return name_of({"code": self.code, "date": self.date, "rows": list(self.rows)})


def folder(ledger):
    """The ledger of a ledger's audits, a folder beside its rows."""
    return Ledger(ledger.folder / "audits")


# which rows


def _by_lot(rows, code, date):
    """Rows in the order of a hash of commit, date and name, which nobody chooses: list."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{code}/{date}/{row['name']}".encode()).digest())


def draw(rows, code, date, others=1):
    """Draw rows by lot: one LT, one LRR, and some others.

    Rows of the pilot are drawn only where there are no others. The LRR is drawn among those that start from the same
    trained net as the LT, where there are any: one net then serves both.

    Arguments: rows, of a ledger; code, version of the code, str; date, str; others, how many of any other ticket.
    Returns: Draw.
    Raises: TicketError if there is no run.
    """
    made = [row for row in rows if row["kind"] == "run"]
    counting = [row for row in made if row.config.recipe > 0] or made
    order = _by_lot(counting, code, date)
    if others < 0:
        raise TicketError(f"others {others} is not allowed; it must be at least 0.")
    if not order:
        raise TicketError("the ledger has no run; an audit needs rows to carry out again.")
    lt, lrr = ([row for row in order if row.config.ticket == ticket] for ticket in ("lt", "lrr"))
    rest = [row for row in order if row.config.ticket not in ("lt", "lrr")]
    shared = [row for row in lrr if lt and row.get("parent") == lt[0].get("parent")]
    drawn = [*lt[:1], *(shared or lrr)[:1], *rest[:others]]
    return Draw(code, date, tuple(row["name"] for row in drawn))


def draw_any(rows, code, date, count):
    """Draw so many runs by the same lot, whatever their tickets: Draw. Raises: TicketError if there are fewer."""
    made = [row for row in rows if row["kind"] == "run"]
    if not 1 <= count <= len(made):
        raise TicketError(f"runs {count} is not allowed; it must be at least 1 and at most {len(made)}, as many as "
                          "there are to draw from.")  # fmt: skip
    return Draw(code, date, tuple(row["name"] for row in _by_lot(made, code, date)[:count]))


def begin(ledger, rows, code, others=1):
    """The audit that was begun with this code and did not come to its end; else a new one, drawn and written down.

    Arguments: ledger; rows of it that may be drawn; code, version of the code; others, as in `draw`.
    Returns: Draw. One that was begun among other rows is not gone on with.
    """
    begun, of = _begun(ledger)
    if begun and (begun.code, of) == (code, others) and {*begun.rows} <= {row["name"] for row in rows}:
        return begun
    drawn = draw(rows, code, today(), others)
    facts = {"code": drawn.code, "others": others, "date": drawn.date, "rows": drawn.rows}
    _notes(ledger).write_text(json.dumps(facts), encoding="utf-8")
    return drawn


def _begun(ledger):
    """The audit that is noted as begun, and its number of others: (Draw, int); (None, None) without sound notes."""
    with contextlib.suppress(FileNotFoundError, ValueError, LookupError, TypeError):  # none, or spoilt
        noted = json.loads(_notes(ledger).read_text(encoding="utf-8"))
        return Draw(noted["code"], noted["date"], tuple(noted["rows"])), noted["others"]
    return None, None


def today():
    """The date in UTC, year-month-day."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def end(ledger, drawn):
    """Forget the notes and the trained nets of an audit that has come to its end."""
    if _begun(ledger)[0] == drawn:  # those of another lot, unfinished, stay
        _notes(ledger).unlink()
    shutil.rmtree(_cache(drawn), ignore_errors=True)


def _notes(ledger):
    return journal.folder(ledger) / "audit.json"


def _cache(drawn):
    return cache_folder() / "audits" / drawn.name


def jobs(ledger, drawn):
    """What an audit carries out, in order: a drawn run comes after the runs that it starts from, once each."""
    configs = {}
    for name in drawn.rows:
        configs |= {one.name: one for one in lineage(ledger[name].config) if one.name in ledger}
    return list(configs.values())


def spread_jobs(ledger, rows):
    """What of the spread is not measured yet: the shortest run of an engine, and what to change: (Config, dict).

    Only runs that start from no trained net are taken, so that nothing else can differ; and only those in which the
    change changes something.
    """
    audits = [row for row in folder(ledger).rows() if row["config"]["audit"] in ledger]
    measured = [(row["engine"], row["config"]["changes"]) for row in audits
                if has_changed(ledger[row["config"]["audit"]], row["config"]["changes"])]  # fmt: skip
    missing = []
    for engine, changes in CHANGES:
        alone = [row for row in rows if row["kind"] == "run" and not row["diverged"] and row.config.engine == engine
                 and parent(row.config) is None and has_changed(row, changes)]  # fmt: skip
        if alone and (engine, changes) not in measured:
            short = min(alone, key=lambda row: (row.config.epochs, row["name"]))
            missing.append((short.config, changes))
    return missing


def has_changed(row, changes):
    """Whether changes make of a row's run another one; asking for what it had already does not."""
    before = {"threads": row["threads"]} | row["config"]
    return any(before[what] != value for what, value in changes.items())


def dense_jobs(ledger, rows, profile, device):
    """A few tickets of the sparse engine that the dense one has not made on this device yet: (Config, dict), as above.

    They were chosen, not drawn: what says most about the claims at least cost.
    """
    here = machine.facts(device)["device"]
    done = {row["config"]["audit"] for row in folder(ledger).rows()
            if row["config"]["changes"] == DENSE and row["again"]["device"] == here}  # fmt: skip
    by_name = {row["name"]: row for row in rows}
    seen = {Images(row.config.dataset, row.config.fingerprint) for row in rows if row["kind"] == "run"}
    wanted = [grids.arm(profile, arm, seed, images).name
              for images in seen for arm in DENSE_ARMS for seed in DENSE_SEEDS]  # fmt: skip
    originals = [by_name[name] for name in wanted if name in by_name]
    return [(row.config, DENSE) for row in originals
            if row["name"] not in done and has_changed(row, DENSE) and not row["diverged"]]  # fmt: skip


# carried out again, and compared


@dataclass(frozen=True)
class Again:
    """Carries rows of a ledger out again: with what, and in whose name."""

    ledger: Ledger
    dataset: Dataset
    drawn: Draw
    device: str = "cpu"

    def row(self, config, changes=None):
        """Carry one run out again, unless this audit has, and compare.

        Arguments: config, of a row of the ledger; changes, for the spread: "threads", int, or fields of the
            configuration, str.
        Returns: Row of kind "audit", which is in the ledger's folder of audits by then.
        """
        changes, audits = changes or {}, folder(self.ledger)
        facts = {"audit": config.name, "code": self.drawn.code, "date": self.drawn.date, "changes": changes,
                 "device": machine.facts(self.device)["device"]}  # fmt: skip
        name = name_of(facts)
        if name not in audits:
            row = self.ledger[config.name]
            other = replace(config, **{what: value for what, value in changes.items() if what != "threads"})
            with machine.threads(changes.get("threads", row["threads"])):
                again = execute(
                    other, self.dataset, device=self.device, cache=self._cache(changes), progress=False
                )
            again = Row(json.loads(json.dumps(again)))
            audits.add(Row(kind="audit", name=name, config=facts) | compared(row, again, changes))
        return audits[name]

    def _cache(self, changes):
        """A changed run may have the same name; no other run may start from its net."""
        return _cache(self.drawn) / ("changed" if changes else "same")


def differing(row, again):
    """The fields of a row in which another differs, but for those that a clock or the machine decides: sorted list."""
    differs = [what for what in row if what not in (*NOT_COMPARED, "config") and row[what] != again.get(what)]
    return sorted(differs + ["config"] * (row.config != again.config))  # fields that came later have a default


def compared(row, again, changes=()):
    """What a page says of a row and its repetition: dict of plain values.

    Every field of the row on record is compared but those that a clock or the machine decides.
    """
    differs = differing(row, again)
    elsewhere = [what for what in SAME_IN_A_PAIR if row[what] != again[what] and what not in changes]
    outcome = ELSEWHERE if elsewhere else DIFFERS if differs else EQUAL
    config = row.config
    facts = {"arm": row["arm"], "seed": config.seed, "network": config.network, "epochs": config.epochs,
             "engine": config.engine, "recipe": config.recipe, "outcome": SPREAD if changes else outcome,
             "differs": differs, "elsewhere": elsewhere}  # fmt: skip
    for which, of in (("recorded", row), ("again", again)):
        wanted = ("accuracy", "loss", "diverged", "code", "seconds", *SAME_IN_A_PAIR)
        facts[which] = {what: of[what] for what in wanted if what in of}
    if "correct" in row and "correct" in again:
        facts["answers"] = int((row.correct != again.correct).sum())
        facts["num_test"] = row["num_test"]
    return facts


def sentence(row):
    """What came of one run that was carried out again, as a line for the terminal."""
    figures = ", ".join(f"{of['accuracy']:.2f} %" if "accuracy" in of else "diverged"
                        for of in (row["recorded"], row["again"]))  # fmt: skip
    changes = ", ".join(f"{what} {value}" for what, value in row["config"]["changes"].items())
    why = f" ({', '.join(row['elsewhere'] or row['differs'])})" if row["outcome"] in (DIFFERS, ELSEWHERE) else ""
    return f"{changes or row['outcome']}{why}: {figures}"
