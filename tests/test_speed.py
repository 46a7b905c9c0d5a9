"""Stored benchmarks: tables, sentences, break-even and engine "auto", on figures worked out by hand; clocks; README."""

import json
import re

import matplotlib.pyplot as plt
import pytest
import timing
import torch
from synthetic import CIFAR

from ticketlib import board, grids, pages, runs, speed, timings
from ticketlib.errors import TicketError
from ticketlib.nb import ROOT

FACTS = {"device": "cpu: toy", "threads": 1, "versions": {"torch": "2"}, "code": "abc"}


PHASES = (("usual loop", "forward", 30.0), ("usual loop", "backward", 70.0), ("our loop", "forward", 15.0),
          ("our loop", "update", 5.0))  # fmt: skip


@pytest.fixture
def stored():
    """Figures of a machine on which a ResNet-20 breaks even at 80 %."""
    net, figure = "laptop ResNet-20", timing.Figure
    speeds = (("0.9", 2000.0, "1.5 times", True), ("0.98", 4000.0, "5 times", False))
    groups = {
        "dense": [
            *(figure("phases", f"{net}, {loop}, {phase}", value, "ms a step") for loop, phase, value in PHASES),
            figure("operators", f"{net}, batch norm", 12.34, "% of our step"),
            figure("tried", f"{net}, one thing", 900.0, "images/s", "our step", 1000.0),
            figure("tried", f"{net}, another", 1100.0, "images/s", "our step", 1000.0),
        ],
        "scores": [figure("scores", "snip", 1.2, "passes", "goal", 1.3, "within 1.3", True)],
        "upkeep": [
            figure("shared", "grid step1", 200, "epochs", "a script a cell", 250),
            figure("shared", "all grids that count", 300, "epochs", "a script a cell", 450),
            *(figure("pages", page, took, "s") for page, took in (("01_smart_ratios", 9.6), ("the site", 30.2))),
        ],
        "sparse": [
            *(figure("sparse", f"{net}, training, {s} removed", v, "images/s", "dense bf16", 1000.0, goal, reached)
              for s, v, goal, reached in speeds),
            figure("sparse", f"{net}, training, 0.9 removed, each of two processes", 1500.0, "images/s", "d", 900.0),
            figure("sparse", f"{net}, break-even sparsity", 0.8, "sparsity"),
            figure("roofline", f"{net}, share of the bound", 40.0, "%"),
        ],
    }  # fmt: skip
    return {
        name: {"date": "2026-11-22", "busy": 0.0, "machine": FACTS, "figures": [f.row() for f in figures]}
        for name, figures in groups.items()
    }


@pytest.fixture
def results(stored, tmp_path, monkeypatch):
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(stored))
    monkeypatch.setattr(speed, "RESULTS", path)
    return path


PARTS = (speed.verdict, speed.missed, speed.training_table, speed.made_on, speed.goals, timings.phase_tables,
         timings.operator_table, timings.tried, timings.others, timings.shared, timings.built)  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_without_a_file_every_part_says_not_measured(part, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "absent.json")
    assert speed.load() == {} and part(speed.load()) == speed.NOT_MEASURED
    assert speed.break_even_table({}).count("not measured yet") == len(speed.NETWORKS)


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


def test_the_verdict_chooses_its_words_by_the_numbers(stored):
    said = speed.verdict(stored)
    assert "**pays**" in said and "4.0 times as fast as the dense one at 98 % and 2.0" in said
    assert said.endswith("Of all goals set, 2 of 3 were reached.")
    for row in stored["sparse"]["figures"]:
        row["against"] = 8000.0
    stored["dense"]["busy"] = 0.6
    assert "**does not pay**" in speed.verdict(stored) and "up to 60 % of the machine" in speed.verdict(stored)


def test_misses_are_named_and_nothing_else(stored):
    assert speed.missed(stored) == (
        "- **laptop ResNet-20, training, 0.98 removed**: 4,000 images/s; the goal was 5 times"
    )
    assert speed.missed({"scores": stored["scores"]}) == "None was missed."


def test_phases_add_up(stored):
    lines = timings.phase_tables(stored).splitlines()
    assert lines[0] == "**laptop ResNet-20**"
    assert "| forward | 30 | 30.0 % | 15 | 75.0 % |" in lines and "| update |  |  | 5 | 25.0 % |" in lines
    assert lines[-1] == "| all | 100 | 100 % | 20 | 100 % |"
    assert timings.largest(stored) == (
        "laptop ResNet-20: forward and backward take 100 % of the usual step and 75 % of ours."
    )


def test_operators_and_what_was_tried(stored):
    assert timings.operator_table(stored).splitlines()[-1] == "| batch norm | 12.3 % |"
    table = timings.tried(stored)
    assert "| laptop ResNet-20, one thing | 900 | 0.90 |" in table
    assert table.endswith("Faster by 5% or more, and not used: laptop ResNet-20, another.")
    stored["dense"]["figures"] = [row for row in stored["dense"]["figures"] if row["ratio"] != 1.1]
    assert timings.tried(stored).endswith("No gain.")


def test_further_groups_of_figures_have_headings_of_their_own(stored, monkeypatch):
    monkeypatch.setitem(speed.NOTES, "roofline", "What bounds it.")
    head, note, table = timings.others(stored).split("\n\n")
    assert (head, note) == ("### Roofline", "What bounds it.")
    assert table.splitlines()[2:] == ["| laptop ResNet-20, share of the bound | 40 % |  |  |  |  |"]


def test_build_times_are_shown_slowest_first_and_read_where_they_are(stored, tmp_path, monkeypatch):
    assert timings.built(stored).splitlines()[2:] == ["| the site | 30 |", "| 01_smart_ratios | 10 |"]
    monkeypatch.setattr(speed, "BUILT", tmp_path / "times.json")
    assert speed.build_times() == {}
    speed.BUILT.write_text('{"all": 61.5}')
    assert speed.build_times() == {"all": 61.5}


def test_a_figure_as_cells(stored):
    first, *_, last = (speed.cells(row) for row in speed.rows(stored, "dense", "scores"))
    assert first == ["phases: laptop ResNet-20, usual loop, forward", "30 ms a step", "", "", "", ""]
    assert last == ["snip", "1.2 passes", "", "", "within 1.3", "reached"]
    assert speed.cells(stored["sparse"]["figures"][1])[2:] == ["dense bf16: 1,000", "4.00", "5 times", "missed"]
    assert [speed.number(v) for v in (0.01234, 4.567, 99.94, 1234.5)] == ["0.0123", "4.57", "99.9", "1,234"]


def test_break_even_says_where_it_lies_outside_of_what_was_measured(stored):
    assert "| laptop ResNet-20 | below 80 %, the least that was measured |" in speed.break_even_table(stored)
    slow, *others = stored["sparse"]["figures"]
    slow["value"] = 500.0
    assert "| laptop ResNet-20 | 80 % |" in speed.break_even_table(stored)
    assert speed.break_even(stored) == {"laptop ResNet-20": 0.8}
    others[0]["value"] = 600.0
    assert "| laptop ResNet-20 | none that was measured |" in speed.break_even_table(stored)
    assert speed.break_even(stored) == {"laptop ResNet-20": 1.0}


def test_sharing_is_counted(stored):
    said = timings.shared(stored)
    assert "| grid step1 | 200 | 250 | 1.25 |" in said
    assert "**300 epochs**" in said and "they would be 450, 1.50 times as much." in said


def test_every_table_has_as_many_cells_in_every_line(stored):
    tables = (speed.training_table, speed.break_even_table, speed.made_on, speed.goals, timings.operator_table,
              timings.built)  # fmt: skip
    for text in [part(stored) for part in tables]:
        assert len({line.count("|") for line in text.splitlines()}) == 1


def test_the_figure_has_a_line_for_each_kind(stored):
    figure, ax = plt.subplots()
    speed.draw(ax, speed.training(stored)["laptop ResNet-20"])
    random, lt, dense = ax.lines
    assert list(random.get_xdata()) == pytest.approx([10, 2]) and list(random.get_ydata()) == [2000, 4000]
    assert list(lt.get_ydata()) == pytest.approx([2000 / 3, 800]) and list(dense.get_ydata()) == [1000, 1000]
    plt.close(figure)


CHOICES = [("resnet20", "0.79", "dense"), ("resnet20", "0.8", "sparse"), ("vgg16", "0.8", "dense"),
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
    monkeypatch.setitem(runs.PROFILES["laptop"].training, "engine", "auto")
    assert grids.arm("laptop", "lt@0.98", 0, CIFAR).engine == "sparse"
    with pytest.raises(TicketError, match="auto"):
        runs.Config(**{**grids.arm("laptop", "lt@0.98", 0, CIFAR).as_dict(), "drops": ("0.5",), "engine": "auto"})


def test_readme_says_what_is_stored(root):
    assert speed.goals(speed.load()) in (root / "README.md").read_text(encoding="utf-8")


def test_refresh_fills_the_section_and_leaves_the_board(results, stored, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- board -->\nx\n<!-- /board -->\n<!-- bench -->\nstale\n<!-- /bench -->\nafter\n")
    speed.refresh(page)
    once = page.read_text()
    speed.refresh(page)
    assert page.read_text() == once and board.MARKED.search(once)[0] == "<!-- board -->\nx\n<!-- /board -->"
    assert speed.table([]) not in once and "stale" not in once and once.endswith("<!-- /bench -->\nafter\n")
    assert len(re.findall("reached|missed", once)) == 3
    page.write_text("no markers")
    with pytest.raises(TicketError, match="page.md"):
        speed.refresh(page)


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
    monkeypatch.setattr(run, "busy_share", lambda: 0.5)
    run.main(["upkeep"])
    kept = speed.load()
    assert kept["scores"] == stored["scores"] and [row["what"] for row in kept["upkeep"]["figures"]] == ["new"]
    assert kept["upkeep"]["busy"] == 0.5 and "new" in capsys.readouterr().out
    with pytest.raises(TicketError, match="fast"):
        run.main(["fast"])


def test_pages_table_is_what_the_page_shows(stored):
    assert speed.table(speed.rows(stored)) == pages.table(speed.TITLES, map(speed.cells, speed.rows(stored)))
    assert ROOT.joinpath("notebooks", "06_speed.ipynb").is_file()
