"""Read torchvision's CIFAR archives without unpickling them.

The archives hold Python pickles, and loading one can run code. Here nothing is executed: `pickletools.genops` names the
opcodes of a file whose content is known by its md5, and the labels and the bytes of the images are picked out of them.
"""

import hashlib
import os
import pickletools
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ticketlib.errors import TicketError
from ticketlib.images import file_digest, folders, short

TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # its class, which knows names, address and checksums
ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
EXTRACTED = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
SHAPE = (3, 32, 32)
MAX_FILE = 256 * 2**20  # bytes of one file
LIST_OPCODES = ("EMPTY_LIST", "MARK", "APPENDS", "APPEND", "BINPUT", "LONG_BINPUT", "MEMOIZE")


@dataclass(frozen=True)
class Archive:
    """A CIFAR archive as torchvision downloads it, packed or extracted."""

    name: str
    path: Path

    @property
    def source(self):
        """Where the images come from, with no path of this machine in it."""
        return f"torchvision {self.path.name}"

    @property
    def where(self):
        """The folder, for the terminal."""
        return str(self.path.parent)

    def key(self):
        """Return the sha256 (hex) of the archive's size and bytes, or of its files' names, sizes and bytes."""
        files = sorted(p for p in self.path.iterdir() if p.is_file()) if self.path.is_dir() else [self.path]
        text = "".join(f"{path.name} {file_digest(path)}\n" for path in files)
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, num_classes):
        """Return train and test (images uint8 (N, 3, 32, 32), labels int64 (N,)) and the class names.

        Raises: TicketError naming the file that is missing, has another md5 than torchvision's list, or another layout.
        """
        known = _torchvision(self.name)
        if self.path.is_file():
            _check_md5(self.path, known.tgz_md5)
        train, test = (_join(self._entry(*file) for file in files) for files in (known.train_list, known.test_list))
        names = tuple(_listed(self._operations(known.meta["filename"], known.meta["md5"]), known.meta["key"], str))
        return train, test, names if len(names) == num_classes else tuple(map(str, range(num_classes)))

    def _entry(self, file, md5):
        """Return (images, labels) of one batch file."""
        operations = self._operations(file, md5)
        labels = _listed(operations, "labels" if self.name == "cifar10" else "fine_labels", int)
        images = _array(operations, len(labels))
        if not labels or images is None:
            raise TicketError(f"{self.path / file} does not have the layout of a CIFAR batch.")
        return images, np.array(labels, np.int64)

    def _operations(self, file, md5):
        """Return the opcodes [(name, argument)] of one file, none of them executed."""
        try:
            raw = self._bytes(file)
        except (OSError, tarfile.TarError, KeyError, EOFError) as error:
            raise TicketError(f"{self.path / file} cannot be read ({short(error)}).") from error
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
            raise TicketError(f"{self.path / file} is damaged: its md5 is not {md5}.")
        try:
            return [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(raw)]
        except ValueError as error:
            raise TicketError(f"{self.path / file} does not have the layout of a CIFAR batch.") from error

    def _bytes(self, file):
        """Return the first `MAX_FILE` bytes of one file of the archive."""
        if self.path.is_dir():
            with open(self.path / file, "rb") as opened:
                return opened.read(MAX_FILE)
        with tarfile.open(self.path) as archive:
            member = archive.extractfile(f"{EXTRACTED[self.name]}/{file}")
            return member.read(MAX_FILE) if member else b""


def find_archive(root, name):
    """Return the Archive of a data set below a folder, extracted or packed, or None."""
    for folder in folders(Path(root)):
        if name in ARCHIVES and folder.name == EXTRACTED[name]:
            return Archive(name, folder)
        if name in ARCHIVES and os.path.isfile(folder / ARCHIVES[name]):
            return Archive(name, folder / ARCHIVES[name])
    return None


def download(root, name):
    """Download a CIFAR archive by torchvision, which checks its md5, and return it; only ever done when asked for.

    Raises: TicketError for a data set torchvision does not offer, or a download that fails.
    """
    if name not in ARCHIVES:
        raise TicketError(f"Data set {name!r} cannot be downloaded; allowed: {', '.join(ARCHIVES)}.")
    from torchvision.datasets import utils

    known = _torchvision(name)
    try:
        utils.download_url(known.url, str(root), known.filename, known.tgz_md5)
    except (OSError, RuntimeError) as error:
        raise TicketError(f"{known.url} cannot be downloaded to {root} ({short(error)}).") from error
    return Archive(name, Path(root) / known.filename)


def _torchvision(name):
    """Return torchvision's class of a data set."""
    from torchvision import datasets  # slow to import, and seldom needed

    return getattr(datasets, TORCHVISION[name])


def _check_md5(path, md5):
    """Raise TicketError unless a file has the md5."""
    with open(path, "rb") as file:
        if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5:
            raise TicketError(f"{path} is damaged: its md5 is not {md5}.")


def _join(entries):
    """Return the images and labels of several batch files as one."""
    images, labels = zip(*entries, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _listed(operations, key, kind):
    """Return the ints or strings of the list that follows a key."""
    start = next((i + 1 for i, (_, argument) in enumerate(operations) if argument == key), len(operations))
    found = []
    for i in range(start, len(operations)):
        opcode, argument = operations[i]
        if opcode.startswith("BININT" if kind is int else ("SHORT_BIN", "BINSTRING", "BINUNICODE")):
            found.append(argument)
        elif opcode not in LIST_OPCODES or (opcode == "APPENDS" and operations[i + 1][0] != "MARK"):
            break
    return found


def _array(operations, count):
    """Return the images among the opcodes: the one string as long as `count` images; None if there is none."""
    order = "C"
    for opcode, argument in operations:
        if opcode in ("NEWTRUE", "NEWFALSE"):  # numpy's flag for Fortran order comes just before the bytes
            order = "F" if opcode == "NEWTRUE" else "C"
        if isinstance(argument, (str, bytes)) and len(argument) == count * np.prod(SHAPE):
            raw = argument.encode("latin-1") if isinstance(argument, str) else argument
            return np.frombuffer(raw, np.uint8).reshape((count, -1), order=order).reshape(-1, *SHAPE)
    return None
