"""The command line as its users call it."""

import json
import os
import signal
import subprocess
import sys

import pytest
from synthetic import row, row_of
from ticketbook import first_screen

from ticketlib import __main__ as command_line
from ticketlib import data
from ticketlib.experiments import campaign, grids, journal, machine, places, profiles, workers
from ticketlib.experiments.ledger import Ledger, name_of
from ticketlib.experiments.run import SAVE_EVERY


def test_help_of_every_command_comes_without_torch_and_names_every_grid(capsys):
    heavy = "torch", "pandas", "numba", "scipy", "matplotlib"
    program = f"""import sys, contextlib, ticketlib
from ticketlib import __main__ as line
for words in [[], *([name] for name in line.COMMANDS)]:
    with contextlib.suppress(SystemExit):
        line.main([*words, "--help"])
print("LOADED", [name for name in {heavy} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr
    assert set(command_line.GRIDS) == set(grids.GRIDS) and set(places.PROFILES) == set(profiles.PROFILES)
    assert all(f"  {name}" in done.stdout for name in grids.GRIDS)


def test_a_plan_needs_no_images(tmp_path, capsys):
    options = ["--data-root", str(tmp_path), "--ledger", str(tmp_path)]
    assert command_line.main(["plan", "--grid", "v2", *options]) == 0
    assert "328 runs in grid 'v2', 0 done, 328 to carry out" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command_line.main(["run", "--grid", "v2", *options, "--no-such-option"])
    assert command_line.main(["run", "--grid", "v2", "--allow-dirty", *options]) == 2  # but a run does


def test_the_images_that_plans_know_are_those_of_the_books_rows():
    rows = [row for row in Ledger(places.book_ledger("laptop")).rows() if row["kind"] == "run"]
    assert {(row.config.dataset, row.config.fingerprint) for row in rows} == {tuple(of) for of, _ in
                                                                              profiles.KNOWN.values()}  # fmt: skip
    dense = [row for row in rows if row.config.ticket == "dense" and not row.config.held_out]
    counts = {row.config.dataset: row["images"] / row.config.epochs for row in dense}
    assert counts == {name: count for name, (_, count) in profiles.KNOWN.items()}


def test_a_row_is_shown_for_a_person(tmp_path, capsys):
    made = row("lt+rearranged@0.9", 3, 71.5, keep_counts={"a": 1200, "b": 34}, correct="A" * 1668, empty_layers=["b"])
    lines = dict(line.split(None, 1) if not line.startswith("keep") else (line, "") for line in command_line.shown(made)
                 if " " in line.strip())  # fmt: skip
    assert lines["arm"] == "lt+rearranged@0.9" and lines["accuracy"] == "71.5" and lines["kept"] == "1,234 weights"
    assert lines["curve"] == "1: 71.50" and lines["seed"] == "3" and "moved_share 0.8" in lines["control"]
    assert lines["row"].endswith(made["name"]) and "A" * 20 not in "".join(command_line.shown(made))


@pytest.mark.parametrize("folder", ["/no-such-folder-here", "no/such/folder", "no/such/laptop"])
def test_a_folder_typed_wrong_is_a_sentence_and_none_is_made(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("plan", "run"):
        assert command_line.main([command, "--profile", "smoke", "--ledger", folder]) == 2
        assert folder in capsys.readouterr().err
    assert not os.path.exists(folder) and not list(tmp_path.iterdir())
    for new in ("new", "new-rows/laptop"):
        places.check_folder(new)


def test_data_says_what_is_found(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_line.main(["data", "--data-root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "digits" in said and "cifar10" in said


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["plan", "--profile", "lapptop"], "'lapptop'"),
        (["plan", "--profile", "smoke", "--grid", "pilots"], "'pilots'"),
        (["show", "xyz"], "'xyz'"),
        (["show", "0" * 16], "0" * 16),
        (["run", "--profile", "smoke", "--workers", "0"], "workers 0"),
        (["run", "--profile", "smoke", "--per-gpu", "0"], "per-gpu 0"),
        (["run", "--profile", "smoke", "--share", "both"], "share 'both'"),
        (["run", "--profile", "smoke", "--share", "threads", "--backend", "ray"], "share 'threads'"),
        (["run", "--profile", "smoke", "--share", "mps"], "share 'mps'"),
        (["run", "--profile", "smoke", "--workers", "9" * 30], "at most 4096"),
        (["run", "--profile", "smoke", "--until", "25:00"], "'25:00'"),
        (["run", "--profile", "smoke", "--hours", "-1"], "hours -1"),
        (["run", "--profile", "smoke", "--hours", "nan"], "hours nan"),
        *((["run", "--profile", "smoke", "--save-every", value], f"save-every {value}") for value in ("nan", "-1")),
        (["run", "--profile", "smoke", "--save-every", "86401"], "save-every 86401"),
        (["run", "--profile", "smoke", "--device", "gpu"], "'gpu'"),
        (["run", "--profile", "smoke", "--backend", "dask"], "'dask'"),
        (["watch", "--profile", "smoky"], "'smoky'"),
        *((["watch", "--profile", "smoke", "--every", every], f"every {every}") for every in ("nan", "inf", "-1", "0")),
        (["run", "--profile", "smoke", "--only", "snpi"], "contains 'snpi'"),
        (["plan", "--profile", "smoke", "--only", "snpi"], "contains 'snpi'"),
        (["probe", "--profile", "smoke", "--seeds", "-3"], "seeds -3"),
    ],
)
def test_bad_input_is_one_sentence(arguments, said, capsys, tmp_path):
    assert command_line.main([*arguments, *(["--ledger", str(tmp_path)])]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and error.startswith("ticketlib: ") and "\n" not in error


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["watch", "--profile", "smoke", "--ledger", "nowhere"], "'nowhere' is not there"),
        (["plan", "--profile", "smoke", "--ledger", "a_file"], "a_file' is a file"),
        (["commit-rows", "nowhere"], "'nowhere' is not there"),
    ],
)
def test_a_folder_that_is_none_is_named(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    assert command_line.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_reader_that_has_enough_ends_it_quietly():
    command = [sys.executable, "-m", "ticketlib", "plan", "--profile", "smoke"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child.stdout.close()
    assert child.stderr.read() == "" and child.wait() == 141


def test_a_gpu_is_refused_where_an_engine_has_none(tmp_path, capsys, monkeypatch):
    digits = data.load("digits")
    monkeypatch.setattr(workers, "gpu_slots", lambda per_gpu: ("0",))
    monkeypatch.setitem(grids.GRIDS, "pilot", lambda *_: [grids.arm("smoke", "smart@0.9", 0, digits, engine="sparse")])
    assert command_line.main(["run", "--profile", "smoke", "--device", "cuda", "--ledger", str(tmp_path)]) == 2
    assert "sparse engine runs on the CPU" in capsys.readouterr().err and not Ledger(tmp_path).names()


def test_run_resumes_and_plan_counts(tmp_path, monkeypatch, capsys):
    def said(*arguments):
        assert command_line.main([*arguments]) == 0
        return capsys.readouterr().out

    options = ["--profile", "smoke", "--grid", "pilot", "--only", "smart", "--ledger", str(tmp_path / "rows")]
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "ticketlib", "run", *options, "--workers", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = Ledger(tmp_path / "rows").names()
    assert f"{len(names)} runs to carry out" in done.stdout and len(names) == 4
    assert "0 runs to carry out" in said("run", *options)
    assert f"4 rows in {tmp_path / 'rows'}" in said("watch", *options[:2], *options[-2:])
    row = Ledger(tmp_path / "rows")[names[0]]
    assert json.loads(said("show", names[0], *options[-2:], "--json")) == row


def test_other_arms_say_where_a_seed_was_begun(tmp_path, monkeypatch, capsys):
    digits = data.load("digits")
    configs = [grids.arm("smoke", arm, seed, digits) for seed in (0, 1) for arm in ("snip@0.9", "smart@0.9")]
    monkeypatch.setitem(grids.GRIDS, "pilot", lambda *_: configs)
    monkeypatch.setattr(grids, "ONE_KIND_A_SEED", ("pilot",))
    monkeypatch.setattr(journal, "conduct", lambda ledger, work, to_do, *_: sys.exit(str([c.seed for c in to_do])))
    Ledger(tmp_path).add(row_of(configs[0], 80.0, device="another kind"))
    options = ["run", "--profile", "smoke", "--only", "smart", "--ledger", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"\[1\]"):
        command_line.main(options)
    assert "left alone: seed 0" in capsys.readouterr().out
    assert command_line.main([*options, "--backend", "ray"]) == 2 and "'ray'" in capsys.readouterr().err


def test_a_run_keeps_states_as_often_as_was_asked(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(journal, "conduct", lambda ledger, work, *_: asked.append(work.save_every) or sys.exit())
    for options in ([], ["--save-every", "0"]):
        with pytest.raises(SystemExit):
            command_line.main(["run", "--profile", "smoke", "--ledger", str(tmp_path), *options])
    assert asked == [SAVE_EVERY, 0]


def test_plan_says_what_is_missing_and_what_it_cannot_estimate(tmp_path, capsys):
    command_line.main(["plan", "--profile", "smoke", "--ledger", str(tmp_path)])
    said = capsys.readouterr().out
    assert "0 done, 28 to carry out" in said and "112 epochs in all" in said and "144 with a script a cell" in said


def test_a_spoilt_row_stops_the_plan_by_name(tmp_path, capsys):
    Ledger(tmp_path).add(row("smart@0.9", 0, 80.0))
    [path] = tmp_path.iterdir()
    path.write_text(path.read_text()[:100])
    assert command_line.main(["plan", "--profile", "smoke", "--ledger", str(tmp_path)]) == 2
    assert path.name in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "probe"])
@pytest.mark.parametrize("version", ["v1-0-g0123456789ab-dirty", "0123456789ab-dirty", "0.1.0"])
def test_code_that_is_no_commits_is_refused_where_rows_count(version, command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "code_version", lambda: version)
    options = [command, "--profile", "paper", "--ledger", str(tmp_path), "--data-root", str(tmp_path)]
    assert command_line.main(options) == 2
    assert version in capsys.readouterr().err
    assert command_line.main([*options, "--allow-dirty"]) == 2  # goes on, and finds no images
    assert "cifar10" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["v1-0-g0123456789ab", "0123456789ab"])
def test_a_commits_code_is_known_as_such(version, monkeypatch):
    monkeypatch.setattr(machine, "code_version", lambda: version)
    assert machine.is_commit()


def test_a_run_that_failed_twice_is_listed_and_not_tried_again(tmp_path, capsys, monkeypatch):
    configs = [c for c in grids.grid("pilot", "smoke", data.load("digits")) if c.arm == "dense@0"][:1]
    book = journal.Journal(Ledger(tmp_path))
    for _ in range(2):
        book.note(campaign.Outcome(configs[0], reason="no luck"))
    monkeypatch.setattr(journal, "conduct", lambda ledger, work, to_do, *_: tried.append(to_do) or pytest.fail())
    tried = []
    options = ["run", "--profile", "smoke", "--ledger", str(tmp_path), "--only", "dense"]
    monkeypatch.setitem(grids.GRIDS, "pilot", lambda *_: configs)
    assert command_line.main(options) == 1 and not tried
    assert "failed 2 times with this code (no luck)" in capsys.readouterr().out


def test_one_signal_stops_cleanly_and_two_at_once(tmp_path):
    stop = journal.Stop()
    with stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop() and stop.reason == "SIGTERM came"
        os.kill(os.getpid(), signal.SIGTERM)  # `timeout` sends its signal twice
        stop.signalled -= 2 * journal.ECHO
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_watch_tells_the_living_from_the_silent(tmp_path, capsys):
    status = journal.Status(Ledger(tmp_path))
    status.write(total=3, done=1, running=["a"], failed=["b: no luck"], diverged=[], over=False, left_seconds=60.0)
    assert command_line.main(["watch", "--profile", "smoke", "--ledger", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 of 3 runs, 1 running, 0 diverged, 1 failed" in said and "failed: b: no luck" in said


def test_commit_rows_takes_rows_and_nothing_else(tmp_path, monkeypatch, capsys):
    book, made = tmp_path / "repository" / "book" / "ledger", tmp_path / "made"
    book.mkdir(parents=True)
    marks = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("board", "bench"))
    (tmp_path / "repository" / "README.md").write_text(marks)
    git = ["git", "-c", "user.name=a", "-c", "user.email=b@c"]
    subprocess.run([*git, "init", "-q"], cwd=book.parent.parent, check=True)
    for name, value in (("user.name", "a"), ("user.email", "b@c")):
        subprocess.run(["git", "config", name, value], cwd=book.parent.parent, check=True)
    monkeypatch.setattr(places, "book_ledger", lambda profile="": book / profile)
    monkeypatch.setattr(first_screen, "write", lambda root, runs: None)  # its sentences speak of the book's own rows
    Ledger(made / "laptop").add(row("smart@0.9", 0, 80.0))
    journal.folder(Ledger(made / "laptop"))
    assert command_line.main(["commit-rows", str(made)]) == 0
    listed = subprocess.run([*git, "ls-files"], cwd=book.parent.parent, capture_output=True, text=True, check=True)
    [name] = Ledger(made / "laptop").names()
    assert listed.stdout.split() == ["README.md", f"book/ledger/laptop/{name}.json", "book/ledger/runs.csv"]
    assert command_line.main(["commit-rows", str(made)]) == 0 and "no new rows" in capsys.readouterr().out
    facts = {"audit": name, "code": "c", "date": "d", "changes": {}}
    Ledger(made / "laptop" / "audits").add({"kind": "audit", "name": name_of(facts), "config": facts})
    assert command_line.main(["commit-rows", str(made)]) == 0 and "1 new row " in capsys.readouterr().out
    assert Ledger(book / "laptop" / "audits").names() == [name_of(facts)] and Ledger(book / "laptop").names() == [name]
    Ledger(tmp_path / "again" / "laptop").add(row("smart@0.9", 0, 70.0))
    assert command_line.main(["commit-rows", str(tmp_path / "again")]) == 0
    assert f"not copied: {name} (smart@0.9): the book has this row with other" in capsys.readouterr().err
    Ledger(tmp_path / "slower" / "laptop").add(row("smart@0.9", 0, 80.0) | {"seconds": 1e6})
    assert command_line.main(["commit-rows", str(tmp_path / "slower")]) == 0
    assert "with the same results" in capsys.readouterr().err
    assert command_line.main(["commit-rows", str(made / "laptop")]) == 2 and "holds rows" in capsys.readouterr().err
    other = row("smart@0.9", 1, 80.0)
    Ledger(book / "laptop").add(other)  # of a call that was cut short before it committed
    assert command_line.main(["commit-rows", str(made)]) == 0 and "1 new row " in capsys.readouterr().out
    (made / "elsewhere").mkdir()
    (made / "laptop" / f"{name}.json").rename(made / "elsewhere" / f"{name}.json")
    assert command_line.main(["commit-rows", str(made)]) == 2 and "'elsewhere'" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["show 0123456789abcdef", "commit-rows .", "readme", "plan --grid v2", "run"])
def test_what_needs_a_checkout_says_so_without_one(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "book_ledger", lambda profile="": tmp_path / "book" / "ledger" / profile)
    monkeypatch.setattr(command_line, "_refuse_dirty", lambda options: None)
    assert command_line.main(words.split()) == 2 and not list(tmp_path.iterdir())
    assert "no checkout" in capsys.readouterr().err
