"""Training: schedules in update steps, masks held exactly, and what a run records."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from test_runs import make

from ticketlib import batches, data, masks, models, ratios, train
from ticketlib.experiments.config import streams


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def ticket(sparsity="0.8"):
    net = models.build("resnet8", 10, 1, width=4)
    counts = ratios.keep_counts(net, "uniform", sparsity)
    mask = masks.random_mask(models.prunable(net), counts, generator=torch.Generator().manual_seed(1))
    mask.apply(net)
    return net, mask


def test_rates_fall_at_the_drops_in_update_steps():
    config = make(drops=("0.5", "0.75"))
    rates = [train.rate(config, "full", u, 11) for u in range(11)]
    assert rates == pytest.approx([0.1] * 5 + [0.01] * 3 + [0.001] * 3)  # floor(5.5) = 5, floor(8.25) = 8
    assert train.rate(config, "last", 0, 11) == pytest.approx(0.001)


def test_rewinding_starts_at_a_quarter():
    assert [train.first_step(s, 11) for s in ("full", "rewound", "last")] == [0, 2, 2]


def test_batches_visit_every_image_once_a_pass():
    taken = train.index_batches(10, 4, torch.Generator().manual_seed(0))
    passes = [torch.cat([next(taken) for _ in range(3)]) for _ in range(2)]
    assert [sorted(p.tolist()) for p in passes] == [list(range(10))] * 2
    assert not torch.equal(*passes)


def test_updates_are_torchs_sgd_and_pruned_weights_stay_zero(digits):
    net, mask = ticket()
    twin, _ = ticket()
    sgd = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    trainer = train.DenseNet(net, mask)
    batch, labels = batches.plain(digits.train.images[:16].copy(), digits), torch.arange(16) % 10
    images = batch.tensor()
    for _ in range(3):
        trainer.step(batch, labels)
        trainer.update(0.1, 0.9, 5e-4)
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(twin(images), labels).backward()
        for name, weight in models.prunable(twin).items():
            weight.grad.mul_(mask[name])
        sgd.step()
        for name, weight in models.prunable(net).items():
            assert (weight[~mask[name]] == 0).all()
            assert torch.allclose(weight, models.prunable(twin)[name], atol=1e-6)
    assert any((w != 0).any() for w in models.prunable(net).values())


def fit(config, digits, schedule="full", **options):
    net, mask = ticket()
    return train.fit(train.DenseNet(net, mask), config, digits, streams(config), schedule=schedule, **options)


def test_a_run_learns_and_is_the_same_twice(digits):
    config = make(epochs=3)
    first, second = fit(config, digits), fit(config, digits)
    assert first.accuracy > 3 * 10  # three times chance
    assert first.curve == second.curve and (first.correct == second.correct).all()
    assert [point[0] for point in first.curve] == [1, 2, 3]
    assert first.images == 3 * len(digits.train.labels)


def test_the_seed_changes_the_run(digits):
    assert fit(make(seed=1), digits).curve != fit(make(), digits).curve


def test_rewound_runs_are_shorter(digits):
    per_epoch = math.ceil(len(digits.train.labels) / 64)
    result = fit(make(epochs=4, eval_every=2), digits, "rewound")
    assert result.curve[-1][0] == 3
    assert result.images == pytest.approx(3 * per_epoch * 64, rel=0.05)


def test_half_the_data_make_as_many_updates(digits):
    small = dataclasses.replace(
        digits, train=data.Split(digits.train.images[:700], digits.train.labels[:700])
    )
    result = fit(make(epochs=2), small, epoch_size=len(digits.train.labels))
    updates = 2 * math.ceil(len(digits.train.labels) / 64)
    passes, rest = divmod(updates, math.ceil(700 / 64))
    assert result.images == passes * 700 + rest * 64


def test_divergence_is_recorded_not_raised(digits):
    result = fit(make(lr=1e9, epochs=2), digits)
    assert result.diverged and result.accuracy is None and result.loss is None


def test_bf16_learns_the_same_within_noise(digits):
    accuracies = []
    for precision in ("float32", "bf16"):
        net, mask = ticket()
        config = make(epochs=4, precision=precision)
        trainer = train.DenseNet(net, mask, precision=precision)
        accuracies.append(train.fit(trainer, config, digits, streams(config)).accuracy)
    assert abs(accuracies[0] - accuracies[1]) < 15


class Told:
    """A trainer that learns nothing: it notes every rate, and its losses are those it is told."""

    def __init__(self, losses):
        self.losses, self.rates = iter(losses), []

    def step(self, batch, labels):
        return next(self.losses)

    def update(self, lr, momentum, weight_decay):
        self.rates.append(round(lr, 6))

    def evaluate(self, images):
        return torch.zeros(len(images), 10)


def told(digits, schedule, losses):
    few = dataclasses.replace(digits, train=data.Split(digits.train.images[:128], digits.train.labels[:128]))
    net, config = Told(losses), make(epochs=4)  # two updates an epoch, eight in all
    return net, train.fit(net, config, few, streams(config), schedule=schedule, progress=False)


@pytest.mark.parametrize(("schedule", "rates"), [
    ("full", [0.1] * 4 + [0.01] * 2 + [0.001] * 2), ("rewound", [0.1] * 2 + [0.01] * 2 + [0.001] * 2),
    ("last", [0.001] * 6),
])  # fmt: skip
def test_a_run_trains_at_the_rates_of_its_schedule(digits, schedule, rates):
    assert told(digits, schedule, [1.0] * 8)[0].rates == rates


def test_a_loss_is_the_mean_of_its_own_epoch(digits):
    assert [loss for *_, loss in told(digits, "full", [4, 2, 2, 2, 1, 1, 1, 0])[1].curve] == [3, 2, 1, 0.5]


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
    batch = batches.plain(digits.train.images[:16].copy(), digits)
    net.step(batch, torch.arange(16) % 10)
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    assert torch.allclose(net.evaluate(batch.tensor())[:1], net.evaluate(batch.tensor()[:1]), atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in net.model.state_dict().items())
