"""The command line as its users call it."""

import json
import os
import subprocess
import sys

import pytest
from synthetic import row

from ticketlib import __main__ as command_line
from ticketlib.ledger import Ledger


def call(*arguments, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "ticketlib", *map(str, arguments)],
        cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_data_says_what_is_found(tmp_path):
    done = call("data", "--data-root", tmp_path, cwd=tmp_path)
    assert done.returncode == 0 and "digits" in done.stdout and "cifar10" in done.stdout


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["plan", "--profile", "lapptop"], "'lapptop'"),
        (["plan", "--profile", "smoke", "--grid", "pilots"], "'pilots'"),
        (["show", "xyz"], "'xyz'"),
        (["show", "0" * 16], "0" * 16),
        (["run", "--profile", "smoke", "--workers", "0"], "workers 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments, said, capsys, tmp_path):
    assert command_line.main([*arguments, *(["--ledger", str(tmp_path)])]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and error.startswith("ticketlib: ") and "\n" not in error


def test_run_resumes_and_plan_counts(tmp_path, monkeypatch):
    options = ["--profile", "smoke", "--grid", "pilot", "--only", "smart", "--ledger", tmp_path / "rows"]
    env = {"TICKETLIB_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = call("run", *options, "--workers", "2", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = Ledger(tmp_path / "rows").names()
    assert f"{len(names)} runs to carry out" in done.stdout and len(names) == 4
    assert "0 runs to carry out" in call("run", *options, env=env, cwd=tmp_path).stdout
    shown = call("show", names[0], "--ledger", tmp_path / "rows")
    assert json.loads(shown.stdout)["name"] == names[0]


def test_plan_says_what_is_missing_and_what_it_cannot_estimate(tmp_path, capsys):
    command_line.main(["plan", "--profile", "smoke", "--ledger", str(tmp_path)])
    assert "0 done, 28 to carry out" in capsys.readouterr().out


def test_a_spoilt_row_stops_the_plan_by_name(tmp_path, capsys):
    Ledger(tmp_path).add(row("smart@0.9", 0, 80.0))
    [path] = tmp_path.iterdir()
    path.write_text(path.read_text()[:100])
    assert command_line.main(["plan", "--profile", "smoke", "--ledger", str(tmp_path)]) == 2
    assert path.name in capsys.readouterr().err
