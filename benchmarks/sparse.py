"""What skipping zeros buys: the sparse engine against the dense path, in training and in classifying."""

import functools
import os
import sys
import tempfile
import time
from unittest import mock

import loops
import parts
import peer
import roofline
import torch
from ticketbook import speed
from timing import Figure, at_once, memory, side_by_side

from ticketlib import device, masks, models, ratios, train
from ticketlib.sparse.classify import export
from ticketlib.sparse.net import SparseNet

NETS = {  # options, batch of the sparse engine, of the dense path
    "laptop ResNet-20": ("resnet20", dict(width=16, stem_stride=2), 128, 128),
    "ResNet-32, doubled width": ("resnet32", {}, 32, 64),
    "slim VGG-16": ("vgg16", dict(width=0.25), 128, 128),
}
SPARSITIES = ("0.7", "0.8", "0.9", "0.95", "0.98", "0.995")
GOALS = {  # network, sparsity, whether two processes run at once -> times the dense path's images/s
    ("laptop ResNet-20", "0.9", True): (1.5, 2),
    ("laptop ResNet-20", "0.98", True): (2.5, 4),
    ("ResNet-32, doubled width", "0.9", False): (1.3,),
    ("ResNet-32, doubled width", "0.98", False): (3,),
    ("ResNet-32, doubled width", "0.995", False): (5,),
}


def ticket(net, sparsity, rule="smart"):
    """A network with a random mask of a rule's keep counts applied, and the mask."""
    name, options = NETS[net][:2]
    model = models.build(name, 10, **options)
    counts = ratios.keep_counts(model, rule, sparsity)
    mask = masks.random_mask(models.prunable(model), counts, generator=torch.Generator().manual_seed(0))
    mask.apply(model)
    return model, mask


def batch_of(size):
    """A batch as training draws it, from random images, and labels."""
    index, draw = torch.arange(size), torch.Generator().manual_seed(0)
    return loops.augmented(loops.pixels(size), index, draw), index % 10


def training_step(trainer, size):
    """A function that takes one whole training step."""
    batch, labels = batch_of(size)

    def step():
        trainer.step(batch, labels)
        trainer.update(0.01, 0.9, 5e-4)

    return step


def training(net, rounds=5):
    """Training speeds of one process, images/s: dict with a key for the dense path in bf16 and each sparsity."""
    torch.set_num_threads(1)
    device.keep_memory()
    _, _, batch, dense_batch = NETS[net]
    model, mask = ticket(net, SPARSITIES[0])
    works = {"dense": training_step(train.DenseNet(model, mask, precision="bf16"), dense_batch)}
    for sparsity in SPARSITIES:
        works[sparsity] = training_step(SparseNet(*ticket(net, sparsity), batch, (3, 32, 32)), batch)
    found = side_by_side(works, rounds)
    return {name: (dense_batch if name == "dense" else batch) / seconds for name, seconds in found.items()}


def phases(net, sparsity):
    """Figures of where a step's time goes; and whether augmentation and evaluation stay small beside it."""
    size = NETS[net][2]
    this = functools.partial(Figure, network=net, sparsity=sparsity, engine="sparse")
    found = parts.phases(SparseNet(*ticket(net, sparsity), size, (3, 32, 32)), *batch_of(size))
    for phase, value in found.items():
        yield this("phase", value, "ms a step", phase=phase, batch=size)
    whole = sum(found.values())
    part = 100 * sum(found[name] for name in ("draws of augmentation", parts.LAID_OUT, "evaluation")) / whole
    yield this("share", part, "% of training", phase="augmentation and evaluation", goals={"below 10 %": part < 10})
    theirs = parts.torch_norms(roofline.layers(models.build(NETS[net][0], 10, **NETS[net][1])), size)
    beside = dict(yardstick="torch, one after another", against=theirs)
    yield this("batch norm, ReLU and sums", found[parts.REST], "ms a step", **beside)


def bounds(net, speeds, peaks):
    """Figures of what bounds a network's step, beside what was measured, and of the break-even that follows."""
    model = models.build(NETS[net][0], 10, **NETS[net][1])
    found, sizes = roofline.layers(model), {name: w.numel() for name, w in models.prunable(model).items()}
    counts = lambda sparsity: ratios.keep_counts(model, "smart", sparsity)  # noqa: E731
    this, mflop = functools.partial(Figure, network=net), "MFLOP an image"
    yield this("arithmetic", 2e-6 * roofline.multiplied(found, sizes), mflop, sparsity="0")
    for sparsity in ("0.9", "0.98"):
        kept, this = counts(sparsity), functools.partial(Figure, network=net, sparsity=sparsity)
        arithmetic, traffic = roofline.bound(found, kept, peaks)
        least = 1 / (arithmetic + traffic)
        values = roofline.activations(found) * (roofline.NEAR + roofline.FAR) * 4
        yield this("arithmetic", 2e-6 * roofline.multiplied(found, kept), mflop)
        yield this("memory traffic", 1e-6 * values, "MB an image")
        yield this("arithmetic's share of the bound", 100 * arithmetic * least, "% of the bound")
        yield this("bound", speeds[sparsity], "images/s", engine="sparse", yardstick="bound", against=least)
        yield this("multiply-adds that stay dense", 100 * roofline.dense_share(found, kept, sizes), "%")
        whole = sum(kept[name] == count for name, count in sizes.items())
        yield this("layers that stay dense", whole, f"of {len(sizes)} layers")
    computed = roofline.break_even(found, counts, peaks, 1 / speeds["dense"])
    beside = dict(yardstick="measured", against=break_even(speeds).at)
    yield Figure("break-even of the bound", computed, "removed", network=net, **beside)


def break_even(speeds):
    """Where both engines are as fast, by images/s: {"dense": speed, sparsity: speed}."""
    return speed.crossing({float(s): value for s, value in speeds.items() if s != "dense"}, speeds["dense"])


def machine_peaks(peaks):
    """Figures of what one core can do."""
    yield Figure("peak", 2e-9 * peaks.multiply, "GFLOP/s", phase="float32 multiply-adds of one core")
    for what in ("first", "second", "memory"):
        where = "memory" if what == "memory" else f"the {what} cache"
        yield Figure("peak", 1e-9 * getattr(peaks, what), "GB/s", phase=f"reading from {where}")


def beside_peer(net, sparsity):
    """The figure of whole training steps beside SparseProp's."""
    size = NETS[net][2]
    (model, mask), images = ticket(net, sparsity), batch_of(size)[0].tensor()
    trainers = {"ours": SparseNet(model, mask, size, (3, 32, 32)), "theirs": peer.PeerNet(model, images)}
    found = side_by_side({name: training_step(trainer, size) for name, trainer in trainers.items()}, 5, 1)
    ours, theirs = (size / seconds for seconds in found.values())
    this = dict(network=net, sparsity=sparsity, engine="sparse", yardstick=peer.NAME, against=theirs)
    return Figure(f"training beside {peer.NAME}", ours, "images/s", **this)


def compared():
    """Figures beside SparseProp; one that says so where it cannot be built."""
    os.environ["OMP_NUM_THREADS"] = "1"  # it has threads of its own, and reads this when it is loaded
    folder = peer.build()
    if folder is None:
        yield Figure("comparisons won", 0, "of 0 comparisons", phase=f"{peer.NAME} could not be built here")
        return
    sys.path.append(str(folder))
    figures = []
    for net in peer.LAYERS:
        made = {s: ticket(net, s, "uniform") for s in ("0.9", "0.95", "0.98")}
        figures += peer.layers(net, made, NETS[net][2])
        figures += [beside_peer(net, s) for s in ("0.9", "0.98")]
    yield from figures
    won, count = sum(figure.value < figure.against for figure in figures if figure.unit == "ms"), len(figures)
    won += sum(figure.value > figure.against for figure in figures if figure.unit != "ms")
    built, goals = f"{peer.NAME} {peer.VERSION}, source package, {peer.compiler()}", {"all": won == count}
    yield Figure("comparisons won", won, f"of {count} comparisons", engine="sparse", phase=built, goals=goals)


def first_step(net):
    """Seconds of a fresh process's first step, compiling included where nothing is cached."""
    trainer, batch = SparseNet(*ticket(net, "0.98"), 32, (3, 32, 32)), batch_of(32)
    began = time.perf_counter()
    trainer.step(*batch)
    trainer.update(0.01, 0.9, 5e-4)
    return time.perf_counter() - began


def growth(net):
    """Megabytes by which a process grows over 200 steps, after the first five."""
    step = training_step(SparseNet(*ticket(net, "0.98"), 128, (3, 32, 32)), 128)
    held = []
    for times in (5, 200):
        for _ in range(times):
            step()
        held.append(memory())
    return held[1] - held[0]


def upkeep(net):
    """Figures of the first step and of memory, in fresh processes."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, NUMBA_CACHE_DIR=folder):
        fresh, cached = (at_once(first_step, (net,), 1)[0] for _ in range(2))  # in processes started here
    this = functools.partial(Figure, network=net, sparsity="0.98", engine="sparse")
    beside = dict(yardstick="compiled before", against=cached)
    yield this("first step", fresh, "s", **beside, goals={"below 20 s": fresh < 20})
    grown = at_once(growth, (net,), 1)[0]
    yield this("memory growth", grown, "MB", phase="200 steps", goals={"below 1 MB": grown < 1})


def classifying(net, size, sparsity="0.98"):
    """Seconds to classify a batch: the exported ticket, and the dense network as quick as torch does it."""
    model, mask = ticket(net, sparsity)
    images = batch_of(size)[0].tensor()
    dense = models.build(NETS[net][0], 10, **NETS[net][1]).eval()
    folded = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(dense, images)))
    last = dense.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    classify = export(model, mask)

    def bf16():
        with device.computing_in("bf16", torch.device("cpu")):
            last[0](last[1])

    with torch.inference_mode():
        return side_by_side({"ticket": lambda: classify(images), "float32": lambda: folded(images), "bf16": bf16}, 9, 5)


def trained(net, found, together):
    """Figures of the training speeds of one network."""
    for sparsity in SPARSITIES:
        key, times = (net, sparsity, together), found[sparsity] / found["dense"]
        goals = {f"{goal} times": times >= goal for goal in GOALS.get(key, ())}
        this = dict(network=net, sparsity=sparsity, engine="sparse", batch=NETS[net][2], processes=1 + together)
        beside = dict(yardstick="dense bf16", against=found["dense"], goals=goals)
        yield Figure("training", found[sparsity], "images/s", **this, **beside)


def measure():
    """All figures of the sparse engine."""
    torch.set_num_threads(1)
    peaks = roofline.peaks()
    yield from machine_peaks(peaks)
    for net in NETS:
        found = training(net)
        yield from trained(net, found, False)
        yield Figure("break-even", break_even(found).at, "removed", network=net, engine="sparse")
        yield from bounds(net, found, peaks)
        for sparsity in ("0.9", "0.98"):
            yield from phases(net, sparsity)
    net = "laptop ResNet-20"
    both = at_once(training, (net,))
    yield from trained(net, {name: min(found[name] for found in both) for name in both[0]}, True)
    for size in (1, 64):
        found = {name: 1000 * seconds for name, seconds in classifying(net, size).items()}
        best = min(found["float32"], found["bf16"])
        this = dict(network=net, sparsity="0.98", engine="sparse", batch=size, yardstick="dense", against=best)
        goals = {"a fifth of dense": 5 * found["ticket"] <= best}
        yield Figure("classifying", found["ticket"], "ms", **this, goals=goals)
    yield from upkeep(net)
    yield from compared()
