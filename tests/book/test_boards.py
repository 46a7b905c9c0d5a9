"""The board's tables on made-up rows and on the book's own; the history of words."""

import json

import pandas as pd
import pytest
from synthetic import CIFAR, row, row_of
from ticketbook import board, notebook

from ticketlib.analysis import pairs, verdicts
from ticketlib.experiments import claims, grids, session
from ticketlib.experiments.ledger import frame
from ticketlib.experiments.profiles import Images

ZIGZAG = (-0.2, 0.2, -0.2, 0.2, -0.2, 0.2, -0.2, 0.2)
MEANS = {"lrr": 84, "lrr+shuffled": 80, "lrr+rearranged": 81, "hybrid": 86, "uniform": 70}
PLAN = claims.protocol()
GRID = grids.grid("v2", "laptop", Images("cifar10", CIFAR.fingerprint))


def rows(drop=lambda config: False, **shift):
    """Rows of version 2's grid: all as claimed, but for shifts of arms in points."""
    for config in GRID:
        name = config.arm.partition("@")[0]
        mean = MEANS.get(name, MEANS.get(config.ticket, 80)) + shift.get(name.replace("+", "_"), 0)
        if not drop(config):
            wave = ZIGZAG[config.seed - 10] * (1 if "+" in name or name == "smart" else -1)
            yield row_of(config, mean + wave)


@pytest.fixture(scope="module")
def mixed():
    """A complete board: GraSP rearranged is better, hybrid the same, SNIP on corrupted data collapsed once."""
    table = frame(list(rows(grasp_rearranged=0.9, hybrid=-1.6)))
    lost = (table.arm == "snip+both@0.9") & (table.seed == 12)
    table.loc[lost, "accuracy"] = 15.0
    return table, *verdicts.board(table, PLAN)


def cell(words, comparisons, claim, sparsity):
    table = board.claims_table(words, comparisons)
    return table[table.claim.str.startswith(f"**{claim}.")].iloc[0][board.removed(sparsity)]


def test_a_cell_has_its_word_and_the_difference_that_decides(mixed):
    _, words, comparisons = mixed
    assert cell(words, comparisons, "B", "0.9").split("; ") == [
        "**in part**, as claimed for SNIP, LT",
        "GraSP rearranged − GraSP: better, +0.90 (95 % interval +0.54 to +1.26)",
    ]
    said = cell(words, comparisons, "D2", "0.98")
    assert said.startswith("**no**; hybrid − LRR, equal classifiers: same, off zero, +0.40")
    assert cell(words, comparisons, "A", "0.9").split("; ")[1:] == [
        "SNIP on corrupted data − SNIP: collapsed 1 of 16 runs", "left out: LT"]  # fmt: skip
    assert cell(words, comparisons, "D1", "0.8") == "not run"
    asked = comparisons[(comparisons.claim == "D1") & (comparisons.sparsity == "0.9") & comparisons.demanded]
    assert board.decides(asked)["key"] == "rearranged"  # of those as claimed, the one that comes nearest


def test_no_cell_is_longer_than_25_words(mixed):
    _, words, comparisons = mixed
    table = board.claims_table(words, comparisons, link="claims/{}")
    assert table.claim[0] == "**A.** [Initial tickets hardly use the data](claims/02_data_checks)"
    cells = table.drop(columns="claim")
    assert list(cells) == ["80 % removed", "90 % removed", "98 % removed"] and len(cells) == 5
    assert max(len(text.split()) for text in cells.to_numpy().ravel()) <= 25


def test_missing_seeds_and_cells_without_a_test():
    few = verdicts.board(frame(list(rows(drop=lambda c: c.seed > 14 or (c.seed, c.ticket) == (14, "snip")))), PLAN)
    assert cell(*few, "B", "0.8") == "4 of 8 seeds" and cell(*few, "D1", "0.98") == "5 of 8 seeds"
    empty = verdicts.board(frame([]), PLAN)
    assert {cell(*empty, claim, "0.9") for claim in claims.CLAIMS} == {"not run"}
    table = frame(list(rows())).assign(moved_share=0.0)
    assert cell(*verdicts.board(table, PLAN), "B", "0.9") == "**not testable here**"


def test_comparisons_with_numbers_words_and_what_stands_beside(mixed):
    _, _, comparisons = mixed
    table = board.comparisons_table(comparisons).set_index(["claim", "difference", "removed"])
    line = table.loc["B", "GraSP rearranged − GraSP", "90 %"]
    assert line["word"] == "better" and line["as claimed"] == "no" and line["level"] == "95 %" and line["n"] == 8
    assert line["points (interval)"] == "+0.90 (+0.54 to +1.26)" and line["accuracies, %"] == "80.90 and 80.00"
    assert line["word at half the margin"] == "better by more than 0.5"
    assert line["runs with an empty layer"] == "0 and 0"
    untested = table.loc["A", "LT on corrupted data − LT", "98 %"]
    assert untested["word"].startswith("not testable here: ") and untested["points (interval)"] == ""
    lost = table.loc["A", "SNIP on corrupted data − SNIP", "90 %"]
    assert lost["word"] == "collapsed 1 of 16 runs" and lost["points (interval)"] == "−8.10" and not lost["level"]
    assert table.loc["beside D2", "hybrid − LRR", "90 %"]["as claimed"] == ""
    assert len(table) == 3 * 10 + 2 * 5


def test_arms_by_themselves(mixed):
    table, _, comparisons = mixed
    runs = pairs.planned(table, PLAN)
    arms = board.arms_of(comparisons[comparisons.claim == "B"])
    assert arms[:3] == ["snip@0.8", "snip+rearranged@0.8", "grasp@0.8"] and len(arms) == len(set(arms)) == 18
    lines = board.accuracy_table(runs, ["snip+both@0.9", "snip@0.5"])
    assert lines["accuracy, %"].tolist() == ["71.90 (SD 22.99)", "not run"] and lines["n"].tolist() == [8, 0]
    assert lines["collapsed"][0] == 1 and lines["each seed"][0].split(", ")[2] == "15.00"
    assert lines["best epoch, %"][0] == "80.00" and lines["with an empty layer"][0] == 0


def test_manipulation_checks_over_seeds():
    rows = [row("snip+both@0.9", seed, 80.0, control={"label_agreement": seed / 10}) for seed in (1, 2)]
    runs = pairs.select(frame([*rows, row("snip@0.9", 1, 80.0)]), "laptop")
    table = board.controls_table(runs, ["snip@0.9", "snip+both@0.9"])
    assert table["passed"].tolist() == ["1 of 2", "0 of 2"]
    assert table["over seeds"].tolist() == ["0.100 to 0.200", "not measured"] and set(table["removed"]) == {"90 %"}


def test_elsewhere_differences_are_described_and_not_judged():
    def other(key, seeds, mean, **changes):
        return [row(key, seed, mean + seed % 2, changes=changes) for seed in seeds]

    rows = [*other("snip@0.98", range(3), 70.0, network="vgg")]
    rows += other("snip+rearranged@0.98", range(3), 69.0, network="vgg")
    rows += [*other("snip@0.9", (10, 11), 70.0, epochs=40), *other("snip+rearranged@0.9", (10, 11), 60.0, epochs=40)]
    rows += [*other("snip@0.9", (0, 1), 70.0), *other("snip+rearranged@0.9", (0, 1), 60.0)]
    rows += [*other("lt@0.995", (0, 1), 40.0), row("lt+rearranged@0.995", 0, 45.0), row("lt+rearranged@0.995", 1, 15.0)]
    rows += other("grasp@0.995", (0,), 40.0) + other("grasp+rearranged@0.995", (0,), 45.0)
    table = board.elsewhere(frame(rows), ["B"], claims.EXPLORATORY)
    assert table["where"].tolist() == ["ResNet-20", "slim VGG-16"]  # neither what is shown, nor what is to be judged
    assert table["removed"].tolist() == ["99.5 %", "98 %"] and table["n"].tolist() == [2, 3]
    assert table["points (95 % interval)"].tolist() == [
        "−10.50, no interval: 1 of 4 runs collapsed", "−1.00 (−1.00 to −1.00)"]  # fmt: skip
    assert table["seeds"].tolist() == ["0 to 1", "0 to 2"] and table["epochs"].tolist() == [20, 20]
    assert board.elsewhere(frame(rows), ["B"], PLAN)["where"].tolist() == ["ResNet-20"] * 2 + ["slim VGG-16"]


def run_of(**given):
    return session.NotebookRun(**{"profile": "laptop", "source": "stored", "ledger": "", "seeds": 0, "device": "cpu",
                                  "data_root": ""} | given)  # fmt: skip


def test_pages_turn_to_version_2_once_it_is_whole():
    whole, short = frame(list(rows())), frame(list(rows(drop=lambda c: c.arm == "lt@0.9" and c.seed == 17)))
    assert board.complete(whole, PLAN) and not board.complete(short, PLAN) and not board.complete(frame([]), PLAN)
    assert board.plan_of(run_of(), whole) == PLAN and board.plan_of(run_of(), short) == claims.EXPLORATORY
    assert board.plan_of(run_of(source="run", seeds=2), short).seeds == (10, 11)
    assert board.plan_of(run_of(profile="smoke"), short).epochs == 6


def test_words_are_recorded_once_they_are_all_there(tmp_path, monkeypatch, mixed):
    first = [{"date": "2026-11-26", "protocol": 1, "recipes": [1], "words": {"A": "holds"}}]
    monkeypatch.setattr(board, "history", lambda: tmp_path / "verdicts.json")
    board.history().write_text(json.dumps(first))
    assert not board.record(frame(list(rows(drop=lambda config: config.seed == 17))), "2026-12-01")
    assert board.record(mixed[0], "2026-12-02") and not board.record(mixed[0], "2026-12-03")
    kept, added = json.loads(board.history().read_text())
    assert kept == first[0] and (added["date"], added["protocol"], added["recipes"]) == ("2026-12-02", 2, [1])
    assert added["words"]["B at 90 %"] == "in part" and len(added["words"]) == 3 * 3 + 2 * 2


def parsed(markdown):
    """A Markdown table as a DataFrame of text."""
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines()]
    return pd.DataFrame(lines, columns=[name.strip() for name in head])


def test_the_page_of_the_board_on_the_books_rows():
    boards = board.Boards()
    assert parsed(boards.claims("exploratory")).shape == (5, 3)
    assert len(parsed(boards.comparisons("exploratory"))) == 30 and len(parsed(boards.comparisons("protocol"))) == 40
    power = parsed(boards.power("protocol")).set_index("spread of the differences, points")
    assert power.loc["0.75"].tolist()[:3:2] == ["±0.50", "±0.75"] and power.loc["0.3"]["chance of *same*"] == "100 %"
    images = parsed(boards.images("exploratory"))
    assert len(images) == 28 and (images["both"].astype(float) >= images["over seeds"].astype(float)).all()
    otherwise = parsed(boards.otherwise("exploratory"))
    assert otherwise["word"].tolist() == otherwise["by the best epoch"].tolist()
    kinds = parsed(boards.kinds("exploratory"))
    assert kinds["seeds"].tolist() == ["0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]
    left = parsed(boards.outside("exploratory"))
    own = len(pairs.planned(board.ledger_frame(), claims.EXPLORATORY))
    assert left["runs"].astype(int).sum() + own == len(board.ledger_frame())


def test_numbers_of_a_seed_short_are_not_shown(monkeypatch):
    table = frame(list(rows(drop=lambda config: config.seed == 17)))
    board.judged_by.cache_clear()
    monkeypatch.setattr(board, "ledger_frame", lambda: table)
    shown = parsed(board.Boards().comparisons("protocol"))
    board.judged_by.cache_clear()
    assert set(shown["word"]) >= {"7 of 8 seeds"} and set(shown["points (interval)"]) == {""}
    assert notebook.markdown(pd.DataFrame({"a": [1, None]})).splitlines()[2:] == ["| 1.0 |", "|  |"]
