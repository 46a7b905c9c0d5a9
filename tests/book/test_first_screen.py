"""The first screen of the site and of README says what the rows say, in few words."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from synthetic import row
from ticketbook import board, first_screen, notebook, numbers

from ticketlib.analysis import verdicts
from ticketlib.errors import TicketError
from ticketlib.experiments import claims
from ticketlib.experiments.ledger import frame
from ticketlib.experiments.places import ROOT


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs():
    return numbers.ledger_frame()


@pytest.fixture(scope="module")
def plan():
    return board.PLANS["shown"]()


@pytest.fixture(scope="module")
def claims_board():
    return notebook.markdown(board.claims_table(*board.judged("shown")[:2]))


def test_readme_shows_what_the_books_rows_say(readme, claims_board):
    assert first_screen.findings() in readme and claims_board in readme


def test_at_half_the_margin_no_yes_of_the_first_three_claims_stands_as_the_front_page_says(runs, plan):
    words, _ = verdicts.board(runs, replace(plan, margin=plan.margin / 2))
    assert verdicts.YES not in words.loc[["A", "B", "C"]].to_numpy()


def test_readmes_picture_is_of_the_books_rows(runs, plan):
    words = first_screen.in_words(first_screen.accuracies(runs, plan))
    assert words in (ROOT / first_screen.PICTURE).read_text(encoding="utf-8")
    drawn = runs[(runs.epochs == plan.epochs) & runs.seed.isin(plan.seeds)]
    drawn = drawn.query("dataset == 'cifar10' and network == 'resnet20' and recipe == 1 and not held_out")
    at_90, at_98 = (drawn[drawn.arm == arm].accuracy.mean() for arm in ("snip@0.9", "snip@0.98"))
    assert f"{at_90:.2f} at 0.9, {at_98:.2f} at 0.98" in words


def test_readmes_first_screen_has_under_300_words_beside_its_table(readme):
    first = readme.partition("## Two commands")[0]
    beside = [line for line in first.splitlines() if not line.startswith(("|", "<!--", "!["))]
    assert 150 < len(" ".join(beside).split()) < 300


def test_no_cell_of_the_board_has_more_than_25_words(claims_board, plan):
    lines, columns = claims_board.splitlines(), 1 + len(plan.sparsities)
    assert len(lines) == 2 + 5 and all(line.count("|") == columns + 1 for line in lines)
    assert max(len(cell.split()) for line in lines for cell in line.split("|")) <= 25


def test_sentences_that_the_rows_no_longer_bear_stop_the_build(monkeypatch):
    turned = [row(f"{arm}@{s}", seed, 80.0 + seed / 10) for arm in ("smart", "snip", "lt") for s in ("0.9", "0.98")
              for seed in range(10)]  # fmt: skip
    monkeypatch.setattr(numbers, "runs", lambda *_, **__: numbers.pairs.select(frame(turned), "laptop"))
    with pytest.raises(TicketError, match="smart@0.9 − lt@0.9 is 0.00"):
        first_screen.findings()


def test_the_picture_is_sound_and_has_the_pages_own_colour(runs, plan):
    drawn = first_screen.picture(runs, plan)
    assert first_screen.substitutions()["accuracy_picture"].startswith('<figure class="drawn"><svg ')  # a block
    assert "\n" not in drawn and first_screen.INK not in drawn and "currentColor" in drawn
    names = {text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}
    assert {"dense", "LRR", "hybrid", "LT", "SNIP", "smart ratio", "uniform"} <= names


def test_the_picture_shows_means_and_their_intervals():
    made = [row(f"snip@{s}", seed, 80.0 + seed) for s in ("0.9", "0.98") for seed in range(3)]
    made += [row("dense", 0, 90.0), row("snip+both@0.9", 0, 10.0)]
    found = first_screen.accuracies(frame(made), claims.EXPLORATORY)
    mean = found["snip"]["0.9"]
    assert mean.point == 81.0 and mean.high == pytest.approx(81 + 4.303 / 3**0.5, abs=1e-3)
    assert found["dense"]["0"].n == 1 and found["lt"] == {}


@pytest.mark.parametrize("given, placed", [([1.0, 1.5, 9.0], [1.0, 2.9, 9.0]), ([1.0, 1.0, 2.0], [1.0, 2.9, 4.8])])
def test_names_at_the_end_of_lines_stand_apart(given, placed):
    assert first_screen.spread(given) == pytest.approx(placed)


def test_readme_is_written_between_its_marks(tmp_path, runs):
    (tmp_path / "README.md").write_text("before\n<!-- board -->\nold\n<!-- /board -->\nafter\n", encoding="utf-8")
    first_screen.write(tmp_path, runs)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "old" not in text and re.match(r"before\n<!-- board -->\n.*<!-- /board -->\nafter\n", text, re.S)
    assert "prefers-color-scheme" in (tmp_path / first_screen.PICTURE).read_text(encoding="utf-8")


def test_a_section_is_written_between_its_markers_and_nothing_else_changes(tmp_path):
    page = tmp_path / "page.md"
    around = "before\n<!-- a -->\n{}<!-- /a -->\nµ\n<!-- b -->\nkept\n<!-- /b -->\nafter\n"
    page.write_text(around.format("stale\n"), encoding="utf-8")
    for _ in range(2):  # a second time changes nothing
        first_screen.write_between(page, "a", r"new\1 µ")
        assert page.read_text(encoding="utf-8") == around.format("new\\1 µ\n")


@pytest.mark.parametrize("text", ["no markers", "<!-- a -->\n", "<!-- /a -->\n<!-- a -->\n"])
def test_a_file_without_the_markers_is_an_error_and_stays(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(TicketError, match="page.md has no lines <!-- a -->"):
        first_screen.write_between(page, "a", "new")
    assert page.read_text() == text
