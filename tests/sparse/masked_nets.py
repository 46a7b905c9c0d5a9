"""Masked networks off their initial values, batches as training draws them, and how closely results must agree."""

import dataclasses
from types import SimpleNamespace

import torch
from torch import nn

from ticketlib import feed
from ticketlib.models import build, prunable


def random_mask(model, density, generator):
    return {name: torch.rand(w.shape, generator=generator) < density for name, w in prunable(model).items()}


def case(name, images, *, density=0.3, empty=(), width=4, stem_stride=1, classes=5, seed=0, change=None):
    """A masked model off its initial statistics, its mask, a feed.Batch with windows and mirrors, and labels.

    Arguments: change, what is done to the network before its mask is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    options = {} if name.startswith("vgg") else {"stem_stride": stem_stride}
    model = build(name, classes, images[1], width=width, generator=generator, **options)
    if change:
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # new layers draw from the global generator
            change(model)
    mask = random_mask(model, density, generator)
    for layer in empty:
        mask[layer][:] = False
    with torch.no_grad():
        for weight_name, weight in prunable(model).items():
            weight.mul_(mask[weight_name])
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for buffer_name, buffer in model.named_buffers():
            if "running" in buffer_name:
                buffer.add_(0.2 * torch.rand(buffer.shape, generator=generator))
    pixels = torch.randint(0, 256, images, dtype=torch.uint8, generator=generator)
    seen_as = SimpleNamespace(mean=(0.4, 0.5, 0.6)[: images[1]], std=(0.3, 0.25, 0.2)[: images[1]])
    batch = feed.augment(pixels, seen_as, generator, padding=3)
    return model, mask, batch, torch.randint(0, classes, (len(batch),), generator=generator)


def start_of(batch, count):
    """The first images of a batch."""
    return dataclasses.replace(batch, pixels=batch.pixels[:count], windows=batch.windows[:, :count])


def assert_close(ours, theirs, tolerance):
    """Largest difference below tolerance times the largest value; a tiny absolute floor for what is 0 in exact sums."""
    for name, value in theirs.items():
        bound = tolerance * float(value.abs().max()) + 2e-6
        assert float((ours[name] - value).abs().max()) <= bound, name


def pool_at_the_end(model):
    model.features.append(nn.MaxPool2d(2, ceil_mode=True))


def narrow_stem(model):
    model.conv = nn.Conv2d(3, 4, 1, 2, bias=False)


def biased(model):
    model.blocks[0].conv2 = nn.Conv2d(4, 4, 3, 1, 1)
    model.blocks[1].shortcut = nn.Conv2d(4, 8, 1, 2)


CASES = {
    "resnet": ("resnet8", (20, 3, 16, 16), {}),
    "odd sizes, stem of stride 2": ("resnet8", (20, 3, 15, 13), {"stem_stride": 2}),
    "stem of stride 3, one channel": ("resnet8", (37, 1, 19, 10), {"stem_stride": 3}),
    "density 1": ("resnet8", (16, 3, 9, 9), {"density": 2.0}),
    "two blocks a stage": ("resnet14", (16, 3, 8, 8), {}),
    "mostly empty rows": ("resnet8", (20, 3, 8, 8), {"density": 0.03}),
    "empty layers": ("resnet8", (20, 3, 8, 8), {"empty": ("blocks.1.conv1.weight", "blocks.2.shortcut.weight")}),
    "empty stem": ("resnet8", (20, 3, 8, 8), {"empty": ("conv.weight",)}),
    "empty classifier": ("resnet8", (20, 3, 8, 8), {"empty": ("fc.weight",)}),
    "nothing left": ("resnet8", (20, 3, 8, 8), {"density": 0.0}),
    "wide": ("resnet8", (17, 3, 33, 20), {"width": 2}),
    "a single image": ("resnet8", (1, 3, 16, 16), {}),
    "vgg": ("vgg11", (20, 3, 32, 32), {"width": 0.06}),
    "vgg, odd sizes": ("vgg11", (20, 1, 21, 13), {"width": 0.06}),
    "vgg, a pool at the end": ("vgg11", (20, 3, 21, 13), {"width": 0.06, "change": pool_at_the_end}),
    "stem of 1x1": ("resnet8", (20, 3, 9, 9), {"change": narrow_stem}),
    "biases": ("resnet8", (20, 3, 9, 9), {"change": biased}),
    "vgg, digits": ("vgg11", (40, 1, 8, 8), {"width": 0.06, "density": 0.6}),
}
