"""The dense path against the usual training script, and where a step's time goes."""

import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from timing import Figure, at_once, side_by_side
from torch.utils.data import DataLoader

from ticketlib import data, machine, masks, models, ratios, train

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
NETS = {
    "ResNet-32, doubled width": ("resnet32", {}, 64),
    "laptop ResNet-20": ("resnet20", dict(width=16, stem_stride=2), 128),
}


class Images(torch.utils.data.Dataset):
    """Random images with PIL transforms, as the usual scripts load them."""

    def __init__(self, count):
        from PIL import Image
        from torchvision import transforms

        pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
        self.images = [Image.fromarray(p) for p in pixels]
        self.transform = transforms.Compose(
            [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
             transforms.Normalize(MEAN, STD)]
        )  # fmt: skip

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index]), index % 10


def ticket(net, sparsity):
    """A network with a uniform random mask applied, and the mask."""
    name, options, _ = NETS[net]
    model = models.build(name, 10, **options)
    counts = ratios.keep_counts(model, "uniform", sparsity)
    mask = masks.random_mask(models.prunable(model), counts, generator=torch.Generator().manual_seed(0))
    mask.apply(model)
    return model, mask


def macs(model):
    """Multiplications and additions of one forward pass of one 32x32 image."""
    found = []
    handles = [
        m.register_forward_hook(lambda m, _, out: found.append(m.weight.numel() * out[0].numel() // out.shape[1]))
        for m in model.modules() if models.is_prunable(m)
    ]  # fmt: skip
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    for handle in handles:
        handle.remove()
    model.train()
    return sum(found)


def usual_loop(net, sparsity, batches):
    """The loop of the field's scripts: images/s, and seconds a step by phase."""
    model, _ = ticket(net, sparsity)
    batch = NETS[net][2]
    loader = DataLoader(Images(batch * (batches + 2)), batch, shuffle=True, num_workers=1)
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    phases = {phase: [] for phase in ("images", "forward", "backward", "masks", "update", "metrics")}
    clock = time.perf_counter()

    def lap(phase):
        nonlocal clock
        now = time.perf_counter()
        phases[phase].append(now - clock)
        clock = now

    for images, labels in loader:
        lap("images")
        outputs = model(images)
        loss = F.cross_entropy(outputs, labels)
        lap("forward")
        sgd.zero_grad()
        loss.backward()
        lap("backward")
        for weight in models.prunable(model).values():
            weight.grad.mul_(weight.data.abs().gt(0).float())
        lap("masks")
        sgd.step()
        lap("update")
        _, best = outputs.topk(5, 1)
        best.t().eq(labels.view(1, -1)).float().sum().item()
        loss.item()
        lap("metrics")
    steps = {phase: statistics.median(values[2:]) for phase, values in phases.items()}
    return batch / sum(steps.values()), steps


def our_loop(net, sparsity, batches, precision="bf16"):
    """Our dense path: images/s, and seconds a step by phase."""
    machine.keep_memory()
    model, mask = ticket(net, sparsity)
    batch = NETS[net][2]
    pixels = np.random.default_rng(0).integers(0, 256, (50_000, 3, 32, 32), np.uint8)
    padded, labels = data.pad(pixels, 4), torch.arange(len(pixels)) % 10
    trainer = train.DenseNet(model, mask, precision=precision)
    draw, index = torch.Generator().manual_seed(0), train.batches(len(pixels), batch, torch.Generator().manual_seed(1))
    phases = {phase: [] for phase in ("images", "forward", "backward", "update")}

    def lap(phase, began):
        phases[phase].append(time.perf_counter() - began)

    model.register_forward_hook(lambda *_: lap("forward", clock))
    for _ in range(batches + 3):
        clock = time.perf_counter()
        chosen = next(index)
        images = data.normalise(data.crop_flip(padded, chosen, draw, 32), MEAN, STD)
        lap("images", clock)
        clock = time.perf_counter()
        trainer.step(images, labels[chosen])
        lap("backward", clock + phases["forward"][-1])
        clock = time.perf_counter()
        trainer.update(0.1, 0.9, 5e-4)
        lap("update", clock)
    steps = {phase: statistics.median(values[3:]) for phase, values in phases.items()}
    speed, masking = batch / sum(steps.values()), mask_seconds(trainer.keep)
    return speed, steps | {"backward": steps["backward"] - masking, "masks": masking}


def mask_seconds(keep):
    """Seconds to multiply all gradients by the mask, which is part of our step."""
    gradients = [torch.randn_like(kept) for kept in keep]
    return side_by_side({"masks": lambda: torch._foreach_mul_(gradients, keep)}, 5, 20)["masks"]


def evaluation_share(net):
    """Seconds of evaluating 10,000 images every second epoch, as a share of training 50,000 twice."""
    model, mask = ticket(net, "0.9")
    trainer = train.DenseNet(model, mask, precision="bf16")
    images = torch.randn(500, 3, 32, 32)
    evaluating = side_by_side({"evaluate": lambda: trainer.evaluate(images)})["evaluate"] * 20
    speed, _ = our_loop(net, "0.9", 10)
    return evaluating / (100_000 / speed)


def peak(dtype, size=2048):
    """Matrix product speed of one thread, GFLOP/s."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * size**3 / side_by_side({"product": lambda: a @ b}, 3, 1)["product"] / 1e9


def measure():
    """All figures of the dense path."""
    torch.set_num_threads(1)
    net = "ResNet-32, doubled width"
    # In turn, three times, so that a slow minute hits all of them; of each the round of median speed counts.
    works = (lambda: (peak(torch.bfloat16), None), lambda: usual_loop(net, "0.95", 5), lambda: our_loop(net, "0.95", 5))
    turns = zip(*[[work() for work in works] for _ in range(3)], strict=True)
    (top, _), (usual, usual_phases), (ours, our_phases) = [sorted(found, key=lambda f: f[0])[1] for found in turns]
    share = ours * 6 * macs(ticket(net, "0.95")[0]) / 1e9 / top
    goal = "65 % of the peak, or 2.2 times the usual loop"
    reached = bool(share >= 0.65 or ours >= 2.2 * usual)
    yield Figure("dense", f"{net}, batch 64, 95 %", ours, "images/s", "usual loop", usual, goal, reached)
    yield Figure("dense", f"{net}, share of the peak", 100 * share, "%", "bf16 product", 100)
    for phase, value in usual_phases.items():
        yield Figure("usual loop by phase", phase, 1000 * value, "ms a step")
    for phase, value in our_phases.items():
        yield Figure("our loop by phase", phase, 1000 * value, "ms a step")
    small = "laptop ResNet-20"
    found = at_once(our_loop, (small, "0.9", 40))
    speed, phases = min(found, key=lambda result: result[0])
    what, goal = f"{small}, each of two processes", "at least 1,900"
    yield Figure("dense", what, speed, "images/s", "goal", 1900, goal, speed >= 1900)
    total = sum(phases.values())
    parts = (("mask upkeep", phases["masks"], 2), ("data and augmentation", phases["images"], 5))
    for what, value, most in parts:
        part = 100 * value / total
        yield Figure("dense", f"{small}, {what}", part, "% of a step", "goal", most, f"below {most} %", part < most)
    part = 100 * evaluation_share(small)
    yield Figure("dense", f"{small}, evaluation", part, "% of an epoch", "goal", 5, "below 5 %", part < 5)
