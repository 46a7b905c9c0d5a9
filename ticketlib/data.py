"""Images to train on: found, decoded once, fingerprinted; held out; and the batch on which a pruner scores.

A data set is looked for below one folder, as parquet files in Hugging Face's layouts or as torchvision's archives of
CIFAR. What is decoded is kept as .npy files in a cache, and read as memory maps once its checksums fit.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock
from PIL import Image

from ticketlib.errors import TicketError, one_of

CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}
NAMES = tuple(CLASSES)
DIGITS_TEST = 360  # of 1,797

FOLDERS = {"cifar10": "cifar10", "cifar100": "cifar100", "tiny-imagenet": "tiny_imagenet"}  # folder -> data set
TEST_SPLIT = {"cifar10": "test", "cifar100": "test", "tiny_imagenet": "valid"}  # Tiny-ImageNet's own test is unlabelled
DEPTH = 5  # levels below the root that are searched
PARTS = ("07b02f7a255bb8a7",)  # keys of files known to be a part: 20,000 images of CIFAR-100, on which rows were made
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_SIDE = 4096  # pixels of one image's side
MAX_DECODED = 8 * 2**30  # bytes of one decoded split

ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
EXTRACTED = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}

DECODER = 1  # raised when the same files would decode to other arrays
ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
META = ("name", "classes", "mean", "std", "fingerprint")
UNREADABLE = (OSError, ValueError, LookupError, TypeError, EOFError)  # what `read_cache` raises for a damaged folder


# --- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, H) and their labels int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A data set as runs see it; mean and std (a channel each, images scaled to 0 .. 1) are those of `train`."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str  # 16 hex digits of the sha256 over shapes, images and labels of both splits
    source: str  # where it came from, free of this machine's paths


def measure(name, classes, train, test, source):
    """Measure two splits and return them as a Dataset."""
    mean, std = channel_moments(train.images)
    return Dataset(name, classes, train, test, mean, std, fingerprint_of(train, test), source)


def fingerprint_of(*splits):
    """Return 16 hex digits of the sha256 over shapes, images and labels."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(repr(split.images.shape).encode())
        digest.update(np.ascontiguousarray(split.images))
        digest.update(np.ascontiguousarray(split.labels, "<i8"))
    return digest.hexdigest()[:16]


def channel_moments(images):
    """Return mean and standard deviation of each channel of uint8 images (N, C, H, W) scaled to 0 .. 1."""
    total, squares = np.zeros((2, images.shape[1]), np.int64)  # integers: the same on every machine
    for start in range(0, len(images), 1000):
        chunk = images[start : start + 1000]
        total += chunk.sum((0, 2, 3), dtype=np.int64)
        squares += np.square(chunk, dtype=np.uint16).sum((0, 2, 3), dtype=np.int64)
    count = images.size // images.shape[1]
    mean = total / count
    std = np.sqrt(squares / count - mean**2)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


# --- loading ----------------------------------------------------------------------------------------------------------


def load(name, data_root=None, *, download=False):
    """Load a data set, decoding it once.

    Arguments: name: one of `NAMES`; data_root: folder to search, default the environment's TICKETLIB_DATA, else ./data;
        download: whether torchvision may fetch a CIFAR archive into that folder if nothing is found.
    Returns: Dataset, read-only, its arrays memory-mapped from the cache (digits: in memory).
    Raises: TicketError if it is not found (with what was tried), is not complete, or has a bad file (with its row).
    """
    if one_of("data set", name, NAMES) == "digits":
        return _digits()
    root, _ = _root(data_root)
    files = _find(name, root) or (_downloaded(name, root) if download else None)
    if files is None:
        raise TicketError(f"Data set {name!r} was not found: {_tried(name, data_root)}; {_ways(name)}.")
    key = files.key()
    if files.lacks and key[:16] not in PARTS:
        raise TicketError(f"Data set {name!r} in {files.where} lacks {files.lacks}; allowed: all of its shards.")
    return _cached(name, files, key)


def describe(name, data_root=None):
    """Say in one line where a data set is, or what was tried and how to provide it."""
    if one_of("data set", name, NAMES) == "digits":
        return "digits: bundled with scikit-learn, 1,797 images of 8x8 pixels"
    files = _find(name, _root(data_root)[0])
    if files is None:
        return f"{name}: not found; {_tried(name, data_root)}; {_ways(name)}"
    return f"{name}: {files.source}, in {files.where}"


def cache_folder():
    """Return the folder for what can be made again: $TICKETLIB_CACHE, else ~/.cache/ticketlib."""
    return Path(os.environ.get("TICKETLIB_CACHE") or Path.home() / ".cache" / "ticketlib")


def _root(data_root):
    """Return the folder to search and which setting named it."""
    named = ((data_root, "parameter data_root"), (os.environ.get("TICKETLIB_DATA"), "environment TICKETLIB_DATA"))
    root, setting = next((pair for pair in named if pair[0]), ("data", "the default"))
    if not isinstance(root, (str, os.PathLike)) or "\0" in str(root):
        raise TicketError(f"Folder {root!r} ({setting}) is not a path; allowed: the path of a folder.")
    return Path(os.path.expanduser(root)), setting


def _tried(name, data_root):
    """Say where a data set was looked for, and for what."""
    root, setting = _root(data_root)
    state = "" if os.path.isdir(root) else ", no such folder"
    folder = next(folder for folder, data_set in FOLDERS.items() if data_set == name)
    wanted = [f"{folder}/**/{split}-*.parquet or {split}/*.parquet" for split in ("train", TEST_SPLIT[name])]
    if name in ARCHIVES:
        wanted += [ARCHIVES[name], EXTRACTED[name]]
    return f"looked in {root} ({setting}{state}) for {', '.join(wanted)}"


def _ways(name):
    """Say how a data set can be provided."""
    offered = f", or call ticketlib.data.load({name!r}, download=True)" if name in ARCHIVES else ""
    return f"name the folder by data_root or TICKETLIB_DATA, put the files into ./data{offered}; digits need no files"


def _digits():
    """Return scikit-learn's handwritten digits, a fixed stratified split, grey values 0 .. 16 scaled to 0 .. 255."""
    from sklearn.datasets import load_digits  # slow to import, and only the digits need it

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    whole = Split(images, bunch.target.astype(np.int64))
    test = _stratified(whole.labels, DIGITS_TEST, torch.Generator().manual_seed(0))
    return measure("digits", tuple("0123456789"), *_split(whole, test), "scikit-learn digits")


# --- parts of a data set ----------------------------------------------------------------------------------------------


def hold_out(dataset, count, generator):
    """Set training images aside as the test split, class by class, so that the test images stay unseen.

    Arguments: dataset: Dataset; count: images to set aside, 1 to the number of training images less one, shared among
        the classes in proportion (largest fraction first, ties by class); generator: CPU torch.Generator.
    Returns: Dataset with a fingerprint, mean and std of its own; both splits keep the order of the images.
    Raises: TicketError if count is out of range.
    Source: the pilot of this book (page *The protocol*).
    """
    total = len(dataset.train)
    if not 0 < count < total:
        raise TicketError(f"Held-out count is {count}, allowed: 1 to {total - 1}.")
    train, test = _split(dataset.train, _stratified(dataset.train.labels, count, generator))
    source = f"{dataset.source}, {count} of {total} training images held out as test"
    return measure(dataset.name, dataset.classes, train, test, source)


def _split(split, chosen):
    """Return (the rest, the chosen images) of a split."""
    rest = np.setdiff1d(np.arange(len(split)), chosen)
    return tuple(Split(split.images[index], split.labels[index]) for index in (rest, chosen))


def _stratified(labels, count, generator):
    """Return `count` sorted indices, each class in proportion."""
    labels = torch.as_tensor(np.array(labels))
    sizes = torch.bincount(labels)
    quotas = sizes * count // len(labels)
    remainders = sizes * count - quotas * len(labels)
    quotas[torch.sort(remainders, descending=True, stable=True).indices[: count - int(quotas.sum())]] += 1
    return torch.cat(_draw(labels, quotas, generator)).sort().values.numpy()


def _draw(labels, quotas, generator):
    """Return for each class that many random indices of it."""
    order = torch.randperm(len(labels), generator=generator)
    order = order[torch.sort(labels[order], stable=True).indices]
    groups = order.split(torch.bincount(labels).tolist())
    return [group[:quota] for group, quota in zip(groups, quotas.tolist(), strict=True)]


def balanced_batch(labels, per_class, num_classes, generator):
    """Draw the images on which a pruner scores: the same number of every class, in random order.

    Arguments: labels: int64 (N,), as the scorer sees them (corrupted, where it is); per_class: images a class;
        num_classes: classes that must all be there; generator: CPU torch.Generator.
    Returns: LongTensor (num_classes * per_class,) of indices into `labels`.
    Raises: TicketError naming the first class with too few images, or a label out of range.
    Source: the paper's pruner/SNIP.py and pruner/GraSP.py, which take ten images a class.
    """
    labels = torch.as_tensor(np.array(labels))
    sizes = torch.bincount(labels, minlength=num_classes).tolist()
    if len(sizes) > num_classes:
        raise TicketError(f"Label {len(sizes) - 1} is out of range, allowed: 0 to {num_classes - 1}.")
    if per_class < 1:
        raise TicketError(f"Images a class are {per_class}, allowed: 1 or more.")
    for label, size in enumerate(sizes):
        if size < per_class:
            raise TicketError(f"Class {label} has {size} images, {per_class} are needed for a balanced batch.")
    index = torch.cat(_draw(labels, torch.full((num_classes,), per_class), generator))
    return index[torch.randperm(len(index), generator=generator)]


# --- files ------------------------------------------------------------------------------------------------------------


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


def _find(name, root):
    """Return the Files of a data set below a folder, or None."""
    return find_parquet(root, name) or find_archive(root, name)


def find_parquet(root, name):
    """Find a data set's parquet shards below a folder.

    Arguments: root: path, searched `DEPTH` levels down; name: a data set, whose folder (one of `FOLDERS`, or the hub's
        cache of it, as datasets--uoft-cs--cifar10) must be on the way, and no other's after it.
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
    return FOLDERS.get(bare.lower().replace("_", "-"))


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


def _downloaded(name, root):
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


# --- the cache --------------------------------------------------------------------------------------------------------


def _cached(name, files, key):
    """Return a data set from the cache, decoding it first where the cache lacks it or is damaged."""
    folder = cache_folder() / "data" / f"{name}-{DECODER}-{key[:16]}"
    if os.path.exists(folder):
        try:
            return read_cache(folder, files.source)
        except UNREADABLE as error:
            warnings.warn(f"Cached {name} in {folder} is damaged ({error}); it is decoded again.", stacklevel=3)
            with contextlib.suppress(OSError):  # a folder that cannot be removed is read again below, and fails again
                discard(folder)
    train, test, classes = files.read()
    if files.key() != key:
        raise TicketError(f"The files of {name} in {files.where} changed while they were read; allowed: files at rest.")
    dataset = measure(name, classes, Split(*train), Split(*test), files.source)
    try:
        write_cache(dataset, folder)
        return read_cache(folder, files.source)
    except UNREADABLE as error:
        warnings.warn(f"{name} cannot be cached ({error}); it stays in memory and is decoded each time.", stacklevel=3)
        return dataset


def write_cache(dataset, folder):
    """Store a data set as a folder of .npy files, complete or not at all; a folder that is there stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    arrays = dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels
    try:
        for name, array in zip(ARRAYS, arrays, strict=True):
            np.save(made / name, array, allow_pickle=False)
        meta = {key: getattr(dataset, key) for key in META} | {"files": _file_digests(made)}
        (made / "meta.json").write_text(json.dumps({"meta": meta, "seal": _seal(meta)}))
        made.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)  # what an error or an interrupt left


def read_cache(folder, source):
    """Return a cached data set.

    Arguments: folder: as written by `write_cache`; source: the field of that name.
    Returns: Dataset of read-only memory maps.
    Raises: one of UNREADABLE if anything is not as it was written.
    """
    sealed = json.loads((folder / "meta.json").read_text())
    if _seal(sealed["meta"]) != sealed["seal"] or _file_digests(folder) != sealed["meta"]["files"]:
        raise ValueError("checksums differ")
    arrays = [np.load(folder / file, mmap_mode="r", allow_pickle=False) for file in ARRAYS]
    name, classes, mean, std, fingerprint = (sealed["meta"][key] for key in META)
    train, test = Split(*arrays[:2]), Split(*arrays[2:])
    return Dataset(name, tuple(classes), train, test, tuple(mean), tuple(std), fingerprint, source)


def discard(folder):
    """Remove a cached data set in one step, so that nobody reads half of it."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    folder.rename(aside / "damaged")
    shutil.rmtree(aside)


def _file_digests(folder):
    """Return the sha256 (hex) of each array's file."""
    digests = {}
    for name in ARRAYS:
        with open(folder / name, "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _seal(meta):
    """Return the sha256 (hex) of a JSON value."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
