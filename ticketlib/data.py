"""Images to train on: found, decoded once, checked, held in memory maps."""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
import torch

from ticketlib import archives
from ticketlib.errors import TicketError, one_of
from ticketlib.images import FOLDERS, TEST_SPLIT, find_parquet
from ticketlib.store import Dataset, Split, discard, measure, read, write

CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}
NAMES = tuple(CLASSES)
DIGITS_TEST = 360  # of 1,797
DECODER = 1  # raised when the same files would decode to other arrays
UNREADABLE = (OSError, ValueError, LookupError, TypeError, EOFError)  # what `read` raises for a damaged folder
__all__ = ["NAMES", "Dataset", "Split", "balanced_batch", "cache_folder", "describe", "hold_out", "load"]


def load(name, data_root=None, *, download=False):
    """Load a data set, decoding it once.

    Arguments: name: one of `NAMES`; data_root: folder to search, default the environment's TICKETLIB_DATA, else ./data;
        download: whether torchvision may fetch a CIFAR archive into that folder if nothing is found.
    Returns: Dataset, read-only, its arrays memory-mapped from the cache (digits: in memory).
    Raises: TicketError if it is not found (with what was tried), or a file of it is bad (with file and row).
    """
    if one_of("data set", name, NAMES) == "digits":
        return _digits()
    files = _find(name, data_root)
    if files is None and download:
        files = archives.download(_root(data_root)[0], name)
    if files is None:
        raise TicketError(f"Data set {name!r} was not found: {_tried(name, data_root)}; {_ways(name)}.")
    return _cached(name, files)


def describe(name, data_root=None):
    """Say in one line where a data set is, or what was tried and how to provide it."""
    if one_of("data set", name, NAMES) == "digits":
        return "digits: bundled with scikit-learn, 1,797 images of 8x8 pixels"
    files = _find(name, data_root)
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


def _find(name, data_root):
    """Return the files of a data set, or None."""
    root, _ = _root(data_root)
    return find_parquet(root, name) or archives.find_archive(root, name)


def _tried(name, data_root):
    """Say where a data set was looked for, and for what."""
    root, setting = _root(data_root)
    state = "" if os.path.isdir(root) else ", no such folder"
    wanted = [f"{FOLDERS[name][0]}/**/{split}-*.parquet" for split in ("train", TEST_SPLIT[name])]
    if name in archives.ARCHIVES:
        wanted += [archives.ARCHIVES[name], archives.EXTRACTED[name]]
    return f"looked in {root} ({setting}{state}) for {', '.join(wanted)}"


def _ways(name):
    """Say how a data set can be provided."""
    offered = f", or call ticketlib.data.load({name!r}, download=True)" if name in archives.ARCHIVES else ""
    return f"name the folder by data_root or TICKETLIB_DATA, put the files into ./data{offered}; digits need no files"


def _digits():
    """Return scikit-learn's handwritten digits, a fixed stratified split, grey values 0 .. 16 scaled to 0 .. 255."""
    from sklearn.datasets import load_digits  # slow to import, and only the digits need it

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    whole = Split(images, bunch.target.astype(np.int64))
    test = _stratified(whole.labels, DIGITS_TEST, torch.Generator().manual_seed(0))
    return measure("digits", tuple("0123456789"), *_split(whole, test), "scikit-learn digits")


def _cached(name, files):
    """Return a data set from the cache, decoding it first where the cache lacks it or is damaged."""
    key = files.key()
    folder = cache_folder() / "data" / f"{name}-{DECODER}-{key[:16]}"
    if os.path.exists(folder):
        try:
            return read(folder, files.source)
        except UNREADABLE as error:
            warnings.warn(f"Cached {name} in {folder} is damaged ({error}); it is decoded again.", stacklevel=3)
            with contextlib.suppress(OSError):  # a folder that cannot be removed is read again below, and fails again
                discard(folder)
    dataset = _decoded(name, files, key)
    try:
        write(dataset, folder)
        return read(folder, files.source)
    except UNREADABLE as error:
        warnings.warn(f"{name} cannot be cached ({error}); it stays in memory and is decoded each time.", stacklevel=3)
        return dataset


def _decoded(name, files, key):
    """Return a data set decoded from its files, which must have the same content after as before."""
    train, test, classes = files.read(CLASSES[name])
    if files.key() != key:
        raise TicketError(f"The files of {name} in {files.where} changed while they were read; allowed: files at rest.")
    return measure(name, classes, Split(*train), Split(*test), files.source)


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
