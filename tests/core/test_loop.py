"""The training loop: a pass drawn beforehand, images that lie on the device, and a run that goes on inside itself."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from synthetic import CIFAR

from ticketlib import data, feed, train
from ticketlib.errors import TicketError
from ticketlib.experiments import grids, run
from ticketlib.experiments.config import streams

DRAW = np.random.default_rng(0)
SPLIT = data.Split(DRAW.integers(0, 256, (75, 3, 16, 16), np.uint8), np.arange(75) % 10)
SOME = dataclasses.replace(CIFAR, train=SPLIT, test=data.Split(SPLIT.images[:20], SPLIT.labels[:20]))
CASES = {
    "full": dict(),
    "half data, as many updates": dict(epoch_size=150),
    "rewound": dict(schedule="rewound"),
    "last": dict(schedule="last"),
}


def config_of(engine="dense", **changes):
    config = grids.arm("laptop", "uniform@0.9", 0, SOME)
    small = dict(network="resnet8", width=8, stem_stride=1, epochs=4, batch=32, eval_every=1, precision="float32")
    return dataclasses.replace(config, engine=engine, **small | changes)


def begin(config, **how):
    """A network as a run begins with it, and its engine."""
    model = run.build(config, SOME)
    mask, _ = run.ticket_mask(config, SOME, model)
    mask.apply(model)
    if config.engine == "sparse":
        return model, run.engine(config, model, mask, SOME, "cpu")
    return model, train.DenseNet(model, mask, precision=config.precision, **how)


def end(model, net, result):
    """What a run leaves: its curve, and its tensors."""
    net.write_back(model)
    return [point[:] for point in result.curve], {k: v.clone() for k, v in model.state_dict().items()}


def same(one, other):
    return one[0] == other[0] and all(torch.equal(one[1][name], other[1][name]) for name in one[1])


def trained(config, options, keeper=None, **how):
    model, net = begin(config, **how)
    return end(model, net, train.fit(net, config, SOME, streams(config), progress=False, keeper=keeper, **options))


@functools.cache
def uninterrupted(engine, case):
    """What a run leaves that was never stopped, trained once for all that are compared with it."""
    how = {"resident": True} if engine == "resident" else {}
    return trained(config_of("dense" if how else engine, momentum=0.9), CASES[case], **how)


def a_batch_at_a_time(config, schedule="full", epoch_size=None):
    """The loop as one would write it: every batch drawn when it is needed, cut out and scaled on the CPU."""
    model, net = begin(config)
    stage, stream = "train" if schedule == "full" else "retrain", streams(config)
    order, windows = stream(f"order/{stage}"), stream(f"augment/{stage}")
    per_epoch = math.ceil((epoch_size or len(SPLIT.labels)) / config.batch)
    total, waiting, losses, curve = config.epochs * per_epoch, [], [], []
    start = total // 4 if schedule != "full" else 0
    for update in range(start, total):
        if not waiting:
            waiting = list(torch.randperm(len(SPLIT.labels), generator=order).split(config.batch))
        index = waiting.pop(0)
        batch = feed.augment(SPLIT.images[index.numpy()], SOME, windows, padding=config.padding, flip=config.flip)
        losses.append(float(net.step(batch, torch.tensor(SPLIT.labels)[index])))
        net.update(train.rate(config, schedule, update, total), config.momentum, config.weight_decay)
        done = update + 1 - start
        if done % per_epoch == 0 or update + 1 == total:
            accuracy = 100 * train.correct(net, SOME).mean()
            curve.append([round(done / per_epoch, 4), round(accuracy, 4), round(float(np.mean(losses)), 6)])
            losses = []
    return end(model, net, train.Result(curve=curve))


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.parametrize("engine", ["dense", "sparse"])
def test_the_loop_is_the_plain_one_to_the_last_bit(engine, options):
    config = config_of(engine)
    assert same(trained(config, options), a_batch_at_a_time(config, **options))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_images_that_lie_on_the_device_change_no_bit(options, precision):
    config = config_of(precision=precision)
    assert same(trained(config, options, resident=True), trained(config, options, resident=False))


def test_every_image_is_seen_once_a_pass_and_passes_differ():
    config, stream = config_of(batch=32), streams(config_of())
    images = feed.Feed(SOME, config, stream("order"), stream("augment"))
    passes = []
    for _ in range(2):
        sizes, seen = [], []
        for _ in range(3):
            sizes.append(images.next())
            seen.append(images.order[images.at - sizes[-1] : images.at])
        assert sizes == [32, 32, 11] and torch.cat(seen).sort().values.equal(torch.arange(75))
        passes.append(torch.cat(seen))
    assert not passes[0].equal(passes[1])


class Stops:
    """A keeper that ends the process when it has kept so many states."""

    def __init__(self, after=math.inf):
        self.after, self.kept = after, None

    def due(self):
        return True

    def save(self, state):
        tensors, facts = state
        self.kept = {name: value.clone() for name, value in tensors.items()}, facts | {"curve": facts["curve"][:]}
        self.after -= 1
        if not self.after:
            raise KeyboardInterrupt

    def load(self):
        return self.kept


@pytest.mark.parametrize("steps", [1, 3, 6])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["dense", "sparse", "resident"])
def test_a_run_that_was_stopped_goes_on_to_the_last_bit(engine, case, steps):
    how = {"resident": True} if engine == "resident" else {}
    config, options = config_of("dense" if how else engine, momentum=0.9), CASES[case]
    keeper = Stops(steps)
    with pytest.raises(KeyboardInterrupt):
        trained(config, options, keeper, **how)
    keeper.after = 1
    with pytest.raises(KeyboardInterrupt):
        trained(config, options, keeper, **how)  # stopped once more
    keeper.after = math.inf
    assert same(trained(config, options, keeper, **how), uninterrupted(engine, case))


def test_a_precision_that_a_device_has_not_is_refused():
    config = config_of()
    model = run.build(config, SOME)
    mask, _ = run.ticket_mask(config, SOME, model)
    with pytest.raises(TicketError, match="'tf32'.*cpu"):
        train.DenseNet(model, mask, precision="tf32")
