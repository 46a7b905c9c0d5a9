"""runs.csv: a line a run, plain columns, equal to the rows; README's question answered from it alone."""

import re

import pandas as pd
import pytest
from synthetic import row

from ticketlib.experiments import runs_csv
from ticketlib.experiments.config import Config, parent
from ticketlib.experiments.ledger import Ledger, Row, name_of
from ticketlib.experiments.places import ROOT, book_ledger


def test_the_file_is_what_the_rows_say():
    assert (book_ledger() / runs_csv.FILE).read_text(encoding="utf-8") == runs_csv.text(book_ledger())


def test_a_line_a_run_with_every_field_of_its_configuration(tmp_path):
    probe = {"probe": "mask", "seed": 0}
    found = [row("snip@0.98", 0, 66.5), row("lt@0.9", 3, 10.0, diverged=True)]
    found[1]["parent"] = parent(found[1].config).name
    found.append(row("smart@0.9", 10, 70.0, changes={"epochs": 40}, effective_sparsity=0.91))
    for one in [*found, Row(kind="probe", name=name_of(probe), config=probe)]:
        Ledger(tmp_path / "laptop").add(one)
    read = pd.read_csv(runs_csv.write(tmp_path)).set_index("hash")
    assert set(read.index) == {one["name"] for one in found} and list(read.arm) == sorted(read.arm)
    assert set(Config.__dataclass_fields__) < set(read.columns)
    snip, lost, smart = (read.loc[one["name"]] for one in found)
    assert (snip.grid, lost.grid, smart.grid) == ("step1", "step1", "v2") and set(read.profile) == {"laptop"}
    assert (snip.accuracy, snip.sparsity, snip.drops, snip.empty_layers) == (66.5, 0.98, "0.5 0.75", 0)
    assert lost.diverged and lost.parent == found[1]["parent"] and pd.isna(snip.parent)
    assert smart.effective_sparsity == 0.91 and pd.isna(snip.effective_sparsity)
    lines = (tmp_path / runs_csv.FILE).read_text().splitlines()
    assert all(len(line.split(",")) == len(read.columns) + 1 for line in lines)  # no comma in these devices


def test_no_rows_give_the_head_alone(tmp_path):
    assert runs_csv.text(tmp_path) == ",".join([*runs_csv.COLUMNS, "hash"]) + "\n"


def test_readme_answers_its_question_from_the_file_alone(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    [code] = [block for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
              if "runs.csv" in block]  # fmt: skip
    assert len(code.splitlines()) == 3 and "ticketlib" not in code
    exec(code, {})
    said = [float(number) for number in re.findall(r"(?<![\w.])\d+\.?\d*", capsys.readouterr().out)]
    mean, count, low, high = map(float, re.findall(r"[\d.]+", code.split("#")[1]))
    assert said == pytest.approx([mean, count, low, high], abs=0.005)
