"""The benchmarks: clocks, what is stored, what bounds a step, how it is split into phases; no speed is asserted."""

import json

import parts
import pytest
import roofline
import run
import timing
import upkeep
from ticketbook import speed

from ticketlib.errors import TicketError
from ticketlib.models import build, prunable


def test_a_figure_is_stored_without_what_does_not_apply():
    assert timing.Figure("training", 3.0, "s").row() == {"quantity": "training", "value": 3.0, "unit": "s"}
    full = timing.Figure("a", 0.0, "s", "net", "0.9", "sparse", "part", 64, 2, "other", 0.0, {"below 1 s": False})
    assert set(full.row()) == set(speed.OF_A_FIGURE) and full.row()["against"] == full.row()["value"] == 0


def test_clocks_call_every_work_in_turn():
    calls = []
    found = timing.side_by_side({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, times=3)
    assert calls == ["a", "b", *["a", "a", "a", "b", "b", "b"] * 2]
    assert set(found) == {"a", "b"} and min(found.values()) >= 0


def test_others_use_is_a_share_or_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "STAT", tmp_path / "absent")
    assert timing.busy_share(0) is None
    counts = iter(["cpu 10 0 10 60 20 0 0 0\n", "cpu 20 0 20 120 40 0 0 0\n"])
    monkeypatch.setattr(timing, "_processor_times", lambda: [int(t) for t in next(counts).split()[1:]])
    assert timing.busy_share(0) == pytest.approx(0.2)


@pytest.mark.parametrize("flags, ending", [("avx512f amx_bf16 amx_tile", ", AMX"), ("avx512f", "")])
def test_matrix_units_are_part_of_the_processors_name(tmp_path, monkeypatch, flags, ending):
    monkeypatch.setattr(timing, "CPUINFO", tmp_path / "cpuinfo")
    timing.CPUINFO.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(timing.machine, "processor", lambda: "cpu: A Maker, AVX512")
    assert timing.processor() == f"A Maker, AVX512{ending}"


def test_a_run_adds_a_set_for_its_processor_and_replaces_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "benchmarks.json")
    values = iter((1.0, 2.0, 3.0))
    monkeypatch.setattr(upkeep, "measure", lambda: iter([timing.Figure("new", next(values), "s")]))
    shares = iter([0.1, 0.5, 0.0, 0.0, None, None])  # before and after
    monkeypatch.setattr(run, "busy_share", lambda: next(shares))
    for processor in ("one", "other", "one"):
        monkeypatch.setattr(run, "processor", lambda processor=processor: processor)
        run.main(["upkeep"])
    assert [found["busy"] for found in speed.sets()] == [0.5, 0.0, None]
    assert [found["figures"][0]["value"] for found in json.loads(speed.RESULTS.read_text())] == [1.0, 2.0, 3.0]
    assert speed.load().set_index("processor").value.to_dict() == {"one": 3.0, "other": 2.0}
    assert capsys.readouterr().out.count('"new"') == 3
    with pytest.raises(TicketError, match="fast"):
        run.main(["fast"])


def test_a_ledger_is_read_and_planned_beside(monkeypatch):
    full = upkeep.full_ledger
    monkeypatch.setattr(upkeep, "full_ledger", lambda folder, count: full(folder, 3))
    monkeypatch.setattr(upkeep, "side_by_side", lambda works, *_: {what: len(work()) for what, work in works.items()})
    rows, lines = (figure.value for figure in upkeep.of_ledgers())
    assert rows == 3 and lines >= 2


@pytest.fixture
def toy():
    return [roofline.Layer("stem", 4, 2), roofline.Layer("next", 1, 3)]


def test_a_weight_costs_three_multiply_adds_a_pixel_but_two_in_the_first_layer(toy):
    assert roofline.multiplied(toy, {"stem": 10, "next": 5}) == 10 * 4 * 2 + 5 * 1 * 3
    assert roofline.activations(toy) == 4 * 2 + 1 * 3


def test_the_bound_is_the_slower_of_arithmetic_and_its_reading_and_then_traffic(toy):
    kept = {"stem": 10, "next": 5}  # 95 multiply-adds, 11 values
    quick = roofline.Peaks(multiply=95.0, first=4 * 95 * 2.0, second=4 * 11 * 14.0, memory=4 * 11 * 4.0)
    assert roofline.bound(toy, kept, quick) == pytest.approx((1.0, 2.0))
    slow = quick._replace(first=4 * 95 / 3)
    assert roofline.bound(toy, kept, slow) == pytest.approx((3.0, 2.0))


def test_break_even_is_the_first_percent_at_which_the_bound_is_as_quick(toy):
    peaks = roofline.Peaks(1000.0, 1e12, 1e12, 1e12)
    counts = lambda sparsity: {"stem": 1000 * (1 - float(sparsity)) / 8, "next": 0}  # noqa: E731
    assert roofline.break_even(toy, counts, peaks, 0.4001) == 0.6  # 1 - sparsity seconds
    assert roofline.break_even(toy, counts, peaks, 0.0) == 1.0


def test_share_of_layers_that_lost_nothing(toy):
    sizes, kept = {"stem": 10, "next": 50}, {"stem": 10, "next": 5}
    assert roofline.dense_share(toy, kept, sizes) == 80 / 95
    assert roofline.dense_share(toy, {"stem": 9, "next": 5}, sizes) == 0


def test_layers_are_the_convolutions_in_forward_order():
    model = build("resnet8", 5, 3, width=4, stem_stride=2)
    found = roofline.layers(model, (3, 16, 16))
    assert found[0] == roofline.Layer("conv.weight", 64, 4)
    assert {layer.name for layer in found} == set(prunable(model)) - {"fc.weight"}


def test_what_is_left_of_a_step_is_no_convolution():
    found = dict.fromkeys(parts.CONVOLUTIONS, 2.0) | {"whole": 10.0, "draws of augmentation": 0.6, "update": 0.5}
    phases = parts.split(found | {"evaluation": 5.0, parts.LAID_OUT: 0.4})
    assert phases[parts.REST] == pytest.approx(3.6) and phases[parts.LAID_OUT] == 0.4
    assert phases["evaluation"] == 0.5  # a test image for every ten training images
    assert sum(phases.values()) == pytest.approx(11.6)


def test_torch_takes_some_time_for_its_norms(toy):
    assert 0 < parts.torch_norms(toy, 3) < 1000
