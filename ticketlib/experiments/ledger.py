"""The ledger: one small JSON file a run, named by the hash of its configuration, never half-written."""

import base64
import errno
import json
import math
import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ticketlib.errors import TicketError
from ticketlib.experiments import bundles
from ticketlib.experiments.config import Config, name_of, parent
from ticketlib.masks import asked_total

NAME = re.compile(r"[0-9a-f]{16}")
KINDS = ("run", "probe", "audit")
LONGEST = 2**22  # bytes of a row's file
MARKUP = re.compile(r"[<>&'`$|\\\[\]{}\x00-\x1f\x7f-\U0010ffff]")  # what could mean something to a page
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
# How far two fields may lie apart that say the same: accuracies have 4 decimals, losses 6, the rest all of a float's.
CLOSE = {"accuracy": 5e-5, "best_accuracy": 5e-5, "loss": 5e-7 + 1e-12, "achieved_sparsity": 1e-12}
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
NUMBER, COUNT, TEXT, DIGEST = "a finite number", "a whole number, at least 0", "text", "64 hexadecimal digits"
FIELDS = {  # what a field must be, where it is there; others may be anything
    "arm": TEXT, "device": TEXT, "code": TEXT, "parent": TEXT, "correct": TEXT, "mask_digest": DIGEST,
    "checkpoint": DIGEST, "parent_checkpoint": DIGEST,
    "threads": COUNT, "num_test": COUNT, "num_classes": COUNT, "images": COUNT,
    "accuracy": NUMBER, "best_accuracy": NUMBER, "loss": NUMBER, "seconds": NUMBER, "train_seconds": NUMBER,
    "eval_seconds": NUMBER, "images_per_second": NUMBER, "achieved_sparsity": NUMBER, "effective_sparsity": NUMBER,
    "classifier_share": NUMBER, "movable_share": NUMBER, "overlap": NUMBER, "chance": NUMBER, "ceiling": NUMBER,
    "diverged": "true or false", "curve": "a list", "empty_layers": "a list", "keep_counts": "an object",
    "own": "an object", "control": "an object", "versions": "an object", "sizes": "an object",
}  # fmt: skip
SOUND = {
    TEXT: lambda value: isinstance(value, str),
    DIGEST: lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value),
    COUNT: lambda value: type(value) is int and value >= 0,
    NUMBER: lambda value: type(value) is int or (type(value) is float and math.isfinite(value)),
    "true or false": lambda value: isinstance(value, bool),
    "a list": lambda value: isinstance(value, list),
    "an object": lambda value: isinstance(value, dict),
}


def pack_bits(bits):
    """Bool array (n,) as base64 text, eight to a byte."""
    return base64.b64encode(np.packbits(np.asarray(bits, bool)).tobytes()).decode()


def unpack_bits(text, n):
    """Inverse of `pack_bits`: bool array (n,)."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)


class Row(dict):
    """One ledger row: a dictionary with keys kind, name, config and what was measured."""

    def __missing__(self, key):
        raise TicketError(f"row {self.get('name')} has no {key!r}; it was not measured.")

    @cached_property
    def config(self):
        """The run's configuration: Config for a run, a plain dictionary for a probe."""
        return Config.from_dict(self["config"]) if self["kind"] == "run" else self["config"]

    @property
    def correct(self):
        """Which test images were classified rightly: bool (num_test,)."""
        return unpack_bits(self["correct"], self["num_test"])


def read_row(path):
    """Read and check one row.

    Raises: TicketError, naming the file, if it does not parse, lacks a field, has one of another type or with markup in
        its text, or its name is not its hash.
    """
    file_name = os.path.basename(path)
    try:
        values = bundles.DECODER.decode(text := bundles.read_text(path, LONGEST))
    except (ValueError, OSError, RecursionError) as error:
        raise TicketError(
            f"ledger row {file_name} cannot be read ({type(error).__name__}); it must be JSON, {LONGEST} bytes at most."
        ) from None
    try:
        return _checked(values, text, file_name.removesuffix(".json"))
    except TicketError as error:
        raise TicketError(f"ledger row {file_name}: {error}") from None


def _read_line(name, line, networks, file_name):
    """Read and check one row of a file of many."""
    try:
        values = bundles.unpacked(line, networks)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TicketError(f"ledger row {name} of {file_name} cannot be read ({type(error).__name__}).") from None
    try:
        if values.get("kind") != "probe":
            raise TicketError("it is no probe; every other row has a file of its own.")
        return _checked(values, line, name)
    except TicketError as error:
        raise TicketError(f"ledger row {name} of {file_name}: {error}") from None


def _checked(values, text, stem):
    if not isinstance(values, dict) or values.get("kind") not in KINDS or not isinstance(values.get("config"), dict):
        raise TicketError(f"it is not a row; it needs a config and a kind, one of {', '.join(KINDS)}.")
    _check_text(text)
    row = Row(values)
    name = row.config.name if row["kind"] == "run" else name_of(row.config)
    if not name == stem == row.get("name"):
        raise TicketError(f"it has a configuration whose hash is {name}; the two must agree.")
    for field, value in row.items():
        if field in FIELDS and not SOUND[FIELDS[field]](value):
            raise TicketError(f"it has {field} {row[field]!r:.40}; it must be {FIELDS[field]}.")
    if row["kind"] == "run":
        _check_result(row)
    if row["kind"] != "audit":
        _check_counts(row)
        _check_agreement(row)
    return row


def _check_result(row):  # a run says whether it diverged, and how good it is if it did not
    if not row["diverged"] and not 0 <= row["accuracy"] <= 100:
        raise TicketError(f"it has accuracy {row['accuracy']}; it must be in percent, 0 to 100.")
    if "images_per_second" in row and row["images_per_second"] <= 0:
        raise TicketError(f"it has images_per_second {row['images_per_second']}; it must be more than 0.")
    if "correct" in row:
        octets = -(-row["num_test"] // 8)
        whole = BASE64.fullmatch(row["correct"]) and len(row["correct"]) == 4 * -(-octets // 3)
        if not whole or pack_bits(row.correct) != row["correct"]:  # another padding, or a bit behind the last image
            raise TicketError(f"it has correct of {len(row['correct'])} letters; it must be base64 of {octets} bytes, "
                              "a bit an image and zeros behind them.")  # fmt: skip
    if row.get("curve") == [] and not row["diverged"]:
        raise TicketError("it has curve without a point; a run that did not diverge has its last epoch's.")
    for point in row.get("curve", ()):
        if not (isinstance(point, list) and len(point) == 3 and all(map(SOUND[NUMBER], point))):
            raise TicketError(f"it has curve with {point!r:.40}; a point is epochs, accuracy and loss.")


def _check_counts(row):
    """Numbers of weights by layer are whole, and none keeps more than it has."""
    counts, sizes = row.get("keep_counts", {}), row.get("sizes", {})
    if row.get("keep_counts") == {}:
        raise TicketError("it has keep_counts of no layer.")
    for field in ("keep_counts", "sizes"):
        for layer, number in row.get(field, {}).items():
            if not SOUND[COUNT](number):
                raise TicketError(f"it has {field} with {number!r:.40} in {layer}; it must be {COUNT}.")
    for layer in sizes.keys() & counts.keys():
        if counts[layer] > sizes[layer]:
            raise TicketError(f"it has keep_counts with {counts[layer]} of {sizes[layer]} weights in {layer}.")


def _implied(row):
    """What some fields of a row say that others must be: a generator of (field, value)."""
    if row["kind"] == "run":
        yield from _implied_by_run(row)
    if counts := row.get("keep_counts"):
        yield from _implied_by_counts(row, counts, sum(counts.values()))


def _implied_by_run(row):
    config = row.config
    before = parent(config)
    yield "arm", config.arm
    yield "parent", before and before.name
    if row["diverged"]:
        return
    if "correct" in row:
        yield "accuracy", round(100 * int(row.correct.sum()) / max(row["num_test"], 1), 4)
    if curve := row.get("curve"):
        yield "accuracy", curve[-1][1]
        yield "best_accuracy", max(point[1] for point in curve)
        yield "loss", curve[-1][2]


def _implied_by_counts(row, counts, kept):
    yield "empty_layers", [layer for layer in counts if not counts[layer]]
    sparsity = row["config"]["sparsity"] if isinstance(row["config"].get("sparsity"), str) else None
    size = sum(row["sizes"].values()) if "sizes" in row else _size(kept, row.get("achieved_sparsity"))
    if size and sparsity is not None:
        yield "keep_counts", asked_total(size, sparsity)
        yield "achieved_sparsity", (size - kept) / size


def _size(kept, achieved):
    """How many weights a network has of which so many are `kept` at a sparsity; None where that is not known."""
    return None if achieved is None or not 0 <= achieved < 1 else round(kept / (1 - achieved))


def _agrees(field, value, said):
    """Whether a field is what others say; fractions within what a float's last digits and rounding allow."""
    if field == "empty_layers":
        return all(isinstance(name, str) for name in value) and sorted(value) == sorted(said)
    if field == "keep_counts":
        return sum(value.values()) == said
    if isinstance(said, float):
        return abs(value - said) <= CLOSE[field]
    return value == said


def _check_agreement(row):
    """No field of a row may contradict the others, or the configuration that names it."""
    for field, said in _implied(row):
        if field in row and not _agrees(field, row[field], said):
            raise TicketError(f"it has {field} that contradicts its other fields, which say {str(said)!r:.60}.")
    share, achieved = row.get("effective_sparsity"), row.get("achieved_sparsity", _masked_share(row))
    if share is not None and not achieved - CLOSE["achieved_sparsity"] <= share <= 1:
        raise TicketError(f"it has effective_sparsity {share}; it must be at least {achieved}, and at most 1.")


def _masked_share(row):
    """The share of weights that a probe's mask removes, from its numbers of weights; 0 where they are not all there."""
    kept, size = row.get("keep_counts"), sum(row.get("sizes", {}).values())
    return 1 - sum(kept.values()) / size if kept and size else 0


def _check_text(text):
    """No text in a row may mean anything to a page that shows it."""
    sign = MARKUP.search("".join(text.split('"')[1::2]))
    if sign:
        raise TicketError(f"it has {sign[0]!r} in its text; letters, digits and ordinary signs are allowed.")


class Ledger:
    """A folder of rows. Rows are only ever added; a row that exists is never written again.

    Every row is added as a file of its own. Probes of which much is the same may be gathered into files of many, in the
    folder `probes`.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def path(self, name):
        """Where a row lies; TicketError if the name is not 16 hexadecimal digits."""
        if not NAME.fullmatch(name):
            raise TicketError(f"row name {name!r} is not allowed; it must be 16 hexadecimal digits.")
        return self.folder / f"{name}.json"

    def __contains__(self, name):
        return self.path(name).is_file() or any(name in bundles.lines(path)[0] for path in bundles.paths(self.folder))

    def __getitem__(self, name):
        if not self.path(name).is_file():
            for path in bundles.paths(self.folder):
                lines, networks = bundles.lines(path)
                if name in lines:
                    return _read_line(name, lines[name], networks, path.name)
        return read_row(self.path(name))

    def _bundle(self, path):
        """The rows of a file of many: dict name -> Row."""
        lines, networks = bundles.lines(path)
        return {name: _read_line(name, line, networks, path.name) for name, line in lines.items()}

    def _alone(self):
        """Names of the rows that have a file of their own."""
        files = os.listdir(self.folder) if self.folder.is_dir() else []
        return {name.removesuffix(".json") for name in files if name.endswith(".json")}

    def _rows_alone(self):
        """The rows that have a file of their own: dict name -> Row, sorted."""
        return {name: read_row(self.path(name)) for name in sorted(self._alone())}

    def names(self):
        """Names of all rows, sorted."""
        return sorted(self._alone().union(*(bundles.lines(path)[0] for path in bundles.paths(self.folder))))

    def rows(self):
        """All rows, sorted by name; TicketError names the first that is unsound."""
        by_name = self._rows_alone()
        for path in bundles.paths(self.folder):
            by_name = self._bundle(path) | by_name
        return [by_name[name] for name in sorted(by_name)]

    def gather(self, file_of):
        """Move probes that have files of their own into files of many, which are sorted.

        Arguments: file_of, a function of a row, the name of its file, such as "masks".
        Returns: how many were moved.
        Raises: TicketError for a probe that is in such a file already, with other results.
        """
        alone = [row for row in self._rows_alone().values() if row["kind"] == "probe"]
        by_file = {path: [] for path in bundles.paths(self.folder)}
        for row in alone:
            by_file.setdefault(self.folder / bundles.FOLDER / f"{file_of(row)}.jsonl", []).append(row)
        for path, rows in by_file.items():
            there = self._bundle(path) if path.is_file() else {}
            for row in rows:
                if there.setdefault(row["name"], row) != row:
                    raise TicketError(f"ledger row {row['name']} is in {path.name} too, and differs; keep one of both.")
            bundles.write_text(path, bundles.text_of(there.values()), os.replace)
        for row in alone:
            self.path(row["name"]).unlink()
        return len(alone)

    def add(self, row):
        """Write a row to a temporary name and move it into place; keep the row that is there already.

        Returns: True if the row was added, False if another process was first.
        """
        if row["kind"] not in KINDS:
            raise TicketError(f"row kind {row['kind']!r} is for no ledger; allowed: {', '.join(KINDS)}.")
        path = self.path(row["name"])
        try:
            text = json.dumps(row, sort_keys=True, indent=0, allow_nan=False) + "\n"
        except ValueError:
            raise TicketError(f"row {row['name']} holds nan or infinity; leave out what is not a number.") from None
        _checked(json.loads(text), text, row["name"])  # what could not be read again is never written
        if row["name"] in self:
            return False
        return bundles.write_text(path, text, _settle)


def _settle(temporary, path):
    """Give a finished file its name unless the name is taken; returns whether it was free."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # A file system without hard links. If two processes come here within microseconds the later row stays: both are
        # whole, and of the same configuration.
        if path.exists():
            return False
        os.replace(temporary, path)
    return True


CONTROLS = ("moved_share", "changed_share", "signs_kept", "label_agreement", "pixel_correlation", "images_kept")
_MEASURED = (
    "best_accuracy", "loss", "achieved_sparsity", "effective_sparsity", "classifier_share",
    "mask_digest", "checkpoint", "parent", "num_classes", "num_test", "images_per_second", "seconds", "device",
    "threads", "code",
)  # fmt: skip


def frame(rows):
    """The runs of a ledger as one table, a line a run.

    Arguments: rows, of a ledger, in any order; other kinds than runs are left out.
    Returns: DataFrame, sorted by arm, epochs and seed. Columns: name (of the run), arm, config (a Config); every field
        of Config under its own name; accuracy in percent (guessing, where the run diverged), best_accuracy, loss (of
        training, at the end); diverged; empty_layers, how many; kept, weights in all; counts, a digest of the
        keep-counts; achieved_sparsity, effective_sparsity; classifier_share; the manipulation checks of CONTROLS;
        device, threads, versions (text), code, parent, seconds, images_per_second. What was not measured is missing.
    """
    lines = [_line(row) for row in rows if row["kind"] == "run"]
    columns = ["name", "arm", "config", *Config.__dataclass_fields__, "accuracy", "diverged", "empty_layers", "kept"]
    columns += ["counts", *_MEASURED, "versions", *CONTROLS]
    table = pd.DataFrame(lines, columns=columns).astype({"diverged": bool})  # of no rows it would be of objects
    return table.sort_values(["arm", "epochs", "seed", "name"], ignore_index=True)


def _line(row):
    counts, config = row.get("keep_counts", {}), row.config
    facts = {field: getattr(config, field) for field in Config.__dataclass_fields__}
    facts |= {what: row.get(what) for what in _MEASURED} | {what: row.get("control", {}).get(what) for what in CONTROLS}
    return facts | {
        "name": row["name"],
        "arm": config.arm,
        "config": config,
        "accuracy": 100 / row["num_classes"] if row["diverged"] else row["accuracy"],
        "diverged": row["diverged"],
        "empty_layers": len(row["empty_layers"]),
        "kept": sum(counts.values()),
        "counts": name_of(counts),
        "versions": ", ".join(f"{name} {number}" for name, number in sorted(row["versions"].items())),
    }
