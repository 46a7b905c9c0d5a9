"""Image files as others made them: found below a folder, read, decoded, each fault named by its file and row.

Parquet files in Hugging Face's layouts, and torchvision's archives of CIFAR, which it can fetch too.
"""

import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from PIL import Image

from ticketlib.errors import TicketError

CLASSES = {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}
TEST_SPLIT = {"cifar10": "test", "cifar100": "test", "tiny_imagenet": "valid"}  # Tiny-ImageNet's own test is unlabelled
DEPTH = 5  # levels below the root that are searched
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_SIDE = 4096  # pixels of one image's side
MAX_DECODED = 8 * 2**30  # bytes of one decoded split

ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
EXTRACTED = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


@dataclass(frozen=True)
class Files:
    """The files of one data set."""

    paths: tuple[Path, ...]
    source: str  # where the images come from, with no path of this machine in it
    read: Callable  # () -> (images, labels) of train, the same of test, class names
    lacks: str = ""  # which shards are not there

    @property
    def where(self):
        """The folder, for the terminal."""
        return str(self.paths[0].parent)

    def key(self):
        """Return the sha256 (hex) of the files' names, sizes and bytes."""
        digest = hashlib.sha256()
        for path in self.paths:
            try:
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                    digest.update(f"{path.name} {os.fstat(file.fileno()).st_size} {content}\n".encode())
            except OSError as error:
                raise TicketError(f"{path} cannot be read ({_short(error)}).") from error
        return digest.hexdigest()


def find(name, root):
    """Return the Files of a data set below a folder, or None."""
    return find_parquet(root, name) or find_archive(root, name)


def looked_for(name):
    """Say which files of a data set would be found: list of patterns."""
    folder, splits = name.replace("_", "-"), ("train", TEST_SPLIT[name])
    parquet = [f"{folder}/**/{split}-*.parquet or {split}/*.parquet" for split in splits]
    return [*parquet, ARCHIVES[name], EXTRACTED[name]] if name in ARCHIVES else parquet


def find_parquet(root, name):
    """Find a data set's parquet shards below a folder.

    Arguments: root: path, searched `DEPTH` levels down; name: a data set, whose folder (of its name, or the hub's cache
        of it, as datasets--uoft-cs--cifar10) must be on the way, and no other's after it.
    Returns: Files, or None if no folder holds both splits, each as train-00000-of-00001.parquet, ... or, as the hub
        converts it, as train/0000.parquet, ...
    """
    for folder in _folders(root):
        place = _place(root, folder, name)
        train, test = (_shards(folder, split) for split in ("train", TEST_SPLIT[name]))
        if place and train and test:
            counts = [f"{len(paths)} of {_shard_total(paths)} shards" for paths in (train, test)]
            source = f"parquet {place} ({counts[0]} train, {counts[1]} test)"
            lacks = ", ".join(filter(None, map(_lacking, (train, test))))
            return Files(train + test, source, partial(_read_shards, train, test, CLASSES[name]), lacks)
    return None


def _place(root, folder, name):
    """Return the path from the data set's own folder on, or None if the innermost such folder is another's."""
    above = root.resolve().parts
    parts = [part for part in above[:-2] if part.startswith("datasets--")]  # a hub's cache may be named from inside
    parts += above[-2:] + folder.relative_to(root).parts
    own = [i for i, part in enumerate(parts) if _data_set(part)]
    return "/".join(parts[own[-1] :]) if own and _data_set(parts[own[-1]]) == name else None


def _data_set(folder):
    """Return the data set that a folder's name stands for, or None."""
    bare = folder.rpartition("--")[2] if folder.startswith("datasets--") else folder
    name = bare.lower().replace("-", "_")
    return name if name in CLASSES else None


def _folders(root):
    """Yield the root and the folders below it, in order of name, down to `DEPTH` levels."""
    for folder, below, _ in os.walk(root, followlinks=True):
        below[:] = sorted(d for d in below if not d.startswith("."))
        if len(Path(folder).relative_to(root).parts) >= DEPTH:
            below.clear()
        yield Path(folder)


def _shards(folder, split):
    """Return the parquet files of one split in a folder, in order of name."""
    beside = [path for path in folder.glob(f"{split}*.parquet") if re.split(r"[-.]", path.name)[0] == split]
    return tuple(sorted(beside or (folder / split).glob("*.parquet")))


def _numbers(paths):
    """Return (number, total) of shards as their names say them, counted from 0; total is None where none is said."""
    names = [re.search(r"(\d+)(?:-of-(\d+))?$", path.stem) for path in paths]
    return [(int(name[1]), name[2] and int(name[2])) if name else (0, None) for name in names]


def _shard_total(paths):
    """Return of how many shards some are: what a name says, else what the highest number says."""
    numbers = _numbers(paths)
    return max((total for _, total in numbers if total), default=1 + max(number for number, _ in numbers))


def _lacking(paths):
    """Say which shards are not there; "" where all are."""
    lacking = sorted(set(range(_shard_total(paths))) - {number for number, _ in _numbers(paths)})
    return f"number {', '.join(map(str, lacking))} beside {paths[0].name}" if lacking else ""


# --- parquet ----------------------------------------------------------------------------------------------------------


def _read_shards(train, test, num_classes):
    """Return train and test (images, labels) and the class names; see `read_parquet`."""
    train, names = read_parquet(train, num_classes)
    return train, read_parquet(test, num_classes)[0], names


def read_parquet(paths, num_classes):
    """Decode the images of one split.

    Arguments: paths: parquet files, each with a struct column `img` or `image` that has `bytes`, and an integer
        column `fine_label` or `label`; num_classes: labels lie in 0 .. num_classes - 1.
    Returns: ((images uint8 (N, 3, H, H), labels int64 (N,)), class names); names are numbers where the files have none.
    Raises: TicketError naming file and row for whatever cannot be read, is too large, or does not fit the rest.
    """
    tables = [(path, _table(path)) for path in paths]
    total = sum(map(len, (table for _, table in tables)))
    if not total:
        raise TicketError(f"{paths[0]} holds no images.")
    images, labels, done = None, np.empty(total, np.int64), 0
    for path, table in tables:
        for row, (cell, label) in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
            image = _decode(cell and cell["bytes"], f"{path}, row {row}")
            if images is None:
                if total * image.size > MAX_DECODED:
                    raise TicketError(f"{path}: {total} images of {image.size} bytes exceed {MAX_DECODED} bytes.")
                images = np.empty((total, *image.shape), np.uint8)
            if image.shape != images.shape[1:]:
                sides = f"{image.shape[1]} pixels a side, the first one {images.shape[2]}"
                raise TicketError(f"{path}, row {row}: image has {sides}; all must agree.")
            if type(label) is not int or not 0 <= label < num_classes:
                raise TicketError(f"{path}, row {row}: label is {label!r}, allowed: 0 to {num_classes - 1}.")
            images[done], labels[done], done = image, label, done + 1
    return (images, labels), _class_names(*tables[0], num_classes)


def _table(path):
    """Read the columns of images and labels of a parquet file."""
    try:
        file = pq.ParquetFile(pa.BufferReader(path.read_bytes()))  # whole, so that nothing changes under the reader
        schema = file.schema_arrow
        named = [next((c for c in columns if c in schema.names), None) for columns in (IMAGE_COLUMNS, LABEL_COLUMNS)]
        kind = schema.field(named[0]).type if None not in named else None
        if kind is not None and pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return file.read([f"{named[0]}.bytes", named[1]]).select(named)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise TicketError(f"{path} is not a readable parquet file ({_short(error)}).") from error
    wanted = f"{' or '.join(IMAGE_COLUMNS)} (a struct with bytes) and {' or '.join(LABEL_COLUMNS)}"
    raise TicketError(f"{path} has the columns {', '.join(schema.names)}; needed: {wanted}.")


def _decode(encoded, what):
    """Return an encoded image as uint8 (3, H, H); `what` names it in errors."""
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:  # the header only; pixels come with convert
            width, height = image.size
            if width == height <= MAX_SIDE:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError) as error:
        reason = f"{_short(error)}; allowed: {', '.join(FORMATS)}"
        raise TicketError(f"{what}: image cannot be decoded ({reason}).") from error
    raise TicketError(f"{what}: image is {width}x{height} pixels, allowed: square, at most {MAX_SIDE}x{MAX_SIDE}.")


def _class_names(path, table, num_classes):
    """Return the class names of a file's Hugging Face metadata, or numbers where it has none."""
    try:
        features = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = next(features[c]["names"] for c in LABEL_COLUMNS if c in features)
    except (KeyError, TypeError, ValueError, StopIteration):
        return tuple(map(str, range(num_classes)))
    if not isinstance(names, list) or len(names) != num_classes:
        raise TicketError(f"{path} names {len(names)} classes, {num_classes} are expected.")
    return tuple(map(str, names))


def _short(error):
    """Return the first line of an error, without addresses of objects."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"<_io[^>]*>", "image", first)[:160].rstrip(".")


# --- CIFAR's archives -------------------------------------------------------------------------------------------------


def find_archive(root, name):
    """Return the Files of a CIFAR archive as torchvision downloads it, extracted or packed, or None."""
    for folder in _folders(root) if name in ARCHIVES else ():
        packed = folder / ARCHIVES[name]
        path = folder if folder.name == EXTRACTED[name] else packed
        if path == folder or os.path.isfile(packed):
            paths = tuple(sorted(p for p in path.iterdir() if p.is_file())) if path == folder else (path,)
            return Files(paths, f"torchvision {path.name}", partial(read_archive, name, path))
    return None


def read_archive(name, path):
    """Read a CIFAR archive.

    The archives are pickles. torchvision compares each file's md5 with its own list before it loads one.

    Arguments: name: a key of `ARCHIVES`; path: the archive, or the folder that it was extracted to.
    Returns: train and test (images uint8 (N, 3, 32, 32), labels int64 (N,)) and the class names.
    Raises: TicketError naming the archive where a file is missing or has another md5.
    """
    known = _torchvision(name)
    with tempfile.TemporaryDirectory() as unpacked:
        try:
            if path.is_file():
                _unpack(path, known.tgz_md5, unpacked)
            root = unpacked if path.is_file() else path.parent
            splits = [known(root, train=train) for train in (True, False)]
        except (RuntimeError, OSError, EOFError, tarfile.TarError) as error:
            raise TicketError(f"{path} is damaged or not complete ({_short(error)}).") from error
    arrays = [(np.ascontiguousarray(s.data.transpose(0, 3, 1, 2)), np.array(s.targets, np.int64)) for s in splits]
    return *arrays, tuple(splits[0].classes)


def _torchvision(name):
    """Return torchvision's class of a data set, which knows names, address and checksums."""
    from torchvision import datasets  # slow to import, and seldom needed

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _unpack(path, md5, folder):
    """Unpack an archive into a folder if it has the md5; RuntimeError if not."""
    from torchvision.datasets.utils import check_md5

    if not check_md5(path, md5):
        raise RuntimeError(f"its md5 is not {md5}")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")


def download(name, root):
    """Download a CIFAR archive by torchvision, which checks its md5; of several processes one does, the others wait.

    Returns: Files; the archive takes its name in the folder only once it is whole.
    Raises: TicketError for a data set torchvision does not offer, or a download that fails.
    """
    if name not in ARCHIVES:
        raise TicketError(f"Data set {name!r} cannot be downloaded; allowed: {', '.join(ARCHIVES)}.")
    from torchvision.datasets import utils

    known = _torchvision(name)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{known.filename}.lock"), tempfile.TemporaryDirectory(prefix=".", dir=root) as made:
            if not (root / known.filename).exists():  # else another process was first
                utils.download_url(known.url, made, known.filename, known.tgz_md5)
                (Path(made) / known.filename).replace(root / known.filename)
    except (OSError, RuntimeError) as error:
        raise TicketError(f"{known.url} cannot be downloaded to {root} ({_short(error)}).") from error
    return find_archive(root, name)
