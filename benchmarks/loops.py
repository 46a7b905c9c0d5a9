"""Two training loops on the same work, the field's usual one and ours, each with its seconds a step by phase."""

import functools
import re
import statistics
import time
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from timing import side_by_side
from torch.utils.data import DataLoader

from ticketlib import device, feed, masks, models, ratios, train

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
NETS = {
    "ResNet-32, doubled width": ("resnet32", {}, 64),
    "laptop ResNet-20": ("resnet20", dict(width=16, stem_stride=2), 128),
}
OPERATORS = {  # names of torch's operators, the first that fits counts
    "convolutions, way back": r"convolution_backward",
    "convolutions, forward": r"mkldnn_convolution|_convolution",
    "batch norm": r"batch_norm",
    "ReLU and sums": r"relu|clamp|threshold|add|mean|sum",
    "copies between 16 and 32 bits": r"copy|_to$|contiguous|clone",
    "update": r"sgd|foreach",
}


class Images(torch.utils.data.Dataset):
    """Random images with PIL transforms, as the usual scripts load them."""

    def __init__(self, count):
        from PIL import Image
        from torchvision import transforms

        self.images = [Image.fromarray(p.transpose(1, 2, 0)) for p in pixels(50_000)[:count]]
        self.transform = transforms.Compose(
            [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
             transforms.Normalize(MEAN, STD)]
        )  # fmt: skip

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index]), index % 10


@functools.cache
def pixels(count):
    """Random images, uint8 (count, 3, 32, 32)."""
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), np.uint8)


def augmented(images, index, draw):
    """A feed.Batch as training draws it."""
    return feed.augment(images[index.numpy()], SimpleNamespace(mean=MEAN, std=STD), draw, padding=4)


def ticket(net, sparsity):
    """A network with a uniform random mask applied, and the mask."""
    name, options, _ = NETS[net]
    model = models.build(name, 10, **options)
    counts = ratios.keep_counts(model, "uniform", sparsity)
    mask = masks.random_mask(models.prunable(model), counts, generator=torch.Generator().manual_seed(0))
    mask.apply(model)
    return model, mask


class Clock:
    """Seconds by phase; each lap ends the phase it names."""

    def __init__(self, *phases):
        self.phases, self.last = {phase: [] for phase in phases}, time.perf_counter()

    def lap(self, phase):
        now = time.perf_counter()
        self.phases[phase].append(now - self.last)
        self.last = now

    def steps(self, skip):
        """Median seconds of each phase, without the first steps."""
        return {phase: statistics.median(values[skip:]) for phase, values in self.phases.items()}


def usual_loop(net, sparsity, batches):
    """The loop of the field's scripts: images/s, and seconds a step by phase."""
    model, _ = ticket(net, sparsity)
    batch = NETS[net][2]
    loader = DataLoader(Images(batch * (batches + 2)), batch, shuffle=True, num_workers=1)
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    clock = Clock("images", "forward", "backward", "masks", "update", "metrics")
    for images, labels in loader:
        clock.lap("images")
        outputs = model(images)
        loss = F.cross_entropy(outputs, labels)
        clock.lap("forward")
        sgd.zero_grad()
        loss.backward()
        clock.lap("backward")
        for weight in models.prunable(model).values():
            weight.grad.mul_(weight.data.abs().gt(0).float())
        clock.lap("masks")
        sgd.step()
        clock.lap("update")
        _, best = outputs.topk(5, 1)
        best.t().eq(labels.view(1, -1)).float().sum().item()
        loss.item()
        clock.lap("metrics")
    steps = clock.steps(2)
    return batch / sum(steps.values()), steps


def our_loop(net, sparsity, batches, count=50_000):
    """Our dense path on `count` images: images/s, and seconds a step by phase."""
    device.keep_memory()
    model, mask = ticket(net, sparsity)
    images, labels = pixels(count), torch.arange(count) % 10
    trainer, draw = train.DenseNet(model, mask, precision="bf16"), torch.Generator().manual_seed(0)
    clock = Clock("images", "forward", "backward", "update")
    model.register_forward_pre_hook(lambda *_: clock.lap("images"))
    model.register_forward_hook(lambda *_: clock.lap("forward"))
    for _ in range(batches + 3):
        index = torch.randint(count, (NETS[net][2],), generator=draw)
        trainer.step(augmented(images, index, draw), labels[index])
        clock.lap("backward")
        trainer.update(0.1, 0.9, 5e-4)
        clock.lap("update")
    steps = clock.steps(3)
    masking = mask_seconds(trainer.keep)
    speed = NETS[net][2] / sum(steps.values())
    return speed, steps | {"backward": steps["backward"] - masking, "masks": masking}


def mask_seconds(keep):
    """Seconds to multiply all gradients by the mask, which is part of our step."""
    gradients = [torch.randn_like(kept) for kept in keep]
    return side_by_side({"masks": lambda: torch._foreach_mul_(gradients, keep)}, 5, 20)["masks"]


def step(net, trainer):
    """A function that takes one whole training step of a trainer on random images."""
    size, draw = NETS[net][2], torch.Generator().manual_seed(0)
    batch, labels = augmented(pixels(size), torch.arange(size), draw), torch.arange(size) % 10

    def work():
        trainer.step(batch, labels)
        trainer.update(0.1, 0.9, 5e-4)

    return work


def operators(net, sparsity, steps=3):
    """Share of our step that each kind of torch operator takes, by torch's own profiler: dict kind -> fraction."""
    work = step(net, train.DenseNet(*ticket(net, sparsity), precision="bf16"))
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(steps):
            work()
    found = dict.fromkeys([*OPERATORS, "all others"], 0.0)
    for event in profile.key_averages():
        kind = next((kind for kind, names in OPERATORS.items() if re.search(names, event.key)), "all others")
        found[kind] += event.self_cpu_time_total
    return {kind: part / sum(found.values()) for kind, part in found.items()}
