"""Image files: every layout that is promised, and every bad one refused by name before it costs memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import CLASSES, encode, pixels, write_shard
from PIL import Image

from ticketlib import images
from ticketlib.errors import TicketError


@pytest.fixture
def shard(tmp_path):
    return tmp_path / "train-00000-of-00001.parquet"


def test_lossless_images_come_back_exactly(shard):
    given = pixels(3)
    write_shard(shard, [encode(given[0]), encode(given[1], "WEBP", lossless=True), encode(given[2], "BMP")], [2, 0, 9])
    (found, labels), names = images.read_parquet([shard], 10)
    assert found.shape == (3, 3, 8, 8) and found.dtype == np.uint8 and labels.tolist() == [2, 0, 9]
    assert np.array_equal(found, given.transpose(0, 3, 1, 2))
    assert names == CLASSES


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_any_mode_becomes_rgb(shard, mode):
    write_shard(shard, [encode(pixels(1)[0], "JPEG" if mode == "CMYK" else "PNG", mode)], [0])
    (found, _), _ = images.read_parquet([shard], 10)
    assert found.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("columns", [("img", "label"), ("image", "label"), ("img", "fine_label")])
def test_promised_column_names(shard, columns):
    write_shard(shard, [encode(pixels(1)[0])], [4], columns)
    assert images.read_parquet([shard], 10)[0][1].tolist() == [4]


def test_fine_labels_win_over_other_labels(shard):
    cells = [{"bytes": encode(pixels(1)[0]), "path": ""}]
    pq.write_table(pa.table({"img": cells, "label": [1], "fine_label": [7]}), shard)
    assert images.read_parquet([shard], 10)[0][1].tolist() == [7]


def test_classes_are_numbers_without_metadata(shard):
    write_shard(shard, [encode(pixels(1)[0])], [0], names=None)
    assert images.read_parquet([shard], 3)[1] == ("0", "1", "2")


def test_shards_follow_in_order_of_name(tmp_path):
    given = pixels(2)
    for i in (1, 0):
        write_shard(tmp_path / "cifar10" / f"train-0000{i}-of-00003.parquet", [encode(given[i])], [i])
    write_shard(tmp_path / "cifar10" / "test-00000-of-00001.parquet", [encode(given[0])], [5])
    found = images.find_parquet(tmp_path, "cifar10")
    assert found.source == "parquet cifar10 (2 of 3 shards train, 1 of 1 shards test)"
    (_, labels), (_, test_labels), _ = found.read(10)
    assert labels.tolist() == [0, 1] and test_labels.tolist() == [5]


def test_the_innermost_folder_decides_which_data_set(tmp_path):
    for split in ("train", "test"):
        write_shard(tmp_path / "cifar10" / "data" / "cifar100" / f"{split}-0.parquet", [encode(pixels(1)[0])], [0])
    assert images.find_parquet(tmp_path, "cifar10") is None
    assert images.find_parquet(tmp_path, "cifar100").place == "cifar100"
    assert images.find_parquet(tmp_path / "cifar10" / "data" / "cifar100", "cifar100") is not None


def test_tiny_imagenet_is_tested_on_its_valid_split(tmp_path):
    for split in ("train", "test", "valid"):
        write_shard(tmp_path / "tiny-imagenet" / f"{split}-0.parquet", [encode(pixels(1)[0])], [0])
    assert [path.name for path in images.find_parquet(tmp_path, "tiny_imagenet").test] == ["valid-0.parquet"]


def refused(shard, *words):
    """Check that a shard is refused in one sentence that has the file's name and the words."""
    with pytest.raises(TicketError) as caught:
        images.read_parquet([shard], 10)
    text = str(caught.value)
    assert shard.name in text and text.endswith(".") and "\n" not in text
    assert all(word in text for word in words), text


def test_no_parquet_file(shard):
    shard.write_bytes(b"not parquet at all")
    refused(shard, "not a readable parquet file")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_truncated_file(shard, share):
    write_shard(shard, [encode(image) for image in pixels(20)], list(range(10)) * 2)
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(share * len(whole))])
    refused(shard, "not a readable parquet file")


def test_damaged_pages(shard):
    write_shard(shard, [encode(image) for image in pixels(20)], list(range(10)) * 2)
    raw = bytearray(shard.read_bytes())
    raw[4 : len(raw) // 2] = bytes(len(raw) // 2 - 4)
    shard.write_bytes(raw)
    refused(shard, "row 0")


def test_every_damage_is_an_error_or_an_answer(shard):
    write_shard(shard, [encode(image) for image in pixels(12)], [i % 10 for i in range(12)])
    whole, random = shard.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        raw = bytearray(whole)
        for place in random.integers(0, len(raw), 4):
            raw[place] = random.integers(256)
        shard.write_bytes(raw)
        try:
            (found, labels), _ = images.read_parquet([shard], 10)
        except TicketError:
            continue
        assert len(found) == len(labels) and found.dtype == np.uint8 and 0 <= labels.min() <= labels.max() < 10


def test_column_names_that_are_no_text(shard):
    write_shard(shard, [encode(pixels(1)[0])], [0], columns=("img", "fine_label"), names=None)
    shard.write_bytes(shard.read_bytes().replace(b"fine_label", b"\xff" * 10))
    refused(shard, "not a readable parquet file")


def test_wrong_columns(shard):
    pq.write_table(pa.table({"img": [{"bytes": b""}], "target": [0]}), shard)
    refused(shard, "img, target", "fine_label or label")
    pq.write_table(pa.table({"img": ["text"], "label": [0]}), shard)
    refused(shard, "a struct with bytes")


@pytest.mark.parametrize("label", [10, -1, None])
def test_label_out_of_range(shard, label):
    write_shard(shard, [encode(image) for image in pixels(3)], [0, label, 1])
    refused(shard, "row 1", repr(label), "0 to 9")


def test_labels_that_are_no_integers(shard):
    write_shard(shard, [encode(pixels(1)[0])], [1.0])
    refused(shard, "row 0", "1.0")


def test_other_number_of_classes(shard):
    write_shard(shard, [encode(pixels(1)[0])], [0], names=("cat", "dog"))
    refused(shard, "names 2 classes, 10 are expected")


def test_no_images(shard):
    cells = pa.array([], pa.struct([("bytes", pa.binary())]))
    pq.write_table(pa.table({"img": cells, "label": pa.array([], "int64")}), shard)
    refused(shard, "no images")


def test_sizes_must_agree(shard):
    write_shard(shard, [encode(pixels(1, 8)[0]), encode(pixels(1, 9)[0])], [0, 1])
    refused(shard, "row 1", "9x9", "8x8")


def test_images_must_be_square(shard):
    write_shard(shard, [encode(np.zeros((4, 6, 3), np.uint8))], [0])
    refused(shard, "row 0", "6x4", "square")


@pytest.mark.parametrize("encoded", [b"", None, b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_undecodable_image(shard, encoded):
    write_shard(shard, [encode(pixels(1)[0]), encoded], [0, 1])
    refused(shard, "row 1")


def test_truncated_image(shard):
    write_shard(shard, [encode(pixels(1, 32)[0])[:600]], [0])
    refused(shard, "row 0", "cannot be decoded")


def test_other_formats_are_refused(shard):
    write_shard(shard, [encode(pixels(1)[0], "TIFF")], [0])
    refused(shard, "row 0", "PNG, JPEG, WEBP, BMP")


def test_a_bomb_is_refused_by_its_header(shard, monkeypatch):
    write_shard(shard, [encode(np.zeros((4100, 4100, 3), np.uint8))], [0])
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("pixels were decoded"))
    refused(shard, "row 0", "4100x4100", "at most 4096x4096")


def test_too_many_encoded_bytes(shard, monkeypatch):
    monkeypatch.setattr(images, "MAX_ENCODED", 50)
    write_shard(shard, [encode(pixels(1)[0])], [0])
    refused(shard, "row 0", "allowed: 1 to 50")


def test_too_many_decoded_bytes(shard, monkeypatch):
    monkeypatch.setattr(images, "MAX_DECODED", 3 * 8 * 8 * 2)
    write_shard(shard, [encode(image) for image in pixels(3)], [0, 1, 2])
    refused(shard, "3 images of 8x8 pixels exceed 384 bytes")


def test_row_group_that_would_unpack_too_large(shard, monkeypatch):
    monkeypatch.setattr(images, "MAX_ROW_GROUP", 100)
    write_shard(shard, [encode(pixels(1)[0])], [0])
    refused(shard, "row group", "allowed: 100")
