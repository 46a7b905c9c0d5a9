"""Training: SGD with momentum and step drops, a mask held exactly, the same loop for both engines."""

import ctypes
import functools
import math
import platform
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ticketlib.models import logits, prunable
from ticketlib.tickets import REWIND_TO

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
ONE_GIBIBYTE = 1 << 30
EAGER = 3  # steps of a shape that are carried out as they come, so that libraries are loaded before one is recorded


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


class DenseNet:
    """A masked network trained by torch: every weight is multiplied, the pruned ones are held at zero.

    The gradients of pruned weights are zeroed before each update. A pruned weight then has value 0, gradient 0, decay 0
    and momentum 0, so it stays exactly zero.
    """

    def __init__(self, model, mask, *, device="cpu", precision="float32"):
        self.device, self.recorder, self.sgd = torch.device(device), None, None
        if self.device.type == "cuda":
            use_gpu(self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.weights = list(prunable(self.model).values())
        self.keep = [mask[name].to(self.device).to(torch.float32) for name in prunable(self.model)]
        self.masked = mask.kept < mask.size
        self.autocast = (
            torch.autocast(self.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
        )
        if self.device.type == "cuda":
            self.recorder = Recorder(self.model.parameters())

    def step(self, batch, labels):
        """One forward and backward pass: batch, Batch; labels (B,); returns the mean loss."""
        self.model.train()
        images = batch.tensor().to(self.device, memory_format=torch.channels_last)
        inputs = images, labels.to(self.device)
        return self.recorder(self._pass, *inputs) if self.recorder else self._pass(*inputs)

    def _pass(self, images, labels):
        with self.autocast:
            loss = F.cross_entropy(logits(self.model(images)), labels)
        loss.backward()
        if self.masked:
            found = [(w.grad, keep) for w, keep in zip(self.weights, self.keep, strict=True) if w.grad is not None]
            torch._foreach_mul_(*map(list, zip(*found, strict=True)))
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
            output = self.model(images.to(self.device, memory_format=torch.channels_last))
            return logits(output).float().cpu()

    def write_back(self, model):
        """Leave the trained values in `model` (here: move it back to the CPU)."""
        model.to("cpu", memory_format=torch.contiguous_format)


class Recorder:
    """Carries out steps of training; from the fourth of a shape on it replays a recording of the step.

    A small network keeps a GPU waiting for its launches. The same kernels run in the same order either way, so results
    are the same to the last digit. Work goes to a stream of its own, as recording needs.

    Arguments: parameters, the model's, on the current GPU.
    Source: torch.cuda.graphs.
    """

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.seen, self.recordings = Counter(), {}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.set_stream(stream)

    def __call__(self, step, *inputs):
        """One step; gradients lie in the parameters until the next one.

        Arguments: step, the same function in every call, which takes tensors on the GPU, leaves gradients and returns
            the loss; inputs, those tensors.
        Returns: the loss.
        """
        shape = tuple(inputs[0].shape)
        self.seen[shape] += 1
        if self.seen[shape] <= EAGER:
            return step(*inputs)
        if shape not in self.recordings:
            self.recordings[shape] = self._record(step, inputs)
        graph, given, loss, gradients = self.recordings[shape]
        for mine, new in zip(given, inputs, strict=True):
            mine.copy_(new)
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss.clone()  # the next replay writes over its own

    def _record(self, step, inputs):
        """(graph, its inputs, its loss, its gradients); nothing is computed yet."""
        given, graph = [one.clone() for one in inputs], torch.cuda.CUDAGraph()
        for parameter in self.parameters:
            parameter.grad = None
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            loss = step(*given)
        return graph, given, loss, [parameter.grad for parameter in self.parameters]


@functools.cache
def keep_memory():
    """Tell glibc to keep the memory it has been given back, once a process; elsewhere nothing happens.

    A training step frees and takes the same large blocks again and again. By default each goes back to the system and
    comes as fresh pages, cleared one by one. No result depends on it; `make bench` shows what it saves.

    Returns: whether the C library has the switch.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(M_MMAP_THRESHOLD, ONE_GIBIBYTE) and set_option(M_TRIM_THRESHOLD, ONE_GIBIBYTE))


def use_gpu(device):
    """Compute on a CUDA device from now on; let cuDNN repeat itself to the last digit, and float32 be float32.

    Without this it adds in another order each time, and rounds the factors of a convolution to ten bits (TF32).
    """
    if device.index is not None:
        torch.cuda.set_device(device)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


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
        net: DenseNet or sparse.SparseNet. config: experiments.config.Config. dataset: data.Dataset.
        streams: as tickets.find_mask.
        schedule: "full", "rewound" or "last" (tickets.Recipe).
        epoch_size: images that make one epoch, if not all of the training split (half data, as many updates).
        progress: show a bar if this is a terminal. steps: stop after so many updates (a rehearsal).
    Returns: Result. A non-finite loss ends the run as diverged.
    """
    keep_memory()
    labels = torch.tensor(dataset.train.labels)
    per_epoch = math.ceil((epoch_size or len(labels)) / config.batch)
    total = config.epochs * per_epoch
    start = first_step(schedule, total)
    stage = "train" if schedule == "full" else "retrain"
    indices = index_batches(len(labels), config.batch, streams(f"{config.order}/{stage}"))
    windows = streams(f"augment/{stage}")
    result, losses, clock = Result(), [], time.perf_counter()
    last = min(total, start + steps) if steps else total
    updates = tqdm(range(start, last), disable=None if progress else True, unit="step", leave=False)
    for update, index in zip(updates, indices, strict=False):
        pixels = dataset.train.images[index.numpy()]  # the map stays shared
        batch = augment(pixels, dataset, windows, padding=config.padding, flip=config.flip)
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
        guesses = net.evaluate(plain(images, dataset).tensor()).argmax(1).numpy()
        hits.append(guesses == labels)
    return np.concatenate(hits)
