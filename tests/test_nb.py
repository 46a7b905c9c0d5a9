"""The notebook helpers: parameters are checked, rows and pages go where they should."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import toy_notebook
from ticketbook import notebook

from ticketlib.errors import TicketError
from ticketlib.experiments import places, session

GIVEN = {"profile": "smoke", "source": "run", "ledger": "", "seeds": 0, "device": "auto", "data_root": ""}


def given(**changes):
    """A notebook's globals as the check finds them: parameters, a module, a function, Jupyter's own."""
    jupyters = {"In": ["..."], "Out": {}, "_": 1, "quit": exit}
    return {**jupyters, "session": session, "np": types.ModuleType("np"), **GIVEN, **changes}


def message(**changes):
    """The sentence of the error that these parameters cause."""
    with pytest.raises(TicketError) as caught:
        session.check(given(**changes))
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


def test_good_parameters_come_back_checked(tmp_path):
    changes = dict(profile="laptop", seeds=3, ledger=str(tmp_path / "new"), device="cpu", data_root="images")
    run = session.check(given(**changes))
    assert run == session.NotebookRun("laptop", "run", (tmp_path / "new").resolve(), 3, "cpu", "images")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "name, meant",
    [("profil", "profile"), ("_profile", "profile"), ("Seeds", "seeds"), ("dataroot", "data_root")],
)
def test_a_mistyped_name_is_named_with_the_one_meant(name, meant):
    text = message(**{name: "laptop"})
    assert repr(name) in text and f"did you mean {meant}?" in text and "data_root" in text


def test_an_unknown_name_is_an_error_whatever_its_value():
    for value in (1, 0.5, "x", None, True, [1], {"a": 1}):
        assert "'sparsity'" in message(sparsity=value)


def test_a_missing_name_is_an_error():
    namespace = given()
    del namespace["seeds"]
    with pytest.raises(TicketError, match="parameter 'seeds' is missing"):
        session.check(namespace)


def test_the_check_can_be_run_again_by_hand():
    namespace = given()
    namespace["run"] = session.check(namespace)
    namespace["accuracies"] = [1, 2]
    assert session.check(namespace) == namespace["run"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("profile", "tiny"), ("profile", ""), ("profile", 1), ("profile", ["smoke"]), ("source", "live"),
        ("source", None), ("ledger", 3), ("ledger", None), ("seeds", -1), ("seeds", 1001), ("seeds", True),
        ("seeds", 2.0), ("seeds", "3"), ("seeds", None), ("device", "gpu"), ("device", "cuda:"), ("device", "cuda:x"),
        ("device", 0), ("device", "CPU"), ("device", "cuda:99"), ("data_root", 1), ("data_root", None),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(name, value):
    text = message(**{name: value})
    assert text.startswith(name) and repr(value) in text


def test_runs_go_to_a_folder_a_profile_outside_the_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("TICKETLIB_LEDGER")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert session.check(given()).ledger == tmp_path.resolve() / "ticketlib" / "ledger" / "smoke"
    monkeypatch.delenv("XDG_DATA_HOME")
    folder = session.check(given(profile="paper")).ledger
    assert folder.is_relative_to(Path.home().resolve()) and not folder.is_relative_to(places.ROOT)
    monkeypatch.setenv("TICKETLIB_LEDGER", str(tmp_path / "mine"))
    assert session.check(given()).ledger == tmp_path.resolve() / "mine" / "smoke"


def test_stored_rows_are_the_books_own_unless_a_folder_is_named(tmp_path):
    assert session.check(given(source="stored", profile="laptop")).ledger == places.ROOT / "book" / "ledger" / "laptop"
    assert session.check(given(source="stored", ledger=str(tmp_path))).ledger == tmp_path.resolve()
    assert "not a folder" in message(source="stored", ledger=str(tmp_path / "none"))


def test_no_run_writes_the_books_ledger(monkeypatch, tmp_path):
    inside = places.book_ledger() / "smoke" / "deeper"
    link = tmp_path / "link"
    link.symlink_to(places.book_ledger(), target_is_directory=True)
    roundabout = os.path.join(places.ROOT, "book", "..", "book", "ledger")
    for folder in (places.book_ledger(), inside, roundabout, link, link / "smoke"):
        assert "the book's own" in message(ledger=str(folder))
    monkeypatch.setenv("TICKETLIB_LEDGER", str(places.book_ledger()))
    assert "the book's own" in message()


def test_a_ledger_cannot_be_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in message(ledger=str(tmp_path / "file"))


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
    notebook.provenance(session.check(given(source="stored")), rows)
    assert "| rows | 2 |" in shown[0] and "a chip (2 rows)" in shown[0] and "torch 2 (1 rows)" in shown[0]
    assert "| hours | 0.50 |" in shown[0] and "threads" not in shown[0]
    assert "a" * 16 in shown[0] and str(places.ROOT) not in shown[0]


def papermill(folder, source, *given):
    """Run papermill's own command in a folder, as a user would."""
    command = [sys.executable, "-m", "papermill", str(source), "out.ipynb", "-k", "python3", "--no-progress-bar"]
    return subprocess.run([*command, *given], cwd=folder, capture_output=True, text=True)


def test_papermills_command_stops_at_a_mistyped_name(tmp_path):
    done = papermill(tmp_path, toy_notebook.write(tmp_path / "toy.ipynb"), "-p", "profil", "laptop")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "TicketError: parameter 'profil' is not known (did you mean profile?)" in last


def test_papermills_command_runs_from_any_folder(tmp_path):
    source = toy_notebook.write(tmp_path / "toy.ipynb", "print(run.profile, run.seeds)")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = papermill(elsewhere, source, "-p", "profile", "laptop", "-p", "source", "stored", "-p", "seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "laptop 2" in (elsewhere / "out.ipynb").read_text()
