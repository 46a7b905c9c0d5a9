"""Data sets as values: splits, what is measured of them, and the checked cache of decoded images on disk."""

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
META = ("name", "classes", "mean", "std", "fingerprint")


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


def write(dataset, folder):
    """Store a data set as a folder of .npy files, complete or not at all; a folder that is there stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, array in zip(ARRAYS, _arrays(dataset), strict=True):
            np.save(made / name, array, allow_pickle=False)
        meta = {key: getattr(dataset, key) for key in META} | {"files": _file_digests(made)}
        (made / "meta.json").write_text(json.dumps({"meta": meta, "seal": _seal(meta)}))
        made.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)  # what an error or an interrupt left


def discard(folder):
    """Remove a cached data set in one step, so that nobody reads half of it."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    folder.rename(aside / "damaged")
    shutil.rmtree(aside)


def read(folder, source):
    """Return a cached data set.

    Arguments: folder: as written by `write`; source: the field of that name.
    Returns: Dataset of read-only memory maps.
    Raises: ValueError, OSError, LookupError, TypeError or EOFError if anything is not as it was written.
    """
    sealed = json.loads((folder / "meta.json").read_text())
    meta = sealed["meta"]
    if _seal(meta) != sealed["seal"] or _file_digests(folder) != meta["files"]:
        raise ValueError("checksums differ")
    arrays = [np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ARRAYS]
    name, classes, mean, std, fingerprint = (meta[key] for key in META)
    train, test = Split(*arrays[:2]), Split(*arrays[2:])
    return Dataset(name, tuple(classes), train, test, tuple(mean), tuple(std), fingerprint, source)


def _arrays(dataset):
    """Return the four arrays of a data set, in the order of `ARRAYS`."""
    return dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels


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
