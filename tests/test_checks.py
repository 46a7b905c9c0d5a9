"""Chapters on claims A, B and D: differences cell by cell, controls, pretraining, budgets, on synthetic rows."""

import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from synthetic import CIFAR, arms, book, row, row_of
from ticketbook import checks, overlaps, spent

from ticketlib import data
from ticketlib.analysis import plots
from ticketlib.experiments import campaign, grids, places, profiles, session
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.probe import PLAIN, Prober
from ticketlib.experiments.profiles import Images

MOVED = checks.against_itself("rearranged")


def notebook(folder, found=(), **values):
    for one in found:
        Ledger(folder).add(one)
    given = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="") | values
    return session.NotebookRun(**given, ledger=folder)


def claim_b(**options):
    return arms({"snip": 80.0, "snip+rearranged": 80.5}, seeds=range(3), **options)


def test_pairs_are_named_after_their_arms():
    assert [pair.key for pair in MOVED] == ["snip", "grasp", "lt"]
    assert MOVED[0].label == "SNIP, rearranged − SNIP" and (MOVED[0].a, MOVED[0].b) == ("snip+rearranged", "snip")
    longer = checks.Comparison("lrr", "", "lrr", "smart+epochs=35")
    assert [pair.label for pair in checks.minus([longer])] == ["LRR − smart ratio, 35 epochs"]
    assert checks.label("dense+order=order2") == "dense, a second data order"


def test_a_cell_has_points_interval_means_and_nothing_against_it(tmp_path):
    found = checks.rows(notebook(tmp_path, claim_b()), ())["resnet20"]
    cell = checks.cell(found, MOVED[0], "0.9", 0.9)
    assert cell.estimate.n == 3 and cell.estimate.confidence == 0.9 and cell.remark == ""
    assert cell.estimate.point == pytest.approx(cell.accuracies[0] - cell.accuracies[1])
    assert cell.estimate.point == pytest.approx(0.5, abs=0.4)
    assert checks.cell(found, MOVED[1], "0.9").points == []


@pytest.mark.parametrize(("facts", "remark"), [
    ({"control": {"moved_share": 0.01}}, "not read: the control did nothing"),
    ({"device": "cuda"}, "not read: they differ in device"),
])  # fmt: skip
def test_what_stands_against_a_cell_is_said_and_its_points_are_not_read(tmp_path, facts, remark):
    found = [row("snip@0.9", 0, 80.0), row("snip+rearranged@0.9", 0, 81.0, **facts)]
    cell = checks.cell(checks.rows(notebook(tmp_path, found), ())["resnet20"], MOVED[0], "0.9")
    assert cell.points == [] and cell.remark == remark and cell.accuracies == (81.0, 80.0)


def test_a_cell_that_is_not_read_is_not_called_not_run(tmp_path):
    found = [row("snip@0.9", 0, 80.0), row("snip+rearranged@0.9", 0, 81.0, device="cuda")]
    run = notebook(tmp_path, found)
    line = checks.table(run, checks.rows(run, ()), MOVED, 0.9).splitlines()[2]
    assert "| not read |" in line and "they differ in device" in line and "not run" not in line


def test_collapsed_runs_are_counted_and_shown(tmp_path):
    found = [row("snip@0.9", 0, 80.0), row("snip+rearranged@0.9", 0, 11.0)]
    cell = checks.cell(checks.rows(notebook(tmp_path, found), ())["resnet20"], MOVED[0], "0.9")
    assert cell.points == [-69.0] and cell.remark == "collapsed runs: 1 (below twice chance)"


def test_the_seeds_parameter_limits_the_rows(tmp_path):
    found = checks.rows(notebook(tmp_path, claim_b(), seeds=2), ())
    assert list(found) == ["resnet20", "vgg16", "resnet20 on cifar100"]
    assert sorted(found["resnet20"]["snip@0.9"]) == [0, 1]


def on_other_data(arm, seed, accuracy, **changes):
    config = grids.arm("laptop", arm, seed, Images("cifar100"), **grids.other_recipe("laptop") | changes)
    return row_of(config, accuracy, num_classes=100, device="a GPU")


def test_runs_on_other_data_are_a_place_of_their_own(tmp_path):
    other = [on_other_data("snip@0.9", 0, 37.0), on_other_data("snip+rearranged@0.9", 0, 38.5)]
    other.append(on_other_data("snip@0.9", 1, 20.0, epochs=20))  # shorter: of no table
    run = notebook(tmp_path, [*claim_b(), *other])
    found = checks.rows(run, ())
    assert sorted(found["resnet20"]["snip@0.9"]) == [0, 1, 2] and list(found["resnet20 on cifar100"]["snip@0.9"]) == [0]
    [line] = [line for line in checks.table(run, found, MOVED[:1], 0.9).splitlines() if "37.00" in line]
    assert line.startswith("| ResNet-20, CIFAR-100 | SNIP, rearranged − SNIP | 0.9 | 38.50 and 37.00 | +1.50 (n = 1)")
    assert "resnet20 on cifar100" not in checks.rows(notebook(tmp_path / "smoke", profile="smoke"), ())


def test_a_dense_net_that_diverged_on_other_data_takes_its_tickets_with_it():
    diverged = on_other_data("dense", 0, 1.0)
    rows = [Row(diverged | {"diverged": True}), on_other_data("snip@0.9", 0, 37.0)]
    arms_there = checks.by_place(rows, "laptop")["resnet20 on cifar100"]
    assert arms_there["lt@0.9"][0]["not_made"] and "not_made" not in arms_there["snip@0.9"][0]
    assert arms_there["lt@0.9"][0].config == grids.arm("laptop", "lt@0.9", 0, Images("cifar100"),
                                                       **grids.other_recipe("laptop"))  # fmt: skip


def test_longer_runs_have_a_name_of_their_own_and_are_paired_on_purpose(tmp_path):
    assert grids.total_epochs("laptop") == 35
    longer = [row("smart@0.9", 0, 82.0, changes={"epochs": 35}), row("lrr@0.9", 0, 83.0), row("smart@0.9", 0, 81.0)]
    found = checks.rows(notebook(tmp_path, longer), ())["resnet20"]
    assert {arm: of[0]["accuracy"] for arm, of in found.items()} == {
        "smart@0.9": 81.0, "smart+epochs=35@0.9": 82.0, "lrr@0.9": 83.0
    }  # fmt: skip
    pair = checks.Comparison("lrr", "LRR − smart ratio", "lrr", "smart+epochs=35")
    assert checks.cell(found, pair, "0.9").points == [1.0]
    assert checks.cell(found, pair._replace(b="smart"), "0.9").points == [2.0]
    curves = spent.spent(found, ("lrr", "smart"), "0.9")
    assert {ticket: list(at) for ticket, at in curves.items()} == {"lrr": [35.0], "smart": [20, 35]}
    lines = spent.spent_table({"0.9": curves}).splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines] == [["| 0.9", "20"], ["| 0.9", "35"], ["| 0.9", "35"]]


@pytest.mark.parametrize(("ticket", "epochs"), [
    ("dense", 20), ("smart", 20), ("lt", 40), ("lrr", 35), ("hybrid", 35), ("omp", 35)
])  # fmt: skip
def test_epochs_in_all_count_the_dense_net(ticket, epochs):
    config = grids.arm("laptop", ticket if ticket == "dense" else f"{ticket}@0.9", 0, CIFAR)
    assert campaign.cost_alone(config) == epochs


def test_intervals_of_two_seeds_are_not_drawn(tmp_path):
    found = checks.rows(notebook(tmp_path, claim_b(), seeds=2), ())["resnet20"]
    drawn = checks.drawn(found, MOVED, ("0.9",), 0.9)
    assert drawn["snip"]["0.9"][1].low is None and drawn["grasp"] == {}


@pytest.mark.parametrize("cells", [{"snip": {}}, {"snip": {"0.9": ([0.5], checks.stats.t_interval([0.5]))}}])
def test_a_panel_says_what_has_not_run(cells):
    figure, ax = plt.subplots()
    texts = [text.get_text() for text in checks.finish(plots.differences_1(ax, cells, 1.0), "rearranged", cells).texts]
    assert ("not run" in texts) == (not any(cells.values()))
    figure.canvas.draw()
    plt.close(figure)


def test_cells_are_those_that_the_grids_plan(tmp_path):
    empty = checks.by_place([], "laptop")
    cells = checks.cells_of(notebook(tmp_path), empty, MOVED)
    assert [cell for cell in cells if cell[1].key == "grasp"] == [
        *(("resnet20", MOVED[1], s) for s in ("0.9", "0.98")), ("resnet20 on cifar100", MOVED[1], "0.9")
    ]  # fmt: skip
    assert ("vgg16", MOVED[0], "0.98") in cells and ("resnet20", MOVED[2], "0.995") in cells and len(cells) == 13
    smoke = notebook(tmp_path, profile="smoke")
    assert {cell[2] for cell in checks.cells_of(smoke, checks.by_place([], "smoke"), MOVED)} == {"0.9"}
    more = {"resnet20": {"grasp@0.995": {}, "grasp+rearranged@0.995": {}}}
    assert ("resnet20", MOVED[1], "0.995") in checks.cells_of(notebook(tmp_path), more, MOVED)
    assert ("resnet20", "smart+epochs=35@0.9") in checks.planned("laptop")


def test_the_table_has_every_cell_or_says_what_is_missing(tmp_path, monkeypatch):
    run = notebook(tmp_path)
    monkeypatch.setattr(session, "book_rows", lambda _: [])
    said = checks.table(run, checks.rows(run, ()), MOVED, 0.9)
    assert said.startswith("**Not run.**") and "13 differences" in said
    places = "ResNet-20 at 0.9, 0.98, 0.995; slim VGG-16 at 0.98; ResNet-20, CIFAR-100 at 0.9"
    assert f"- LT, rearranged − LT: {places}" in said
    notebook(tmp_path, claim_b())
    lines = checks.table(run, checks.rows(run, ()), MOVED, 0.9).splitlines()
    assert lines.index("") == 15 and "n = 3" in lines[2] and "| not run |" in lines[4] and "the book's" not in lines[0]
    assert lines[16] == "<details><summary>Every seed</summary>" and lines[-1] == "</details>"
    assert [len(line.split(" | ")[3].split(", ")) for line in lines[20:22]] == [3, 3]
    monkeypatch.setattr(session, "book_rows", lambda _: claim_b())
    lines = checks.table(run, checks.rows(run, ()), MOVED, 0.9).splitlines()
    assert lines[0].endswith("the book's |") and lines[2].count("n = 3") == 2


def test_a_rule_that_is_not_defined_is_said_before_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "book_rows", lambda _: [])
    run = notebook(tmp_path, [row("smart@0.98", 0, 80.0), row("linear@0.98", 0, 70.0)])
    rules = ("linear", "ascending", "ascending+min_per_layer=1")
    pairs = [checks.Comparison("smart", rule, "smart", rule) for rule in rules]
    said = [line.split(" | ") for line in checks.table(run, checks.rows(run, ()), pairs, 0.95).splitlines()[2:5]]
    assert [(cells[1], cells[4].partition(" (")[0]) for cells in said] == [
        ("linear", "+10.00"), ("ascending", "not defined here"), ("ascending+min_per_layer=1", "not run")
    ]  # fmt: skip
    assert checks.cannot_be_met("smoke", "resnet8", "uniform_plus", "0.999")
    assert not checks.cannot_be_met("laptop", "resnet20", "snip", "0.98")


def test_rows_behind_a_chapter_are_named(tmp_path):
    found = checks.rows(notebook(tmp_path, [*claim_b(), row("dense", 0, 90.0), row("erk@0.98", 0, 70.0)]), ())
    assert {of["arm"] for of in checks.used(found, MOVED)} == {
        "dense@0", "snip@0.9", "snip@0.98", "snip+rearranged@0.9", "snip+rearranged@0.98"
    }  # fmt: skip


def test_missing_runs_are_made_longer_ones_too(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(session, "ticket_rows", lambda run, names: asked.extend(names))
    monkeypatch.setattr(session, "make_runs", lambda run, configs, dataset: asked.extend(configs))
    live = notebook(tmp_path, profile="smoke", source="run", seeds=1)
    assert checks.rows(live, ("dense@0",), ("smart@0.9",)) == {"resnet8": {}, "vgg11": {}}
    longer = profiles.config("smoke", "smart", "0.9", 0, dataset=data.load("digits"), epochs=10)
    assert asked == ["dense@0", longer]


# masks found on spoilt data


def probe(seed, corruption, counts, **facts):
    values = {"network": "resnet32", "ticket": "snip", "sparsity": "0.9", "seed": seed, "corruption": corruption}
    values |= PLAIN | {"fingerprint": "f"}
    row = {"kind": "probe", "name": f"{seed}{corruption}", "config": values, "keep_counts": counts}
    return row | facts


SHARED = {"overlap": 0.4, "chance": 0.2, "ceiling": 0.6}


def test_masks_are_paired_by_seed_and_placed_between_chance_and_ceiling():
    found = overlaps.pairs_of([
        probe(0, "none", {"a": 6, "b": 4}, second_keep_counts={"a": 6, "b": 4}, sizes={"a": 20, "b": 20}),
        probe(0, "both", {"a": 5, "b": 5}, **SHARED),
        probe(1, "none", {"a": 8, "b": 2}), probe(1, "both", {"a": 8, "b": 2}, **SHARED), probe(2, "none", {"a": 10}),
    ])  # fmt: skip
    of = found["resnet32", "snip", "0.9"]
    assert sorted(of) == [0, 1] and overlaps.far(of[0]) == pytest.approx(0.1) and overlaps.far(of[1]) == 0
    assert overlaps.between_seeds(of) == pytest.approx(0.2)
    cells = " | ".join(["ResNet-32", "SNIP, 0.9", "0.050", "0.200", "0.400 (0.200)", "0.600 (0.260)", "59", "2"])
    assert overlaps.table(found).splitlines()[2] == f"| {cells} |"
    said = overlaps.reading(found)
    assert said.startswith("Over the 1 cells, corruption moves 5.0 % of the kept weights to other layers. It leaves 59")
    assert said.endswith(" LT is not in this table: its ceiling has not been run.") and "next to nothing" not in said
    assert "LT" not in overlaps.reading(found | {("resnet32", "lt", "0.9"): of})
    figure, ax = plt.subplots()
    assert len(overlaps.draw(ax, found, "resnet32").lines) == 2 and len(ax.patches) == 1
    plt.close(figure)


def test_each_overlap_is_taken_beyond_its_own_chance():
    clean = {"keep_counts": {"a": 6, "b": 4}, "sizes": {"a": 20, "b": 20}}
    spoilt = SHARED | {"keep_counts": {"a": 5, "b": 5}}
    spoilt |= {"second_keep_counts": {"a": 6, "b": 4}}  # LT's second clean counts stand with the spoilt mask
    assert overlaps.beyond_chance((clean, spoilt)) == pytest.approx((0.4 - 0.2, 0.6 - (36 + 16) / 20 / 10))
    assert overlaps.left([(clean, spoilt)]) == pytest.approx(0.2 / 0.34)
    assert overlaps.beyond_chance((clean, SHARED)) is None and np.isnan(overlaps.left([(clean, SHARED)]))
    near = {0: (clean, spoilt | {"ceiling": 0.3})}
    said = overlaps.reading({("resnet20", "lt", "0.9"): near})
    assert "With LT on ResNet-20 at 0.9, two clean masks agree by 0.05" in said


def test_masks_of_other_images_or_another_recipe_are_not_paired():
    clean, spoilt = probe(0, "none", {"a": 6, "b": 4}), probe(0, "both", {"a": 5, "b": 5}, **SHARED)
    assert overlaps.pairs_of([clean, spoilt])
    for what, value in (("fingerprint", "g"), ("recipe", 0)):
        assert not overlaps.pairs_of([clean, spoilt | {"config": spoilt["config"] | {what: value}}])


def test_masks_that_are_not_there_are_said():
    assert overlaps.table({}).startswith("**Not run.**") and overlaps.reading({}) == ""


def test_masks_are_probed_once(tmp_path, monkeypatch):
    live = notebook(tmp_path, profile="smoke", source="run", seeds=1)
    found = overlaps.measured(live)
    assert sorted(found) == [("resnet8", t, s) for t in ("grasp", "snip") for s in ("0.9", "0.95", "0.98")]
    monkeypatch.setattr(Prober, "measure", None)
    assert overlaps.measured(live).keys() == found.keys()


def test_the_book_shows_its_probes_of_the_papers_networks(tmp_path):
    found = overlaps.measured(notebook(tmp_path))
    assert {key[0] for key in found} == {"resnet32", "vgg19"}
    assert min(len(of) for of in found.values()) >= 3  # more may come, one by one


# whole chapters

CHAPTERS = ("01_smart_ratios", "02_data_checks", "03_architecture_checks", "04_hybrid_tickets", "05_budget")


def shown(name, ledger, folder):
    """Everything a chapter shows of the rows in a folder, as one text."""
    out = folder / f"{name}.ipynb"
    given = {"profile": "laptop", "source": "stored", "ledger": str(ledger)}
    options = [word for key, value in given.items() for word in ("-p", key, value)]
    command = [sys.executable, "-m", "papermill", str(places.ROOT / "notebooks" / out.name), str(out), *options]
    done = subprocess.run([*command, "-k", "python3", "--no-progress-bar"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = [output for cell in json.loads(out.read_text())["cells"] for output in cell.get("outputs", ())]
    return "\n".join("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs)


@pytest.mark.slow
def test_every_row_of_the_steps_has_a_place_in_a_chapter(tmp_path):
    steps = ("step1", "step2", "step3", "step4", "step5", "step6")
    for one in [one for one in book(steps) if one.config.ticket != "imp"]:  # reviewers asked for that
        (tmp_path / f"{one['name']}.json").write_text(json.dumps(one))
    pages = {name: shown(name, tmp_path, tmp_path) for name in CHAPTERS}
    named = set(re.findall(r"\b[0-9a-f]{16}\b", "\n".join(pages.values())))
    assert set(Ledger(tmp_path).names()) <= named
    for name in CHAPTERS[1:4]:  # 01 shows probes too, of which there are none
        lines = [line for line in pages[name].splitlines() if " − " in line]
        assert len(lines) > 10 and not [line for line in lines if "not run" in line]


@pytest.mark.slow
def test_a_grid_half_done_shows_what_is_missing_and_gives_no_word(tmp_path):
    few = [one for one in book(("step1",)) if one.config.seed < 2 and one.config.ticket not in ("grasp", "hybrid")]
    for one in few:
        (tmp_path / f"{one['name']}.json").write_text(json.dumps(one))
    for name in CHAPTERS[:4]:
        page = shown(name, tmp_path, tmp_path)
        claims = [line for line in page.splitlines() if line.startswith("**Claim")]
        assert claims and all(re.match(r"\*\*Claim \w+: (not run|provisional)\.\*\*", line) for line in claims)
        assert "not run" in page and "n = 2" in page


def test_a_table_and_a_drawing_have_the_confidence_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "book_rows", lambda _: [])
    accuracies = {"snip": (80.0, 80.0, 80.0), "snip+rearranged": (81.0, 82.0, 83.0)}
    run = notebook(tmp_path, [row(f"{arm}@0.9", s, a) for arm, of in accuracies.items() for s, a in enumerate(of)])
    found = checks.rows(run, ())
    line = checks.table(run, found, MOVED, 0.9).splitlines()[2]
    assert "+2.00 (+0.31 to +3.69, n = 3)" in line  # t of 2 degrees of freedom is 2.92, at 95 % it would be 4.30
    drawn = checks.drawn(found["resnet20"], MOVED, ("0.9",), 0.9)["snip"]["0.9"][1]
    assert drawn.low == pytest.approx(2 - 2.92 / 3**0.5, abs=1e-3)


def test_a_cell_of_an_emptied_layer_is_not_read_and_tickets_never_made_are_counted(tmp_path):
    rows = [row("smart@0.9", 0, 80.0), row("uniform@0.9", 0, 70.0, empty_layers=["conv.weight"]),
            row("dense", 1, 90.0, diverged=True), row("snip@0.9", 1, 80.0)]  # fmt: skip
    found = checks.rows(notebook(tmp_path, rows), ())["resnet20"]
    cell = checks.cell(found, checks.Comparison("uniform", "", "smart", "uniform"), "0.9")
    assert cell.points == [] and cell.remark.startswith("not read: not defined here; ")
    lost = checks.cell(found, checks.Comparison("lt", "", "snip", "lt"), "0.9")
    assert lost.remark.endswith("; 1 of these never made, since the net they start from diverged")
