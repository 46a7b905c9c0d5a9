"""What a reader asked for: parameters are checked; rows are read, or made after an estimate, and nothing is lost."""

import os
import re
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy_notebook
from made_runs import ticket_rows
from synthetic import CIFAR, arms, row, row_of

from ticketlib import data
from ticketlib.errors import TicketError
from ticketlib.experiments import grids, journal, machine, places, profiles, session
from ticketlib.experiments.config import parent
from ticketlib.experiments.ledger import Ledger

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


def test_a_new_ledger_lies_in_a_folder_that_is_there(tmp_path):
    for new in ("rows", "rows/smoke"):
        assert session.check(given(ledger=str(tmp_path / new))).ledger == (tmp_path / new).resolve()
    assert "is not there" in message(ledger=str(tmp_path / "rows" / "mine"))
    assert "is not there" in message(ledger=str(tmp_path / "all" / "rows" / "smoke"))


def test_a_ledger_cannot_be_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in message(ledger=str(tmp_path / "file"))


def papermill(folder, source, *given):
    """Run papermill's own command in a folder, as a user would."""
    command = [sys.executable, "-m", "papermill", str(source), "out.ipynb", "-k", "python3", "--no-progress-bar"]
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}  # a kernel acts upon it
    return subprocess.run([*command, *given], cwd=folder, capture_output=True, text=True, env=env)


@pytest.mark.slow
def test_papermill_in_any_folder_shows_an_estimate_and_a_line_a_run(tmp_path):
    code = """from ticketlib.experiments import grids
digits = session.images(run)
session.make_runs(run, [grids.arm("smoke", key, 0, digits) for key in ("dense@0", "smart@0.9")], digits)
session.display(session.Text("*all*"))"""
    source = toy_notebook.write(tmp_path / "toy.ipynb", code)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = ("--log-output", "-p", "seeds", "1", "-p", "ledger", str(tmp_path / "rows"))
    done = papermill(elsewhere, source, *options)
    assert done.returncode == 0, done.stderr
    for line in ("2 runs to carry out", "[1/2] dense@0", "[2/2] smart@0.9", "2 runs carried out", "*all*"):
        assert line in done.stderr
    assert not re.search("<(ticketlib|IPython)", done.stderr) and len(Ledger(tmp_path / "rows").names()) == 2


@pytest.mark.slow
def test_papermills_command_stops_at_a_mistyped_name(tmp_path):
    done = papermill(tmp_path, toy_notebook.write(tmp_path / "toy.ipynb"), "-p", "profil", "laptop")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "TicketError: parameter 'profil' is not known (did you mean profile?)" in last


# rows read, or made


def notebook(folder, **values):
    """Checked parameters of a notebook whose rows lie in a folder."""
    parameters = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="") | values
    return session.NotebookRun(**parameters, ledger=folder)


def fill(folder, rows):
    for one in rows:
        Ledger(folder).add(one)
    return folder


@pytest.fixture
def live(tmp_path, monkeypatch):
    """A notebook that makes the rows of one seed; a run takes no time, and its speed is known."""
    monkeypatch.setattr(session, "_speed", lambda *_: 1000.0)
    return notebook(tmp_path / "rows", profile="smoke", source="run", seeds=1)


def executed(monkeypatch, change=lambda config: {}):
    """Replace runs by rows made in no time, with `change` of a configuration in them: the list of arms made."""
    made = []

    def execute(config, dataset, *, device, progress):
        made.append(config.arm)
        return row_of(config, 90.0, device=device) | change(config)

    monkeypatch.setattr(session, "execute", execute)
    return made


def test_stored_rows_are_read_by_arm_and_seed(tmp_path):
    fill(tmp_path, arms({"smart": 80.0}, seeds=range(3)))
    found = ticket_rows(notebook(tmp_path), ("smart@0.9", "uniform@0.9"))
    assert {arm: sorted(rows) for arm, rows in found.items()} == {"smart@0.9": [0, 1, 2], "uniform@0.9": []}
    assert sorted(ticket_rows(notebook(tmp_path, seeds=2), ("smart@0.9",))["smart@0.9"]) == [0, 1]


def test_rows_of_other_images_are_not_read_beside_a_run_of_ones_own(tmp_path):
    own = data.load("digits").fingerprint
    fill(tmp_path, [row("smart@0.9", 0, 80.0), row("smart@0.9", 0, 90.0, changes={"fingerprint": own})])
    found = session.rows_of(notebook(tmp_path, profile="smoke", source="run"))
    assert [one["accuracy"] for one in found] == [90.0] and len(session.rows_of(notebook(tmp_path))) == 2


def test_missing_rows_are_made_once_and_said_on_stderr(live, monkeypatch, capsys):
    made = executed(monkeypatch)
    assert sorted(ticket_rows(live, ("dense@0", "smart@0.9"))["smart@0.9"]) == [0]
    assert made == ["dense@0", "smart@0.9"]
    lines = capsys.readouterr().err.splitlines()
    assert session.REHEARSAL in lines[0] and "Time expected" in lines[1]
    assert "[1/2] dense@0" in lines[2] and "[2/2] smart@0.9" in lines[3]
    ticket_rows(replace(live, seeds=2), ("dense@0", "smart@0.9"))
    assert made[2:] == ["dense@0", "smart@0.9"] and len(Ledger(live.ledger).names()) == 4
    assert sorted(ticket_rows(live, ("smart@0.9",))["smart@0.9"]) == [0] and len(made) == 4


def test_what_cannot_be_made_is_said_and_the_rest_is_made(live, monkeypatch, capsys):
    def refuse(config):
        if config.ticket == "smart":
            raise TicketError("no such ticket here.")
        return {}

    executed(monkeypatch, refuse)
    assert sorted(ticket_rows(live, ("smart@0.9", "uniform@0.9"))["uniform@0.9"]) == [0]
    assert "smart@0.9 (seed 0, 6 epochs): TicketError: no such ticket here." in capsys.readouterr().out


def test_a_dense_net_that_diverges_is_trained_once_and_what_starts_from_it_never(live, monkeypatch, capsys):
    made = executed(monkeypatch, lambda config: {"diverged": True})
    for _ in range(2):
        ticket_rows(live, ("dense@0", "lt@0.9", "lrr@0.9"))
    assert made == ["dense@0"]
    shown = capsys.readouterr().out
    assert "- lt@0.9 (seed 0, 6 epochs): dense@0" in shown and "- lrr@0.9 (seed 0, 6 epochs): dense@0" in shown
    children = [grids.arm("smoke", key, 0, data.load("digits")) for key in ("lt@0.9", "uniform@0.9")]
    session.make_runs(live, children, data.load("digits"))
    assert made == ["dense@0", "uniform@0.9"] and "- lt@0.9 (seed 0): dense@0" in capsys.readouterr().out


def test_what_a_stop_leaves_is_not_counted_as_carried_out(live, monkeypatch, capfd):
    digits = data.load("digits")
    monkeypatch.setattr(session, "conduct", lambda *_: types.SimpleNamespace(failed=[], left=["a", "b"], warnings=[]))
    session.make_runs(live, [grids.arm("smoke", "uniform@0.9", seed, digits, epochs=1) for seed in range(3)], digits)
    said = capfd.readouterr().err
    assert "1 runs carried out" in said and "2 are left" in said


def test_a_net_that_was_made_again_and_differs_is_said(live, monkeypatch, capsys):
    def facts(config):
        before = parent(config)
        return {"parent": before.name, "parent_checkpoint": "b" * 64} if before else {"checkpoint": "a" * 64}

    executed(monkeypatch, facts)
    ticket_rows(live, ("dense@0", "lt@0.9"))
    assert "- lt@0.9 (seed 0, 6 epochs): the trained net of " in capsys.readouterr().out


def test_an_interrupted_notebook_leaves_no_lock_and_keeps_its_rows(live, monkeypatch):
    def interrupt(config):
        if config.ticket == "smart":
            raise KeyboardInterrupt
        return {}

    executed(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt) as kept:  # as a notebook's kernel keeps the last error
        ticket_rows(live, ("dense@0", "smart@0.9"))
    [facts] = journal.campaigns(Ledger(live.ledger))
    assert facts["over"] and facts["done"] == 1 == len(Ledger(live.ledger).names())
    made = executed(monkeypatch)
    ticket_rows(live, ("dense@0", "smart@0.9"))
    assert made == ["smart@0.9"] and kept


def test_watch_sees_a_notebooks_runs(live, monkeypatch, capsys):
    monkeypatch.setattr(journal, "BEAT", 0.05)
    seen = []

    def look(config):
        path = next((live.ledger / ".campaign").glob("*.status"))
        first = journal.read_status(path)["updated"]
        while journal.read_status(path)["updated"] == first:  # a sign of life, in the middle of a run
            time.sleep(0.05)
        seen.extend(journal.campaigns(Ledger(live.ledger)))
        return {}

    executed(monkeypatch, look)
    ticket_rows(live, ("dense@0",))
    assert [(facts["total"], facts["done"], facts["over"]) for facts in seen] == [(1, 0, False)]
    assert seen[0]["running"] == ["dense@0 (seed 0, 6 epochs)"]


def test_the_time_is_told_from_rows_and_where_there_is_none_from_a_few_steps(tmp_path):
    dataset, live = data.load("digits"), notebook(tmp_path, profile="smoke", source="run")
    to_do = [profiles.config("smoke", "uniform", "0.9", seed, dataset=dataset) for seed in range(2)]
    measured = session._estimate(live, to_do, dataset, "cpu")
    assert measured > 0  # how long it is depends on what else the machine does
    elsewhere = row("smart@0.9", 8, 90.0, "smoke", images_per_second=1e-3)  # on another device: it tells nothing here
    speed = row("smart@0.9", 7, 90.0, "smoke", images_per_second=1437.0, device=machine.facts("cpu")["device"])
    fill(tmp_path, [speed, elsewhere])
    assert session._estimate(live, to_do, dataset, "cpu") == pytest.approx(2 * 6 * 1437 / 1437)


def test_a_device_without_an_engine_is_refused_before_any_training(tmp_path):
    sparse = [profiles.config("laptop", "smart", "0.9", 0, dataset=CIFAR)]
    with pytest.raises(TicketError, match="'cuda' is not allowed with profile 'laptop'.*auto, cpu"):
        session.make_runs(notebook(tmp_path, device="cuda"), sparse, CIFAR)
    dense = [replace(config, engine="dense") for config in sparse]
    assert {session.device_of(notebook(tmp_path, device=of), sparse) for of in ("auto", "cpu")} == {"cpu"}
    assert session.device_of(notebook(tmp_path, device="cuda"), dense) == "cuda"


@pytest.mark.parametrize(("device", "inside"), [("cpu", 1), ("cuda", 2)])
def test_a_processor_computes_on_one_thread_and_threads_are_put_back(device, inside):
    before = torch.get_num_threads()
    with machine.threads(2):
        with session.one_thread(device):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before
