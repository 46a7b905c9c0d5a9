"""Answers to questions about the paper, computed from ledger rows; none is called answered without rows behind it."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ticketbook import board
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CLAIMS
from ticketlib.analysis import evidence, stats
from ticketlib.analysis.words import signed
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments import campaign, grids
from ticketlib.experiments.config import lineage
from ticketlib.experiments.profiles import PROFILES, Images

EDITORIAL, MEASURED, COMPUTED = KINDS = ("editorial", "measured", "computed")
DESCRIBED, PARTLY, FOLLOWED, NOT_FOLLOWED = "described", "described in part", "followed", "not followed yet"
SETTLED = (*verdicts.WORDS, DESCRIBED, COMPUTED, FOLLOWED)


class Pair(NamedTuple):
    """A paired difference, arm a minus arm b, the sparsity left open."""

    label: str
    a: str
    b: str
    b_changes: tuple = ()  # (field of Config, value) in which b differs on purpose


@dataclass(frozen=True)
class Need:
    """Runs that settle a question, or a part of it."""

    pairs: tuple[Pair, ...]
    sparsities: tuple[str, ...]  # decimal text; differences are averaged over them within a seed
    grid: str = ""  # the grid that has these runs, "" where none has them
    seeds: int = 0  # seeds 0, 1, ...; 0: as many as the profile has
    network: str = "resnet"
    dataset: str = ""  # "": the profile's
    changes: tuple = ()  # (field of Config, value) in which both differ from the profile


@dataclass(frozen=True)
class Item:
    """One question, in our own words, and what settles it."""

    id: str
    question: str
    kind: str  # editorial: advice on the text; measured: by rows; computed: from code alone
    pages: tuple[str, ...] = ()  # where it is shown, as _toc.yml names it; the main one first
    claim: str = ""  # the claim whose verdict answers it
    needs: tuple[Need, ...] = ()
    extra: object = None  # function from Facts to a Piece: what no paired difference says
    grid: str = ""  # the grid whose rows `extra` reads
    probed: tuple[str, ...] = ()  # tickets whose masks are looked at: they need probes, no training
    at_scale: bool = False  # whether the masks of networks for ImageNet are looked at
    others: tuple = ()  # panels of others' figures: arguments of published.span
    text: str = ""  # editorial: what the book does
    phrase: str = ""  # editorial: words on the page that show it


class Piece(NamedTuple):
    """A part of an answer: its text, the names of the rows behind it, its n, whether all its runs are there."""

    text: str
    rows: frozenset = frozenset()
    n: tuple[int, ...] = ()
    complete: bool = True


@dataclass(frozen=True)
class Answer:
    """What is known about an item."""

    word: str
    text: str
    rows: frozenset = frozenset()  # names of the ledger rows behind it
    n: tuple[int, ...] = ()  # seeds, of every number in the text
    open: bool = False  # a part of it is not there yet

    @property
    def answered(self):
        """Whether nothing is left to do: a settled word, and every part of it there."""
        return self.word in SETTLED and not self.open


class Facts:
    """What answers are computed from: ledger rows of one profile, and the pages of the book."""

    def __init__(self, rows, pages=None, profile="laptop"):
        self.rows, self.profile, self.pages = list(rows), profile, pages or {}
        self.by_name = {row["name"]: row for row in self.rows}
        self.diverged = {row["name"]: row for row in self.rows if row["kind"] == "run" and row["diverged"]}
        self.fingerprints = Counter(
            (row["config"]["dataset"], row["config"]["fingerprint"])
            for row in self.rows
            if row["config"].get("recipe") == PROFILES[profile].training["recipe"]
        )

    def images(self, dataset=""):
        """Name and fingerprint of a data set, as rows have it; a stand-in where no row has seen it."""
        name = dataset or PROFILES[self.profile].dataset
        known = [key for key, _ in self.fingerprints.most_common() if key[0] == name]
        return Images(*known[0]) if known else Images(name)

    def row(self, config):
        """The row of a run; of a ticket that cannot be made, what `evidence.not_made` says of it; else None."""
        return self.by_name.get(config.name) or evidence.not_made(config, self.diverged)

    @cached_property
    def judged(self):
        """Every claim judged, as board.judged gives them."""
        return board.judged(self.rows, self.profile)

    @cached_property
    def arms(self):
        """Rows that verdicts may read: dict arm -> {seed: Row}."""
        return evidence.select(self.rows, self.profile)


def couples(need, pair, facts):
    """The runs of a paired difference: dict seed -> list of (Config of a, Config of b), one a sparsity."""
    def make(arm, seed, sparsity, changes):
        return grids.arm(facts.profile, f"{arm}@{sparsity}", seed, facts.images(need.dataset), network=need.network,
                         **dict(need.changes), **dict(changes))  # fmt: skip

    return {
        seed: [(make(pair.a, seed, s, ()), make(pair.b, seed, s, pair.b_changes)) for s in need.sparsities]
        for seed in range(need.seeds or PROFILES[facts.profile].seeds)
    }


def missing(need, facts):
    """(runs that are not in the ledger yet, parents among them; all runs of a need), lists of Config."""
    of_pairs = [couples(need, pair, facts) for pair in need.pairs]
    planned = [run for found in of_pairs for of in found.values() for couple in of for run in couple]
    runs = list({one.name: one for run in planned for one in lineage(run)}.values())
    return [run for run in runs if facts.row(run) is None], runs


def cost(configs, facts):
    """Units of one full run, and core-hours at measured speeds, of runs yet to be made: two texts."""
    if not configs:
        return "0", "0"
    seen = [row for row in facts.rows if row["config"]["dataset"] == configs[0].dataset]
    speeds = campaign.speeds(filter(campaign.on_processor, seen))
    known = [s for s in (campaign.estimate(config, speeds) for config in configs) if s is not None]
    hours = f"{sum(known) / 3600:.1f}" if known else "not measured"
    part = f" for the {len(known)} of {len(configs)} runs of a measured kind" * (0 < len(known) < len(configs))
    return f"{grids.units(configs, facts.profile):g}", hours + part


def difference(need, pair, facts):
    """One paired difference as a Piece; one without rows has no text."""
    points, names, against, collapsed = [], set(), set(), 0
    planned = couples(need, pair, facts)
    for of in planned.values():
        rows = [tuple(map(facts.row, couple)) for couple in of]
        if any(row is None for couple in rows for row in couple):
            continue
        points.append(sum(evidence.accuracy(a) - evidence.accuracy(b) for a, b in rows) / len(rows))
        flat = [row for couple in rows for row in couple]
        names |= evidence.names(flat)
        collapsed += sum(map(evidence.collapsed, flat))
        against |= {what for couple in rows for what in evidence.differing(*couple)} - {w for w, _ in pair.b_changes}
        idle = [evidence.control_did_nothing(row, facts.by_name.get(evidence.dense_net(row))) for row in flat]
        against |= {"a control that did nothing"} if any(idle) else set()
    if not points:
        return Piece("", complete=False)
    said = f"not read, because of {', '.join(sorted(against))}" if against else _said(stats.t_interval(points))
    said += f", collapsed runs: {collapsed}" if collapsed else ""
    done = len(points) == len(planned) and not against
    return Piece(f"{pair.label} {said}", frozenset(names), (len(points),), done)


def _said(estimate):
    if estimate.low is None:
        return f"{signed(estimate.point)} (one seed)"
    return f"{signed(estimate.point)} ({signed(estimate.low)} to {signed(estimate.high)})"


def of_claim(claim_id, facts):
    """A claim's verdict as (word, Piece)."""
    judged = facts.judged.get(claim_id)
    arms = {key for c in CLAIMS[claim_id].comparisons for arm in (c.a, c.b) for key in CLAIMS[claim_id].keys(arm)}
    names = evidence.names(row for arm in arms for row in facts.arms.get(arm, {}).values())
    if judged is None or judged.word == verdicts.NOT_RUN:
        return verdicts.NOT_RUN, Piece("", complete=False)
    text = judged.sentence.removeprefix(judged.word).lstrip(",: ")
    seeds = tuple(one.estimate.n for one in judged.compared)
    return judged.word, Piece(text, names, seeds, judged.word in verdicts.WORDS)


def answer(item, facts):
    """Answer an item.

    Returns: Answer.
    Raises: TicketError for an item of an unknown kind, or one called answered without rows.
    """
    if one_of("kind of item", item.kind, KINDS) == EDITORIAL:
        page = next((facts.pages[name] for name in item.pages if name in facts.pages), "")
        found = bool(item.phrase) and item.phrase in page
        return Answer(FOLLOWED if found else NOT_FOLLOWED, item.text if found else "No page of the book does so yet.")
    if item.kind == COMPUTED:
        return Answer(COMPUTED, item.extra(facts).text)
    return checked(item, measured(item, facts), facts)


def measured(item, facts):
    """Put the parts of a measured answer together: the claim, what is special to the item, the paired differences."""
    word, claim = of_claim(item.claim, facts) if item.claim else ("", Piece(""))
    own = item.extra(facts) if item.extra else Piece("")
    differences = [(pair, difference(need, pair, facts)) for need in item.needs for pair in need.pairs]
    pieces = [claim, own, *(piece for _, piece in differences)]
    absent = [pair.label for pair, piece in differences if not piece.text]
    rows = frozenset().union(*(piece.rows for piece in pieces))
    complete = all(piece.complete for piece in pieces)
    if not rows:
        return Answer(verdicts.NOT_RUN, own.text, open=True)
    text = "; ".join(piece.text for piece in pieces if piece.text)
    text += f"; not run: {', '.join(absent)}" if absent else ""
    if word in ("", verdicts.NOT_RUN):
        word = DESCRIBED if complete else PARTLY
    return Answer(word, text, rows, tuple(sorted({n for piece in pieces for n in piece.n})), not complete)


def checked(item, found, facts):
    """Return a measured answer as it is, if every row it stands on is in the ledger.

    Raises: TicketError for one that is called answered without such rows.
    """
    strange = found.rows - set(facts.by_name)
    if strange or (found.word in SETTLED and not (found.rows and found.n)):
        raise TicketError(f"{item.id} is called {found.word!r} without rows of the ledger behind it; allowed: not run.")
    return found
