"""Data sets: found, cached, checked, held out; and the batches drawn from them."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_files import CLASSES, write_cifar10

from ticketlib import archives, data, images
from ticketlib.errors import TicketError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TICKETLIB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def test_digits_are_bundled_and_fixed():
    digits = data.load("digits")
    assert digits.train.images.shape == (1437, 1, 8, 8) and digits.test.images.shape == (360, 1, 8, 8)
    assert digits.train.images.dtype == np.uint8 and digits.train.images.max() == 255
    assert set(np.bincount(digits.test.labels)) <= {35, 36, 37}  # of 174 to 183
    assert digits.fingerprint == "383f6120a2fc1f45"


def test_a_local_folder_is_read_exactly(tmp_path):
    pixels, labels = write_cifar10(tmp_path)
    found = data.load("cifar10", tmp_path)
    assert np.array_equal(found.train.images, pixels.transpose(0, 3, 1, 2)) and found.train.labels.tolist() == labels
    assert len(found.train) == 30 and len(found.test) == 20 and found.classes == CLASSES
    assert found.mean == pytest.approx(tuple((pixels / 255).mean((0, 1, 2))))
    assert found.std == pytest.approx(tuple((pixels / 255).std((0, 1, 2))))
    assert found.source == "parquet cifar10/plain_text (1 of 1 shards train, 1 of 1 shards test)"


def test_parameter_before_environment_before_data_folder(tmp_path, monkeypatch):
    prints = []
    for i, root in enumerate(("data", "named", "given")):
        write_cifar10(tmp_path / root, train=10 + i)
    prints.append(data.load("cifar10").fingerprint)
    monkeypatch.setenv("TICKETLIB_DATA", str(tmp_path / "named"))
    prints.append(data.load("cifar10").fingerprint)
    prints.append(data.load("cifar10", tmp_path / "given").fingerprint)
    assert prints == [data.load("cifar10", tmp_path / root).fingerprint for root in ("data", "named", "given")]
    assert len(set(prints)) == 3


def test_second_load_decodes_nothing(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    first = data.load("cifar10", tmp_path)
    monkeypatch.setattr(images, "read_parquet", lambda *_: pytest.fail("decoded again"))
    again = data.load("cifar10", tmp_path)
    assert (again.fingerprint, again.mean, again.classes) == (first.fingerprint, first.mean, first.classes)
    assert isinstance(again.train.images, np.memmap) and not again.train.images.flags.writeable


def test_the_fingerprint_follows_the_content(tmp_path):
    write_cifar10(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    write_cifar10(tmp_path / "c", train=29)
    a, b, c = (data.load("cifar10", tmp_path / root).fingerprint for root in "abc")
    assert a == b != c and len(a) == 16


@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_cache_is_made_again_and_said(tmp_path, file, damage):
    write_cifar10(tmp_path)
    first = data.load("cifar10", tmp_path)
    (cached,) = (tmp_path / "cache" / "data").iterdir()
    raw = bytearray((cached / file).read_bytes())
    raw[-3] ^= 1
    whole = {"flip": raw, "truncate": raw[: len(raw) // 2], "empty": b"", "remove": None}[damage]
    (cached / file).unlink()
    if whole is not None:
        (cached / file).write_bytes(whole)
    with pytest.warns(UserWarning, match="is damaged .* decoded again"):
        again = data.load("cifar10", tmp_path)
    assert again.fingerprint == first.fingerprint and np.array_equal(again.train.images, first.train.images)
    with warnings.catch_warnings(action="error"):
        assert data.load("cifar10", tmp_path).fingerprint == first.fingerprint
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 1


def test_without_a_cache_the_images_stay_in_memory(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    expected = data.load("cifar10", tmp_path).fingerprint
    (tmp_path / "file").touch()
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be cached"):
        assert data.load("cifar10", tmp_path).fingerprint == expected


def test_a_file_that_shrinks_while_read_is_refused(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    shard = tmp_path / "cifar10" / "plain_text" / "train-00000-of-00001.parquet"
    read = images.read_parquet

    def read_then_shrink(paths, num_classes):
        found = read(paths, num_classes)
        shard.write_bytes(shard.read_bytes()[:100])
        return found

    monkeypatch.setattr(images, "read_parquet", read_then_shrink)
    with pytest.raises(TicketError, match="changed while they were read"):
        data.load("cifar10", tmp_path)
    assert not (tmp_path / "cache").exists()


def test_a_missing_data_set_says_what_was_tried(tmp_path):
    with pytest.raises(TicketError) as caught:
        data.load("cifar10", tmp_path / "nowhere")
    wanted = ("'cifar10'", "nowhere", "no such folder", "train-*.parquet", "cifar-10-python.tar.gz", "TICKETLIB_DATA")
    assert [word for word in wanted if word not in str(caught.value)] == []


@pytest.mark.parametrize("root", [7, "a\0b", b"bytes"])
def test_a_root_that_is_no_path(root):
    with pytest.raises(TicketError, match="is not a path"):
        data.load("cifar10", root)


def test_an_unknown_data_set():
    with pytest.raises(TicketError, match="'mnist' is not known; allowed: digits, cifar10, cifar100, tiny_imagenet"):
        data.load("mnist")


def test_describe_is_one_line(tmp_path):
    write_cifar10(tmp_path)
    lines = [data.describe(name, tmp_path) for name in data.NAMES]
    assert all("\n" not in line and line.startswith(name) for name, line in zip(data.NAMES, lines, strict=True))
    assert "in " + str(tmp_path / "cifar10" / "plain_text") in lines[1] and "not found" in lines[2]


def test_nothing_is_downloaded_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "download", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(TicketError):
        data.load("cifar10", tmp_path)


def test_hold_out_by_class(tmp_path):
    digits = data.load("digits")
    held = data.hold_out(digits, 200, rng())
    assert len(held.test) == 200 and len(held.train) == 1237
    exact = np.bincount(digits.train.labels) * 200 / 1437
    assert (abs(np.bincount(held.test.labels) - exact) < 1).all()
    together = np.concatenate([held.train.images, held.test.images]).reshape(1437, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, digits.train.images.reshape(1437, -1)))
    assert held.source == "scikit-learn digits, 200 of 1437 training images held out as test"
    again, other = (data.hold_out(digits, 200, rng(seed)) for seed in (0, 1))
    assert held.fingerprint == again.fingerprint and len({x.fingerprint for x in (held, other, digits)}) == 3


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.data())
def test_hold_out_counts_are_exact(labels, draw):
    count = draw.draw(st.integers(1, len(labels) - 1))
    split = data.Split(np.zeros((len(labels), 1, 2, 2), np.uint8), np.array(labels))
    whole = data.Dataset("digits", tuple("01234"), split, split, (0.0,), (0.0,), "", "")
    held = data.hold_out(whole, count, rng())
    assert len(held.test) == count and len(held.train) == len(labels) - count
    assert sorted([*held.test.labels, *held.train.labels]) == sorted(labels)


@pytest.mark.parametrize("count", [0, -1, 1437])
def test_hold_out_refuses(count):
    with pytest.raises(TicketError, match=f"{count}, allowed: 1 to 1436"):
        data.hold_out(data.load("digits"), count, rng())


def test_balanced_batch():
    labels = np.repeat([2, 0, 1], [50, 20, 30])
    index = data.balanced_batch(labels, 7, 3, rng())
    assert index.dtype == torch.int64 and len(set(index.tolist())) == 21
    assert np.bincount(labels[index]).tolist() == [7, 7, 7]
    assert (np.diff(labels[index]) < 0).any() and (np.diff(labels[index]) > 0).any()  # not sorted by class
    assert not torch.equal(index, data.balanced_batch(labels, 7, 3, rng(1)))


def test_balanced_batch_names_the_class_that_is_too_small():
    with pytest.raises(TicketError, match="Class 1 has 2 images, 3 are needed"):
        data.balanced_batch([0, 0, 0, 1, 1], 3, 2, rng())
    with pytest.raises(TicketError, match="Class 2 has 0 images"):
        data.balanced_batch([0, 1], 1, 3, rng())
    with pytest.raises(TicketError, match="Label 4 is out of range, allowed: 0 to 1"):
        data.balanced_batch([0, 1, 4], 1, 2, rng())
    with pytest.raises(TicketError, match="Images a class are 0"):
        data.balanced_batch([0, 1], 0, 2, rng())
