"""Images to train on: decoded once, fingerprinted; held out; and the batch on which a pruner scores.

A data set is looked for below one folder, by `image_files`. What is decoded is kept as .npy files in a cache, and read
as memory maps once its checksums fit.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ticketlib import image_files
from ticketlib.errors import TicketError, one_of

CLASSES = {"digits": 10} | image_files.CLASSES
NAMES = tuple(CLASSES)
DIGITS_TEST = 360  # of 1,797

PARTS = ("07b02f7a255bb8a7",)  # keys of files known to be a part: 20,000 images of CIFAR-100, on which rows were made

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
    files = image_files.find(name, root) or (image_files.download(name, root) if download else None)
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
    files = image_files.find(name, _root(data_root)[0])
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
    return f"looked in {root} ({setting}{state}) for {', '.join(image_files.looked_for(name))}"


def _ways(name):
    """Say how a data set can be provided."""
    offered = f", or call ticketlib.data.load({name!r}, download=True)" if name in image_files.ARCHIVES else ""
    return f"name the folder by data_root or TICKETLIB_DATA, put the files into ./data{offered}; digits need no files"


def _digits():
    """Return scikit-learn's handwritten digits, a fixed stratified split, grey values 0 .. 16 scaled to 0 .. 255."""
    # the file that sklearn.datasets.load_digits reads: to import that takes every process of a run over a second
    file = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",").astype(np.int64)
    images = np.rint(table[:, :64].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    whole = Split(images, table[:, 64])
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
