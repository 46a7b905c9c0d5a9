"""The page on the length of training: differences by hand, the rule for a flat curve, what decay leaves."""

import pandas as pd
import pytest
from synthetic import row
from ticketbook import budget

from ticketlib.experiments import session
from ticketlib.experiments.ledger import Ledger

PILOT = {"recipe": 0, "held_out": 5000}
LOST = {5: (6.0, 7.0), 10: (4.0, 5.0), 20: (1.5, 0.5)}  # what rearranging costs LT, in each of two seeds


def made():
    """Runs of the pilot, of the exploratory seeds and of version 2, and others that the page must pass over."""
    rows = []
    for epochs, lost in LOST.items():
        for seed, points in zip((1000, 1001), lost, strict=True):
            changes = PILOT | {"epochs": epochs}
            rows.append(row("lt@0.9", seed, 70.0 + epochs, changes=changes))
            rows.append(row("lt+rearranged@0.9", seed, 70.0 + epochs - points, changes=changes))
    for seed, epochs in ((0, 20), (1, 20), (0, 40), (10, 40)):
        rows += [row("smart@0.9", seed, 78.0 + seed, changes={"epochs": epochs}),
                 row("lt@0.9", seed, 79.0, changes={"epochs": epochs})]  # fmt: skip
    return [*rows, row("smart@0.98", 0, 60.0), row("smart@0.9", 0, 60.0, changes={"epochs": 35})]


def loaded(tmp_path, rows, seeds=0):
    ledger = Ledger(tmp_path / "laptop")
    for one in rows:
        ledger.add(one)
    return budget.load(session.NotebookRun("laptop", "stored", ledger.folder, seeds, "cpu", ""))


@pytest.mark.parametrize("complete", [False, True])
def test_runs_are_told_apart_by_what_they_are_for_and_version_2_waits_until_it_is_whole(
    tmp_path, monkeypatch, complete
):
    monkeypatch.setattr(budget.board, "complete", lambda *_: complete)
    runs = loaded(tmp_path, made())
    counted = {(kind, epochs): n for (kind, epochs), n in runs.groupby(["set", "epochs"]).size().items()}
    fresh = {("version 2", 40): 2} if complete else {}
    assert counted == {("pilot", 5): 4, ("pilot", 10): 4, ("pilot", 20): 4, ("seeds 0 to 9", 20): 4,
                       ("seeds 0 to 9", 40): 2, **fresh}  # fmt: skip


def test_a_reader_of_few_seeds_gets_those(tmp_path):
    runs = loaded(tmp_path, made(), seeds=1)
    assert set(runs.seed) == {0, 1000}


def test_differences_are_paired_at_each_length_and_changed_minus_as_found(tmp_path, monkeypatch):
    monkeypatch.setattr(budget.board, "complete", lambda *_: True)
    runs = loaded(tmp_path, made())
    by_length = budget.points(runs, "lt+rearranged", "lt")
    assert {epochs: tuple(-by_length[epochs]) for epochs in by_length} == LOST
    found = budget.differences(runs).set_index(["a", "set", "epochs"])
    assert found["mean"]["lt+rearranged", "pilot", 5] == -6.5 and found.n["lt+rearranged", "pilot", 5] == 2
    assert found["mean"]["smart", "seeds 0 to 9", 20] == -0.5  # 78 and 79 beside 79
    assert found["mean"]["smart", "version 2", 40] == 9.0 and pd.isna(found.low["smart", "version 2", 40])
    drawn = budget.drawn(runs, budget.PLACES)["lt"]
    assert drawn[5][0] == [-6.0, -7.0] and drawn[5][1].point == -6.5 and drawn[5][1].low is None  # two seeds


def test_a_pair_that_may_not_be_compared_is_left_out(tmp_path):
    runs = loaded(tmp_path, made())
    runs.loc[(runs.arm == "lt@0.9") & (runs.epochs == 5), "threads"] = 7
    assert 5 not in set(budget.differences(runs).epochs)


@pytest.mark.parametrize(
    ("steps", "flat"),
    [([9.0, 5.0, 4.5, 4.2], 10), ([9.0, 8.5, 8.2, 8.0], 5), ([9.0, 5.0, 4.5, 3.4], None), ([9.0, 5.0, 3.0, 2.0], None)],
)
def test_a_curve_is_flat_from_where_every_later_step_is_smaller_than_a_point(steps, flat):
    two_seeds = pd.DataFrame([steps, [value + 0.2 for value in steps]], columns=[5, 10, 20, 40])
    assert budget.flat_from(two_seeds) == flat
    assert budget.flat_from(two_seeds[:1]) is None  # one seed shows nothing


def test_what_is_left_of_the_start_is_the_recipes():
    shown = [round(100 * budget.left_of_start("laptop", epochs), 1) for epochs in (5, 10, 20, 40)]
    assert shown == pytest.approx([60, 36, 13, 1.6], rel=0.03)
    assert budget.left_of_start("smoke", 6) > 0.9


def test_costs_are_core_hours_and_a_range_of_energy(tmp_path):
    rows = [row("smart@0.9", seed, 70.0, seconds=1800.0, threads=2) for seed in range(3)]
    [line] = budget.cost_table(loaded(tmp_path, rows)).to_dict("records")
    assert (line["how many"], line["epochs in all"], line["core-hours"]) == (3, 60, "3.0")
    assert line["kWh, estimated"] == "0.022 to 0.068"


def test_an_empty_ledger_has_tables(tmp_path):
    runs = loaded(tmp_path, [])
    assert budget.differences(runs).empty and budget.cost_table(runs).empty and budget.curves(runs) == {}
    assert budget.flat_from(budget.points(runs, "smart", "lt")) is None and len(budget.accuracy_table(runs)) == 0
    assert budget.difference_table(budget.differences(runs), "laptop").empty
