"""Training: SGD with momentum and step drops, a mask held exactly, the same loop for both engines."""

import math
import time
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.sgd import sgd
from tqdm import tqdm

from ticketlib.device import Recorder, check_precision, computing_in, image_layout, keep_memory, use_gpu
from ticketlib.feed import Feed, plain
from ticketlib.models import logits, prunable
from ticketlib.tickets import REWIND_TO


class DenseNet:
    """A masked network trained by torch: every weight is multiplied, the pruned ones are held at zero.

    The gradients of pruned weights are zeroed before each update. A pruned weight then has value 0, gradient 0, decay 0
    and momentum 0, so it stays exactly zero.

    Arguments: model; mask; device, "cpu" or of CUDA; precision, "float32", "bf16" (autocast), or "tf32" (CUDA alone);
        resident, whether training images lie on the device and steps ask nothing of the host: None for "on a GPU".
    Raises: TicketError for a precision that the device does not have.
    """

    def __init__(self, model, mask, *, device="cpu", precision="float32", resident=None):
        self.device, self.recorder, self.momenta = torch.device(device), None, {}
        on_gpu = self.device.type == "cuda"
        self.resident = on_gpu if resident is None else resident
        check_precision(precision, self.device)
        if on_gpu:
            use_gpu(self.device, tf32=precision == "tf32")
        self.layout = image_layout(model, self.device)
        self.model = model.to(self.device, memory_format=self.layout)
        self.weights = list(prunable(self.model).values())
        self.keep = [mask[name].to(self.device).to(torch.float32) for name in prunable(self.model)]
        self.masked = mask.kept < mask.size
        self.precision = precision
        if on_gpu:
            self.recorder = Recorder()

    def feed(self, dataset, config, order, windows):
        """The training images, where this network takes them from: Feed, whose arguments these are."""
        return Feed(dataset, config, order, windows, device=self.device if self.resident else None)

    def learn(self, feed, size, lr, config):
        """Train on the next `size` images of a Feed: forward, backward, update. Returns: the mean loss, a tensor."""
        self.model.train()
        if not self.resident:
            return self._learn(*self._on_device(*feed.batch(size)), lr, config)
        step = lambda: self._learn(*feed.resident.take(size), lr, config)  # noqa: E731
        return self.recorder((size, lr), step) if self.recorder else step()

    def _on_device(self, batch, labels):
        return batch.tensor().to(self.device, memory_format=self.layout), labels.to(self.device)

    def _learn(self, images, labels, lr, config):
        loss = self._pass(images, labels)
        self.update(lr, config.momentum, config.weight_decay)
        return loss

    def step(self, batch, labels):
        """One forward and backward pass: batch, Batch; labels (B,); returns the mean loss."""
        self.model.train()
        return self._pass(*self._on_device(batch, labels))

    def _pass(self, images, labels):
        with computing_in(self.precision, self.device):
            loss = F.cross_entropy(logits(self.model(images)), labels)
        loss.backward()
        if self.masked:
            found = [(w.grad, keep) for w, keep in zip(self.weights, self.keep, strict=True) if w.grad is not None]
            torch._foreach_mul_(*map(list, zip(*found, strict=True))) if found else None
        return loss.detach()

    @torch.no_grad()
    def update(self, lr, momentum, weight_decay):
        """One SGD update; decay acts on every parameter."""
        # by the function inside torch.optim.SGD: the class imports torch's compiler, which takes seconds
        moved = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        momenta = [self.momenta.get(parameter) for parameter in moved]
        how = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, dampening=0, nesterov=False, maximize=False)
        sgd(moved, [parameter.grad for parameter in moved], momenta, fused=True, **how)
        self.momenta.update(zip(moved, momenta, strict=True))
        for parameter in moved:
            parameter.grad = None

    def state(self):
        """Everything that training changes, the streams that dropout draws from included: dict of tensors."""
        momenta = [self.momenta.get(parameter) for parameter in self.model.parameters()]
        found = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        found["draws/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["draws/cuda"] = torch.cuda.get_rng_state(self.device)
        return found | {f"momentum/{i}": value for i, value in enumerate(momenta) if value is not None}

    def go_on(self, state):
        """Take over what `state` gave."""
        model = {name.removeprefix("model/"): value for name, value in state.items() if name.startswith("model/")}
        self.model.load_state_dict(model)
        torch.set_rng_state(state["draws/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["draws/cuda"], self.device)
        for i, parameter in enumerate(self.model.parameters()):
            if (momentum := state.get(f"momentum/{i}")) is not None:
                self.momenta[parameter] = torch.empty_like(parameter).copy_(momentum)  # in the parameter's own layout

    def evaluate(self, images):
        """Logits (N, classes) in evaluation mode, on the network's device."""
        self.model.eval()
        with torch.no_grad(), computing_in(self.precision, self.device):
            output = self.model(images.to(self.device, memory_format=self.layout))
            return logits(output).float()

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


def fit(net, config, dataset, streams, *, schedule="full", epoch_size=None, progress=True, steps=None, keeper=None):
    """Train `net` by a configuration's recipe and measure it on the dataset's test split.

    Arguments:
        net: DenseNet or sparse.SparseNet. config: experiments.config.Config. dataset: data.Dataset.
        streams: as tickets.find_mask.
        schedule: "full", "rewound" or "last" (tickets.Composition).
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
        update, losses = _go_on(state, net, feed, result)
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


def _go_on(state, net, feed, result):
    """Put net, feed and result where a state was taken: (update, losses of its epoch so far)."""
    tensors, facts = state
    part = lambda of: {k.removeprefix(of): v for k, v in tensors.items() if k.startswith(of)}  # noqa: E731
    net.go_on(part("net/"))
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
