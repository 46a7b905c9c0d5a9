"""Training: schedules in update steps, masks held exactly, and what a run records."""

import dataclasses
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scored_nets import ticket

from ticketlib import data, feed, masks, models, train

RECIPE = SimpleNamespace(epochs=6, batch=64, lr=0.1, momentum=0.9, weight_decay=5e-4, drops=("0.5", "0.75"), padding=1,
                         flip=False, eval_every=1, order="order")  # fmt: skip


def make(**changes):
    return SimpleNamespace(**{**vars(RECIPE), **changes})


def streams(seed=0):
    return lambda name: torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    """A few of the digits: 320 to train on, 100 to test on."""
    whole = data.load("digits")
    train, test = (data.Split(s.images[:n], s.labels[:n]) for s, n in ((whole.train, 320), (whole.test, 100)))
    return data.measure("digits", whole.classes, train, test, "few")


def test_rates_fall_at_the_drops_in_update_steps():
    config = make(drops=("0.5", "0.75"))
    rates = [train.rate(config, "full", u, 11) for u in range(11)]
    assert rates == pytest.approx([0.1] * 5 + [0.01] * 3 + [0.001] * 3)  # floor(5.5) = 5, floor(8.25) = 8
    assert train.rate(config, "last", 0, 11) == pytest.approx(0.001)


def test_what_was_not_measured_is_nothing():
    result = train.Result()
    assert (result.images, result.train_seconds, result.eval_seconds, result.accuracy) == (0, 0, 0, None)
    assert train.Result(correct=np.array([True, False, True, True])).accuracy == 75


def test_rewinding_starts_at_a_quarter():
    assert [train.first_step(s, 11) for s in ("full", "rewound", "last")] == [0, 2, 2]


def test_updates_are_torchs_sgd_and_pruned_weights_stay_zero(digits):
    net, mask = ticket()
    twin, _ = ticket()
    sgd = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    trainer = train.DenseNet(net, mask)
    batch, labels = feed.plain(digits.train.images[:16].copy(), digits), torch.arange(16) % 10
    images = batch.tensor()
    for lr in (0.1, 0.1, 0.02):
        loss = trainer.step(batch, labels)
        trainer.update(lr, 0.9, 0.1)
        sgd.zero_grad()
        sgd.param_groups[0]["lr"] = lr
        wanted = torch.nn.functional.cross_entropy(twin(images), labels)
        wanted.backward()
        assert float(loss) == pytest.approx(wanted.item(), rel=1e-5)
        for name, weight in models.prunable(twin).items():
            weight.grad.mul_(mask[name])
        sgd.step()
        for name, weight in models.prunable(net).items():
            assert (weight[~mask[name]] == 0).all()
            assert torch.allclose(weight, models.prunable(twin)[name], atol=1e-6)
    trainer.write_back(net)
    assert all(w.is_contiguous() and (w != 0).any() for w in models.prunable(net).values())


def small():
    """A network that learns within few steps, and a mask of it."""
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32, bias=False), torch.nn.ReLU(), torch.nn.Linear(32, 10, bias=False)
    )
    for i, weight in enumerate(models.prunable(net).values()):
        torch.nn.init.normal_(weight, 0, 0.2, generator=rng(i))
    return net, masks.random_mask(models.prunable(net), {"1.weight": 1024, "3.weight": 200}, generator=rng(1))


def fit(config, digits, seed=0):
    net, mask = small()
    mask.apply(net)
    return train.fit(train.DenseNet(net, mask), config, digits, streams(seed))


def test_a_run_learns_and_is_the_same_twice_for_a_seed(digits):
    config = make(epochs=4, batch=32)
    first, second, other = (fit(config, digits, seed) for seed in (0, 0, 1))
    assert first.accuracy > 3 * 10  # three times chance
    assert first.curve == second.curve and (first.correct == second.correct).all() and first.curve != other.curve
    assert [point[0] for point in first.curve] == [1, 2, 3, 4] and first.curve[-1][1] == first.accuracy
    assert first.images == 4 * 320 and first.loss < 2 and first.train_seconds > 0 < first.eval_seconds


def test_bf16_computes_nearly_the_same(digits):
    batch, labels = feed.plain(digits.train.images[:16].copy(), digits), torch.arange(16) % 10
    nets = [train.DenseNet(*ticket(), precision=precision) for precision in ("float32", "bf16")]
    exact, rounded = (float(net.step(batch, labels)) for net in nets)
    assert exact != rounded == pytest.approx(exact, rel=0.02)
    assert nets[1].evaluate(batch.tensor()).dtype == torch.float32


class Told:
    """A trainer that learns nothing: it notes every rate, and its losses are those it is told."""

    def __init__(self, losses):
        self.losses, self.rates = iter(losses), []

    def feed(self, *given):
        return feed.Feed(*given)

    def learn(self, feed, size, lr, config):
        self.rates.append(round(lr, 6))
        return next(self.losses)

    def evaluate(self, images):
        return torch.zeros(len(images), 10)


def told(digits, schedule="full", losses=(1.0,) * 99, seen=128, **options):
    few = dataclasses.replace(digits, train=data.Split(digits.train.images[:seen], digits.train.labels[:seen]))
    net, config = Told(losses), make(**{"epochs": 4} | options.pop("config", {}))  # 128 images are 2 updates an epoch
    return net, train.fit(net, config, few, streams(), schedule=schedule, progress=False, **options)


@pytest.mark.parametrize(("schedule", "rates"), [
    ("full", [0.1] * 4 + [0.01] * 2 + [0.001] * 2), ("rewound", [0.1] * 2 + [0.01] * 2 + [0.001] * 2),
    ("last", [0.001] * 6),
])  # fmt: skip
def test_a_run_trains_at_the_rates_of_its_schedule(digits, schedule, rates):
    net, result = told(digits, schedule)
    assert net.rates == rates and result.images == 64 * len(rates)
    assert [epoch for epoch, *_ in result.curve] == list(range(1, len(rates) // 2 + 1))


def test_a_loss_is_the_mean_of_its_own_epoch(digits):
    assert [loss for *_, loss in told(digits, losses=[4, 2, 2, 2, 1, 1, 1, 0])[1].curve] == [3, 2, 1, 0.5]


def test_half_the_data_make_as_many_updates(digits):
    _, result = told(digits, seen=100, epoch_size=320, config={"epochs": 2})  # 5 updates an epoch, of 64 and 36
    assert result.images == 5 * 64 + 5 * 36


@pytest.mark.parametrize(("every", "points"), [(1, [1, 2, 3]), (2, [2, 3]), (5, [3])])
def test_a_run_is_measured_every_so_many_epochs_and_at_its_end(digits, every, points):
    _, result = told(digits, config={"epochs": 3, "eval_every": every})
    assert [epoch for epoch, *_ in result.curve] == points


def test_a_rehearsal_stops_after_its_steps(digits):
    net, result = told(digits, steps=3)
    assert len(net.rates) == 3 and result.curve[-1][0] == 1.5 and result.loss == 1


def test_divergence_is_recorded_not_raised(digits):
    net, result = told(digits, losses=[1, 1, 1, float("nan")])
    assert result.diverged and result.accuracy is None and result.loss is None and len(net.rates) == 4


def test_more_test_images_than_a_batch_are_held_against_their_own_labels(digits):
    net = Told([])
    net.evaluate = lambda images: torch.eye(10)[images[:, 0, 0, 0].round().long()]
    labels = np.arange(23) % 10
    images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (23, 1, 8, 8)).copy()
    images[20] = 5
    marked = dataclasses.replace(digits, test=data.Split(images, labels), mean=(0.0,), std=(1 / 255,))
    assert np.flatnonzero(~train.correct(net, marked, batch=8)).tolist() == [20]


def test_a_test_image_is_judged_alone_and_changes_nothing(digits):
    net = train.DenseNet(*ticket())
    batch = feed.plain(digits.train.images[:16].copy(), digits)
    net.step(batch, torch.arange(16) % 10)
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    assert torch.allclose(net.evaluate(batch.tensor())[:1], net.evaluate(batch.tensor()[:1]), atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in net.model.state_dict().items())
