"""Training: SGD with momentum and step drops, a mask held exactly, the same loop for both engines."""

import ctypes
import functools
import math
import platform
import sys
import threading
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ticketlib.errors import TicketError
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
    return Batch(torch.as_tensor(pixels), windows, _scaling(*_moments(dataset)))


def _moments(dataset):
    return tuple(dataset.mean), tuple(dataset.std)


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


class DenseNet:
    """A masked network trained by torch: every weight is multiplied, the pruned ones are held at zero.

    The gradients of pruned weights are zeroed before each update. A pruned weight then has value 0, gradient 0, decay 0
    and momentum 0, so it stays exactly zero.

    Arguments: model; mask; device, "cpu" or of CUDA; precision, "float32", "bf16" (autocast), or "tf32" (CUDA alone);
        resident, whether training images lie on the device and steps ask nothing of the host: None for "on a GPU".
    Raises: TicketError for a precision that the device does not have.
    """

    def __init__(self, model, mask, *, device="cpu", precision="float32", resident=None):
        self.device, self.recorder, self.sgd = torch.device(device), None, None
        on_gpu = self.device.type == "cuda"
        self.resident = on_gpu if resident is None else resident
        _check_precision(precision, self.device)
        if on_gpu:
            use_gpu(self.device, tf32=precision == "tf32")
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.weights = list(prunable(self.model).values())
        self.keep = [mask[name].to(self.device).to(torch.float32) for name in prunable(self.model)]
        self.masked = mask.kept < mask.size
        self.autocast = (
            torch.autocast(self.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
        )
        if on_gpu:
            self.recorder = Recorder()

    def feed(self, dataset, config, order, windows):
        """The training images, where this network takes them from: Feed, whose arguments these are."""
        return Feed(dataset, config, order, windows, device=self.device if self.resident else None)

    def learn(self, feed, size, lr, config):
        """Train on the next `size` images of a Feed: forward, backward, update. Returns: the mean loss, a tensor."""
        self.model.train()
        self._set_rate(lr, config.momentum, config.weight_decay)
        if not self.resident:
            return self._learn(*self._on_device(*feed.batch(size)))
        step = lambda: self._learn(*feed.resident.take(size))  # noqa: E731
        return self.recorder((size, lr), step) if self.recorder else step()

    def _on_device(self, batch, labels):
        return batch.tensor().to(self.device, memory_format=torch.channels_last), labels.to(self.device)

    def _learn(self, images, labels):
        loss = self._pass(images, labels)
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)
        return loss

    def step(self, batch, labels):
        """One forward and backward pass: batch, Batch; labels (B,); returns the mean loss."""
        self.model.train()
        return self._pass(*self._on_device(batch, labels))

    def _pass(self, images, labels):
        with self.autocast:
            loss = F.cross_entropy(logits(self.model(images)), labels)
        loss.backward()
        if self.masked:
            found = [(w.grad, keep) for w, keep in zip(self.weights, self.keep, strict=True) if w.grad is not None]
            torch._foreach_mul_(*map(list, zip(*found, strict=True))) if found else None
        return loss.detach()

    def _set_rate(self, lr, momentum, weight_decay):
        if self.sgd is None:
            parameters = self.model.parameters()
            self.sgd = torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay, fused=True)
        self.sgd.param_groups[0]["lr"] = lr

    def update(self, lr, momentum, weight_decay):
        """One SGD update; decay acts on every parameter."""
        self._set_rate(lr, momentum, weight_decay)
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)

    def state(self):
        """Everything that training changes, the streams that dropout draws from included: dict of tensors."""
        momenta = [self.sgd.state[p].get("momentum_buffer") for p in self.model.parameters()] if self.sgd else []
        found = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        found["draws/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["draws/cuda"] = torch.cuda.get_rng_state(self.device)
        return found | {f"momentum/{i}": value for i, value in enumerate(momenta) if value is not None}

    def go_on(self, state, config):
        """Take over what `state` gave; config, of the run, for its optimiser."""
        model = {name.removeprefix("model/"): value for name, value in state.items() if name.startswith("model/")}
        self.model.load_state_dict(model)
        torch.set_rng_state(state["draws/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["draws/cuda"], self.device)
        self._set_rate(config.lr, config.momentum, config.weight_decay)
        for i, parameter in enumerate(self.model.parameters()):
            if (momentum := state.get(f"momentum/{i}")) is not None:
                kept = torch.empty_like(parameter).copy_(momentum)  # in the parameter's own layout
                self.sgd.state[parameter]["momentum_buffer"] = kept

    def evaluate(self, images):
        """Logits (N, classes) in evaluation mode, on the network's device."""
        self.model.eval()
        with torch.no_grad(), self.autocast:
            output = self.model(images.to(self.device, memory_format=torch.channels_last))
            return logits(output).float()

    def write_back(self, model):
        """Leave the trained values in `model` (here: move it back to the CPU)."""
        model.to("cpu", memory_format=torch.contiguous_format)


def _check_precision(precision, device):
    """Refuse a precision that a device does not have, so that none falls back to another unseen."""
    allowed = ["float32", "bf16"]
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        allowed = ["float32", "bf16", "tf32"] if major >= 8 else ["float32"]
    if precision not in allowed:
        raise TicketError(f"precision {precision!r} is not there on {device}; allowed: {', '.join(allowed)}.")


CAPTURE = threading.Lock()  # one recording at a time, where several runs share a process


class Recorder:
    """Carries out steps of training; from the fourth of a kind on it replays a recording of the step.

    A small network keeps a GPU waiting for its launches. The same kernels run in the same order either way, so results
    are the same to the last digit. Work goes to a stream of its own, as recording needs, and so that runs in several
    threads go on side by side.

    Source: torch.cuda.graphs.
    """

    def __init__(self):
        self.seen, self.recordings = Counter(), {}
        self.stream = torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.set_stream(self.stream)

    def __call__(self, kind, step):
        """One step. Arguments: kind, what a recording is good for, hashable; step, a function without arguments, the
        same work in every call of a kind, all of it on the GPU. Returns: its loss.
        """
        self.seen[kind] += 1
        if self.seen[kind] <= EAGER:
            return step()
        if kind not in self.recordings:
            graph = torch.cuda.CUDAGraph()
            with CAPTURE, torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                loss = step()
            self.recordings[kind] = graph, loss
        graph, loss = self.recordings[kind]
        graph.replay()
        return loss.clone()  # the next replay writes over its own


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


def use_gpu(device, tf32=False):
    """Compute on a CUDA device from now on; let cuDNN repeat itself to the last digit, and float32 be float32.

    Without this it adds in another order each time, and rounds the factors of a convolution to ten bits (TF32), which
    is to be asked for by name.
    """
    if device.index is not None:
        torch.cuda.set_device(device)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32


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
    before: float = 0.0  # seconds of both in the processes that went before, where the run has gone on

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
        return Batch(pixels, self.windows[:, here], _scaling(*_moments(self.dataset))), self.labels[index]

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
        self.scaling = _scaling(*_moments(dataset)).to(device)
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
        scale, shift = self.scaling.T[:, :, None, None]
        return images.float().mul_(scale).sub_(shift), self.labels[index]


def _within(places, size):
    return (places >= 0) & (places < size)


def fit(net, config, dataset, streams, *, schedule="full", epoch_size=None, progress=True, steps=None, keeper=None):
    """Train `net` by a configuration's recipe and measure it on the dataset's test split.

    Arguments:
        net: DenseNet or sparse.SparseNet. config: experiments.config.Config. dataset: data.Dataset.
        streams: as tickets.find_mask.
        schedule: "full", "rewound" or "last" (tickets.Recipe).
        epoch_size: images that make one epoch, if not all of the training split (half data, as many updates).
        progress: show a bar if this is a terminal. steps: stop after so many updates (a rehearsal).
        keeper: keeps states of the run, from which it goes on if it is stopped: see experiments.checkpoints.Keeper.
    Returns: Result. A non-finite loss ends the run as diverged.
    """
    keep_memory()
    per_epoch = math.ceil((epoch_size or len(dataset.train.labels)) / config.batch)
    total = config.epochs * per_epoch
    start = first_step(schedule, total)
    last = min(total, start + steps) if steps else total
    stage = "train" if schedule == "full" else "retrain"
    feed = net.feed(dataset, config, streams(f"{config.order}/{stage}"), streams(f"augment/{stage}"))
    result, losses, update = Result(), [], start
    if keeper and (state := keeper.load()):
        update, losses = _go_on(state, net, feed, result, config)
    clock = time.perf_counter()
    with tqdm(total=last - start, initial=update - start, disable=None if progress else True, leave=False) as bar:
        while update < last:
            size = feed.next()
            losses.append(net.learn(feed, size, rate(config, schedule, update, total), config))
            update, done = update + 1, update + 1 - start
            result.images += size
            bar.update()
            if done % per_epoch == 0 or update == last:
                result.train_seconds += time.perf_counter() - clock
                result.loss = float(np.mean(floats(losses)))
                if not math.isfinite(result.loss):
                    return replace(result, diverged=True, correct=None, loss=None)
                losses, clock = [], time.perf_counter()
                if update == last or done % (per_epoch * config.eval_every) == 0:
                    result.correct = correct(net, dataset)
                    point = round(done / per_epoch, 4), round(result.accuracy, 4), round(result.loss, 6)
                    result.curve.append(list(point))
                    result.eval_seconds += time.perf_counter() - clock
                    clock = time.perf_counter()
            if keeper and update < last and keeper.due():
                result.train_seconds += time.perf_counter() - clock
                keeper.save(_state(net, feed, result, losses, update))
                clock = time.perf_counter()
    return result


def floats(losses):
    """Losses of single steps, tensors or numbers, as numbers; those on a device are read at once."""
    tensors = [loss for loss in losses if isinstance(loss, torch.Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(read) if isinstance(loss, torch.Tensor) else float(loss) for loss in losses]


def _state(net, feed, result, losses, update):
    """All that a run needs to go on after an update: (dict of tensors, dict of plain values)."""
    tensors = {f"net/{name}": value for name, value in net.state().items()}
    tensors |= {f"feed/{name}": value for name, value in feed.state().items()}
    facts = dict(update=update, losses=floats(losses), curve=result.curve, loss=result.loss, images=result.images,
                 train_seconds=result.train_seconds, eval_seconds=result.eval_seconds)  # fmt: skip
    return tensors, facts


def _go_on(state, net, feed, result, config):
    """Put net, feed and result where a state was taken: (update, losses of its epoch so far)."""
    tensors, facts = state
    part = lambda of: {k.removeprefix(of): v for k, v in tensors.items() if k.startswith(of)}  # noqa: E731
    net.go_on(part("net/"), config)
    feed.go_on(part("feed/"))
    for what in ("curve", "loss", "images", "train_seconds", "eval_seconds"):
        setattr(result, what, facts[what])
    result.before = result.train_seconds + result.eval_seconds
    return facts["update"], facts["losses"]


def correct(net, dataset, batch=500):
    """Which test images are classified rightly: bool (num_test,)."""
    test, answers = dataset.test, []
    for start in range(0, len(test.labels), batch):
        images = torch.tensor(test.images[start : start + batch])
        answers.append(net.evaluate(plain(images, dataset).tensor()).argmax(1))
    return torch.cat(answers).cpu().numpy() == np.asarray(test.labels)
