"""Rows as other versions, other people and bad merges leave them; and very many of them."""

import json
import os
import time
from pathlib import Path

import pytest
from synthetic import CIFAR, row
from workshop import bytes_of, kept

from ticketlib import __main__ as command_line
from ticketlib import data
from ticketlib.analysis import evidence
from ticketlib.errors import TicketError
from ticketlib.experiments import audit, campaign, grids, machine
from ticketlib.experiments.ledger import Ledger, Row, read_row
from ticketlib.experiments.run import execute

CHECKED = ("kind", "name", "config")  # without these a file is no row
REFUSED = "refused by name in one sentence; the file is left as it is"


def written(folder, values, name=None):
    """A row's file as somebody might have left it: its path."""
    path = Path(folder) / f"{name or values['name']}.json"
    path.write_text(json.dumps(values))
    return path


def other_recipe(recipe):
    """A row of the same arm under another recipe version."""
    config = grids.arm("laptop", "smart@0.9", 0, CIFAR, recipe=recipe)
    return Row(row("smart@0.9", 0, 10.0) | {"name": config.name, "config": config.as_dict()})


@pytest.mark.fault("rows of an older and of a later recipe version lie in the ledger", "read, and never mixed")
def test_other_recipe_versions(tmp_path):
    ledger = Ledger(tmp_path)
    for other in (other_recipe(0), other_recipe(99), row("smart@0.9", 0, 80.0)):
        with kept(ledger, added=1):
            ledger.add(other)
    assert len(ledger.rows()) == 4
    assert evidence.select(ledger.rows(), "laptop")["smart@0.9"][0]["accuracy"] == 80.0


@pytest.mark.fault("a row has fields that this version does not know", "read; a field of the configuration: refused")
def test_extra_fields(tmp_path):
    path = written(tmp_path, row("smart@0.9", 0, 80.0) | {"tomorrow": {"a": [1, None]}})
    assert read_row(path)["tomorrow"] == {"a": [1, None]}
    values = json.loads(path.read_text())
    values["config"]["optimiser"] = "adam"
    with pytest.raises(TicketError, match=f"{path.name}: configuration field 'optimiser'"):
        read_row(written(tmp_path, values))


@pytest.mark.fault("a row lacks a field", "refused when it is read, or where the field is first needed, by name")
def test_missing_fields(tmp_path, tried):
    whole = row("smart@0.9", 0, 80.0)
    for field in whole:
        values = {key: value for key, value in whole.items() if key != field}
        path = written(tmp_path, values, whole["name"])
        with pytest.raises(TicketError, match=f"{whole['name']}.*{field}" if field not in CHECKED else whole["name"]):
            assert read_row(path)[field] is None, "never a value that nobody measured"
        try:
            campaign.speeds([read_row(path)])
            evidence.collapsed(read_row(path))
        except TicketError as error:
            assert whole["name"] in str(error) and "\n" not in str(error)
    tried(len(whole))


@pytest.mark.fault("a figure of a row is altered by hand", "no reader can tell; the audit, which makes it again, does")
def test_an_altered_figure(tmp_path, cache, tried):
    digits, ledger = data.load("digits"), Ledger(tmp_path)
    config, figures = grids.arm("smoke", "smart@0.9", 0, digits, epochs=1), ("accuracy", "loss", "curve", "keep_counts")
    with machine.threads(1):
        whole = execute(config, digits, progress=False)
    for figure in figures:
        path = ledger.path(config.name)
        path.unlink(missing_ok=True)
        ledger.add(Row(whole | {figure: {"accuracy": 99.0, "loss": 0.0, "curve": [], "keep_counts": {}}[figure]}))
        again = audit.Again(ledger, digits, audit.Draw("code", figure, (config.name,))).row(config)
        assert (again["outcome"], again["differs"]) == (audit.DIFFERS, [figure])
    tried(len(figures))


@pytest.mark.fault("a merge conflict is left in a row", REFUSED)
def test_a_merge_conflict(tmp_path, capsys):
    path = written(tmp_path, row("smart@0.9", 0, 80.0))
    text = path.read_text()
    half = len(text) // 2
    conflict = f"{text[:half]}\n<<<<<<< HEAD\n{text[half:]}\n=======\n{text[half:]}\n>>>>>>> theirs\n"
    path.write_text(conflict)
    with pytest.raises(TicketError, match=f"{path.name} cannot be read"):
        Ledger(tmp_path).rows()
    assert command_line.main(["run", "--profile", "smoke", "--ledger", str(tmp_path)]) == 2
    assert path.name in capsys.readouterr().err
    assert path.read_text() == conflict


@pytest.mark.fault("a row's text carries markup or a script", "refused when it is written and when it is read")
@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "[x](java:y)", "{{ secrets }}", "$`rm`", "a|b", "&lt;", "a\nb", "\u202e"]
)
def test_markup(text, tmp_path):
    for field in ("device", "code", "note"):
        spoilt = row("smart@0.9", 0, 80.0) | {field: text}
        with pytest.raises(TicketError, match="in its text"):
            Ledger(tmp_path).add(Row(spoilt))
        with pytest.raises(TicketError, match="in its text"):
            read_row(written(tmp_path, spoilt))
    with pytest.raises(TicketError, match="in its text"):
        Ledger(tmp_path).add(Row(row("smart@0.9", 0, 80.0) | {"keep_counts": {text: 1}}))


@pytest.mark.parametrize(
    "spoil",
    [
        {"accuracy": "80"}, {"accuracy": 101.0}, {"accuracy": True}, {"accuracy": None}, {"diverged": "no"},
        {"images_per_second": 0}, {"seconds": []}, {"keep_counts": [1]}, {"correct": "AAAA"}, {"correct": 7},
        {"num_test": -1}, {"device": 3}, {"versions": "2"},
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused(spoil, tmp_path):
    path = written(tmp_path, row("smart@0.9", 0, 80.0) | spoil)
    with pytest.raises(TicketError, match=f"{path.name}: it has {next(iter(spoil))}"):
        read_row(path)


@pytest.mark.fault("a row's file is a link out of its folder, or a pipe", REFUSED)
def test_a_row_that_is_no_file_of_its_own(tmp_path):
    ledger, sound = Ledger(tmp_path / "rows"), row("smart@0.9", 0, 80.0)
    written(tmp_path, sound)
    ledger.folder.mkdir()
    ledger.path(sound["name"]).symlink_to(tmp_path / f"{sound['name']}.json")
    with pytest.raises(TicketError, match=f"{sound['name']}.json cannot be read"):
        ledger.rows()
    ledger.path(sound["name"]).unlink()
    os.mkfifo(ledger.path(sound["name"]))
    with pytest.raises(TicketError, match=f"{sound['name']}.json cannot be read"):
        ledger.rows()


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, '{"kind": NaN}', '{"a": 1e999}', "\x00", " " * 2**23])
def test_text_that_is_no_row(text, tmp_path):
    (tmp_path / f"{'a' * 16}.json").write_text(text)
    with pytest.raises(TicketError, match="a" * 16):
        Ledger(tmp_path).rows()


def many(count, folder):
    """So many sound rows, written without syncing each."""
    dense = row("dense", 0, 80.0, correct="A" * 1668)
    for seed in range(count):
        config = grids.arm("laptop", "smart@0.9", seed, CIFAR)
        written(folder, dense | {"name": config.name, "config": config.as_dict(), "arm": config.arm})


@pytest.mark.slow
@pytest.mark.fault("the ledger has 10,000 rows", "loaded and planned from")
def test_ten_thousand_rows(tmp_path, capsys, tried):
    many(10_000, tmp_path)
    began = time.process_time()
    rows = Ledger(tmp_path).rows()
    loaded = time.process_time()
    configs = [grids.arm("laptop", "smart@0.9", seed, CIFAR) for seed in range(10_010)]
    made = time.process_time()
    before = bytes_of(Ledger(tmp_path))
    missing = campaign.missing(configs, Ledger(tmp_path))
    planned = time.process_time()
    assert len(rows) == 10_000 and len(missing) == 10 and bytes_of(Ledger(tmp_path)) == before
    with capsys.disabled():
        print(f"\n10,000 rows: loaded in {loaded - began:.2f} s, planned from in {planned - made:.2f} s of CPU time")
    tried(10_000)


def test_a_few_hundred_rows(tmp_path):
    many(300, tmp_path)
    configs = [grids.arm("laptop", "smart@0.9", seed, CIFAR) for seed in range(310)]
    assert len(Ledger(tmp_path).rows()) == 300 and len(campaign.missing(configs, Ledger(tmp_path))) == 10
