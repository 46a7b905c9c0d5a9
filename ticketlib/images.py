"""Find and decode image files: Hugging Face-style parquet shards, with every size bounded before it is believed."""

import hashlib
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ticketlib.errors import TicketError

FOLDERS = {"cifar10": ("cifar10",), "cifar100": ("cifar100",), "tiny_imagenet": ("tiny-imagenet", "tiny_imagenet")}
TEST_SPLIT = {"cifar10": "test", "cifar100": "test", "tiny_imagenet": "valid"}  # Tiny-ImageNet's own test is unlabelled
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_ENCODED = 16 * 2**20  # bytes of one encoded image
MAX_SIDE = 4096  # pixels of one image's side
MAX_DECODED = 8 * 2**30  # bytes of one decoded split
MAX_ROW_GROUP = 2**30  # bytes of one parquet row group, as declared in its footer
DEPTH = 4  # levels below the root that are searched


@dataclass(frozen=True)
class Shards:
    """The parquet files of one data set: train and test paths, and where they lie as far as a stranger may know."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]
    place: str  # from the data set's own folder on, never the machine's path

    @property
    def source(self):
        """Where the images come from, with no path of this machine in it."""
        return f"parquet {self.place} ({_shard_count(self.train)} train, {_shard_count(self.test)} test)"

    @property
    def where(self):
        """The folder, for the terminal."""
        return str(self.train[0].parent)

    def key(self):
        """Return the sha256 (hex) of the shards' names, sizes and bytes."""
        digest = hashlib.sha256()
        for path in self.train + self.test:
            digest.update(f"{path.name} {file_digest(path)}\n".encode())
        return digest.hexdigest()

    def read(self, num_classes):
        """Return train and test (images, labels) and the class names; see `read_parquet`."""
        train, names = read_parquet(self.train, num_classes)
        test, _ = read_parquet(self.test, num_classes)
        return train, test, names


def _shard_count(paths):
    """Return "1 of 2 shards" where the file name tells the total, else the number of shards."""
    total = re.search(r"-of-0*(\d+)$", paths[0].stem)
    return f"{len(paths)} of {total[1] if total else len(paths)} shards"


def file_digest(path):
    """Return a file's size and the sha256 (hex) of its bytes, as text."""
    try:
        with open(path, "rb") as file:
            return f"{os.fstat(file.fileno()).st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise TicketError(f"{path} cannot be read ({short(error)}).") from error


def find_parquet(root, name):
    """Find a data set's parquet shards below a folder.

    Arguments: root: path, searched `DEPTH` levels down; name: one of `FOLDERS`, whose folder must be on the way.
    Returns: Shards, or None if no folder holds both splits.
    """
    for folder in folders(Path(root)):
        train, test = (_shards(folder, split) for split in ("train", TEST_SPLIT[name]))
        place = _place(Path(root), folder, name)
        if place and train and test:
            return Shards(train, test, place)
    return None


def _place(root, folder, name):
    """Return the path from the data set's own folder on, or None if the innermost such folder is another's."""
    parts = root.resolve().parts[-2:] + folder.relative_to(root).parts
    own = [i for i, part in enumerate(parts) if part.lower() in sum(FOLDERS.values(), ())]
    return "/".join(parts[own[-1] :]) if own and parts[own[-1]].lower() in FOLDERS[name] else None


def folders(root):
    """Yield the root and the folders below it, in order of name, down to `DEPTH` levels."""
    for folder, below, _ in os.walk(root, followlinks=True):
        below[:] = sorted(d for d in below if not d.startswith("."))
        if len(Path(folder).relative_to(root).parts) >= DEPTH:
            below.clear()
        yield Path(folder)


def _shards(folder, split):
    """Return the parquet files of one split in a folder, in order of name."""
    return tuple(sorted(p for p in folder.glob(f"{split}*.parquet") if re.split(r"[-.]", p.name)[0] == split))


def read_parquet(paths, num_classes):
    """Decode the images of one split.

    Arguments: paths: parquet files, each with a struct column `img` or `image` that has `bytes`, and an integer
        column `fine_label` or `label`; num_classes: labels lie in 0 .. num_classes - 1.
    Returns: ((images uint8 (N, 3, H, H), labels int64 (N,)), class names); names are numbers where the files have none.
    Raises: TicketError naming file and row for whatever cannot be read, is too large, or does not fit the rest.
    """
    files = [(path, _open(path)) for path in paths]
    total = sum(file.metadata.num_rows for _, file in files)
    if not total:
        raise TicketError(f"{paths[0]} holds no images.")
    images, labels, done = None, np.empty(total, np.int64), 0
    for path, file in files:
        for row, encoded, label in _rows(path, file):
            image = _decode(encoded, f"{path}, row {row}")
            if images is None:
                images = _room(path, total, image.shape)
            if image.shape != images.shape[1:]:
                sizes = f"{_size(image)} pixels, the first one {_size(images[0])}"
                raise TicketError(f"{path}, row {row}: image is {sizes}; all must agree.")
            if type(label) is not int or not 0 <= label < num_classes:
                raise TicketError(f"{path}, row {row}: label is {label!r}, allowed: 0 to {num_classes - 1}.")
            images[done], labels[done], done = image, label, done + 1
    return (images, labels), _class_names(files[0][0], files[0][1], num_classes)


def _open(path):
    """Read a parquet file's bytes whole, so that nothing changes under the reader, and its footer."""
    try:
        raw = path.read_bytes()
        file = pq.ParquetFile(pa.BufferReader(raw))
        _ = file.schema_arrow.names  # damaged names are found out here
    except (OSError, ValueError, pa.ArrowException) as error:
        raise TicketError(f"{path} is not a readable parquet file ({short(error)}).") from error
    largest = max((file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)), default=0)
    if largest > MAX_ROW_GROUP:
        raise TicketError(f"{path} has a row group of {largest} bytes, allowed: {MAX_ROW_GROUP}.")
    return file


def _rows(path, file):
    """Yield (row, encoded bytes, label) of a parquet file."""
    schema = file.schema_arrow
    image = next((c for c in IMAGE_COLUMNS if c in schema.names), None)
    label = next((c for c in LABEL_COLUMNS if c in schema.names), None)
    if image is None or label is None or not _has_bytes(schema.field(image).type):
        wanted = f"{' or '.join(IMAGE_COLUMNS)} (a struct with bytes) and {' or '.join(LABEL_COLUMNS)}"
        raise TicketError(f"{path} has the columns {', '.join(schema.names)}; needed: {wanted}.")
    row = 0
    try:
        for batch in file.iter_batches(256, columns=[f"{image}.bytes", label], use_threads=False):
            for cell, value in zip(batch.column(image).to_pylist(), batch.column(label).to_pylist(), strict=True):
                yield row, cell and cell["bytes"], value
                row += 1
    except (OSError, pa.ArrowException) as error:
        raise TicketError(f"{path} cannot be read after row {row} ({short(error)}).") from error


def _has_bytes(kind):
    """Tell whether a column type is a struct with a binary field `bytes`."""
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    field = kind.field("bytes").type
    return pa.types.is_binary(field) or pa.types.is_large_binary(field)


def _decode(encoded, what):
    """Return an encoded image as uint8 (3, H, H); `what` names it in errors."""
    if not encoded or len(encoded) > MAX_ENCODED:
        raise TicketError(f"{what}: image has {len(encoded or b'')} encoded bytes, allowed: 1 to {MAX_ENCODED}.")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:  # the header only; pixels come with convert
            if image.width != image.height or image.width > MAX_SIDE:
                size = f"{image.width}x{image.height}"
                raise TicketError(f"{what}: image is {size} pixels, allowed: square, at most {MAX_SIDE}x{MAX_SIDE}.")
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except TicketError:
        raise
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError, LookupError) as error:
        reason = f"{short(error)}; allowed: {', '.join(FORMATS)}"
        raise TicketError(f"{what}: image cannot be decoded ({reason}).") from error


def _room(path, total, shape):
    """Return an empty uint8 array for `total` images of a shape."""
    if total * np.prod(shape, dtype=np.int64) > MAX_DECODED:
        raise TicketError(f"{path}: {total} images of {shape[1]}x{shape[2]} pixels exceed {MAX_DECODED} bytes.")
    return np.empty((total, *shape), np.uint8)


def _class_names(path, file, num_classes):
    """Return the class names of a file's Hugging Face metadata, or numbers where it has none."""
    try:
        features = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])["info"]["features"]
        names = next(features[c]["names"] for c in LABEL_COLUMNS if c in features)
    except (KeyError, TypeError, ValueError, StopIteration):
        return tuple(map(str, range(num_classes)))
    if not isinstance(names, list) or len(names) != num_classes:
        raise TicketError(f"{path} names {len(names)} classes, {num_classes} are expected.")
    return tuple(map(str, names))


def _size(image):
    """Return "32x32" for an image (C, H, W)."""
    return f"{image.shape[2]}x{image.shape[1]}"


def short(error):
    """Return the first line of an error, without addresses of objects."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"<_io[^>]*>", "image", first)[:160].rstrip(".")
