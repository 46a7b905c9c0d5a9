"""Words, numbers and tables of pages, and sections of files."""

import pytest

from ticketlib.analysis import words
from ticketlib.errors import TicketError


def test_a_section_is_written_between_its_markers_and_nothing_else_changes(tmp_path):
    page = tmp_path / "page.md"
    around = "before\n<!-- a -->\n{}<!-- /a -->\nµ\n<!-- b -->\nkept\n<!-- /b -->\nafter\n"
    page.write_text(around.format("stale\n"), encoding="utf-8")
    for _ in range(2):  # a second time changes nothing
        words.write_between(page, "a", r"new\1 µ")
        assert page.read_text(encoding="utf-8") == around.format("new\\1 µ\n")


@pytest.mark.parametrize("text", ["no markers", "<!-- a -->\n", "<!-- /a -->\n<!-- a -->\n"])
def test_a_file_without_the_markers_is_an_error_and_stays(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(TicketError, match="page.md has no lines <!-- a -->"):
        words.write_between(page, "a", "new")
    assert page.read_text() == text


def test_a_cell_cannot_end_its_column():
    assert words.table(["a", "b"], [["x|y", 1]]) == "| a | b |\n| --- | --- |\n| x/y | 1 |"
