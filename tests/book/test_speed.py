"""Stored benchmarks as a table, seconds to an accuracy, the engine comparison and GPU-hours, worked out by hand."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from synthetic import CIFAR, row, row_of
from ticketbook import speed

from ticketlib.errors import TicketError
from ticketlib.experiments import grids, places
from ticketlib.experiments.claims import CLAIMS
from ticketlib.experiments.config import parent
from ticketlib.experiments.profiles import PROFILES

NET = "laptop ResNet-20"
IDLE = {0.0: 1000.0, 0.9: 2000.0, 0.98: 4000.0}  # images/s


def figure(quantity, value, unit="images/s", **fields):
    return dict(quantity=quantity, value=value, unit=unit) | fields


def trained(sparsity, value, against=1000.0, network=NET, **fields):
    fields = dict(network=network, sparsity=sparsity, engine="sparse", yardstick="dense bf16", against=against) | fields
    return figure("training", value, **fields)


def a_set(group, *figures, processor="one", date="2026-01-01", busy=0.0):
    machine = dict(code="v1", versions=dict(torch="2"), device="cpu: one", threads=1)
    return dict(group=group, date=date, processor=processor, busy=busy, machine=machine, figures=list(figures))


SPEEDS = [trained("0.9", 2000.0, goals={"1.5 times": True, "aim: 3 times": False}), trained("0.98", 4000.0)]
STEP = dict(unit="ms a step", network=NET, sparsity="0.9", engine="sparse", batch=100)
OF_STEP = [figure("phase", value, phase=phase, **STEP) for phase, value in (
    ("draws of augmentation", 1.0), ("images augmented and laid out", 2.0), ("convolutions forward", 3.0),
    ("gradients of inputs", 4.0), ("gradients of weights", 5.0), ("update", 6.0))]  # fmt: skip


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A function that stores sets, and returns the table that is read from them."""
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "benchmarks.json")

    def store(*sets):
        speed.RESULTS.write_text(json.dumps(sets))
        return speed.load()

    return store


def test_without_a_file_tables_are_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "absent.json")
    figures = speed.load()
    assert speed.sets() == [] and figures.empty and speed.machines().empty and speed.training(figures).empty
    assert speed.phases(figures).empty and speed.bounds(figures).empty and speed.goals(figures).empty
    assert speed.break_even(figures).empty and speed.in_short(figures) == speed.NOT_MEASURED


@pytest.mark.parametrize("text", [
    "", '"text"', "[1]", '[{"figures": []}]', json.dumps([a_set("dense", {"quantity": "x", "value": 1})]),
    json.dumps([a_set("dense", figure("x", 1) | {"what": "x"})]), json.dumps([a_set("dense") | {"more": 1}]),
])  # fmt: skip
def test_a_file_of_something_else_is_an_error(tmp_path, monkeypatch, text):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "benchmarks.json")
    speed.RESULTS.write_text(text)
    with pytest.raises(TicketError, match="benchmarks.json"):
        speed.load()


def test_what_does_not_apply_is_empty_and_the_newest_set_of_each_processor_counts(stored):
    figures = stored(
        a_set("sparse", figure("first step", 12.0, "s")), a_set("sparse", *SPEEDS, processor="other"),
        a_set("sparse", figure("first step", 11.0, "s"), date="2026-01-02", busy=0.25), a_set("dense"),
    )  # fmt: skip
    assert figures.processor.tolist() == ["one", "other", "other"]
    first = figures.iloc[0]
    assert (first.value, first.date, first.batch, first.processes) == (11.0, "2026-01-02", 0, 1)
    assert first.network == first.sparsity == first.yardstick == "" and np.isnan(first.against) and first.goals == {}
    machines = speed.machines().set_index(["processor", "group"])["others' use of it, %"]
    assert machines.to_dict() == {("one", "sparse"): 25.0, ("other", "sparse"): 0.0, ("one", "dense"): 0.0}


def test_training_is_a_line_a_processor_and_network(stored):
    beside = figure("training", 9.0, network=NET, sparsity="0.95", engine="dense")
    figures = stored(
        a_set("sparse", *SPEEDS, trained("0.9", 1500.0, 900.0, processes=2)), a_set("dense", beside),
        a_set("sparse", trained("0.9", 300.0, 100.0), processor="other"),
    )  # fmt: skip
    assert speed.training(figures).loc["one", NET].to_dict() == {0.0: 1000.0, 0.9: 2000.0, 0.98: 4000.0}
    assert speed.training(figures).loc["other", NET].dropna().to_dict() == {0.0: 100.0, 0.9: 300.0}
    assert speed.training(figures, 2).loc["one", NET].to_dict() == {0.0: 900.0, 0.9: 1500.0}
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in speed.in_short(figures).splitlines()]
    assert lines[0] == ["processor", "network", "90 % removed", "98 % removed"]
    assert lines[2][:4] == ["one", NET, "2.00", "4.00"] and lines[3][:3] == ["other", NET, "3.00"]


CROSSINGS = [  # seconds an image are a straight line over weights kept: 1 / speed
    ({0.9: 500.0, 0.95: 1e9}, (0.9, 0.95, 0.925)),  # 2 ms at 10 %, nothing at 5 %: 1 ms half way
    ({0.9: 2000.0, 0.98: 4000.0}, (None, 0.9, 0.9)),
    ({0.9: 500.0, 0.98: 900.0}, (0.98, None, 1.0)),
    ({0.9: 500.0, 0.98: 1000.0}, (0.98, None, 1.0)),
    ({0.8: 1500.0, 0.95: 1e9, 0.9: 900.0}, (0.9, 0.95, 0.905)),  # a stray one below does not count
]  # fmt: skip


@pytest.mark.parametrize(("speeds", "expected"), CROSSINGS)
def test_break_even_is_bracketed_and_estimated_in_between(stored, speeds, expected):
    low, high, at = speed.crossing(speeds, 1000.0)
    assert (low, high) == expected[:2] and at == pytest.approx(expected[2], abs=1e-6)
    figures = stored(a_set("sparse", *(trained(str(s), value) for s, value in speeds.items())))
    percent = speed.break_even(figures).loc["one", NET].to_numpy()
    assert percent == pytest.approx([np.nan if x is None else 100 * x for x in expected], abs=1e-4, nan_ok=True)


def test_phases_of_all_loops_have_the_same_names(stored):
    at = dict(network=NET, sparsity="0.95", engine="usual loop", batch=500)
    names = ("images", "forward", "backward", "masks", "update", "metrics")
    usual = [figure("phase", 7.0, "ms a step", phase=phase, **at) for phase in names]
    table = speed.phases(stored(a_set("sparse", *OF_STEP), a_set("dense", *usual)))
    assert table.loc[NET, "one", "sparse", "0.9"].tolist() == [30.0, 30.0, 90.0, 0.0, 60.0, 0.0]  # of 100 images
    assert table.loc[NET, "one", "usual loop", "0.95"].tolist() == [14.0, 14.0, 14.0, 0.0, 42.0, 0.0]
    figure_, axes = plt.subplots(1, 2)
    first, _ = speed.draw_phases(axes, table)
    widths = [[bar.get_width() for bar in bars] for bars in first.containers]
    assert widths == [[14.0, 30.0], [14.0, 30.0], [14.0, 90.0], [0.0, 0.0], [42.0, 60.0], [0.0, 0.0]]  # usual, sparse
    assert [bar.get_x() for bar in first.containers[4]] == [42.0, 150.0]
    plt.close("all")


def test_beside_the_peer_less_time_and_more_images_are_faster(stored):
    at = dict(network=NET, sparsity="0.9", yardstick="SparseProp")
    layer = figure("layer", 2.0, "ms", phase="a layer", against=6.0, **at)
    step = layer | figure("training beside SparseProp", 500.0, phase="", against=1000.0)
    peer = speed.beside_peer(stored(a_set("sparse", layer, step, *SPEEDS)))
    assert peer.times.tolist() == [3.0, 0.5] and peer.phase.tolist() == ["a layer", "a whole step of training"]
    figure_, axes = plt.subplots(1, 2)
    assert speed.draw_peer(axes, peer)[0].lines[0].get_xdata().tolist() == [3.0, 0.5] and not axes[1].lines
    faster = pd.concat([peer, peer.assign(network="other", times=9 * peer.times)])
    _, axes = plt.subplots(2, 1, sharex=True)
    assert [ax.get_xlim()[1] > 27 and ax.get_xlim()[0] == 0 for ax in speed.draw_peer(axes, faster)] == [True, True]
    plt.close("all")


def test_bounds_stand_beside_what_was_measured(stored):
    at = dict(network=NET, sparsity="0.9")
    figures = [figure(what, value, "", **at) for what, value in (
        ("arithmetic", 4.0), ("memory traffic", 3.0), ("multiply-adds that stay dense", 20.0),
        ("arithmetic's share of the bound", 75.0))]  # fmt: skip
    measured = figure("bound", 2000.0, engine="sparse", yardstick="bound", against=2500.0, **at)
    whole = figure("arithmetic", 40.0, "", network=NET, sparsity="0")
    [line] = speed.bounds(stored(a_set("sparse", *figures, measured, whole))).to_dict("records")
    assert (line["arithmetic"], line["bound, images/s"], line["measured, images/s"]) == (4.0, 2500.0, 2000.0)
    assert line["reached"] == pytest.approx(80.0)


def test_goals_are_a_line_each(stored):
    found = speed.goals(stored(a_set("sparse", *SPEEDS)))
    assert found[["goal", "reached", "value"]].to_numpy().tolist() == [
        ["1.5 times", True, 2000.0], ["aim: 3 times", False, 2000.0]]  # fmt: skip


def test_the_books_own_figures_are_whole():
    figures = speed.load()
    assert len(figures) == len(figures.drop(columns="goals").drop_duplicates()) and len(figures) >= 258
    assert set(figures.query("quantity == 'phase'").phase) <= set(speed.PHASES)
    for _, of in figures.groupby("processor"):
        assert len(speed.training(of)) >= 3 and len(speed.beside_peer(of)) == 42
        assert len(speed.bounds(of)) == 6 and len(speed.goals(of)) == 42


def test_readme_shows_what_is_stored(root):
    assert speed.in_short(speed.load()) in (root / "README.md").read_text(encoding="utf-8")


def test_a_panel_has_a_line_and_a_dense_line_for_each_processor(stored):
    other = [trained("0.9", 200.0, 100.0), trained("0.98", 300.0, 100.0)]
    figures = stored(a_set("sparse", *SPEEDS), a_set("sparse", *other, processor="other"))
    figure_, axes = plt.subplots(1, 2)
    speed.draw_training(axes, figures)
    random, dense, others, _ = axes[0].lines
    assert list(random.get_xdata()) == pytest.approx([10, 2]) and list(random.get_ydata()) == [2000, 4000]
    assert list(dense.get_ydata()) == [1000, 1000] and list(others.get_ydata()) == [200, 300] and not axes[1].lines
    plt.close("all")


def learned(key, seed, epochs, accuracies, **facts):
    """A row of a run with equal steps between the points of its curve; 1,000 images an epoch."""
    curve = [[epochs * (i + 1) / len(accuracies), accuracy, 1.0] for i, accuracy in enumerate(accuracies)]
    facts = dict(curve=curve, images=1000 * epochs) | facts
    return row(key, seed, accuracies[-1], changes=dict(epochs=epochs), **facts)


def test_curves_run_over_seconds_and_lt_begins_after_its_dense_net():
    dense = learned("dense", 0, 20, [60.0, 80.0])
    rows = [dense, learned("smart@0.9", 0, 20, [50.0, 70.0]), learned("smart@0.9", 1, 20, [54.0, 72.0]),
            learned("smart@0.9", 0, 35, [75.0]), learned("lt@0.9", 0, 20, [71.0], parent=dense["name"]),
            learned("lt+shuffled@0.9", 0, 20, [1.0]), learned("smart@0.95", 0, 20, [1.0]),
            learned("snip@0.9", 0, 20, [1.0]), learned("smart@0.9", 2, 20, [9.0], diverged=True),
            row("smart@0.9", 3, 1.0, changes=dict(engine="dense")),
            row("dense", 4, 1.0, changes=dict(precision="float32"))]  # fmt: skip
    table = speed.learning_curves(rows, "laptop", IDLE, (20, 35))
    found = {key: line[["seconds", "accuracy", "n"]].to_numpy().tolist()
             for key, line in table.groupby(["ticket", "sparsity", "epochs"])}  # fmt: skip
    assert found == {
        ("dense", "0", 20): [[10.0, 60.0, 1], [20.0, 80.0, 1]], ("lt", "0.9", 20): [[30.0, 71.0, 1]],
        ("smart", "0.9", 20): [[5.0, 52.0, 2], [10.0, 71.0, 2]], ("smart", "0.9", 35): [[17.5, 75.0, 1]],
    }  # fmt: skip
    assert speed.learning_curves([], "laptop", IDLE, (20,)).empty
    figure_, ax = plt.subplots()
    assert len(speed.draw_curves(ax, table, "0.9").lines) == 4 and len(speed.draw_curves(ax, table, "0.98").lines) == 5
    plt.close("all")


def compared(apart=((0.5, -0.5, 0.4, -0.3, 0.0), (0.6, -0.2, 0.3, -0.2, 0.1))):
    """Rows of the grid `engines`: dense float32 at 60 % plus the seed's place, the others `apart` from it in points."""
    of = {speed.FLOAT32: [0.0] * 5, speed.SPARSE: apart[0], speed.BF16: apart[1]}
    return [row_of(config, 60 + place // 3 + of[config.engine, config.precision][place // 3])
            for place, config in enumerate(grids.engines("laptop", CIFAR))]  # fmt: skip


def test_the_engine_comparison_is_paired_and_leaves_out_other_machines():
    table = speed.engine_comparison([*compared(), row("smart@0.98", 1000, 1.0)], "laptop")
    apart = table.sub(table[speed.FLOAT32], axis=0)
    assert apart[speed.SPARSE].tolist() == pytest.approx([0.5, -0.5, 0.4, -0.3, 0.0])
    assert apart[speed.BF16].tolist() == pytest.approx([0.6, -0.2, 0.3, -0.2, 0.1])
    figure_, ax = plt.subplots()
    first = speed.draw_apart(ax, apart[[speed.SPARSE]].rename(columns=str)).lines[0]
    assert first.get_xdata().tolist() == apart[speed.SPARSE].tolist()
    plt.close("all")
    rows = compared()
    rows[0]["device"] = "cpu: another"
    assert speed.engine_comparison(rows, "laptop").index.tolist() == [1001, 1002, 1003, 1004]
    assert speed.engine_comparison(rows[1:3], "laptop").empty and speed.engine_comparison([], "laptop").empty
    assert speed.engine_comparison(rows, "smoke").empty


def test_the_ratio_of_spreads_is_bounded_where_pitman_and_morgans_test_stops():
    """At each bound b on a ratio, a + x and a - x are uncorrelated beyond chance for x = b times the other."""
    a, b = np.array([0.5, -0.5, 0.4, -0.3, 0.0, 1.0]), np.array([0.6, -0.2, 0.3, -0.2, 0.1, -0.5])
    ratio, low, high = speed.spread_ratio(a, b)
    assert ratio == pytest.approx(a.std() / b.std()) and low < ratio < high
    assert pearsonr(a + low * b, a - low * b, alternative="greater").pvalue == pytest.approx(0.05)
    assert pearsonr(a + high * b, a - high * b, alternative="less").pvalue == pytest.approx(0.05)


def test_a_claim_brings_its_parents_and_counts_each_run_once():
    planned = {config.name for config in grids.grid("step1", "paper", CIFAR)}
    for claim in CLAIMS:
        runs = speed.claim_runs(claim)
        assert all(parent(config) is None or parent(config).name in runs for config in runs.values())
        assert len({config.seed for config in runs.values()}) == PROFILES["paper"].seeds
        assert len(runs) <= len(planned)


def test_hours_follow_from_images_and_paces(tmp_path, monkeypatch):
    speeds = {"resnet": {1: 1000.0, 8: 4000.0}, "vgg": {1: 5000.0, 8: 4400.0}}
    paces = [dict(network=network, at_once=n, images_per_second=pace)
             for network, of in speeds.items() for n, pace in of.items()]  # fmt: skip
    stored = dict(date="2026-01-02", machine=dict(device="a GPU", versions=dict(torch="2")), paces=paces)
    monkeypatch.setattr(places, "GPU_PACES", tmp_path / "gpu.json")
    places.GPU_PACES.write_text(json.dumps(stored))
    table, vgg = (found.set_index("claim") for _, found in speed.gpu_hours().groupby("network", sort=True))
    assert (vgg["images, in millions"] == table["images, in millions"]).all() and set(vgg.network) == {"VGG-19"}
    runs = speed.claim_runs("C")
    epochs = sum(config.epochs for config in runs.values())  # none of C's starts late
    assert table.runs["C"] == len(runs) and table["images, in millions"]["C"] == epochs * 0.05
    assert table["GPU-hours, 1 at once"]["C"] == pytest.approx(epochs * 50_000 / 1000 / 3600)
    assert (table["GPU-hours, 1 at once"] / table["GPU-hours, 8 at once"]).tolist() == pytest.approx([4.0] * len(table))
    every = table.loc["all, shared runs once"]
    assert table.runs.iloc[:-1].max() < every.runs < table.runs.iloc[:-1].sum()
    said = speed.substitutions()
    assert said["gpu_pace_resnet_8"] == "4,000" and said["gpu_device"] == "a GPU"
    assert said["gpu_hours_vgg"] == f"{every['GPU-hours, 8 at once'] * 4000 / 5000:,.0f}"
    assert said["gpu_days_resnet"] == f"{every['GPU-hours, 8 at once'] / 24:.0f}"
    assert said["gpu_hours_resnet"] == f"{every['GPU-hours, 8 at once']:,.0f}"


def test_the_work_of_an_image_is_what_was_counted_by_hand():
    resnet, vgg = (speed.training_work("paper", network) for network in ("resnet", "vgg"))
    assert (round(resnet[0] / 1e9, 3), resnet[1]) == (1.652, 630_784)  # by hand, from the shapes of the layers
    assert (round(vgg[0] / 1e9, 3), vgg[1]) == (2.385, 303_104)


def test_a_pace_stands_beside_what_its_gpu_allows(tmp_path, monkeypatch):
    pace = dict(network="resnet", at_once=8, images_per_second=6000)
    other = dict(network="VGG-19", at_once=16, images_per_second=1, precision="bf16", share="threads")
    of = lambda device, *paces: dict(date="2026-01-02", machine=dict(device=device), paces=paces)  # noqa: E731
    monkeypatch.setattr(places, "GPU_PACES", tmp_path / "gpu.json")
    sets = [of("NVIDIA H200", other), of("another", other)]
    places.GPU_PACES.write_text(json.dumps(of("NVIDIA H100 80GB HBM3", pace) | {"sets": sets}))
    first, second, third = speed.gpu_paces().to_dict("records")
    assert first["arithmetic allows"] == pytest.approx(67e12 / 1.652e9, rel=1e-3) and first["precision"] == "float32"
    assert first["memory allows"] == pytest.approx(3.35e12 / (20 * 4 * 630_784))
    assert second["arithmetic allows"] == pytest.approx(989e12 / 2.385e9, rel=1e-3) and second["share"] == "threads"
    assert second["memory allows"] == pytest.approx(4.8e12 / (20 * 2 * 303_104))
    assert third["images_per_second"] == 1 and np.isnan(third["memory allows"])
