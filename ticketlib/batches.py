"""Batches: images as bytes with what augmentation drew for each, and the numbers that a network sees in them."""

import dataclasses
import functools

import torch
import torch.nn.functional as F


@dataclasses.dataclass(frozen=True)
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
        images = cut(self.pixels, *self.windows) if self.windows.any() else self.pixels
        scale, shift = self.scaling.T[:, :, None, None]
        return images.float().mul_(scale).sub_(shift)


def plain(pixels, dataset):
    """A batch of images as they are.

    Arguments: pixels: uint8 (B, C, H, W), tensor or an array that may be written to; dataset: whatever has `mean` and
        `std`, one number a channel, for pixels from 0 to 1.
    Returns: Batch, seen as (pixels / 255 - mean) / std, computed in float32.
    """
    windows = torch.zeros(3, len(pixels), dtype=torch.int64)
    return Batch(torch.as_tensor(pixels), windows, _scaling(tuple(dataset.mean), tuple(dataset.std)))


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
    batch.windows[:2] = torch.randint(2 * padding + 1, (2, len(pixels)), generator=generator) - padding
    if flip:
        batch.windows[2] = torch.rand(len(pixels), generator=generator) < 0.5
    return batch


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
