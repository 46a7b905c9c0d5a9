"""Data sets: loaded from the folder that is named, cached, held out; the batch of a pruner."""

import json
import os
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shards import CLASSES, write_cifar10, write_splits

from ticketlib import data, image_files
from ticketlib.errors import TicketError

pytestmark = pytest.mark.usefixtures("own_folders")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# --- values


def toy(seed=0):
    random = np.random.default_rng(seed)
    train, test = (
        data.Split(random.integers(0, 256, (n, 2, 4, 4), dtype=np.uint8), random.integers(0, 3, n)) for n in (6, 4)
    )
    return data.measure("digits", ("a", "b", "c"), train, test, "toy")


def test_digits_are_bundled_and_fixed():
    digits = data.load("digits")
    assert digits.train.images.shape == (1437, 1, 8, 8) and digits.test.images.shape == (360, 1, 8, 8)
    assert digits.train.images.dtype == np.uint8 and digits.train.images.max() == 255
    assert set(np.bincount(digits.test.labels)) <= {35, 36, 37}  # of 174 to 183
    assert digits.fingerprint == "383f6120a2fc1f45" and digits.classes == tuple("0123456789")


def test_moments_against_numpy():
    images = toy().train.images / 255
    assert toy().mean == pytest.approx(tuple(images.mean((0, 2, 3))))
    assert toy().std == pytest.approx(tuple(images.std((0, 2, 3))))
    random = np.random.default_rng(1).integers(200, 256, (2001, 1, 2, 2), dtype=np.uint8)  # more than one portion
    assert data.channel_moments(random)[0] == pytest.approx([random.mean() / 255])
    assert data.channel_moments(np.full((2001, 1, 64, 64), 255, np.uint8)) == ((1.0,), (0.0,))  # nothing overflows


def test_the_fingerprint_covers_shapes_images_and_labels_of_both_splits():
    train, test = toy().train, toy().test
    other = [
        (test, train),
        (data.Split(train.images.reshape(6, 1, 4, 8), train.labels), test),
        (data.Split(train.images ^ (np.arange(192).reshape(6, 2, 4, 4) == 7).astype(np.uint8), train.labels), test),
        (train, data.Split(test.images, test.labels + (np.arange(4) == 3))),
    ]
    assert len({data.fingerprint_of(*splits) for splits in [(train, test), *other]}) == 5
    assert data.fingerprint_of(train, test) == "18eccdf356b91b1c"  # frozen: names of runs hang on it


# --- held out, and the batch of a pruner


def test_hold_out_by_class():
    digits = data.load("digits")
    held = data.hold_out(digits, 200, rng())
    assert len(held.test) == 200 and len(held.train) == 1237
    exact = np.bincount(digits.train.labels) * 200 / 1437
    assert (abs(np.bincount(held.test.labels) - exact) < 1).all()
    together = np.concatenate([held.train.images, held.test.images]).reshape(1437, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, digits.train.images.reshape(1437, -1)))
    again, other = (data.hold_out(digits, 200, rng(seed)) for seed in (0, 1))
    assert held.fingerprint == again.fingerprint and len({x.fingerprint for x in (held, other, digits)}) == 3


def test_hold_out_gives_what_is_left_to_the_largest_fractions():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    split = data.Split(np.zeros((10, 1, 2, 2), np.uint8), labels)
    whole = data.Dataset("digits", tuple("012"), split, split, (0.0,), (0.0,), "", "")
    assert np.bincount(data.hold_out(whole, 4, rng()).test.labels).tolist() == [2, 1, 1]  # 2, 1.2, .8


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.data())
def test_hold_out_counts_are_exact(labels, draw):
    count = draw.draw(st.integers(1, len(labels) - 1))
    split = data.Split(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), np.array(labels))
    whole = data.Dataset("digits", tuple("01234"), split, split, (0.0,), (0.0,), "", "")
    held = data.hold_out(whole, count, rng())
    assert len(held.test) == count and len(held.train) == len(labels) - count
    for part in (held.train, held.test):
        places = part.images.ravel()
        assert (np.diff(places.astype(int)) > 0).all() and (np.array(labels)[places] == part.labels).all()


@pytest.mark.parametrize("count", [0, 1437])
def test_hold_out_refuses(count):
    with pytest.raises(TicketError, match=str(count)):
        data.hold_out(data.load("digits"), count, rng())


def test_balanced_batch():
    labels = np.repeat([2, 0, 1], [50, 20, 30])
    index = data.balanced_batch(labels, 20, 3, rng())
    assert index.dtype == torch.int64 and len(set(index.tolist())) == 60
    assert np.bincount(labels[index]).tolist() == [20, 20, 20]
    assert (np.diff(labels[index]) < 0).any() and (np.diff(labels[index]) > 0).any()  # not sorted by class
    assert not torch.equal(index, data.balanced_batch(labels, 20, 3, rng(1)))


@pytest.mark.parametrize(("labels", "per_class", "classes", "named"), [
    ([0, 0, 0, 1, 1], 3, 2, "Class 1 has 2"), ([0, 1], 1, 3, "Class 2"), ([0, 1, 2], 1, 2, "Label 2.*0 to 1"),
    ([0, 1], 0, 2, "0"),
])  # fmt: skip
def test_a_batch_that_cannot_be_drawn(labels, per_class, classes, named):
    with pytest.raises(TicketError, match=named):
        data.balanced_batch(labels, per_class, classes, rng())


# --- found


def test_a_local_folder_is_read_exactly(tmp_path):
    given_pixels, labels = write_cifar10(tmp_path)
    found = data.load("cifar10", tmp_path)
    assert np.array_equal(found.train.images, given_pixels.transpose(0, 3, 1, 2))
    assert found.train.labels.tolist() == labels and len(found.test) == 20 and found.classes == CLASSES
    assert found.mean == pytest.approx(tuple((given_pixels / 255).mean((0, 1, 2))))
    assert found.source == "parquet cifar10/plain_text (1 of 1 shards train, 1 of 1 shards test)"  # as in rows


def test_parameter_before_environment_before_data_folder(tmp_path, monkeypatch):
    sizes = []
    for i, root in enumerate(("data", "named", "given")):
        write_cifar10(tmp_path / root, train=10 + i)
    sizes.append(len(data.load("cifar10").train))
    monkeypatch.setenv("TICKETLIB_DATA", str(tmp_path / "named"))
    sizes.append(len(data.load("cifar10").train))
    assert [*sizes, len(data.load("cifar10", tmp_path / "given").train)] == [10, 11, 12]


@pytest.mark.parametrize(("names", "lacking"), [
    (["train-00000-of-00002"], "number 1"), (["train-00001-of-00003"], "number 0, 2"), (["train/0001"], "number 0"),
])  # fmt: skip
def test_one_shard_of_several_is_refused_naming_what_lacks(tmp_path, monkeypatch, names, lacking):
    write_splits(tmp_path / "cifar10", names[0], "test/0000" if "/" in names[0] else "test-00000-of-00001")
    with pytest.raises(TicketError, match=f"lacks {lacking} beside"):
        data.load("cifar10", tmp_path)
    monkeypatch.setattr(data, "PARTS", (image_files.find_parquet(tmp_path, "cifar10").key()[:16],))
    assert len(data.load("cifar10", tmp_path).train) == 1  # a part on which rows were made


def test_the_cache_lies_in_the_home_folder_unless_it_is_named(tmp_path, monkeypatch):
    assert data.cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("TICKETLIB_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.cache_folder() == tmp_path / ".cache" / "ticketlib"


def test_a_missing_data_set_names_the_folder(tmp_path):
    with pytest.raises(TicketError, match="'cifar10'.*nowhere.*cifar10/"):
        data.load("cifar10", tmp_path / "nowhere")
    with pytest.raises(TicketError, match="'mnist'"):
        data.load("mnist")
    for root in (7, "a\0b", b"bytes"):
        with pytest.raises(TicketError, match="not a path"):
            data.load("cifar10", root)


# --- the cache


def test_second_load_decodes_nothing(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    first = data.load("cifar10", tmp_path)
    monkeypatch.setattr(image_files, "read_parquet", lambda *_: pytest.fail("decoded again"))
    again = data.load("cifar10", tmp_path)
    for what in ("fingerprint", "mean", "std", "classes", "source"):
        assert getattr(again, what) == getattr(first, what)
    assert isinstance(again.train.images, np.memmap) and not again.train.images.flags.writeable


@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_cache_is_made_again_and_said(tmp_path, file, damage):
    write_cifar10(tmp_path)
    first = data.load("cifar10", tmp_path)
    (cached,) = (tmp_path / "cache" / "data").iterdir()
    raw = bytearray((cached / file).read_bytes())
    raw[-3] ^= 1
    (cached / file).unlink()
    if damage != "remove":
        (cached / file).write_bytes(raw if damage == "flip" else raw[: len(raw) // 2])
    with pytest.warns(UserWarning, match="damaged"):
        assert np.array_equal(data.load("cifar10", tmp_path).train.images, first.train.images)
    with warnings.catch_warnings(action="error"):
        assert data.load("cifar10", tmp_path).fingerprint == first.fingerprint
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 1


def test_every_damaged_byte_is_found_or_means_nothing(tmp_path):
    data.write_cache(toy(), tmp_path / "set")
    random = np.random.default_rng(0)
    for file in sorted((tmp_path / "set").iterdir()):
        whole = file.read_bytes()
        for place in random.integers(0, len(whole), 60):
            raw = bytearray(whole)
            raw[place] ^= 1 << random.integers(8)
            file.write_bytes(raw)
            try:
                found = data.read_cache(tmp_path / "set", "")
            except data.UNREADABLE:
                continue
            assert np.array_equal(found.train.images, toy().train.images) and found.mean == toy().mean
            assert np.array_equal(found.train.labels, toy().train.labels) and found.classes == toy().classes
            assert found.train.images.dtype == np.uint8 and found.train.labels.dtype == np.int64
        file.write_bytes(whole)


def test_nothing_cached_is_unpickled(tmp_path, monkeypatch):
    data.write_cache(toy(), tmp_path / "set")
    np.save(tmp_path / "set" / "test_labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    meta = json.loads((tmp_path / "set" / "meta.json").read_text())["meta"]
    monkeypatch.setattr(data, "_file_digests", lambda _: meta["files"])
    with pytest.raises(ValueError, match="Python objects in dtype"):
        data.read_cache(tmp_path / "set", "")


def test_another_process_that_was_first_wins(tmp_path):
    for _ in range(2):
        data.write_cache(toy(), tmp_path / "set")
    assert os.listdir(tmp_path) == ["set"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interrupt_leaves_nothing(tmp_path, monkeypatch, error):
    def broken(path, *_, **__):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(np, "save", broken)
    with pytest.raises(type(error)):
        data.write_cache(toy(), tmp_path / "set")
    assert os.listdir(tmp_path) == []


def test_without_a_cache_the_images_stay_in_memory(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    expected = data.load("cifar10", tmp_path).fingerprint
    (tmp_path / "file").touch()
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be cached"):
        assert data.load("cifar10", tmp_path).fingerprint == expected
