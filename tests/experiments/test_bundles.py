"""Probes in files of many: the same rows as before, safe to merge, and refused line by line."""

import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketlib.errors import TicketError
from ticketlib.experiments import bundles, grids, probe
from ticketlib.experiments.ledger import Ledger, Row, name_of
from ticketlib.experiments.places import PROFILES, ROOT, book_ledger
from ticketlib.experiments.profiles import KNOWN

SIZES = {"conv.weight": 40, "fc.weight": 60}


def made(seed, sizes=SIZES, **facts):
    values = {"probe": "mask", "seed": seed, "sparsity": "0.9"}
    counts = {"keep_counts": {"conv.weight": 4, "fc.weight": 6}, "empty_layers": []} if sizes else {}
    counts |= {"sizes": sizes} if sizes else {}
    return Row(kind="probe", name=name_of(values), config=values, **counts, **facts)


def masks(_):
    return "masks"


def filled(folder, seeds):
    ledger = Ledger(folder)
    for seed in seeds:
        ledger.add(made(seed))
    ledger.gather(masks)
    return ledger


def file_of(ledger):
    return ledger.folder / "probes" / "masks.jsonl"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 99), unique=True), st.sets(st.integers(0, 99)), st.floats(0.9, 1))
def test_gathered_probes_are_the_rows_they_were(seeds, without, share):
    rows = [made(s, sizes=None if s in without else SIZES, effective_sparsity=share) for s in seeds]
    lines = bundles.text_of(rows).splitlines()
    networks = {json.loads(line)["network"]: line for line in lines if "network" in json.loads(line)}
    assert len(networks) == bool(set(seeds) - without)
    read = [bundles.unpacked(line, networks) for line in lines[len(networks) :]]
    assert read == sorted(map(dict, rows), key=lambda row: row["name"])


def test_a_ledger_has_them_by_name_and_adds_none_twice(tmp_path):
    ledger, rows = filled(tmp_path, range(5)), [made(seed) for seed in range(6)]
    assert [path.name for path in tmp_path.iterdir()] == ["probes"] and ledger.gather(masks) == 0
    assert ledger.rows() == sorted(rows[:5], key=lambda row: row["name"]) and rows[3]["name"] in ledger
    assert ledger[rows[3]["name"]] == rows[3] and rows[5]["name"] not in ledger
    assert not ledger.add(made(3, seconds=1.0)) and ledger.add(rows[5])
    assert ledger.names() == sorted(row["name"] for row in rows)
    assert ledger.gather(masks) == 1 and ledger.names() == sorted(row["name"] for row in rows)
    with pytest.raises(TicketError, match="cannot be read"):
        ledger[name_of({})]


def test_two_branches_that_add_probes_are_merged_line_by_line(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b@c", *words], cwd=tmp_path, check=True)

    git("init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text((ROOT / ".gitattributes").read_text())
    folder = tmp_path / "book" / "ledger" / "laptop"
    for branch, seeds in (("main", range(100, 110)), ("main", range(9)), ("other", range(9, 30))):
        if branch == "other":
            git("checkout", "-q", "-b", "other", "main~1")
        filled(folder, seeds)
        git("add", "-A")
        git("commit", "-q", "-m", branch)
    git("merge", "-q", "main", "-m", "both")
    wanted = [made(seed) for seed in [*range(30), *range(100, 110)]]
    assert Ledger(folder).rows() == sorted(wanted, key=lambda row: row["name"])
    assert Ledger(folder).gather(masks) == 0
    assert file_of(Ledger(folder)).read_text() == bundles.text_of(wanted)


def test_a_text_is_read_whole_or_not_at_all(tmp_path):
    (tmp_path / "text").write_text("12345")
    assert bundles.read_text(tmp_path / "text", 5) == "12345"
    with pytest.raises(ValueError):
        bundles.read_text(tmp_path / "text", 4)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda text: text[:-20], "line 6"),
        (lambda text: "<<<<<<< ours\n" + text, "line 1"),
        (lambda text: text.replace('"conv.weight":4,', '"conv.weight":5,', 1), "keep_counts"),
        (lambda text: text.replace('"conv.weight":4,', '"conv.weight":NaN,', 1), "cannot be read"),
        (lambda text: text.replace('"seed":3', '"seed":4'), "hash"),
        (lambda text: text.replace('"kind":"probe"', '"kind":"run"', 1), "no probe"),
        (lambda text: text.replace('"conv.weight":40', '"conv.weight":41'), "line 1"),
        (lambda text: text.split("\n", 1)[1], "KeyError"),
        (lambda text: text + text.splitlines()[-1].replace('"seed":', '"seed": ') + "\n", "line 7"),
        (lambda text: text.replace('"sparsity"', '"sp<sity"', 1), "in its text"),
    ],
)
def test_a_spoilt_line_is_refused_by_file_and_row(tmp_path, spoil, said):
    path = file_of(filled(tmp_path, range(5)))
    path.write_text(spoil(path.read_text()))
    with pytest.raises(TicketError) as error:
        Ledger(tmp_path).rows()
    assert said in str(error.value) and "masks.jsonl" in str(error.value)


def test_a_probe_with_other_results_is_not_gathered(tmp_path):
    ledger = filled(tmp_path, range(3))
    ledger.path(made(1)["name"]).write_text(json.dumps(made(1, seconds=1.0)))
    with pytest.raises(TicketError, match=made(1)["name"]):
        ledger.gather(masks)
    assert made(1)["name"] in ledger


@pytest.mark.parametrize("profile", PROFILES)
def test_the_books_probes_stand_sorted_in_the_file_of_their_grid(profile):
    ledger = Ledger(book_ledger(profile))
    assert not [row for row in ledger._rows_alone().values() if row["kind"] == "probe"]
    for path in bundles.paths(ledger.folder):
        rows = ledger._bundle(path).values()
        assert path.read_text(encoding="utf-8") == bundles.text_of(rows)
        assert {probe.grid_of(row) for row in rows} == {path.stem}


@pytest.mark.parametrize("kind", grids.PROBES)
def test_a_grid_of_probes_has_one_file(kind):
    configs = grids.PROBES[kind]("laptop", KNOWN["cifar10"][0], 1)
    assert {probe.grid_of({"config": probe.configuration(config)}) for config in configs} == {kind}
