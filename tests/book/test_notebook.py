"""What every page shows: Markdown, and where its numbers came from."""

import pandas as pd
from ticketbook import notebook

from ticketlib.analysis import words
from ticketlib.experiments import places, session

GIVEN = {"profile": "smoke", "source": "stored", "ledger": "", "seeds": 0, "device": "auto", "data_root": ""}


def test_what_is_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(notebook, "display", lambda *values, **options: shown.append((values, options)))
    notebook.show("**holds**")
    notebook.show("")
    assert [(values[0].data, repr(values[0])) for values, _ in shown] == [("**holds**", "**holds**")]


def test_a_log_shows_no_markup_and_nothing_that_a_page_folds_away():
    folded = words.folded("Every seed", "| a |\n| --- |")
    assert repr(notebook.PageText(f"*Before*\n{folded}\n{folded}")) == "*Before*" + "\n[Every seed: folded]" * 2


def test_a_cell_cannot_end_its_column_and_what_is_missing_is_empty():
    table = pd.DataFrame({"a": ["x|y", None], "b": [1, 2]})
    assert notebook.markdown(table) == "| a | b |\n| --- | --- |\n| x/y | 1 |\n|  | 2 |"


def test_provenance_counts_devices_and_names_rows(monkeypatch):
    shown = []
    monkeypatch.setattr(notebook, "show", shown.append)
    rows = [
        {"name": "a" * 16, "device": "a chip", "versions": {"torch": "2"}, "seconds": 1800},
        {"name": "b" * 16, "device": "a chip"},
    ]
    notebook.provenance(session.check(dict(GIVEN)), rows)
    assert "| rows | 2 |" in shown[0] and "a chip (2 rows)" in shown[0] and "torch 2 (1 rows)" in shown[0]
    assert "| hours | 0.50 |" in shown[0] and "threads" not in shown[0]
    assert "a" * 16 in shown[0] and str(places.ROOT) not in shown[0]
