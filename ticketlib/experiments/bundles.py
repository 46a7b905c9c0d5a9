"""Many rows in one file: a line of JSON a row, sorted by name; the sizes of a network's layers stand once, before them.

A line holds all of its row, so that files which two people have added lines to can be merged line by line.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import tempfile
import time
from pathlib import Path

from ticketlib.errors import TicketError

LONGEST = 2**28  # bytes of a file of many rows
ABANDONED = 3600  # seconds after which a file that was never moved into place is swept away
FOLDER = "probes"  # of such files, below a ledger's
LINE = re.compile(r'\{"(name|network)":"([0-9a-f]{16})",(.*)\}')  # of a row, and of the sizes of a network's layers


def _refuse(text):
    raise ValueError(text)


DECODER = json.JSONDecoder(parse_constant=_refuse)  # nan and infinity are no numbers of a row


def paths(folder):
    """The files of many rows of a ledger, sorted."""
    return sorted((folder / FOLDER).glob("*.jsonl"))


def _open_alone(path, flags):
    """Open a file of rows: a link, which could lead out of the folder, is refused, and a pipe is not waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def read_text(path, longest):
    """The text of a file that must be one. Raises: ValueError, OSError."""
    with open(path, "rb", buffering=0, opener=_open_alone) as file:
        octets = file.read(min(os.fstat(file.fileno()).st_size, longest + 1))
    if len(octets) > longest:
        raise ValueError("so long a text")
    return octets.decode()


def lines(path):
    """What a file of many rows holds: dict name of a row -> its line; dict network -> its line, with the sizes.

    Raises: TicketError, naming the file and the line, for a line that is neither, and two that contradict each other.
    """
    stat = os.stat(path)
    return _lines(str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino)


@functools.lru_cache(maxsize=32)
def _lines(path, *_):
    try:
        text = read_text(path, LONGEST)
    except (ValueError, OSError) as error:
        said = f"({type(error).__name__}); it must be lines of JSON, {LONGEST} bytes at most."
        raise TicketError(f"ledger file {os.path.basename(path)} cannot be read {said}") from None
    found = {"name": {}, "network": {}}
    for number, line in enumerate(text.splitlines(), 1):
        known = LINE.fullmatch(line)
        if not known or (known[1] == "network" and _digest(known[3].removeprefix('"sizes":')) != known[2]):
            raise TicketError(f"ledger file {os.path.basename(path)}: line {number} is not a row's, nor a network's.")
        if found[known[1]].setdefault(known[2], line) != line:
            raise TicketError(f"ledger file {os.path.basename(path)}: line {number} contradicts another of {known[2]}.")
    return found["name"], found["network"]


def unpacked(line, networks):
    """The plain dictionary of a row, from its line and the dict network -> line. Raises: ValueError, KeyError."""
    values = DECODER.decode(line)
    if "sizes" in values:
        values["sizes"] = _sizes(networks[values["sizes"]])
    return values


@functools.lru_cache(maxsize=256)
def _sizes(line):
    return DECODER.decode(line)["sizes"]


def text_of(rows):
    """What a file of these rows says."""
    packed, networks = {}, {}
    for row in rows:
        values = dict(row)
        if "sizes" in row:
            sizes = _dumps(row["sizes"])
            values["sizes"] = network = _digest(sizes)
            networks[network] = f'{{"network":"{network}","sizes":{sizes}}}'
        name = values.pop("name")
        packed[name] = f'{{"name":"{name}",{_dumps(values)[1:]}'
    return "".join(f"{of[key]}\n" for of in (networks, packed) for key in sorted(of))


def write_text(path, text, settle):
    """Write a text under a temporary name, whole or not at all; gives what `settle(temporary, path)` does."""
    with unfinished(path.parent) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's is private
        return settle(temporary, path)


@contextlib.contextmanager
def unfinished(folder):
    """A new file `.NAME.part` in a folder, which is made if need be; at the end it is gone, unless it was moved."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder):
    """Remove the unfinished files that killed processes have left in a folder."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _dumps(values):
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
