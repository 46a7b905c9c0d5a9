"""Rows as other versions, other people and bad merges leave them; and very many of them."""

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic import CIFAR, row
from workshop import kept

from ticketlib import __main__ as command_line
from ticketlib import data
from ticketlib.analysis import pairs
from ticketlib.errors import TicketError
from ticketlib.experiments import audit, campaign, grids, machine
from ticketlib.experiments.ledger import Ledger, Row, frame, name_of, pack_bits, read_row
from ticketlib.experiments.places import book_ledger
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
    assert pairs.select(frame(ledger.rows()), "laptop").accuracy.tolist() == [80.0]


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
            pairs.select(frame([read_row(path)]), "laptop")
        except TicketError as error:
            assert whole["name"] in str(error) and "\n" not in str(error)
    tried(len(whole))


@pytest.fixture(scope="module")
def made():
    """A real run on the digits, an epoch long."""
    digits = data.load("digits")
    with machine.threads(1):
        return execute(grids.arm("smoke", "lt@0.9", 0, digits, epochs=1), digits, progress=False)


def moved(counts):
    """Keep-counts in which one weight has gone from the first layer that can spare one to the last."""
    giver = next(layer for layer, count in counts.items() if count > 1)
    last = list(counts)[-1]
    return counts | {giver: counts[giver] - 1, last: counts[last] + 1}


def flipped(row, count=1):
    """The bits of a run with so many more images classified rightly."""
    bits = row.correct
    bits[np.flatnonzero(~bits)[:count]] = True
    return pack_bits(bits)


CONTRADICTIONS = {  # what is altered alone -> the field that is named
    "accuracy": lambda row: {"accuracy": row["accuracy"] + 0.01},
    "accuracy ": lambda row: {"correct": flipped(row)},
    "accuracy  ": lambda row: {"correct": row["correct"][:-4] + "AAA/"},  # the bits of the last images
    "correct": lambda row: {"correct": pack_bits([*row.correct[:-1], *[not row.correct[-1], row.correct[-1]]])},
    "accuracy   ": lambda row: {"curve": [[1.0, row["accuracy"] + 0.01, row["curve"][-1][2]]]},
    "accuracy    ": lambda row: {"num_test": row["num_test"] - 1},
    "best_accuracy": lambda row: {"best_accuracy": row["best_accuracy"] + 0.01},
    "loss": lambda row: {"loss": row["loss"] + 1e-5},
    "curve": lambda row: {"curve": []},
    "curve ": lambda row: {"curve": [[1.0, row["accuracy"]]]},
    "curve  ": lambda row: {"curve": [[1.0, row["accuracy"], "0"]]},
    "arm": lambda row: {"arm": "lt@0.98"},
    "parent": lambda row: {"parent": "a" * 16},
    "parent_checkpoint": lambda row: {"parent_checkpoint": "a" * 63},
    "mask_digest": lambda row: {"mask_digest": row["mask_digest"].upper()},
    "keep_counts": lambda row: {"keep_counts": {}},
    "keep_counts ": lambda row: {"keep_counts": row["keep_counts"] | {"conv.weight": 0.5}},
    "keep_counts  ": lambda row: {"keep_counts": row["keep_counts"] | {"conv.weight": -1}},
    "keep_counts   ": lambda row: {"keep_counts": row["keep_counts"] | {"conv.weight": 10**4}},
    "keep_counts    ": lambda row: {"sizes": row["keep_counts"] | {"conv.weight": 1}},
    "empty_layers": lambda row: {"empty_layers": ["conv.weight"]},
    "empty_layers ": lambda row: {"empty_layers": [1]},
    "effective_sparsity": lambda row: {"effective_sparsity": row["achieved_sparsity"] - 1e-6},
    "effective_sparsity ": lambda row: {"effective_sparsity": 1.001},
    "achieved_sparsity": lambda row: {"achieved_sparsity": row["achieved_sparsity"] - 1e-6},
}


@pytest.mark.fault("a figure of a row is altered by hand and contradicts the others", REFUSED)
@pytest.mark.parametrize("what", CONTRADICTIONS, ids=lambda what: str(len(what)) + what.strip())
def test_a_row_that_contradicts_itself(made, what, tmp_path):
    altered = Row(made | CONTRADICTIONS[what](made))
    path = written(tmp_path, altered)
    with pytest.raises(TicketError, match=f"{path.name}: it has {what.strip()}"):
        read_row(path)
    with pytest.raises(TicketError, match=what.strip()):
        Ledger(tmp_path / "other").add(altered)


@pytest.mark.fault("every kind of figure is falsified in 30 of the book's rows, drawn by lot", REFUSED)
def test_each_kind_of_figure_falsified_in_rows_drawn_by_lot(tmp_path, tried):
    rows = Ledger(book_ledger("laptop")).rows()
    pruned = [row for row in rows if row["kind"] == "run" and not row["diverged"] and row.config.sparsity != "0"]
    lot = random.Random(22).sample(pruned, 30)
    falsified = [(row, Row(row | falsify(row))) for row in lot for falsify in CONTRADICTIONS.values()]
    falsified = [after for before, after in falsified if after != before]  # "lt@0.98" is an arm of some
    for one in falsified:
        with pytest.raises(TicketError, match=f"{one['name']}.json: it has"):
            read_row(written(tmp_path, one))
    tried(len(falsified))
    assert len(falsified) > 29 * len(CONTRADICTIONS)


@pytest.mark.parametrize("last", ["gAAA", "gAE=", "gAB=", "gA==", "gAA/"])
def test_bits_behind_the_last_image_are_refused(last, tmp_path):
    bits = pack_bits([True, *[False] * 9])  # two bytes: six bits of padding, and two of base64's own
    whole = row("smart@0.9", 0, 10.0, num_test=10, correct=bits)
    assert bits == "gAA=" and read_row(written(tmp_path, whole)) == whole
    with pytest.raises(TicketError, match="it has correct"):
        read_row(written(tmp_path, whole | {"correct": last}))


def test_a_run_that_starts_from_none_has_no_parent(tmp_path):
    with pytest.raises(TicketError, match="it has parent"):
        read_row(written(tmp_path, row("smart@0.9", 0, 80.0, parent="a" * 16)))


def test_what_rounding_did_is_no_contradiction(made, tmp_path):
    rounded = {"accuracy": made["accuracy"] + 1e-13, "loss": made["loss"] + 1e-14}
    assert read_row(written(tmp_path, made | rounded))["accuracy"] != made["accuracy"]
    absent = ("accuracy", "best_accuracy", "loss", "correct")
    diverged = {key: value for key, value in made.items() if key not in absent}
    assert read_row(written(tmp_path, diverged | {"diverged": True, "curve": []}))["diverged"]


def test_a_probe_that_contradicts_itself(tmp_path):
    config = {"ticket": "snip", "sparsity": "0.9", "seed": 0}
    counts, sizes = {"a": 1, "b": 0}, {"a": 6, "b": 4}
    whole = Row(kind="probe", name=name_of(config), config=config, keep_counts=counts, sizes=sizes, empty_layers=["b"])
    assert read_row(written(tmp_path, whole)) == whole
    for said in ({"empty_layers": []}, {"keep_counts": {"a": 2, "b": 0}}, {"keep_counts": {"a": 7, "b": 0}},
                 {"sizes": {"a": 6, "b": 24}}, {"effective_sparsity": 0.89}):  # fmt: skip
        with pytest.raises(TicketError, match=f"{whole['name']}.json: it has"):
            read_row(written(tmp_path, whole | {"achieved_sparsity": 0.9} | said))
    assert read_row(written(tmp_path, whole | {"effective_sparsity": 0.9}))["effective_sparsity"] == 0.9
    with pytest.raises(TicketError, match="effective_sparsity 0.89"):  # the mask alone says that 0.9 are gone
        read_row(written(tmp_path, whole | {"effective_sparsity": 0.89}))


@pytest.mark.fault("figures of a row are altered by hand, and all agree", "the audit, which makes it again, finds it")
def test_an_altered_row_that_agrees_with_itself(made, tmp_path, cache, tried):
    digits, ledger, better = data.load("digits"), Ledger(tmp_path), made["accuracy"] + 100 / 360
    alterations = (
        {"keep_counts": moved(made["keep_counts"])}, {"mask_digest": "0" * 64}, {"effective_sparsity": 1.0},
        {"loss": 0.25, "curve": [[1.0, made["accuracy"], 0.25]]},
        {"accuracy": round(better, 4), "best_accuracy": round(better, 4), "correct": flipped(made),
         "curve": [[1.0, round(better, 4), made["curve"][-1][2]]]},
    )  # fmt: skip
    for number, altered in enumerate(alterations):
        path = ledger.path(made["name"])
        path.unlink(missing_ok=True)
        ledger.add(Row(made | altered))
        again = audit.Again(ledger, digits, audit.Draw("code", str(number), (made["name"],))).row(made.config)
        assert (again["outcome"], again["differs"]) == (audit.DIFFERS, sorted(altered))
    tried(len(alterations))


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
    dense = row("smart@0.9", 0, 80.0, correct=pack_bits(np.arange(10_000) < 8000))
    for seed in range(count):
        config = grids.arm("laptop", "smart@0.9", seed, CIFAR)
        written(folder, dense | {"name": config.name, "config": config.as_dict(), "arm": config.arm})


@pytest.mark.slow
@pytest.mark.fault("the ledger has 20,000 rows", "loaded, planned from and made a table, within 32 kB of memory a row")
def test_twenty_thousand_rows(tmp_path, capsys, tried):
    count = 20_000
    many(count, tmp_path)
    configs, before, times = [grids.arm("laptop", "smart@0.9", seed, CIFAR) for seed in range(count + 10)], memory(), []

    def timed(work):
        began, value = time.process_time(), work()
        times.append(time.process_time() - began)
        return value

    rows = timed(Ledger(tmp_path).rows)
    table = timed(lambda: frame(rows))
    held = memory() - before
    missing = timed(lambda: campaign.missing(configs, Ledger(tmp_path)))
    assert len(rows) == len(table) == count and len(missing) == 10 and held < 32_000 * count
    with capsys.disabled():
        print(f"\n{count} rows: s of CPU to load, make a table, plan: {np.round(times, 1)}; {held / 1e6:.0f} MB held")
    tried(count)


def memory():
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_few_hundred_rows(tmp_path):
    many(300, tmp_path)
    configs = [grids.arm("laptop", "smart@0.9", seed, CIFAR) for seed in range(310)]
    assert len(Ledger(tmp_path).rows()) == 300 and len(campaign.missing(configs, Ledger(tmp_path))) == 10
