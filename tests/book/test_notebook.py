"""What every page shows: Markdown, and where its numbers came from."""

from ticketbook import notebook

from ticketlib.experiments import places, session

GIVEN = {"profile": "smoke", "source": "stored", "ledger": "", "seeds": 0, "device": "auto", "data_root": ""}


def test_what_is_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(notebook, "display", lambda *values, **options: shown.append((values, options)))
    notebook.show_markdown("**holds**")
    notebook.show_markdown("")
    assert [values[0].data for values, _ in shown] == ["**holds**"]


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
