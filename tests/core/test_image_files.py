"""Image files: found in every promised layout, decoded exactly; bad files refused by name and row."""

import hashlib
import io
import multiprocessing
import pickle
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from shards import CLASSES, encode, pixels, write_shard, write_splits
from torchvision import datasets

from ticketlib import data, image_files
from ticketlib.errors import TicketError

pytestmark = pytest.mark.usefixtures("own_folders")


# --- found


@pytest.mark.parametrize(("root", "folder"), [
    (".", "cifar10"), (".", "some/where/CIFAR10/plain_text"), ("cifar10/plain_text", "."),
    (".", "hub/datasets--uoft-cs--cifar10/snapshots/0123/plain_text"),
    ("hub/datasets--uoft-cs--cifar10/snapshots/0123/plain_text", "."),
])  # fmt: skip
@pytest.mark.parametrize("names", [
    ("train-00000-of-00001", "test-00000-of-00001"), ("train/0000", "test/0000"), ("train", "test"),
])  # fmt: skip
def test_every_promised_layout(tmp_path, root, folder, names):
    write_splits(tmp_path / root / folder, *names)
    assert data.load("cifar10", tmp_path / root).test.labels.tolist() == [1]
    assert image_files.find_parquet(tmp_path / root, "cifar100") is None


def test_the_innermost_folder_decides_which_data_set(tmp_path):
    write_splits(tmp_path / "cifar10" / "data" / "cifar100")
    assert image_files.find_parquet(tmp_path, "cifar10") is None and image_files.find_parquet(tmp_path, "cifar100")
    write_splits(tmp_path / "tiny_imagenet", test="valid-0")
    found = image_files.find_parquet(tmp_path, "tiny_imagenet").paths
    assert [path.name for path in found] == ["train-0.parquet", "valid-0.parquet"]
    write_splits(tmp_path / "a/b/c/d/e/f/cifar10")
    found = [image_files.find_parquet(tmp_path / root, "cifar10") for root in ("a/b", "a")]
    assert found[0] and not found[1]  # five levels down, not six


def test_shards_follow_in_order_of_name(tmp_path):
    for i in (1, 0):
        write_shard(tmp_path / "cifar10" / f"train-0000{i}-of-00002.parquet", [encode(pixels(1)[0])], [i])
    write_splits(tmp_path / "cifar10", "other-0", "test-00000-of-00001")
    found = data.load("cifar10", tmp_path)
    assert found.train.labels.tolist() == [0, 1] and len(found.test) == 1


# --- parquet


@pytest.fixture
def shard(tmp_path):
    return tmp_path / "train-00000-of-00001.parquet"


def test_lossless_images_come_back_exactly(shard):
    sent = pixels(3)
    write_shard(shard, [encode(sent[0]), encode(sent[1], "WEBP", lossless=True), encode(sent[2], "BMP")], [2, 0, 9])
    (found, labels), names = image_files.read_parquet([shard], 10)
    assert np.array_equal(found, sent.transpose(0, 3, 1, 2)) and found.dtype == np.uint8
    assert labels.tolist() == [2, 0, 9] and names == CLASSES


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_any_mode_becomes_rgb(shard, mode):
    write_shard(shard, [encode(pixels(1)[0], "JPEG" if mode == "CMYK" else "PNG", mode)], [0], names=None)
    (found, _), names = image_files.read_parquet([shard], 3)
    assert found.shape == (1, 3, 8, 8) and names == ("0", "1", "2")


def test_fine_labels_win_over_other_labels(shard):
    cells = [{"path": "", "bytes": encode(pixels(1)[0])}]
    pq.write_table(pa.table({"image": cells, "label": [1], "fine_label": [7]}), shard)
    assert image_files.read_parquet([shard], 10)[0][1].tolist() == [7]


def good():
    return [encode(image) for image in pixels(2)]


@pytest.mark.parametrize(("write", "named"), [
    (lambda path: path.write_bytes(b"not parquet at all"), ""),
    (lambda path: pq.write_table(pa.table({"img": [{"bytes": b""}], "target": [0]}), path), "target"),
    (lambda path: pq.write_table(pa.table({"img": ["text"], "label": [0]}), path), "struct"),
    (lambda path: write_shard(path, [], []), ""),
    (lambda path: write_shard(path, good(), [0, 10]), "row 1.*10"),
    (lambda path: write_shard(path, good(), [0, -1]), "row 1.*-1"),
    (lambda path: write_shard(path, good(), [None, 1]), "row 0.*None"),
    (lambda path: write_shard(path, good(), [0.0, 1.0]), "row 0.*0.0"),
    (lambda path: write_shard(path, good(), [0, 1], names=("cat", "dog")), "2 classes"),
    (lambda path: write_shard(path, [*good(), encode(pixels(1, 9)[0])], [0, 1, 2]), "row 2.*9 pixels"),
    (lambda path: write_shard(path, [encode(np.zeros((4, 6, 3), np.uint8))], [0]), "row 0.*6x4"),
    (lambda path: write_shard(path, [encode(pixels(1)[0], "TIFF")], [0]), "row 0.*PNG"),
    (lambda path: write_shard(path, [encode(pixels(1, 32)[0])[:600]], [0]), "row 0"),
    *[(lambda path, bad=bad: write_shard(path, [good()[0], bad], [0, 1]), "row 1") for bad in (b"", None, b"no image")],
])  # fmt: skip
def test_bad_files_are_refused_by_name_and_row(shard, write, named):
    write(shard)
    with pytest.raises(TicketError, match=f"{shard.name}.*{named}"):
        image_files.read_parquet([shard], 10)


def test_a_bomb_is_refused_by_its_header(shard, monkeypatch):
    write_shard(shard, [encode(np.zeros((4097, 4097, 3), np.uint8))], [0])
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("pixels were decoded"))
    with pytest.raises(TicketError, match="row 0.*4097x4097"):
        image_files.read_parquet([shard], 10)


@pytest.mark.parametrize("limit", [2 * 3 * 8 * 8 - 1, 2 * 3 * 8 * 8])
def test_more_decoded_bytes_than_allowed(shard, monkeypatch, limit):
    monkeypatch.setattr(image_files, "MAX_DECODED", limit)
    write_shard(shard, good(), [0, 1])
    if limit % 2:
        with pytest.raises(TicketError, match=str(limit)):
            image_files.read_parquet([shard], 10)
    else:
        assert len(image_files.read_parquet([shard], 10)[0][0]) == 2


def test_every_damage_is_an_error_or_an_answer(shard):
    write_shard(shard, [encode(image) for image in pixels(12)], [i % 10 for i in range(12)])
    whole, random = shard.read_bytes(), np.random.default_rng(0)
    for trial in range(120):
        raw = bytearray(whole[: random.integers(len(whole))] if trial % 4 == 0 else whole)
        for place in random.integers(0, max(len(raw), 1), 4 if raw else 0):
            raw[place] = random.integers(256)
        shard.write_bytes(raw)
        try:
            (found, labels), _ = image_files.read_parquet([shard], 10)
        except TicketError:
            continue
        assert len(found) == len(labels) and found.dtype == np.uint8 and 0 <= labels.min() <= labels.max() < 10


# --- CIFAR's archives


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, tmp_path, monkeypatch):
    """A toy data set on disk, packed and extracted, with torchvision's checksums made its own."""
    name, random, expected, files = request.param, np.random.default_rng(0), {}, {}
    known, classes = image_files._torchvision(name), data.CLASSES[name]
    for file, _ in known.train_list + known.test_list:
        images, labels = random.integers(0, 256, (9, 3072), dtype=np.uint8), random.integers(0, classes, 9)
        expected[file] = images.reshape(-1, 3, 32, 32), labels
        key = "labels" if classes == 10 else "fine_labels"
        files[file] = pickle.dumps({"data": images, key: labels.tolist()}, protocol=2)
    meta = known.meta["filename"]
    files[meta] = pickle.dumps({known.meta["key"]: [f"class {i}" for i in range(classes)]}, protocol=2)
    for attribute in ("train_list", "test_list"):
        listing = [[file, hashlib.md5(files[file]).hexdigest()] for file, _ in getattr(known, attribute)]
        monkeypatch.setattr(known, attribute, listing)
    monkeypatch.setattr(known, "meta", known.meta | {"md5": hashlib.md5(files[meta]).hexdigest()})
    packed = tmp_path / "packed" / image_files.ARCHIVES[name]
    extracted = tmp_path / "extracted" / image_files.EXTRACTED[name]
    packed.parent.mkdir()
    extracted.mkdir(parents=True)
    with tarfile.open(packed, "w:gz") as archive:
        for file, raw in files.items():
            (extracted / file).write_bytes(raw)
            member = tarfile.TarInfo(f"{image_files.EXTRACTED[name]}/{file}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    monkeypatch.setattr(known, "tgz_md5", hashlib.md5(packed.read_bytes()).hexdigest())
    return name, tmp_path, list(expected.values())


@pytest.mark.parametrize("form", ["packed", "extracted"])
def test_archives_come_back_exactly(cifar, form):
    name, root, batches = cifar
    found = data.load(name, root / form)
    images, labels = (np.concatenate(part) for part in zip(*batches[:-1], strict=True))
    assert np.array_equal(found.train.images, images) and np.array_equal(found.train.labels, labels)
    assert np.array_equal(found.test.images, batches[-1][0]) and np.array_equal(found.test.labels, batches[-1][1])
    assert found.classes[:2] == ("class 0", "class 1") and "/" not in found.source
    assert data.load(name, root / form).fingerprint == found.fingerprint


class Trap:
    """A pickle that would fail the test if it were loaded."""

    def __reduce__(self):
        return pytest.fail, ("the pickle was executed",)


@pytest.mark.parametrize("form", ["packed", "extracted"])
@pytest.mark.parametrize("raw", [pickle.dumps(Trap()), b"", None])
def test_a_file_of_another_md5_is_refused_before_it_is_unpickled(cifar, form, raw):
    name, root, _ = cifar
    file = next(path for path in sorted((root / form).rglob("*")) if path.is_file())
    file.unlink()
    if raw is not None:
        file.write_bytes(raw)
    place = image_files.ARCHIVES if form == "packed" else image_files.EXTRACTED
    with pytest.raises(TicketError, match=place[name]):
        data.load(name, root / form)


def test_a_download_is_whole_when_it_has_its_name(cifar, monkeypatch):
    name, root, _ = cifar
    packed, new = root / "packed" / image_files.ARCHIVES[name], root / "new"

    def fetch(url, folder, filename, md5):
        assert url.startswith("https://") and md5 and not (new / filename).exists()
        (Path(folder) / filename).write_bytes(packed.read_bytes()[:100])
        assert image_files.find_archive(new, name) is None  # half of it is not seen
        (Path(folder) / filename).write_bytes(packed.read_bytes())

    monkeypatch.setattr(datasets.utils, "download_url", fetch)
    with pytest.raises(TicketError, match=name):
        data.load(name, new)  # nothing is downloaded unasked
    assert len(data.load(name, new, download=True).test) == 9
    assert [path.name for path in new.iterdir() if not path.name.startswith(".")] == [packed.name]


def _slowly(url, folder, filename, md5):
    time.sleep(0.3)
    (Path(folder).parent / "fetched").open("a").write("once\n")
    (Path(folder) / filename).write_bytes(b"an archive")


def _download(root):
    datasets.utils.download_url = _slowly
    image_files.download("cifar10", root)


def test_of_two_processes_one_downloads(tmp_path):
    both = [multiprocessing.get_context("fork").Process(target=_download, args=(tmp_path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0] and (tmp_path / "fetched").read_text() == "once\n"


def test_a_download_that_fails_or_is_not_offered(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no route")

    monkeypatch.setattr(datasets.utils, "download_url", fail)
    with pytest.raises(TicketError, match="no route"):
        data.load("cifar10", tmp_path, download=True)
    with pytest.raises(TicketError, match="tiny_imagenet"):
        data.load("tiny_imagenet", tmp_path, download=True)
