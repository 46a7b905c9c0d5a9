"""What a run is: its configuration, the hash that names it, its parents, and its random streams."""

import dataclasses
import functools
import hashlib
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from ticketlib import corrupt, data, pruners
from ticketlib.errors import TicketError, one_of
from ticketlib.tickets import CHECKS, REWIND_TO, TICKETS, Composition, previous_round

ENGINES = ("dense", "sparse")
PRECISIONS = ("float32", "tf32", "bf16")
SCORINGS = ("book", "authors")
COUNTS = Path(__file__).with_name("counts.json")  # tables of keep-counts that runs may be given; none is ever changed
RECIPE = 1  # version of the recipe that the profiles follow
OWN = re.compile(r"own-[0-9a-f]{16}")  # a ticket, network or data set from outside: a digest of all that it is


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run's result; its hash is the run's name.

    Fields without a default are always in the hash. The defaults below are frozen for ever and stay out of it, so a
    new field leaves old names as they were.
    """

    recipe: int  # recipe version: raised when the same configuration would give another result; 0 is the pilot
    dataset: str  # a name of data.NAMES, or OWN
    fingerprint: str  # which images: data.Dataset.fingerprint, before any are held out
    network: str  # models.build's name, or OWN
    width: float | None  # models.build's width
    stem_stride: int  # models.build's stem_stride
    ticket: str  # a name of tickets.TICKETS, or OWN
    sparsity: str  # fraction removed, decimal text: "0", "0.9", "0.98"
    seed: int  # all random streams derive from it
    epochs: int  # length of a full training run, the pretraining included
    batch: int  # images a step
    lr: float  # first learning rate
    momentum: float
    weight_decay: float  # on every parameter
    drops: tuple[str, ...]  # where the rate falls to a tenth, as fractions of the run in decimal text
    padding: int  # random crops from images padded by this many pixels
    flip: bool  # random horizontal flips
    eval_every: int  # epochs between two points of the learning curve
    precision: str  # of the dense engine: "float32", "bf16", or "tf32" on a GPU; the sparse engine is float32
    engine: str  # "dense" or "sparse"
    check: str = "none"  # a name of tickets.CHECKS
    corruption: str = "none"  # of what finds the mask: a name of corrupt.KINDS
    linear: str = "own"  # classifier of a global threshold: "own", "kept", "global" or a keep_ratio
    variant: str = "default"  # of SNIP and GraSP: "default" or "authors"
    min_per_layer: int = 0  # guard against empty layers
    order: str = "order"  # stream of the data order; another name gives a second order
    held_out: int = 0  # training images set aside as the test set; 0 uses the test set
    per_class: int = 10  # images a class in the scoring batch
    scoring: str = "book"  # of SNIP and GraSP: "book", or "authors": batch sorted by class, augmented; GraSP redraws
    parent_order: str = ""  # stream of the data order of the trained net it starts from; "" takes `order` there too
    count_table: str = ""  # of the ticket "table": which table of keep-counts, by its digest (count_tables)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
        if not OWN.fullmatch(self.dataset):
            one_of("dataset", self.dataset, data.NAMES)
        composition_of(self.ticket)
        one_of("check", self.check, CHECKS)
        one_of("corruption", self.corruption, corrupt.KINDS)
        one_of("engine", self.engine, ENGINES)
        one_of("precision", self.precision, PRECISIONS)
        one_of("variant", self.variant, pruners.VARIANTS)
        one_of("scoring", self.scoring, SCORINGS)
        if self.linear not in ("own", "kept", "global") and not _is_fraction(self.linear):
            raise TicketError(f"linear {self.linear!r} is not known; allowed: own, kept, global or a keep_ratio.")
        for what in ("epochs", "batch", "eval_every", "per_class"):
            if getattr(self, what) < 1:
                raise TicketError(f"{what} {getattr(self, what)!r} is not allowed; it must be at least 1.")
        for what in ("seed", "recipe", "padding", "min_per_layer", "held_out", "lr", "momentum", "weight_decay"):
            if not 0 <= getattr(self, what) < float("inf"):
                raise TicketError(f"{what} {getattr(self, what)!r} is not allowed; it must be at least 0.")
        if self.parent_order and not composition_of(self.ticket).needs_trained:
            raise TicketError(f"parent_order {self.parent_order!r} is not allowed with {self.ticket!r}, which starts "
                              "from no trained net; allowed: ''.")  # fmt: skip
        if bool(self.count_table) != (composition_of(self.ticket).rule == "table"):
            raise TicketError(f"count_table {self.count_table!r} does not fit {self.ticket!r}; it goes with 'table', "
                              "which needs one.")  # fmt: skip
        given_counts(self)
        self._check_sparsity()
        self._check_corruption()

    def _check_sparsity(self):
        if self.sparsity != "0" and not _is_fraction(self.sparsity):
            raise TicketError(f"sparsity {self.sparsity!r} is not allowed; it must be decimal text in [0, 1).")
        if self.sparsity != shortest(self.sparsity):
            raise TicketError(f"sparsity {self.sparsity!r} must be in its shortest form, {shortest(self.sparsity)}.")
        if (self.ticket == "dense") != (self.sparsity == "0"):
            raise TicketError(f"sparsity {self.sparsity} does not fit {self.ticket!r}; only dense has sparsity 0.")

    def _check_corruption(self):
        made_of, allowed, why = composition_of(self.ticket), corrupt.KINDS, ""
        if made_of.rounds:  # only its dense net would see such data
            allowed, why = ("none",), "whose rounds train on the data as they are"
        elif made_of.needs_batch:
            allowed, why = [kind for kind in corrupt.KINDS if kind != "half"], "which sees one batch"
        elif not (made_of.needs_trained or self.ticket == "dense" or OWN.fullmatch(self.ticket)):
            allowed, why = ("none",), "which looks at no data"
        if self.corruption not in allowed:
            raise TicketError(f"corruption {self.corruption!r} is not allowed with {self.ticket!r}, {why}; allowed: "
                              f"{', '.join(allowed)}.")  # fmt: skip

    @property
    def name(self):
        """The hash that names the run: 16 hexadecimal digits."""
        kept = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.default is dataclasses.MISSING or getattr(self, f.name) != f.default
        }
        return name_of(kept)

    @property
    def arm(self):
        """Short name of the arm within a grid, seed left out: ticket[+check][+corruption][+option]@sparsity."""
        options = [self.check, self.corruption] + [
            f"{what}={getattr(self, what)}"
            for what in ("linear", "variant", "min_per_layer", "order", "parent_order", "count_table")
            if getattr(self, what) != DEFAULTS[what] and not (what == "variant" and self.scoring == "authors")
        ]
        return "+".join([self.ticket, *(o for o in options if o != "none")]) + f"@{self.sparsity}"

    def as_dict(self):
        """All fields as plain JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values):
        """Read a configuration back; TicketError names an unknown or a missing field."""
        known = sorted(f.name for f in dataclasses.fields(cls))
        for what in values:
            one_of("configuration field", what, known)
        missing = [what for what in known if what not in DEFAULTS and what not in values]
        if missing:
            raise TicketError(f"configuration field {missing[0]!r} is missing; all of {', '.join(missing)} are needed.")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def name_of(values):
    """The 16 hexadecimal digits that name a plain dictionary, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


DEFAULTS = {f.name: f.default for f in dataclasses.fields(Config) if f.default is not dataclasses.MISSING}
ACCEPTED = {int: int, str: str, bool: bool, float: (int, float), float | None: (int, float, type(None))}


def _check_type(field, value):
    if field.type in ACCEPTED:
        ok = isinstance(value, ACCEPTED[field.type]) and (field.type is bool or not isinstance(value, bool))
    else:
        ok = isinstance(value, tuple) and all(map(_is_fraction, value))
    if not ok:
        text = getattr(field.type, "__name__", field.type)
        text = "tuple of decimal texts, such as ('0.5', '0.75')" if text == "tuple" else text
        raise TicketError(f"{field.name} {value!r} is not allowed; it must be of type {text}.")


def composition_of(ticket):
    """A ticket's line in the table of tickets; one from outside is found by scores and trained from initial weights.

    Raises: TicketError for an unknown ticket.
    """
    return Composition(ticket, "global") if OWN.fullmatch(ticket) else TICKETS[one_of("ticket", ticket, TICKETS)]


def shortest(sparsity):
    """Decimal text of a sparsity without trailing zeros: 0.90 and "0.900" give "0.9".

    Raises: TicketError for what is no decimal number.
    """
    if not re.fullmatch(r"\d*\.?\d+", str(sparsity), re.A):
        raise TicketError(f"sparsity {sparsity!r} is not allowed; it must be a decimal number in [0, 1).")
    return f"{Decimal(str(sparsity)).normalize():f}"


def _is_fraction(text):
    """Whether a value is the decimal text of a number between 0 and 1."""
    return isinstance(text, str) and re.fullmatch(r"0?\.\d*[1-9]\d*", text, re.A) is not None


@functools.cache
def count_tables():
    """Tables of keep-counts that runs may be given: dict digest -> {of, network, width, stem_stride, counts}.

    `counts` is a dict sparsity -> {layer: int}. The digest is that of the whole entry, so that a run's name says what
    it was given.
    """
    tables = json.loads(COUNTS.read_text(encoding="utf-8"))
    return {name_of(table): table for table in tables}


def given_counts(config):
    """The keep-counts that the ticket "table" is given: dict layer -> int; None for other tickets.

    Raises: TicketError for a table that is not known, or that holds no counts of the network at the sparsity.
    """
    if not config.count_table:
        return None
    table = count_tables()[one_of("count_table", config.count_table, count_tables())]
    fits = all(table[what] == getattr(config, what) for what in ("network", "width", "stem_stride"))
    if not fits or config.sparsity not in table["counts"]:
        seen = f"{table['network']} at {', '.join(table['counts'])}"
        wanted = f"{config.network} at {config.sparsity}"
        raise TicketError(f"count_table {config.count_table} is of {seen} removed, not of {wanted}.")
    return table["counts"][config.sparsity]


def parent(config):
    """The run whose trained network a configuration starts from or scores; None if it needs none.

    The parent is the dense run of the same data, seed and recipe, pretrained on what the corruption makes of the
    training set; for an iterative ticket it is the round before. One dense run so serves LT, LRR, OMP and hybrid at
    every sparsity.
    """
    made_of = composition_of(config.ticket)
    if config.ticket == "dense" or not made_of.needs_trained:
        return None
    before = previous_round(config.sparsity) if made_of.rounds else "0"
    if before != "0":
        return dataclasses.replace(config, sparsity=before, check="none")
    decides_masks = ("check", "linear", "variant", "min_per_layer", "per_class", "scoring", "parent_order")
    own = {what: DEFAULTS[what] for what in decides_masks} | {"order": config.parent_order or config.order}
    return dataclasses.replace(config, ticket="dense", sparsity="0", engine="dense", **own)


def lineage(config):
    """A run after all that it starts from, the dense net first: list of Config."""
    before = parent(config)
    return [*lineage(before), config] if before else [config]


def cost(config):
    """What a run costs beside others, in epochs."""
    share = 1 if composition_of(config.ticket).schedule == "full" else 1 - float(REWIND_TO)
    return share * config.epochs


def cost_alone(config):
    """What a run costs where nothing is shared: its own epochs, and those of every run it starts from."""
    return sum(map(cost, lineage(config)))


def initial_share(config, images):
    """The share of the initial weights that weight decay has not erased at the end of training, 0 to 1.

    What is left of a weight if no gradient acts on it: SGD by weight decay alone, with momentum and drops of the rate.
    Arguments: config, of a full run; images, how many make an epoch.
    """
    total = config.epochs * math.ceil(images / config.batch)
    ends = [0, *(math.floor(Decimal(drop) * total) for drop in config.drops), total]
    state = np.array([1.0, 0.0])  # weight, and its momentum buffer
    for drop, (start, end) in enumerate(pairwise(ends)):
        rate = config.lr * 0.1**drop
        update = [[1 - rate * config.weight_decay, -rate * config.momentum], [config.weight_decay, config.momentum]]
        state = np.linalg.matrix_power(np.array(update), end - start) @ state
    return float(state[0])


def streams(config):
    """Named random streams of a run: a function from a name to a fresh torch.Generator on the CPU.

    Two arms with the same seed share every stream of the same name, which is what makes their runs paired.
    """

    def stream(name):
        digest = hashlib.sha256(f"{config.seed}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    return stream
