"""Networks and images from outside: checked at the door, and named by what they are."""

import functools
import hashlib
import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ticketlib import models, pruners
from ticketlib.analysis.scorer import digest, plain_name
from ticketlib.data import Dataset, Split, channel_moments
from ticketlib.errors import TicketError, one_of

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
CHANNELS = (1, 3, 4)  # of images that may have been meant as channels last


@dataclass(frozen=True)
class Network:
    """A function that draws a network afresh; called with a generator, it fixes what is drawn."""

    make: object  # () -> nn.Module
    family: str | None  # the form of the smart ratio, a name of models.FAMILIES; None where it has none
    name: str  # letters, digits, _ . -

    def __call__(self, generator):
        """A freshly drawn network on the CPU, decided by the generator's seed; torch's own streams stay as they are."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(generator.initial_seed())
            model = self.make()
        if not isinstance(model, nn.Module):
            raise TicketError(f"Network {self.name!r} is a {type(model).__name__}; the function must return a module.")
        return model.to("cpu").train()

    @functools.cached_property
    def key(self):
        """The name of its runs: own- and 16 digits of its code and of its layers' names, shapes and settings."""
        model = self(torch.Generator().manual_seed(0))
        shapes = [(name, str(tensor.dtype), tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
        settings = ADDRESS.sub("", repr(model))  # addresses would differ from process to process
        return f"own-{digest(self.make, settings, shapes)}"

    def check(self, images, classes):
        """Refuse a network that is not drawn afresh by the seed, or does not give logits for some images.

        Arguments: images, float32 (B, C, H, W); classes, how many labels there are.
        """
        first, again, other = (self(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
        weights = [models.prunable(model) for model in (first, again, other)]
        for name, weight in weights[0].items():
            if weight.dtype != torch.float32:
                raise TicketError(f"Network {self.name!r} has {name} of {weight.dtype}; allowed: torch.float32.")
            if not torch.equal(weight, weights[1][name]):
                raise TicketError(f"Network {self.name!r} draws another {name} from the same seed; it may draw from "
                                  "torch's global generators only, which are seeded before each call.")  # fmt: skip
        if all(torch.equal(weight, weights[2][name]) for name, weight in weights[0].items()):
            raise TicketError(f"Network {self.name!r} has the same weights for every seed; the function must draw "
                              "them afresh, without a seed of its own.")  # fmt: skip
        first = models.unwrapped(first).eval()
        with (
            torch.no_grad(), models.located(first) as inside,
            models.as_they_are(first, dict(first.named_parameters()), inside),
        ):  # fmt: skip
            try:
                logits = models.logits(first(images))
            except pruners.FAILURES as error:
                raise pruners.cannot_run(inside, images, error) from error
        if logits.shape[0] != len(images) or logits.ndim != 2 or logits.shape[1] < classes:
            allowed = f"logits ({len(images)}, {classes} or more), as labels go up to {classes - 1}"
            raise TicketError(f"Network {self.name!r} gives {tuple(logits.shape)} for {len(images)} images; allowed: "
                              f"{allowed}.")  # fmt: skip


def network(make, family=None):
    """Name a function that draws networks.

    Arguments: make, () -> nn.Module, such as a class or a partial of torchvision's functions; family, "resnet" or
        "vgg", the form of the smart ratio, or None.
    Returns: Network.
    Raises: TicketError for a network in place of a function, and for an unknown family.
    """
    if isinstance(make, nn.Module) or not callable(make):
        kind = type(make).__name__
        raise TicketError(f"model of type {kind} is not allowed; it must be a function that makes one.")
    if family is not None:
        one_of("family", family, models.FAMILIES)
    return Network(make, family, plain_name(make))


def dataset(given):
    """Images from outside as a data set.

    Arguments: given, (x_train, y_train, x_test, y_test): images (N, C, H, W), arrays or tensors of bytes or floats, and
        integer labels (N,) from 0; or two torch Datasets of (image, label). Bytes are seen scaled to mean 0 and
        deviation 1, as the book's images are; floats as they are.
    Returns: data.Dataset, whose name is own- and its fingerprint.
    Raises: TicketError for another form, naming what is not allowed.
    """
    given = tuple(given) if isinstance(given, list | tuple) else (given,)
    if len(given) == 2:
        given = tuple(array for part in given for array in _stacked(part))
    if len(given) != 4:
        raise TicketError(f"data of {len(given)} parts is not allowed; it must be (x_train, y_train, x_test, y_test), "
                          "or two torch Datasets.")  # fmt: skip
    train, test = (Split(_images(x, part), _labels(y, part))
                   for x, y, part in ((*given[:2], "train"), (*given[2:], "test")))  # fmt: skip
    for part, split in (("train", train), ("test", test)):
        if len(split.images) != len(split.labels):
            raise TicketError(f"{part} has {len(split.images)} images and {len(split.labels)} labels; one for each.")
    if (train.images.shape[1:], train.images.dtype) != (test.images.shape[1:], test.images.dtype):
        seen = [f"{split.images.dtype} {split.images.shape[1:]}" for split in (train, test)]
        raise TicketError(f"train and test images differ ({seen[0]}, {seen[1]}); both must be of one kind and shape.")
    classes = tuple(str(label) for label in range(1 + max(train.labels.max(), test.labels.max())))
    # Images are scaled as bytes are, by 1 / (255 std); with this std floats stay as they are, to the last digit.
    channels = train.images.shape[1]
    mean, std = (0.0,) * channels, (1 / 255,) * channels
    if train.images.dtype == np.uint8:
        mean, std = channel_moments(train.images)
    mark = _fingerprint(train, test)
    return Dataset(f"own-{mark}", classes, train, test, mean, tuple(s or 1.0 for s in std), mark,
                   f"{len(train)} and {len(test)} images of {len(classes)} classes, from outside")  # fmt: skip


def _stacked(part):
    """Images and labels of a torch Dataset, as arrays."""
    try:
        items = [part[i] for i in range(len(part))]
        again, pairs = part[0], [(_array(image), int(label)) for image, label in items]
    except (TypeError, ValueError, LookupError) as error:
        raise TicketError(f"{type(part).__name__} is not allowed as data ({error}); it must be a torch Dataset of "
                          "(image, label).") from None  # fmt: skip
    if pairs and not np.array_equal(_array(again[0]), pairs[0][0]):
        raise TicketError(f"{type(part).__name__} gives another first image when asked twice; its transforms must not "
                          "draw at random. Crops and flips: training=dict(padding=4, flip=True).")  # fmt: skip
    shapes = {image.shape for image, _ in pairs}
    if len(shapes) != 1:
        raise TicketError(f"{type(part).__name__} has images of {len(shapes)} shapes; allowed: one.")
    return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs])


def _array(image):
    """An image as an array (C, H, W): tensors as they are, Pillow's images, which end with the channel, turned."""
    if isinstance(image, torch.Tensor | np.ndarray):
        return np.asarray(image)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _images(x, part):
    x = x.detach().cpu() if isinstance(x, torch.Tensor) else x
    x = np.asarray(x)
    seen = f"{part} images of {x.dtype} {x.shape}"
    if x.ndim != 4 or not x.size or (x.dtype != np.uint8 and x.dtype.kind != "f"):
        raise TicketError(f"{seen} are not allowed; they must be uint8 or float (N, C, H, W).")
    if x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        raise TicketError(f"{seen} seem to end with the channel; they must be (N, C, H, W).")
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    x = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(x).all():
        raise TicketError(f"{seen} hold NaN or infinity; every value must be finite.")
    return x


def _labels(y, part):
    y = y.detach().cpu() if isinstance(y, torch.Tensor) else y
    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "iu" or not y.size or y.min() < 0:
        least = f" from {y.min()}" if y.size and y.dtype.kind in "iu" else ""
        raise TicketError(f"{part} labels of {y.dtype} {y.shape}{least} are not allowed; they must be integers (N,), "
                          "0 or more.")  # fmt: skip
    return y.astype(np.int64)


def _fingerprint(*splits):
    """Sixteen hexadecimal digits of kind, shape and content of images and labels."""
    hashed = hashlib.sha256()
    for split in splits:
        hashed.update(f"{split.images.dtype.str} {split.images.shape}".encode())
        hashed.update(split.images)
        hashed.update(np.ascontiguousarray(split.labels, "<i8"))
    return hashed.hexdigest()[:16]
