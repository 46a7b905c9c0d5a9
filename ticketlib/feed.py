"""Training images as networks see them: cut, mirrored and scaled; pass after pass, from the CPU or a GPU's memory."""

import functools
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Batch:
    """Images as bytes, and how a network sees them: each a window of its image and a border of zeros, then scaled.

    Bytes and draws stay apart, since the sparse engine makes of both, in one pass, numbers in its own layout.
    """

    pixels: torch.Tensor  # uint8 (B, C, H, W)
    windows: torch.Tensor  # int64 (3, B): first row, first column, below 0 in the border; 1 if mirrored
    scaling: torch.Tensor  # float32 (C, 2): a byte is seen as byte * scaling[c, 0] - scaling[c, 1]

    def __len__(self):
        return len(self.pixels)

    def tensor(self):
        """The images as a network sees them: float32 (B, C, H, W)."""
        return _scaled(cut(self.pixels, *self.windows) if self.windows.any() else self.pixels, self.scaling)


def _scaled(images, scaling):
    """Bytes (B, C, H, W) as a network sees them, float32; scaling, as Batch has it."""
    scale, shift = scaling.T[:, :, None, None]
    return images.float().mul_(scale).sub_(shift)


def plain(pixels, dataset):
    """A batch of images as they are.

    Arguments: pixels: uint8 (B, C, H, W), tensor or an array that may be written to; dataset: whatever has `mean` and
        `std`, one number a channel, for pixels from 0 to 1.
    Returns: Batch, seen as (pixels / 255 - mean) / std, computed in float32.
    """
    windows = torch.zeros(3, len(pixels), dtype=torch.int64)
    return Batch(torch.as_tensor(pixels), windows, _scaling_of(dataset))


def _scaling_of(dataset):
    return _scaling(tuple(dataset.mean), tuple(dataset.std))


@functools.cache
def _scaling(mean, std):
    """Cached, as small operations on tensors cost a quick sparse step some per cent."""
    mean, std = torch.tensor(mean), torch.tensor(std)
    return torch.stack((1 / (255 * std), mean / std), 1)


def augment(pixels, dataset, generator, *, padding, flip=True):
    """A batch of which each image is seen through a window drawn at random, half of the images mirrored.

    Arguments: pixels, dataset: as in `plain`; generator: CPU torch.Generator; padding: width of the border of zeros;
        flip: whether to mirror.
    """
    batch = plain(pixels, dataset)
    return replace(batch, windows=draw_windows(len(batch), padding, generator, flip))


def draw_windows(count, padding, generator, flip=True):
    """Windows of so many images, as Batch has them: first rows and columns, and half of the images mirrored."""
    windows = torch.zeros(3, count, dtype=torch.int64)
    windows[:2] = torch.randint(2 * padding + 1, (2, count), generator=generator) - padding
    if flip:
        windows[2] = torch.rand(count, generator=generator) < 0.5
    return windows


def cut(pixels, top, left, mirrored):
    """Cut a window of its own size out of each image and a border of zeros; mirror it where asked.

    Arguments: pixels: uint8 (B, C, H, W); top, left: int64 (B,), the window's first row and column, from -H or -W up;
        mirrored: (B,), not 0 where the window is mirrored.
    Returns: uint8 (B, C, H, W).
    """
    border, (height, width) = int(max(abs(top).max(), abs(left).max())), pixels.shape[2:]
    padded = F.pad(pixels, (border,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, top, left, H, W), a view
    images = windows[torch.arange(len(pixels)), :, top + border, left + border]
    return torch.where((mirrored != 0)[:, None, None, None], images.flip(3), images)


class Feed:
    """The training images, in the order of one pass after another, each drawn whole before its first step.

    Order, windows and mirrors come from the run's own streams, on the CPU, as a batch at a time would take them. So
    a step asks nothing of the host where the images lie on a GPU, and a run that was stopped goes on from the state of
    the streams at the beginning of the pass and the place in it.

    Arguments: dataset: data.Dataset. config: experiments.config.Config. order, windows: CPU torch.Generators.
        device: where images, labels and draws lie beforehand, so that steps do not wait for the host; None: nowhere.
    """

    def __init__(self, dataset, config, order, windows, *, device=None):
        self.dataset, self.config, self.generators = dataset, config, (order, windows)
        self.labels = torch.tensor(dataset.train.labels)
        self.count = len(self.labels)
        self.at, self.before = self.count, None  # images of this pass seen; the streams' states at its beginning
        self.resident = None if device is None else Resident(dataset, device)

    def draw(self):
        """Draw the next pass: order (N,) and windows (3, N), as Batch has them."""
        self.at, self.before = 0, [generator.get_state() for generator in self.generators]
        order, windows = self.generators
        self.order = torch.randperm(self.count, generator=order)
        padding, flip = self.config.padding, self.config.flip
        parts = [draw_windows(len(part), padding, windows, flip) for part in self.order.split(self.config.batch)]
        self.windows = torch.cat(parts, 1)
        if self.resident:
            self.resident.begin(self.order, self.windows)

    def next(self):
        """How many images the next step takes; a pass is drawn where the last one is over."""
        if self.at == self.count:
            self.draw()
        size = min(self.config.batch, self.count - self.at)
        self.at += size
        return size

    def batch(self, size):
        """The last `size` images handed out: (Batch, labels)."""
        here = slice(self.at - size, self.at)
        index = self.order[here]
        pixels = torch.from_numpy(self.dataset.train.images[index.numpy()])  # the map stays shared
        return Batch(pixels, self.windows[:, here], _scaling_of(self.dataset)), self.labels[index]

    def state(self):
        """What it takes to go on here: dict of tensors."""
        return {"order": self.before[0], "windows": self.before[1], "at": torch.tensor(self.at)}

    def go_on(self, state):
        """Go on where `state` was taken."""
        for generator, name in zip(self.generators, ("order", "windows"), strict=True):
            generator.set_state(state[name])
        self.draw()
        self.at = int(state["at"])
        if self.resident:
            self.resident.cursor.fill_(self.at)


class Resident:
    """Images, labels and one pass over them on a device, with the place of the next step in it.

    Arguments: dataset: data.Dataset, its training images as bytes; device.
    """

    def __init__(self, dataset, device):
        self.pixels = torch.tensor(dataset.train.images, device=device)
        self.labels = torch.tensor(dataset.train.labels, device=device)
        self.scaling = _scaling_of(dataset).to(device)
        self.order = torch.zeros(len(self.labels), dtype=torch.int64, device=device)
        self.windows = torch.zeros(3, len(self.labels), dtype=torch.int64, device=device)
        self.cursor = torch.zeros((), dtype=torch.int64, device=device)  # images of this pass seen

    def begin(self, order, windows):
        """Take over the draws of a pass."""
        self.order.copy_(order)
        self.windows.copy_(windows)
        self.cursor.zero_()

    def take(self, size):
        """The next images as a network sees them, float32 (size, C, H, W), and their labels, without the host."""
        here = self.cursor + torch.arange(size, device=self.cursor.device)
        self.cursor.add_(size)
        index, (top, left, mirrored) = self.order[here], self.windows[:, here]
        height, width = self.pixels.shape[2:]
        rows = top[:, None] + torch.arange(height, device=here.device)
        columns = left[:, None] + torch.arange(width, device=here.device)
        columns = torch.where(mirrored[:, None] != 0, columns.flip(1), columns)
        inside = _within(rows, height)[:, None, :, None] & _within(columns, width)[:, None, None, :]
        rows, columns = rows.clamp(0, height - 1)[:, None, :, None], columns.clamp(0, width - 1)[:, None, None, :]
        channels = torch.arange(self.pixels.shape[1], device=here.device)[:, None, None]
        images = self.pixels[index[:, None, None, None], channels, rows, columns] * inside
        return _scaled(images, self.scaling), self.labels[index]


def _within(places, size):
    return (places >= 0) & (places < size)
