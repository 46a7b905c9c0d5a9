"""Small image files for the tests: parquet shards in the Hugging Face layout."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pixels(count, size=8, seed=0):
    """Return random uint8 images (count, size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def encode(image, kind="PNG", mode="RGB", **options):
    """Return an image (H, W, 3) as an encoded file's bytes."""
    out = io.BytesIO()
    Image.fromarray(image).convert(mode).save(out, kind, **options)
    return out.getvalue()


def write_shard(path, encoded, labels, columns=("img", "label"), names=CLASSES):
    """Write a parquet shard of encoded images and labels, with the class names unless `names` is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": item, "path": f"{i}.png"} for i, item in enumerate(encoded)]
    table = pa.table({columns[0]: cells, columns[1]: labels})
    if names is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def write_cifar10(root, train=30, test=20, size=8):
    """Write a tiny CIFAR-10 below `root`; returns its train images (N, size, size, 3) and labels."""
    images, folder = pixels(train + test, size), root / "cifar10" / "plain_text"
    labels = [i % 10 for i in range(train + test)]
    encoded = [encode(image) for image in images]
    write_shard(folder / "train-00000-of-00001.parquet", encoded[:train], labels[:train])
    write_shard(folder / "test-00000-of-00001.parquet", encoded[train:], labels[train:])
    return images[:train], labels[:train]


def write_splits(folder, train="train-0", test="test-0"):
    """Write a shard of one image, labelled 0, to train on, and one, labelled 1, to test on."""
    for i, name in enumerate((train, test)):
        write_shard(folder / f"{name}.parquet", [encode(pixels(1)[0])], [i], names=None)
