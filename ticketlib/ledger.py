"""The ledger: one small JSON file a run, named by the hash of its configuration, never half-written."""

import base64
import hashlib
import json
import os
import re
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np

from ticketlib.errors import TicketError
from ticketlib.runs import Config

NAME = re.compile(r"[0-9a-f]{16}")
KINDS = ("run", "probe")


def pack_bits(bits):
    """Bool array (n,) as base64 text, eight to a byte."""
    return base64.b64encode(np.packbits(np.asarray(bits, bool)).tobytes()).decode()


def unpack_bits(text, n):
    """Inverse of `pack_bits`: bool array (n,)."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)


def name_of(configuration):
    """The 16 hexadecimal digits that name a plain dictionary, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]


class Row(dict):
    """One ledger row: a dictionary with keys kind, name, config and what was measured."""

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

    Raises: TicketError, naming the file, if it does not parse, lacks a field, or its name is not its hash.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise TicketError(f"ledger row {path.name} cannot be read ({type(error).__name__}); it must be JSON.") from None
    if not isinstance(values, dict) or values.get("kind") not in KINDS or not isinstance(values.get("config"), dict):
        raise TicketError(f"ledger row {path.name} is not a row; kind must be run or probe, with a config.")
    row = Row(values)
    try:
        name = row.config.name if row["kind"] == "run" else name_of(row["config"])
    except TicketError as error:
        raise TicketError(f"ledger row {path.name}: {error}") from None
    if not name == path.stem == row.get("name"):
        raise TicketError(f"ledger row {path.name} has a configuration whose hash is {name}; the two must agree.")
    return row


class Ledger:
    """A folder of rows. Rows are only ever added; a row that exists is never written again."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def path(self, name):
        """Where a row lies. Raises: TicketError if the name is not 16 hexadecimal digits."""
        if not NAME.fullmatch(name):
            raise TicketError(f"row name {name!r} is not allowed; it must be 16 hexadecimal digits.")
        return self.folder / f"{name}.json"

    def __contains__(self, name):
        return self.path(name).is_file()

    def __getitem__(self, name):
        return read_row(self.path(name))

    def names(self):
        """Names of all rows, sorted."""
        return sorted(p.stem for p in self.folder.glob("*.json")) if self.folder.is_dir() else []

    def rows(self):
        """All rows, sorted by name; TicketError names the first that is unsound."""
        return [self[name] for name in self.names()]

    def add(self, row):
        """Write a row to a temporary name and move it into place; keep the row that is there already.

        Returns: True if the row was added, False if another process was first.
        """
        if row["kind"] not in KINDS:
            raise TicketError(f"row kind {row['kind']!r} is for no ledger; allowed: {', '.join(KINDS)}.")
        path = self.path(row["name"])
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(row, file, sort_keys=True, indent=0, allow_nan=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp's is private
            os.link(temporary, path)  # fails if the row is there: the first one stays
            return True
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
