"""The cache of decoded images: complete or absent, first come first kept, never believed unchecked."""

import json
import os

import numpy as np
import pytest

from ticketlib import store
from ticketlib.data import UNREADABLE


@pytest.fixture
def dataset():
    random = np.random.default_rng(0)
    train, test = (
        store.Split(random.integers(0, 256, (n, 2, 4, 4), dtype=np.uint8), random.integers(0, 3, n)) for n in (6, 4)
    )
    return store.measure("digits", ("a", "b", "c"), train, test, "toy")


def test_what_is_written_is_read(dataset, tmp_path):
    store.write(dataset, tmp_path / "set")
    found = store.read(tmp_path / "set", "elsewhere")
    assert np.array_equal(found.train.images, dataset.train.images)
    assert np.array_equal(found.test.labels, dataset.test.labels)
    assert (found.mean, found.std, found.classes) == (dataset.mean, dataset.std, dataset.classes)
    assert found.fingerprint == dataset.fingerprint and found.source == "elsewhere"
    assert os.listdir(tmp_path) == ["set"]


def test_moments_against_numpy(dataset):
    images = dataset.train.images / 255
    assert dataset.mean == pytest.approx(tuple(images.mean((0, 2, 3))))
    assert dataset.std == pytest.approx(tuple(images.std((0, 2, 3))))


def test_moments_of_many_images_do_not_overflow():
    mean, std = store.channel_moments(np.full((2001, 1, 64, 64), 255, np.uint8))
    assert mean == (1.0,) and std == (0.0,)


def test_the_fingerprint_covers_shapes_images_and_labels_of_both_splits(dataset):
    train, test = dataset.train, dataset.test
    other = [
        (test, train),
        (store.Split(train.images.reshape(6, 1, 4, 8), train.labels), test),
        (store.Split(train.images ^ (np.arange(192).reshape(6, 2, 4, 4) == 7).astype(np.uint8), train.labels), test),
        (train, store.Split(test.images, test.labels + (np.arange(4) == 3))),
    ]
    prints = {store.fingerprint_of(*splits) for splits in [(train, test), *other]}
    assert len(prints) == 5


def test_another_process_that_was_first_wins(dataset, tmp_path):
    store.write(dataset, tmp_path / "set")
    inode = (tmp_path / "set").stat().st_ino
    store.write(dataset, tmp_path / "set")
    assert (tmp_path / "set").stat().st_ino == inode and os.listdir(tmp_path) == ["set"]


def test_a_full_disk_leaves_nothing(dataset, tmp_path, monkeypatch):
    def full(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(dataset, tmp_path / "set")
    assert os.listdir(tmp_path) == []


def test_an_interrupt_leaves_nothing(dataset, tmp_path, monkeypatch):
    def interrupted(path, *_, **__):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(dataset, tmp_path / "set")
    assert os.listdir(tmp_path) == []


def test_every_damaged_byte_is_found_or_means_nothing(dataset, tmp_path):
    store.write(dataset, tmp_path / "set")
    random = np.random.default_rng(0)
    for file in sorted((tmp_path / "set").iterdir()):
        whole = file.read_bytes()
        for place in random.integers(0, len(whole), 60):
            raw = bytearray(whole)
            raw[place] ^= 1 << random.integers(8)
            file.write_bytes(raw)
            try:
                found = store.read(tmp_path / "set", "")
            except UNREADABLE:
                continue
            assert np.array_equal(found.train.images, dataset.train.images) and found.mean == dataset.mean
            assert np.array_equal(found.train.labels, dataset.train.labels) and found.classes == dataset.classes
        file.write_bytes(whole)


def test_nothing_is_unpickled(dataset, tmp_path, monkeypatch):
    store.write(dataset, tmp_path / "set")
    meta = tmp_path / "set" / "meta.json"
    np.save(tmp_path / "set" / "test_labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    monkeypatch.setattr(store, "_file_digests", lambda _: json.loads(meta.read_text())["meta"]["files"])
    with pytest.raises(ValueError, match="Python objects in dtype"):
        store.read(tmp_path / "set", "")


def test_discard_removes_the_folder(dataset, tmp_path):
    store.write(dataset, tmp_path / "set")
    store.discard(tmp_path / "set")
    assert os.listdir(tmp_path) == []
