"""Whether engines learn the same: on rows worked out by hand, and live on the digits."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from synthetic import CIFAR, make, row
from ticketbook import learning
from ticketbook.learning import BF16, FLOAT32, SPARSE

from ticketlib import data, masks, models, ratios, train
from ticketlib.experiments import grids
from ticketlib.experiments.config import streams
from ticketlib.sparse.net import SparseNet

SPEEDS = {SPARSE: 4000.0, FLOAT32: 700.0, BF16: 1300.0}


def engines(apart):
    """Rows of the grid `engines`: dense float32 at 60 % plus the seed's place, the others `apart` from it in points."""
    found = []
    for place, config in enumerate(grids.engines("laptop", CIFAR)):
        kind, seed = learning.arithmetic(config), place // 3
        points = {FLOAT32: 0.0, SPARSE: apart[0][seed], BF16: apart[1][seed]}[kind]
        changes = {what: getattr(config, what) for what in ("engine", "precision", "epochs", "held_out", "recipe")}
        curve = [[2.0, 40.0, 1.5], [5.0, 60 + seed + points, 1.0]]
        found.append(row("smart@0.98", config.seed, 60 + seed + points, changes=changes, curve=curve))
    return found


CLOSE = ([0.5, -0.5, 0.4, -0.3, 0.0], [0.6, -0.6, 0.3, -0.2, 0.1])


def test_rows_of_the_grid_are_found_among_others():
    found = learning.engine_rows([*engines(CLOSE), row("smart@0.98", 0, 50.0), row("smart@0.9", 1000, 50.0)], "laptop")
    assert {kind: sorted(of) for kind, of in found.items()} == {k: list(range(1000, 1005)) for k in SPEEDS}
    assert learning.engine_rows([], "laptop") == {SPARSE: {}, FLOAT32: {}, BF16: {}}


def test_differences_are_paired_and_leave_out_other_machines():
    rows = engines(CLOSE)
    rows[0]["device"] = "cpu: another"
    apart = learning.differences(learning.engine_rows(rows, "laptop"))
    assert list(apart[SPARSE].values()) == pytest.approx(CLOSE[0][1:])
    assert list(apart[BF16].values()) == pytest.approx(CLOSE[1])


@pytest.mark.parametrize(("sparse", "answer"), [
    (CLOSE[0], True), ([2.0, 2.1, 1.9, 2.2, 2.0], False), ([3.0, -3.0, 2.5, -2.5, 0.0], False), ([0.0] * 5, True)
])  # fmt: skip
def test_the_same_needs_no_shift_and_no_larger_spread(sparse, answer):
    found = learning.engine_rows(engines((sparse, CLOSE[1])), "laptop")
    assert learning.same(found) is answer
    said = learning.same_verdict(found, "laptop")
    assert ("**within the spread**" if answer else "**outside of the spread**") in said and "15 of 15 runs" in said


def test_what_few_pairs_leave_open_is_said():
    said = learning.same_verdict(learning.engine_rows(engines(CLOSE), "laptop"), "laptop")
    assert "as far as 5 pairs can tell" in said and "A true shift anywhere from −0.52 to +0.56 points" in said
    line = "- Sparse minus bf16: mean −0.02 points, 95 % interval −0.16 to +0.12, standard deviation 0.11, n = 5."
    assert line in said.splitlines()


def test_the_ratio_of_spreads_is_bounded_where_pitman_and_morgans_test_stops():
    """At each bound b on a ratio, a + x and a - x are uncorrelated beyond chance for x = b times the other."""
    a, b = np.array([0.5, -0.5, 0.4, -0.3, 0.0, 1.0]), np.array([0.6, -0.2, 0.3, -0.2, 0.1, -0.5])
    ratio, low, high = learning.spread_ratio(a, b)
    assert ratio == pytest.approx(a.std() / b.std()) and low < ratio < high
    assert pearsonr(a + low * b, a - low * b, alternative="greater").pvalue == pytest.approx(0.05)
    assert pearsonr(a + high * b, a - high * b, alternative="less").pvalue == pytest.approx(0.05)
    assert learning.spread_ratio(0 * a, b) == (0, 0, 0) and learning.spread_ratio(a, 0 * b)[1] == np.inf


@pytest.mark.parametrize("count", [0, 2, 5])
def test_too_few_rows_are_not_run(count):
    found = learning.engine_rows(engines(CLOSE)[:count], "laptop")
    assert learning.same(found) is None
    assert learning.same_verdict(found, "laptop").startswith(f"**Not run.** {count} of 15 runs")
    assert learning.same_table(found).count("\n") == (1 + count // 3 + bool(count % 3) if count else 0)


def test_the_table_has_all_differences():
    table = learning.same_table(learning.engine_rows(engines(CLOSE), "laptop")).splitlines()
    assert table[2] == "| 1000 | 60.50 | 60.00 | 60.60 | +0.50 | +0.60 | −0.10 |"


def test_figures_show_every_run():
    figure, axes = plt.subplots(1, 2)
    found = learning.engine_rows(engines(CLOSE), "laptop")
    assert len(learning.draw_losses(axes[0], found).lines) == 15
    assert list(learning.draw_differences(axes[1], found).lines[0].get_ydata()) == pytest.approx(CLOSE[0])
    plt.close(figure)


LEARNT = {"sparse": (SPARSE, 0.01), "bf16": (BF16, 0.02)}  # by which the mean loss of the first epoch may differ
LOSS, POINTS = 0.1, 6.0  # by which later losses, and the mean accuracy over seeds, may differ


def learn(kind, seed, digits):
    """Loss curve and final accuracy of one ticket of the digits: arrays."""
    config = make("smart", "0.8", seed, epochs=4)
    model = models.build("resnet8", 10, 1, width=8, generator=streams(config)("init"))
    counts = ratios.keep_counts(model, "smart", "0.8")
    mask = masks.random_mask(models.prunable(model), counts, generator=streams(config)("mask"))
    mask.apply(model)
    net = SparseNet(model, mask, config.batch, (1, 8, 8)) if kind == SPARSE else train.DenseNet(
        model, mask, precision="bf16" if kind == BF16 else "float32")  # fmt: skip
    result = train.fit(net, config, digits, streams(config), progress=False)
    return np.array([loss for _, _, loss in result.curve]), result.accuracy


@pytest.fixture(scope="module")
def reference():
    """What dense float32 learns with three seeds."""
    return learn_all(FLOAT32)


def learn_all(kind):
    digits, threads = data.load("digits"), torch.get_num_threads()
    torch.set_num_threads(1)
    found = [learn(kind, seed, digits) for seed in range(3)]
    torch.set_num_threads(threads)
    return np.array([curve for curve, _ in found]), np.array([accuracy for _, accuracy in found])


@pytest.mark.parametrize("fast", LEARNT)
def test_the_fast_path_learns_the_same(reference, fast):
    """Losses of the first epoch agree closely, before rounding has grown; the rest within a tolerance."""
    kind, first = LEARNT[fast]
    (losses, accuracies), (expected, good) = learn_all(kind), reference
    assert np.abs(losses - expected)[:, 0].max() < first
    assert np.abs(losses - expected).max() < LOSS
    assert abs(accuracies.mean() - good.mean()) < POINTS
    assert good.min() > 3 * 10 and expected[:, -1].max() < expected[:, 0].min() / 1.5  # something was learnt
