"""Stored benchmarks: tables, sentences, break-even and engine "auto", on figures worked out by hand; clocks; README."""

import json

import matplotlib.pyplot as plt
import pytest
import timing
import torch
from stored_figures import stored_figures
from synthetic import CIFAR
from ticketbook import speed, timings

from ticketlib.analysis import words as prose
from ticketlib.errors import TicketError
from ticketlib.experiments import config as runs
from ticketlib.experiments import grids, profiles
from ticketlib.experiments.places import ROOT


@pytest.fixture
def stored():
    return stored_figures()


@pytest.fixture
def results(stored, tmp_path, monkeypatch):
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(stored))
    monkeypatch.setattr(speed, "RESULTS", path)
    return path


PARTS = (speed.verdict, speed.missed, speed.training_table, speed.made_on, speed.in_short, timings.phase_tables,
         timings.operator_table, timings.tried, timings.inside, timings.bound_table, timings.next_factor,
         timings.beside_peer, timings.shared, timings.built)  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_without_a_file_every_part_says_not_measured(part, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "absent.json")
    assert speed.load() == {} and part(speed.load()) == speed.NOT_MEASURED
    assert timings.break_even_table({}).count("not measured yet") == len(speed.NETWORKS)
    assert timings.fused({}) == timings.why_break_even({}) == ""


@pytest.mark.parametrize("text", ["", "[1]", '{"dense": {}}', '{"dense": {"figures": [{"what": "x"}]}}'])
def test_a_file_of_something_else_is_an_error(results, text):
    results.write_text(text)
    with pytest.raises(TicketError, match="benchmarks.json"):
        speed.load()


def test_training_speeds_are_read_with_the_dense_one(results, stored):
    assert speed.load() == stored
    assert speed.training(stored) == {"laptop ResNet-20": {"dense": 1000.0, "0.9": 2000.0, "0.98": 4000.0}}
    assert speed.training(stored, together=True) == {"laptop ResNet-20": {"dense": 900.0, "0.9": 1500.0}}


def test_a_ticket_of_a_trained_net_pays_for_both_trainings():
    assert speed.trained_first({"dense": 1000.0, "0.9": 1000.0, "0.98": 4000.0}) == {"0.9": 500.0, "0.98": 800.0}


PAYS = [  # speed at 90 % and 98 %, beside 1,000 of the dense net: what is said
    ((2000.0, 4000.0), "**pays** at every sparsity that was measured. A step is 2.00 times as fast as the dense one "
                       "at 90 %, 4.00 times at 98 % removed."),
    ((800.0, 4000.0), "**pays** from about 92 % removed on. A step is 0.80 times as fast as the dense one at 90 %, "
                      "4.00 times at 98 % removed."),
    ((800.0, 900.0), "**does not pay** at any sparsity that was measured. A step is 0.90 times as fast as the dense "
                     "one at 98 % removed."),
    ((1000.0, 1000.0), "**does not pay**"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "words"), PAYS)
def test_the_verdict_says_pays_only_where_a_step_is_faster(stored, found, words):
    for row, value in zip(stored["sparse"]["figures"], found, strict=False):
        row["value"] = value
    said = speed.verdict(stored)
    assert words in said and said.endswith("Of 3 goals set, 2 were reached.")


def test_a_warning_where_others_used_the_machine_stands_once(stored):
    stored["dense"]["busy"] = 0.6
    assert "up to 60 % of the machine" in speed.busy(stored)
    assert speed.in_short(stored).count("of the machine") == 1 and "of the machine" not in speed.verdict(stored)


CROSSINGS = [  # seconds an image are a straight line over weights kept: 1 / speed
    ({"0.9": 500.0, "0.95": 1e9}, (0.9, 0.95, 0.925)),  # 2 ms at 10 %, nothing at 5 %: 1 ms half way
    ({"0.9": 2000.0, "0.98": 4000.0}, (None, 0.9, 0.9)),
    ({"0.9": 500.0, "0.98": 900.0}, (0.98, None, 1.0)),
    ({"0.8": 1500.0, "0.9": 900.0, "0.95": 1e9}, (0.9, 0.95, 0.905)),  # a stray one below does not count
]  # fmt: skip


@pytest.mark.parametrize(("speeds", "expected"), CROSSINGS)
def test_break_even_is_bracketed_and_estimated_in_between(speeds, expected):
    low, high, at = speed.crossing({"dense": 1000.0, **speeds})
    assert (low, high) == expected[:2] and at == pytest.approx(expected[2], abs=1e-6)


def test_misses_are_named_and_nothing_else(stored):
    assert speed.missed(stored) == (
        "These were not reached:\n\n"
        "- **laptop ResNet-20, training, 0.98 removed**: 4.00 times dense bf16; the goal was 5 times"
    )
    assert speed.missed({"scores": stored["scores"]}) == "None was missed."


def test_a_figure_as_cells(stored):
    first, *_, last = (speed.cells(row) for row in speed.rows(stored, "dense", "scores"))
    assert first == ["phases: laptop ResNet-20, usual loop, forward", "30.0 ms a step", "", "", "", ""]
    assert last == ["SNIP", "1.20 passes", "", "", "within 1.3", "reached"]
    assert speed.cells(stored["sparse"]["figures"][1])[2:] == ["dense bf16: 1,000", "4.00", "5 times", "missed"]
    assert [speed.number(v) for v in (0.01234, 4.5, 99.94, 1234.5)] == ["0.0123", "4.50", "99.9", "1,234"]
    assert [speed.number(v) for v in (99.97, 0.0, 42)] == ["100", "0", "42"]


def test_one_measurement_with_two_goals_is_one_line(stored):
    row = stored["sparse"]["figures"][1]
    aim = row | {"what": row["what"] + speed.BEYOND, "reach": "aim: 3 times", "reached": True}
    table = speed.table([row, aim]).splitlines()
    assert len(table) == 3 and table[2].endswith("| 5 times; aim: 3 times | missed; reached |")


def test_the_figure_has_a_line_for_each_kind(stored):
    figure, ax = plt.subplots()
    speed.draw(ax, speed.training(stored)["laptop ResNet-20"])
    random, lt, dense = ax.lines
    assert list(random.get_xdata()) == pytest.approx([10, 2]) and list(random.get_ydata()) == [2000, 4000]
    assert list(lt.get_ydata()) == pytest.approx([2000 / 3, 800]) and list(dense.get_ydata()) == [1000, 1000]
    plt.close(figure)


CHOICES = [("resnet20", "0.89", "dense"), ("resnet20", "0.9", "sparse"), ("vgg16", "0.8", "dense"),
           ("vgg16", "0.9", "sparse")]  # fmt: skip


@pytest.mark.parametrize(("network", "sparsity", "engine"), CHOICES)
def test_auto_is_the_faster_engine(results, monkeypatch, network, sparsity, engine):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert speed.engine(network, {"resnet20": 16, "vgg16": 0.25}[network], sparsity) == engine
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert speed.engine(network, None, sparsity) == "dense"


def test_auto_is_resolved_before_the_name(results, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for key, engine in (("smart@0.9", "sparse"), ("smart@0.5", "dense"), ("dense", "dense")):
        auto, named = (grids.arm("laptop", key, 0, CIFAR, engine=e) for e in ("auto", engine))
        assert auto == named and auto.name == named.name
    monkeypatch.setitem(profiles.PROFILES["laptop"].training, "engine", "auto")
    assert grids.arm("laptop", "lt@0.98", 0, CIFAR).engine == "sparse"
    with pytest.raises(TicketError, match="auto"):
        runs.Config(**{**grids.arm("laptop", "lt@0.98", 0, CIFAR).as_dict(), "drops": ("0.5",), "engine": "auto"})


def test_readme_says_what_is_stored(root):
    assert speed.in_short(speed.load()) in (root / "README.md").read_text(encoding="utf-8")


def test_readmes_section_is_short_and_names_the_goals_that_were_missed(stored):
    short = speed.in_short(stored)
    assert speed.table([]) not in short
    assert "Of 3 goals set, 2 were reached." in short and short.count("the goal was") == 1


def test_a_figure_row_has_the_ratio_and_every_field_that_is_read():
    row = timing.Figure("g", "w", 3.0, "s", "other", 2.0).row()
    assert row["ratio"] == 1.5 and set(row) == set(speed.FIELDS)
    assert timing.Figure("g", "w", 3.0, "s").row()["ratio"] is None


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


def test_a_run_of_the_benchmarks_keeps_the_other_groups(results, stored, monkeypatch, capsys):
    import run
    import upkeep

    monkeypatch.setattr(upkeep, "measure", lambda: iter([timing.Figure("upkeep", "new", 1.0, "s")]))
    shares = iter([0.1, 0.5])  # before and after
    monkeypatch.setattr(run, "busy_share", lambda: next(shares))
    run.main(["upkeep"])
    kept = speed.load()
    assert kept["scores"] == stored["scores"] and [row["what"] for row in kept["upkeep"]["figures"]] == ["new"]
    assert kept["upkeep"]["busy"] == 0.5 and "new" in capsys.readouterr().out
    with pytest.raises(TicketError, match="fast"):
        run.main(["fast"])


def test_plan_is_timed_beside_a_ledger(monkeypatch):
    import upkeep

    full = upkeep.full_ledger
    monkeypatch.setattr(upkeep, "full_ledger", lambda folder, count: full(folder, 3))
    monkeypatch.setattr(upkeep, "side_by_side", lambda works, *_: {what: len(work()) for what, work in works.items()})
    rows, lines = (figure.value for figure in upkeep.of_ledgers())
    assert rows == 3 and lines >= 2


def test_pages_table_is_what_the_page_shows(stored):
    assert speed.table(speed.rows(stored)) == prose.table(speed.TITLES, map(speed.cells, speed.rows(stored)))
    assert ROOT.joinpath("notebooks", "06_speed.ipynb").is_file()
