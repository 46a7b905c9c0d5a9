"""Tables and sentences from stored benchmarks, on figures worked out by hand."""

import pytest
import timing
from stored_figures import stored_figures
from ticketbook import speed, timings


@pytest.fixture
def stored():
    return stored_figures()


def test_phases_add_up(stored):
    lines = timings.phase_tables(stored).splitlines()
    assert lines[0] == "**laptop ResNet-20**"
    assert "| forward | 30.0 | 30.0 % | 15.0 | 75.0 % |" in lines and "| update |  |  | 5.00 | 25.0 % |" in lines
    assert lines[-1] == "| all | 100 | 100 % | 20.0 | 100 % |"
    assert timings.largest(stored) == (
        "laptop ResNet-20: forward and backward take 100 % of the usual step and 75 % of ours."
    )


def test_operators_and_what_was_tried(stored):
    assert timings.operator_table(stored).splitlines()[-1] == "| batch norm | 12.3 % |"
    table = timings.tried(stored)
    assert "| laptop ResNet-20, one thing | 900 | 0.90 |" in table
    assert table.endswith("Faster by 5 % or more, and not used: laptop ResNet-20, another.")
    stored["dense"]["figures"] = [row for row in stored["dense"]["figures"] if row["ratio"] != 1.1]
    assert timings.tried(stored).endswith("None of them is faster than our step by 5 % or more.")


def test_the_parts_of_a_sparse_step_add_up(stored):
    table = timings.inside(stored).splitlines()
    assert table[0] == "| ms a step (share) | laptop ResNet-20, 90 % removed |"
    assert table[2:] == ["| convolutions forward | 3.00 (75.0 %) |", "| update | 1.00 (25.0 %) |", "| all | 4.00 |"]
    assert timings.fused(stored) == "Measured, a step: 5.00 ms instead of 20.0 for laptop ResNet-20 at 90 %."


def test_the_bound_and_the_next_factor(stored):
    below, _, *_, line = timings.bound_table(stored).splitlines()
    assert below == timings.BOUND_TITLES
    assert line == "| laptop ResNet-20, 90 % | 4.00 | 3.00 | 20 % (2 of 20) | 75 % | 2,500 | 2,000 | 80 % |"
    [line] = timings.next_factor(stored).splitlines()[2:]  # 1 / .8; .375 + .25 and .75 + .125 of the time
    assert line == "| laptop ResNet-20 | 90 % | 1.25 | 1.60 | 1.14 | arithmetic |"


def test_why_the_break_even_lies_where_it_does(stored):
    assert timings.why_break_even(stored) == (  # 40 MFLOP 1,000 times a second; 4 of them 2,000 times
        "- laptop ResNet-20: the dense loop does 40 GFLOP/s. At 90 % removed the sparse engine does 8. So it has to "
        "leave out 80 % of the arithmetic to be as fast; with 90 % of the weights removed it leaves out 90 %."
    )


def test_beside_the_peer_it_is_said_who_was_faster(stored):
    steps, fold, layers, _, said = timings.beside_peer(stored).split("\n\n")
    assert fold.startswith("<details>") and "ours, ms" in layers and "ours, images/s" in steps
    assert [table.splitlines()[2].split(" | ")[-1] for table in (layers, steps)] == ["3.0 |", "0.5 |"]
    assert said == "Ours was the faster one in **1 of 2** comparisons, and 0.5 to 3.0 times as fast as theirs."
    absent = timing.Figure("sparse", "SparseProp: not compared, as it could not be built here", 0, "layers").row()
    assert timings.beside_peer({"sparse": {"figures": [absent]}}) == f"**{absent['what']}.**"


def test_figures_are_found_by_a_part_of_their_name(stored):
    assert "| a layer | 2.00 ms | SparseProp: 6.00 | 0.33 |" in timings.named(stored, "a lay")
    assert timings.named(stored, "no such") == speed.NOT_MEASURED


def test_break_even_shows_the_two_measurements_round_it(stored):
    line = "| laptop ResNet-20 | none measured | 90 % (2.00 times dense) | below 90 % |"
    assert line in timings.break_even_table(stored) and speed.break_even(stored) == {"laptop ResNet-20": 0.9}
    slow, fast, *_ = stored["sparse"]["figures"]
    slow["value"] = 800.0
    line = "| laptop ResNet-20 | 90 % (0.80 times dense) | 98 % (4.00 times dense) | 92 % |"
    assert line in timings.break_even_table(stored)
    assert speed.break_even(stored) == {"laptop ResNet-20": pytest.approx(0.92)}
    fast["value"] = 900.0
    line = "| laptop ResNet-20 | 98 % (0.90 times dense) | none measured | not found |"
    assert line in timings.break_even_table(stored)
    assert speed.break_even(stored) == {"laptop ResNet-20": 1.0}


def test_sharing_is_counted(stored):
    said = timings.shared(stored)
    assert "| the claims | 200 | 250 | 1.25 |" in said
    assert "**300 epochs**" in said and "they would be 450, 1.50 times as many." in said


def test_build_times_are_shown_slowest_first_and_read_where_they_are(stored, tmp_path, monkeypatch):
    title = "Claim C: random tickets with smart ratios do as well as tickets found with care"  # of 01_smart_ratios
    assert timings.built(stored).splitlines()[2:] == ["| the site | 30 |", f"| {title} | 10 |"]
    monkeypatch.setattr(speed, "BUILT", tmp_path / "times.json")
    assert speed.build_times() == {}
    speed.BUILT.write_text('{"all": 61.5}')
    assert speed.build_times() == {"all": 61.5}


def test_every_table_has_as_many_cells_in_every_line(stored):
    tables = (speed.training_table, timings.break_even_table, speed.made_on, timings.inside, timings.bound_table,
              timings.next_factor, timings.beside_peer, timings.operator_table, timings.built)  # fmt: skip
    for text in [part(stored) for part in tables]:
        assert len({line.count("|") for line in text.splitlines() if "|" in line}) == 1
