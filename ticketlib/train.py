"""Training: SGD with momentum and step drops, a mask held exactly, the same loop for both engines."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ticketlib import batches, graphs
from ticketlib.experiments import machine
from ticketlib.models import prunable
from ticketlib.tickets import REWIND_TO


class DenseNet:
    """A masked network trained by torch: every weight is multiplied, the pruned ones are held at zero.

    The gradients of pruned weights are zeroed before each update. A pruned weight then has value 0, gradient 0, decay 0
    and momentum 0, so it stays exactly zero.
    """

    def __init__(self, model, mask, *, device="cpu", precision="float32"):
        self.device, self.recorder, self.sgd = torch.device(device), None, None
        if self.device.type == "cuda":
            machine.use_gpu(self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.weights = list(prunable(self.model).values())
        self.keep = [mask[name].to(self.device).to(torch.float32) for name in prunable(self.model)]
        self.masked = mask.kept < mask.size
        self.autocast = (
            torch.autocast(self.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
        )
        if self.device.type == "cuda":
            self.recorder = graphs.Recorder(self.model.parameters())

    def step(self, batch, labels):
        """One forward and backward pass: batch, batches.Batch; labels (B,); returns the mean loss."""
        self.model.train()
        images = batch.tensor().to(self.device, memory_format=torch.channels_last)
        inputs = images, labels.to(self.device)
        return self.recorder(self._pass, *inputs) if self.recorder else self._pass(*inputs)

    def _pass(self, images, labels):
        with self.autocast:
            loss = F.cross_entropy(self.model(images), labels)
        loss.backward()
        if self.masked:
            torch._foreach_mul_([w.grad for w in self.weights], self.keep)
        return loss.detach()

    def update(self, lr, momentum, weight_decay):
        """One SGD update; decay acts on every parameter."""
        if self.sgd is None:
            self.sgd = torch.optim.SGD(
                self.model.parameters(), lr, momentum=momentum, weight_decay=weight_decay, fused=True
            )
        self.sgd.param_groups[0]["lr"] = lr
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)

    def evaluate(self, images):
        """Logits (N, classes) in evaluation mode."""
        self.model.eval()
        with torch.no_grad(), self.autocast:
            return self.model(images.to(self.device, memory_format=torch.channels_last)).float().cpu()

    def write_back(self, model):
        """Leave the trained values in `model` (here: move it back to the CPU)."""
        model.to("cpu", memory_format=torch.contiguous_format)


@dataclass
class Result:
    """What a training run measured; accuracies in percent, unmeasured values absent (None)."""

    curve: list = field(default_factory=list)  # [epochs done, test accuracy, mean training loss of the last of them]
    correct: np.ndarray | None = None  # bool (num_test,): which test images are classified rightly at the end
    loss: float | None = None  # mean training loss of the last epoch
    diverged: bool = False
    images: int = 0  # training images seen
    train_seconds: float = 0.0
    eval_seconds: float = 0.0

    @property
    def accuracy(self):
        """Test accuracy at the end, in percent."""
        return None if self.correct is None else 100 * float(np.mean(self.correct))


def first_step(schedule, total):
    """The update at which a schedule starts: 0, or 25 % of the run (rounded down) for "rewound" and "last"."""
    return 0 if schedule == "full" else math.floor(REWIND_TO * total)


def rate(config, schedule, update, total):
    """Learning rate of an update: the first rate, a tenth of it after each drop; "last" keeps the last one."""
    drops = len(config.drops)
    passed = sum(update >= math.floor(Decimal(d) * total) for d in config.drops)
    return config.lr * 0.1 ** (drops if schedule == "last" else passed)


def index_batches(count, batch, generator):
    """Endless batches of indices: each pass is a fresh permutation, its last batch the smaller rest."""
    while True:
        yield from torch.randperm(count, generator=generator).split(batch)


def fit(net, config, dataset, streams, *, schedule="full", epoch_size=None, progress=True, steps=None):
    """Train `net` by a configuration's recipe and measure it on the dataset's test split.

    Arguments:
        net: DenseNet or sparse.SparseNet. config: runs.Config. dataset: data.Dataset. streams: as tickets.find_mask.
        schedule: "full", "rewound" or "last" (tickets.Recipe).
        epoch_size: images that make one epoch, if not all of the training split (half data, as many updates).
        progress: show a bar if this is a terminal. steps: stop after so many updates (a rehearsal).
    Returns: Result. A non-finite loss ends the run as diverged.
    """
    machine.keep_memory()
    labels = torch.tensor(dataset.train.labels)
    per_epoch = math.ceil((epoch_size or len(labels)) / config.batch)
    total = config.epochs * per_epoch
    start = first_step(schedule, total)
    stage = "train" if schedule == "full" else "retrain"
    indices = index_batches(len(labels), config.batch, streams(f"{config.order}/{stage}"))
    augment = streams(f"augment/{stage}")
    result, losses, clock = Result(), [], time.perf_counter()
    last = min(total, start + steps) if steps else total
    updates = tqdm(range(start, last), disable=None if progress else True, unit="step", leave=False)
    for update, index in zip(updates, indices, strict=False):
        pixels = dataset.train.images[index.numpy()]  # the map stays shared
        batch = batches.augment(pixels, dataset, augment, padding=config.padding, flip=config.flip)
        losses.append(net.step(batch, labels[index]))
        net.update(rate(config, schedule, update, total), config.momentum, config.weight_decay)
        result.images += len(index)
        done = update + 1 - start
        if done % per_epoch and update + 1 < last:
            continue
        result.train_seconds += time.perf_counter() - clock
        result.loss = float(np.mean([float(x) for x in losses]))
        if not math.isfinite(result.loss):
            return replace(result, diverged=True, correct=None, loss=None)
        losses, clock = [], time.perf_counter()
        if update + 1 == last or done % (per_epoch * config.eval_every) == 0:
            result.correct = correct(net, dataset)
            result.curve.append([round(done / per_epoch, 4), round(result.accuracy, 4), round(result.loss, 6)])
            result.eval_seconds += time.perf_counter() - clock
            clock = time.perf_counter()
    return result


def correct(net, dataset, batch=500):
    """Which test images are classified rightly: bool (num_test,)."""
    hits = []
    for start in range(0, len(dataset.test.labels), batch):
        images = torch.tensor(dataset.test.images[start : start + batch])
        labels = np.asarray(dataset.test.labels[start : start + batch])
        logits = net.evaluate(batches.plain(images, dataset).tensor())
        hits.append(logits.argmax(1).numpy() == labels)
    return np.concatenate(hits)
