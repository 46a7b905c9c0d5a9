"""Whether a whole training in the fast arithmetics learns what dense float32 does, live on the digits."""

import numpy as np
import pytest
import torch

from ticketlib import data, masks, models, ratios, train
from ticketlib.experiments import grids
from ticketlib.experiments.config import streams
from ticketlib.sparse import SparseNet

FIRST = {"sparse": 0.01, "bf16": 0.02}  # by which the mean loss of the first epoch may differ
LOSS, POINTS = 0.1, 6.0  # by which later losses, and the mean accuracy over seeds, may differ


def learn(kind, seed, digits):
    """Loss curve and final accuracy of one ticket of the digits: arrays."""
    config = grids.arm("smoke", "smart@0.8", seed, digits, epochs=4)
    model = models.build("resnet8", 10, 1, width=8, generator=streams(config)("init"))
    counts = ratios.keep_counts(model, "smart", "0.8")
    mask = masks.random_mask(models.prunable(model), counts, generator=streams(config)("mask"))
    mask.apply(model)
    net = SparseNet(model, mask, config.batch, (1, 8, 8)) if kind == "sparse" else train.DenseNet(
        model, mask, precision=kind)  # fmt: skip
    result = train.fit(net, config, digits, streams(config), progress=False)
    return np.array([loss for _, _, loss in result.curve]), result.accuracy


def learn_all(kind):
    digits, threads = data.load("digits"), torch.get_num_threads()
    torch.set_num_threads(1)
    curves, accuracies = zip(*[learn(kind, seed, digits) for seed in range(3)], strict=True)
    torch.set_num_threads(threads)
    return np.array(curves), np.array(accuracies)


@pytest.fixture(scope="module")
def reference():
    """What dense float32 learns with three seeds."""
    return learn_all("float32")


@pytest.mark.parametrize("kind", FIRST)
def test_the_fast_path_learns_the_same(reference, kind):
    """Losses of the first epoch agree closely, before rounding has grown; the rest within a tolerance."""
    (losses, accuracies), (expected, good) = learn_all(kind), reference
    assert np.abs(losses - expected)[:, 0].max() < FIRST[kind]
    assert np.abs(losses - expected).max() < LOSS
    assert abs(accuracies.mean() - good.mean()) < POINTS
    assert good.min() > 3 * 10 and expected[:, -1].max() < expected[:, 0].min() / 1.5  # something was learnt
