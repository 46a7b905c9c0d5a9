"""What skipping zeros buys: the sparse engine against the dense path, in training and in classifying."""

import numpy as np
import torch
from timing import Figure, at_once, side_by_side

from ticketlib import data, machine, masks, models, ratios, train
from ticketlib.inference import export
from ticketlib.sparse import SparseNet

NETS = {  # options, batch of the sparse engine, of the dense path
    "laptop ResNet-20": ("resnet20", dict(width=16, stem_stride=2), 128, 128),
    "ResNet-32, doubled width": ("resnet32", {}, 32, 64),
    "slim VGG-16": ("vgg16", dict(width=0.25), 128, 128),
}
SPARSITIES = ("0.8", "0.9", "0.95", "0.98", "0.995")
GOALS = {  # times the dense path's images/s
    ("laptop ResNet-20", "0.9", True): 1.5,
    ("laptop ResNet-20", "0.98", True): 2.5,
    ("ResNet-32, doubled width", "0.9", False): 1.3,
    ("ResNet-32, doubled width", "0.98", False): 3,
    ("ResNet-32, doubled width", "0.995", False): 5,
}


def ticket(net, sparsity):
    """A network with a smart-ratio random mask applied, and the mask."""
    name, options = NETS[net][:2]
    model = models.build(name, 10, **options)
    counts = ratios.keep_counts(model, "smart", sparsity)
    mask = masks.random_mask(models.prunable(model), counts, generator=torch.Generator().manual_seed(0))
    mask.apply(model)
    return model, mask


def batch_of(size):
    """Random images and labels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def training_step(trainer, size):
    """A function that takes one whole training step."""
    images, labels = batch_of(size)

    def step():
        trainer.step(images, labels)
        trainer.update(0.01, 0.9, 5e-4)

    return step


def training(net, rounds=5):
    """Training speeds of one process, images/s: dict with a key for the dense path in bf16 and each sparsity."""
    torch.set_num_threads(1)
    machine.keep_memory()
    _, _, batch, dense_batch = NETS[net]
    model, mask = ticket(net, SPARSITIES[0])
    works = {"dense": training_step(train.DenseNet(model, mask, precision="bf16"), dense_batch)}
    for sparsity in SPARSITIES:
        works[sparsity] = training_step(SparseNet(*ticket(net, sparsity), batch, (3, 32, 32)), batch)
    found = side_by_side(works, rounds)
    return {name: (dense_batch if name == "dense" else batch) / seconds for name, seconds in found.items()}


def break_even(speeds):
    """Fraction removed at which both are as fast: between the two nearest that were measured, else the nearest."""
    gains = sorted((float(s), speed / speeds["dense"]) for s, speed in speeds.items() if s != "dense")
    for (low, below), (high, above) in zip(gains, gains[1:], strict=False):
        if below < 1 <= above:
            return low + (high - low) * (1 - below) / (above - below)
    return gains[0][0] if gains[0][1] >= 1 else 1.0


def shares(net, sparsity="0.98"):
    """Augmentation as a share of a training step, and evaluating 10,000 images every second epoch of its training."""
    size = NETS[net][2]
    trainer, images = SparseNet(*ticket(net, sparsity), size, (3, 32, 32)), batch_of(size)[0]
    pixels = data.pad(np.random.default_rng(0).integers(0, 256, (10_000, 3, 32, 32), np.uint8), 4)
    draw = torch.Generator().manual_seed(0)
    index = torch.randperm(len(pixels), generator=draw)[:size]
    works = {
        "data": lambda: data.normalise(data.crop_flip(pixels, index, draw, 32), (0.5,) * 3, (0.25,) * 3),
        "step": training_step(trainer, size),
        "evaluate": lambda: trainer.evaluate(images),
    }
    found = side_by_side(works, 9)
    step = found["data"] + found["step"]
    return found["data"] / step, found["evaluate"] * 10_000 / (step * 100_000)


def classifying(net, size, sparsity="0.98"):
    """Seconds to classify a batch: the exported ticket, and the dense network as quick as torch does it."""
    model, mask = ticket(net, sparsity)
    images = batch_of(size)[0]
    dense = models.build(NETS[net][0], 10, **NETS[net][1]).eval()
    folded = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(dense, images)))
    last = dense.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    classify = export(model, mask, (3, 32, 32))

    def bf16():
        with torch.autocast("cpu", torch.bfloat16):
            last[0](last[1])

    with torch.inference_mode():
        return side_by_side({"ticket": lambda: classify(images), "float32": lambda: folded(images), "bf16": bf16}, 9, 5)


def speeds(net, found, together):
    """Figures of the training speeds of one network."""
    for sparsity in SPARSITIES:
        goal = GOALS.get((net, sparsity, together))
        reached = found[sparsity] >= goal * found["dense"] if goal else None
        what = f"{net}, training, {sparsity} removed" + ", each of two processes" * together
        reach = f"{goal} times" if goal else ""
        yield Figure("sparse", what, found[sparsity], "images/s", "dense bf16", found["dense"], reach, reached)


def measure():
    """All figures of the sparse engine."""
    torch.set_num_threads(1)
    for net in NETS:
        found = training(net)
        yield from speeds(net, found, False)
        yield Figure("sparse", f"{net}, break-even sparsity", break_even(found), "removed")
    net = "laptop ResNet-20"
    both = at_once(training, (net,))
    yield from speeds(net, {name: min(found[name] for found in both) for name in both[0]}, True)
    for what, share in zip(("augmentation", "evaluation"), shares(net), strict=True):
        part = 100 * share
        yield Figure("sparse", f"{net}, {what}", part, "% of training", "goal", 10, "below 10 %", part < 10)
    for size in (1, 64):
        found = {name: 1000 * seconds for name, seconds in classifying(net, size).items()}
        best = min(found["float32"], found["bf16"])
        what = f"{net}, classifying, 0.98 removed, batch {size}"
        reached = 5 * found["ticket"] <= best
        yield Figure("sparse", what, found["ticket"], "ms", "dense", best, "a fifth of dense", reached)
