"""Whether engines learn the same, and seconds to an accuracy: on rows worked out by hand, and live on the digits."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from synthetic import CIFAR, row
from test_runs import make

from ticketlib import data, grids, learning, masks, models, ratios, train
from ticketlib.learning import BF16, FLOAT32, SPARSE
from ticketlib.runs import streams
from ticketlib.sparse import SparseNet

PILOT = dict(held_out=5000, recipe=0)
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


def test_the_bound_on_spreads_is_the_f_distributions():
    assert learning.spread_bound(5, 5) == pytest.approx(6.388**0.5, rel=1e-3)  # F(4, 4) at 95 %, from a printed table


@pytest.mark.parametrize("count", [0, 2, 5])
def test_too_few_rows_are_not_run(count):
    found = learning.engine_rows(engines(CLOSE)[:count], "laptop")
    assert learning.same(found) is None
    assert learning.same_verdict(found, "laptop").startswith(f"**Not run.** {count} of 15 runs")
    assert learning.same_table(found).count("\n") == (1 + count // 3 + bool(count % 3) if count else 0)


def test_the_table_has_both_differences():
    table = learning.same_table(learning.engine_rows(engines(CLOSE), "laptop")).splitlines()
    assert table[2] == "| 1000 | 60.50 | 60.00 | 60.60 | +0.50 | +0.60 |"


def pilot(key, seed, epochs, accuracies, seconds, **facts):
    """A row of the pilot: a point of its curve every `epochs / len(accuracies)` epochs."""
    every = epochs / len(accuracies)
    curve = [[every * (i + 1), accuracy, 1.0] for i, accuracy in enumerate(accuracies)]
    changes = PILOT | {"epochs": epochs}
    return row(key, seed, accuracies[-1], changes=changes, curve=curve, train_seconds=seconds, **facts)


@pytest.fixture
def timed():
    rows = [pilot("dense", 1000, 10, [60.0, 80.0], 100.0), pilot("smart@0.9", 1000, 10, [61.0, 76.0], 40.0),
            pilot("smart@0.9", 1000, 20, [50.0, 70.0, 78.0, 81.0], 80.0, images_per_second=2500.0)]  # fmt: skip
    lt = pilot("lt@0.9", 1000, 10, [70.0, 79.0], 50.0, parent=rows[0]["name"])
    return [*rows, lt, row("smart@0.98", 1000, 60.0, changes=PILOT | {"engine": "dense"}), row("snip@0.9", 1000, 70.0)]


def test_seconds_are_those_of_the_epochs_that_reach_it(timed):
    dense, smart, _, lt = timed[:4]
    assert [learning.seconds_to(dense, target) for target in (60, 60.1, 80.1)] == [50.0, 100.0, None]
    assert learning.seconds_to(smart, 75) == 40.0 and learning.seconds_to(lt, 70, dense) == 125.0


def test_plain_tickets_of_the_usual_engine_are_read(timed):
    source, of = learning.clocked(timed, "laptop")
    assert source == "the pilot" and set(of) == {("dense", "0"), ("smart", "0.9"), ("lt", "0.9")}
    assert sorted(of["smart", "0.9"]) == [10, 20]
    assert learning.clocked(timed[:3], "laptop") == ("", {})
    counting = [row(key, 0, 70.0, train_seconds=9.0) for key in ("dense", "smart@0.9", "lt@0.9")]
    assert learning.clocked([*timed, *counting], "laptop")[0] == "the runs that count"


def test_the_fastest_length_counts_and_a_ticket_pays_for_its_dense_net(timed):
    found = learning.to_accuracy(learning.clocked(timed, "laptop")[1])
    assert found[60][("smart", "0.9")] == (20.0, 10, 1)
    assert found[75][("smart", "0.9")] == (40.0, 10, 1)
    assert found[80] == {("dense", "0"): (100.0, 10, 1), ("lt", "0.9"): None, ("smart", "0.9"): (80.0, 20, 1)}
    assert found[75][("lt", "0.9")] == (150.0, 10, 1) and 85 not in found
    assert learning.common_target(learning.clocked(timed, "laptop")[1]) == 75


def test_all_seeds_must_get_there(timed):
    other = pilot("smart@0.9", 1001, 10, [50.0, 60.0], 60.0)
    of = learning.clocked([*timed, other], "laptop")[1]
    assert learning.to_accuracy(of)[60][("smart", "0.9")] == (pytest.approx(40.0), 10, 2)
    assert learning.to_accuracy(of)[75][("smart", "0.9")] == (60.0, 20, 1)


def test_tables_and_sentences_of_seconds(timed):
    of = learning.clocked(timed, "laptop")[1]
    table = learning.seconds_table(of).splitlines()
    assert table[0] == "| accuracy | dense | random ticket, 90 % removed | LT, with its dense net, 90 % removed |"
    assert "| 80 % | 100 s (10 epochs, n = 1) | 80 s (20 epochs, n = 1) | not reached |" in table
    assert "**2.5 times**" in learning.load_said(of)
    assert learning.seconds_table({}) == "**Not run.**" and learning.load_said({}) == ""


def test_figures_show_every_run(timed):
    figure, axes = plt.subplots(2, 2)
    found = learning.engine_rows(engines(CLOSE), "laptop")
    assert len(learning.draw_losses(axes[0, 0], found).lines) == 15
    assert list(learning.draw_differences(axes[0, 1], found).lines[0].get_ydata()) == pytest.approx(CLOSE[0])
    learning.draw_seconds(axes[1], learning.clocked(timed, "laptop")[1])
    smart, lt, dense = axes[1, 1].lines
    assert list(smart.get_ydata()) == [40] and list(lt.get_ydata()) == [150] and set(dense.get_ydata()) == {100}
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
