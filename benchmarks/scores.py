"""What it costs to find a mask, against forward-backward passes of the same batch."""

import contextlib
import ctypes
import functools
import gc
import time

import torch
import torch.nn.functional as F
from timing import Figure, at_once, forget_peak, memory, seconds, side_by_side

from ticketlib import masks, models, pruners, ratios

NETS = {"ResNet-32": "resnet32", "VGG-19": "vgg19"}
GOALS = {"snip": 1.3, "grasp": 4.5}


def score_passes(name):
    """Seconds of one forward-backward pass of 100 images, and of SNIP and GraSP on them."""
    model = models.build(NETS[name], 10)
    images, labels = torch.randn(100, 3, 32, 32), torch.arange(100) % 10

    def one_pass():
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()

    works = {"pass": one_pass}
    works |= {method: lambda m=method: pruners.score(model, m, images, labels) for method in GOALS}
    return side_by_side(works, rounds=3, times=1)


def synflow():
    """SynFlow's 100 rounds for VGG-19: seconds, MB more at the peak, MB left behind once the scores are dropped."""
    model = models.build("vgg19", 10)
    forget_peak()
    before = memory()
    began = time.perf_counter()
    pruners.score(model, "synflow", sparsity="0.98")
    took = time.perf_counter() - began
    most = memory("VmHWM")
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what glibc holds back is no temporary; other C libraries have no such call
    return took, most - before, max(memory() - before, 0)


def random_ticket(model):
    """Seconds to draw a smart-ratio ticket: keep counts and positions."""
    draw = torch.Generator().manual_seed(0)

    def work():
        masks.random_mask(models.prunable(model), ratios.keep_counts(model, "smart", "0.9"), generator=draw)

    return side_by_side({"ticket": work}, 3, 1)["ticket"]


class Wide(torch.nn.Module):
    """Two linear layers of 50 million weights each; shapes are all that matters."""

    def __init__(self):
        super().__init__()
        with torch.device("meta"):
            self.one, self.two = torch.nn.Linear(5000, 10_000), torch.nn.Linear(10_000, 5000)


def measure():
    """All figures of finding masks."""
    torch.set_num_threads(1)
    for name in NETS:
        found = score_passes(name)
        for method, most in GOALS.items():
            passes = found[method] / found["pass"]
            goals = {f"within {most}": passes <= most}
            yield Figure("score", passes, "passes", network=name, phase=method, goals=goals)
    vgg = models.build("vgg19", 10)
    took, most, left = at_once(synflow, (), 1)[0]
    size = sum(4 * weight.numel() for weight in models.prunable(vgg).values()) / 1e6
    this, weights = functools.partial(Figure, network="VGG-19"), dict(yardstick="the weights", against=size)
    yield this("SynFlow's 100 rounds", took, "s", goals={"within 15 s": took <= 15})
    yield this("SynFlow's memory at its peak", most, "MB", **weights)
    yield this("SynFlow's memory left behind", left, "MB", **weights, goals={"less than the weights": left < size})
    took = random_ticket(vgg)
    yield this("smart-ratio ticket", took, "s", goals={f"within {most} s": took <= most for most in (0.3, 1)})
    counts = ratios.keep_counts(Wide(), "uniform", "0.9")
    shapes = {name: weight.shape for name, weight in models.prunable(Wide()).items()}
    took = seconds(lambda: masks.random_mask(shapes, counts, generator=torch.Generator().manual_seed(0)))
    yield Figure("random ticket of 100 million weights", took, "s", goals={"within 2 s": took <= 2})
    scores = {name: torch.randn(w.shape) for name, w in models.prunable(vgg).items()}
    flat = torch.cat([s.reshape(-1) for s in scores.values()])
    found = side_by_side({"mask": lambda: masks.global_mask(scores, "0.9"), "sort": lambda: flat.sort()}, 3, 1)
    beside = dict(yardstick="a full sort", against=found["sort"])
    yield this("global mask", found["mask"], "s", **beside, goals={"no full sort": found["mask"] < found["sort"]})
