"""CIFAR archives: read as Python 2 wrote them, refused when their md5 differs, and never executed."""

import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from torchvision import datasets

from ticketlib import archives, data
from ticketlib.errors import TicketError


def text(value):
    """Return a string as Python 2 pickles it: one length byte, or four."""
    raw = value if isinstance(value, bytes) else value.encode()
    return (b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))) + raw + b"q\x01"


def listed(items):
    """Return a list of pickled items as Python 2 pickles it, in portions (1,000 there, 7 here)."""
    portions = [b"(" + b"".join(items[i : i + 7]) + b"e" for i in range(0, len(items), 7)]
    return b"]q\x02" + b"".join(portions)


def array(images, order):
    """Return uint8 images (N, 3072) as Python 2's numpy pickles them, in C or Fortran order."""
    start = b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01"
    shape = b"M" + struct.pack("<H", len(images)) + b"M\x00\x0c\x86"
    kind = b"cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return start + shape + kind + (b"\x89" if order == "C" else b"\x88") + text(images.tobytes(order)) + b"tb"


def batch(images, labels, key="labels", order="C"):
    """Return one CIFAR batch file."""
    numbers = listed([b"K" + bytes([label]) for label in labels])
    entries = [text("batch_label") + text("batch 1 of 5"), text(key) + numbers, text("data") + array(images, order)]
    return b"\x80\x02}q\x00(" + b"".join(entries) + b"u."


def test_the_toy_batch_is_what_python_2_would_write():
    images = np.arange(2 * 3072, dtype=np.int64).astype(np.uint8).reshape(2, 3072)
    for order in "CF":
        loaded = pickle.loads(batch(images, [3, 9], order=order), encoding="latin1")
        assert loaded["labels"] == [3, 9] and np.array_equal(loaded["data"], images)


@pytest.fixture(params=[("cifar10", "C"), ("cifar10", "F"), ("cifar100", "C")], ids=lambda p: "".join(p))
def cifar(request, tmp_path, monkeypatch):
    """A toy data set on disk, packed and extracted, with torchvision's checksums made its own."""
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    name, order = request.param
    known, classes = getattr(datasets, archives.TORCHVISION[name]), {"cifar10": 10, "cifar100": 100}[name]
    random = np.random.default_rng(0)
    key, expected, files = ("labels" if classes == 10 else "fine_labels"), {}, {}
    for file, _ in known.train_list + known.test_list:
        images, labels = random.integers(0, 256, (9, 3072), dtype=np.uint8), random.integers(0, classes, 9)
        expected[file], files[file] = (images, labels), batch(images, labels.tolist(), key, order)
    names = listed([text(f"class {i}") for i in range(classes)])
    meta = known.meta["filename"]
    files[meta] = b"\x80\x02}q\x00(" + text(known.meta["key"]) + names + text("num_vis") + b"M\x00\x0cu."
    for attribute in ("train_list", "test_list"):
        listing = [[file, hashlib.md5(files[file]).hexdigest()] for file, _ in getattr(known, attribute)]
        monkeypatch.setattr(known, attribute, listing)
    monkeypatch.setattr(known, "meta", known.meta | {"md5": hashlib.md5(files[meta]).hexdigest()})
    extract(tmp_path / "extracted" / archives.EXTRACTED[name], files)
    packed = pack(tmp_path / "packed" / archives.ARCHIVES[name], archives.EXTRACTED[name], files)
    monkeypatch.setattr(known, "tgz_md5", hashlib.md5(packed.read_bytes()).hexdigest())
    return name, tmp_path, expected


def extract(folder, files):
    """Write files into a folder."""
    folder.mkdir(parents=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def pack(path, base, files):
    """Write files into a tar.gz below the folder `base`; returns its path."""
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"{base}/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


@pytest.mark.parametrize("form", ["packed", "extracted"])
def test_images_and_labels_come_back_exactly(cifar, form, monkeypatch):
    name, root, expected = cifar
    for function in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, function, lambda *_, **__: pytest.fail("something was unpickled"))
    found = data.load(name, root / form)
    batches = list(expected.values())
    images, labels = (np.concatenate(part) for part in zip(*batches[:-1], strict=True))
    assert np.array_equal(found.train.images, images.reshape(-1, 3, 32, 32))
    assert np.array_equal(found.train.labels, labels) and np.array_equal(found.test.labels, batches[-1][1])
    assert found.classes[:2] == ("class 0", "class 1") and "/" not in found.source
    assert data.load(name, root / form).fingerprint == found.fingerprint


@pytest.mark.parametrize("form", ["packed", "extracted"])
def test_a_flipped_bit_is_found_by_its_md5(cifar, form):
    name, root, _ = cifar
    file = next(path for path in sorted((root / form).rglob("*")) if path.is_file())
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(TicketError, match="is damaged: its md5 is not"):
        data.load(name, root / form)


def test_a_missing_batch_is_named(cifar):
    name, root, _ = cifar
    file = getattr(datasets, archives.TORCHVISION[name]).test_list[0][0]
    (root / "extracted" / archives.EXTRACTED[name] / file).unlink()
    with pytest.raises(TicketError, match=f"{file} cannot be read"):
        data.load(name, root / "extracted")


class Trap:
    """A pickle that would fail the test if it were loaded."""

    def __reduce__(self):
        return pytest.fail, ("the pickle was executed",)


@pytest.mark.parametrize("raw", [pickle.dumps(Trap()), b"no pickle", b"\x80\x02}q\x00u.", b""])
def test_whatever_a_file_holds_is_not_executed(cifar, raw, monkeypatch):
    name, root, _ = cifar
    known = getattr(datasets, archives.TORCHVISION[name])
    file = known.train_list[0][0]
    monkeypatch.setattr(known, "train_list", [[file, hashlib.md5(raw).hexdigest()]])
    (root / "extracted" / archives.EXTRACTED[name] / file).write_bytes(raw)
    with pytest.raises(TicketError, match=f"{file} does not have the layout of a CIFAR batch"):
        data.load(name, root / "extracted")


def test_download_when_asked_for(cifar, monkeypatch):
    name, root, _ = cifar
    packed = root / "packed" / archives.ARCHIVES[name]

    def fetch(url, folder, filename, md5):
        assert url.startswith("https://") and filename == packed.name and md5
        (root / "new").mkdir()
        (root / "new" / filename).write_bytes(packed.read_bytes())

    monkeypatch.setattr(datasets.utils, "download_url", fetch)
    found = data.load(name, root / "new", download=True)
    assert found.source == f"torchvision {packed.name}" and len(found.test) == 9


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("File not found or corrupted.")])
def test_a_failed_download_is_said(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(datasets.utils, "download_url", fail)
    with pytest.raises(TicketError, match="cannot be downloaded"):
        data.load("cifar10", tmp_path, download=True)


def test_what_cannot_be_downloaded(tmp_path):
    with pytest.raises(TicketError, match="'tiny_imagenet' cannot be downloaded; allowed: cifar10, cifar100"):
        data.load("tiny_imagenet", tmp_path, download=True)
