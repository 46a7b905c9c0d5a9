"""Corrupt what finds a mask, never what a ticket trains or is tested on; and measure that the corruption took."""

import numpy as np
import torch

from ticketlib.data import Split
from ticketlib.errors import one_of
from ticketlib.registers import register

KINDS = ("none", "labels", "pixels", "both", "half")
CHUNK = 1000  # images worked on at once


def apply(split, kind, num_classes, generator):
    """Corrupt a split once, before augmentation.

    Arguments: split: data.Split; kind: one of `KINDS`; num_classes: labels are drawn from 0 .. num_classes - 1;
        generator: CPU torch.Generator. `both` redraws the labels that `labels` redraws from the same generator state.
    Returns: Split; the one given for `none`, else a new one, the given one unchanged.
    Raises: TicketError for another kind.
    Source: the paper's train_ticket.py; for `half` it takes the first half of the file, here a half drawn by lot.
    """
    if one_of("corruption", kind, KINDS) == "none":
        return split
    if kind == "half":
        return half(split, generator)
    images, labels = split.images, split.labels
    if kind in ("labels", "both"):
        labels = random_labels(labels, num_classes, generator)
    if kind in ("pixels", "both"):
        images = random_pixels(images, generator)
    return Split(images, labels)


def random_labels(labels, num_classes, generator):
    """Draw every label anew, uniformly and with replacement, so that one in `num_classes` stays right.

    Arguments: labels: int64 (N,) array; num_classes: at least 1; generator: CPU torch.Generator.
    Returns: int64 (N,) array.
    Source: the data sets with random labels of the paper's code.
    """
    return torch.randint(num_classes, (len(labels),), generator=generator).numpy()


def random_pixels(images, generator):
    """Shuffle all C * H * W values of each image, every image by a permutation of its own.

    Arguments: images: (N, C, H, W) array of bytes or floats; generator: CPU torch.Generator.
    Returns: array of the same kind and shape.
    Source: the option `--shufflePixel` of the paper's code.
    """
    flat = images.reshape(len(images), -1)
    shuffled = np.empty_like(flat, subok=False)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK]
        # Each byte rides in the low byte of a random 63-bit key: one sort shuffles, and the same on every machine.
        keys = torch.randint(2**55, chunk.shape, generator=generator).numpy() << 8
        if chunk.dtype != np.uint8:
            shuffled[start : start + CHUNK] = np.take_along_axis(chunk, keys.argsort(1), 1)
            continue
        keys |= chunk
        keys.sort(axis=1)
        shuffled[start : start + CHUNK] = keys & 255
    return shuffled.reshape(images.shape)


def half(split, generator):
    """Return a fixed random half of a split (rounded down), in the order of the whole."""
    index = torch.randperm(len(split), generator=generator)[: len(split) // 2].sort().values.numpy()
    return Split(split.images[index], split.labels[index])


def label_agreement(a, b):
    """Return the share of equal labels, 0 to 1, of two int arrays (N,)."""
    return float(np.mean(np.asarray(a) == np.asarray(b)))


def pixel_correlation(a, b):
    """Correlate two versions of the same images.

    Arguments: a, b: uint8 (N, C, H, W) arrays.
    Returns: Pearson correlation over the C * H * W values of an image, averaged over images, -1 to 1; images of one
        single value have none and are left out (nan if all are).
    """
    parts = []
    for start in range(0, len(a), CHUNK):
        x, y = (_centred(images[start : start + CHUNK]) for images in (a, b))
        spread = np.sqrt((x * x).sum(1) * (y * y).sum(1))
        parts.append((x * y).sum(1)[spread > 0] / spread[spread > 0])
    values = np.concatenate(parts)
    return float(values.mean()) if len(values) else float("nan")


def _centred(images):
    """Return images as float64 (N, C * H * W), each less its mean."""
    flat = np.asarray(images).reshape(len(images), -1).astype(np.float64)
    return flat - flat.mean(1, keepdims=True)


for _kind in KINDS[1:]:  # "none" is a check as well
    register("corruption", _kind, apply)
