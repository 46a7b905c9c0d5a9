"""Masks as one table: what of a ledger is in it, facts by hand, what pages find, how far masks go."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import CIFAR, row
from ticketbook import probes

from ticketlib import ratios
from ticketlib.experiments import grids, probe, profiles, session
from ticketlib.experiments.ledger import Ledger, Row, name_of
from ticketlib.experiments.places import book_ledger

LAYERS = grids.layers("laptop", "resnet")
HALF = {layer.name: layer.size // 2 for layer in reversed(LAYERS)}  # as a file might have them: in another order


def mask_row(method="snip", sparsity="0.9", seed=0, counts=HALF, profile="laptop", changes=None, values=None, **facts):
    """A probe row of one mask on a profile's residual network; `values` changes its configuration as it is stored."""
    config = grids.arm(profile, f"{method}@{sparsity}", seed, CIFAR, **grids.OWN_SCORES, **(changes or {}))
    values = probe.configuration(config) | (values or {})
    empty = [name for name, count in counts.items() if not count]
    found = dict(keep_counts=counts, empty_layers=empty, effective_sparsity=0.6, classifier_share=0.25, seconds=2.0)
    return Row(kind="probe", name=name_of(values), config=values, arm=config.arm) | found | facts


def run(folder, profile="laptop", source="stored", seeds=0):
    return session.NotebookRun(profile=profile, source=source, seeds=seeds, device="auto", data_root="", ledger=folder)


def test_one_mask_by_hand():
    [line] = probes.table([mask_row(rearranged_effective_sparsity=0.75, overlap=0.5)], "laptop").itertuples()
    assert (line.network, line.method, line.sparsity, line.seed) == ("ResNet-20", "snip", "0.9", 0)
    assert list(line.counts) == list(line.sizes) == [layer.name for layer in LAYERS]
    kept = sum(HALF.values()) / sum(layer.size for layer in LAYERS)
    assert line.live == pytest.approx(0.4 / kept) and line.rearranged == pytest.approx(0.25 / kept)
    assert line.movable == pytest.approx(0.5, abs=1e-3) and line.overlap == 0.5 and line.second is None
    assert (line.seconds, line.classifier, line.effective, line.empty) == (2.0, 0.25, 0.6, 0)
    [timed] = probes.table([mask_row(mask_seconds=1.5, counts=HALF | {"conv.weight": 0})], "laptop").itertuples()
    assert timed.seconds == 1.5 and timed.empty == 1


def test_what_is_in_the_table_and_in_which_order():
    lt = dict(keep_counts=HALF, effective_sparsity=0.5, classifier_share=0.1)
    rows = [
        mask_row("grasp"), mask_row("snip", "0.98"), mask_row("snip", seed=1), mask_row("snip"),
        row("lt@0.9", 0, 80.0, **lt), row("lt@0.9", 1, 80.0, **lt), mask_row("lt", seed=1),
        row("lt+both@0.9", 1, 80.0, **lt),
    ]  # fmt: skip
    others = [
        row("lt@0.9", 2, 80.0), row("lt+rearranged@0.9", 0, 80.0, **lt), row("snip@0.9", 3, 80.0, **lt),
        row("lt@0.9", 0, 80.0, changes={"epochs": 40}, **lt), row("lt+linear=global@0.9", 0, 80.0, **lt),
        mask_row(changes={"linear": "global"}), mask_row(values={"scoring": "authors"}), mask_row(values={"width": 24}),
        mask_row(values={"dataset": "imagenet", "network": "resnet50"}),
    ]  # fmt: skip
    found = probes.table(rows + others, "laptop")
    assert list(zip(found.method, found.sparsity, found.seed, found.corruption, strict=True)) == [
        ("snip", "0.9", 0, "none"), ("snip", "0.9", 1, "none"), ("snip", "0.98", 0, "none"),
        ("grasp", "0.9", 0, "none"),
        ("lt", "0.9", 0, "none"), ("lt", "0.9", 1, "none"), ("lt", "0.9", 1, "both"),
    ]  # fmt: skip
    assert found.row[5]["kind"] == "probe" and found.row[4]["kind"] == "run"  # probes say more than runs
    assert probes.table([], "laptop").empty and list(probes.table([], "smoke")) == probes.COLUMNS


@pytest.fixture(scope="module")
def book():
    return probes.book()


def test_the_books_masks_are_those_of_its_files(book):
    lines = [json.loads(line) for line in (book_ledger("paper") / "probes" / "sparse.jsonl").read_text().splitlines()]
    sizes = {line["network"]: line["sizes"] for line in lines if "network" in line}
    files = [line | {"sizes": sizes[line["sizes"]]} for line in lines if "name" in line]
    ours = [r for r in files if r["config"]["ticket"] == "grasp" and r["config"]["sparsity"] == "0.995"
            and r["config"]["network"] == "resnet32" and r["config"]["corruption"] == "none"]  # fmt: skip
    live = [(1 - r["effective_sparsity"]) * sum(r["sizes"].values()) / sum(r["keep_counts"].values()) for r in ours]
    cell = probes.cells(book).loc["ResNet-32", "grasp", "0.995"]
    assert cell.live == pytest.approx(np.mean(live)) and cell.n == len(ours) == 10
    assert cell["empty"] == max(len(r["empty_layers"]) for r in ours)
    assert set(book.network) == {"ResNet-20", "slim VGG-16", "ResNet-32", "VGG-19", *probes.SHAPED.values()}


def test_a_page_reads_its_own_rows_beside_the_books_of_the_papers_networks(book, tmp_path):
    assert probes.masks(run(book_ledger("laptop"))) is book
    assert set(probes.masks(run(book_ledger("laptop"), seeds=2)).seed) == {0, 1}
    assert set(probes.masks(run(tmp_path)).network) == {"ResNet-32", "VGG-19", *probes.SHAPED.values()}
    Ledger(tmp_path).add(mask_row("snip"))
    assert "ResNet-20" in set(probes.masks(run(tmp_path)).network)
    assert probes.masks(run(tmp_path / "none", "smoke")).empty


ASKED = {"spoilt": ({"snip", "grasp", "lt"}, {"none", "both"}), "shapes": (set(grids.METHODS), {"none"}),
         "rules": ({"snip", "grasp", "synflow", "lt"}, {"none"}),
         "sparse": ({*grids.METHODS, *ratios.RULES}, {"none"})}  # fmt: skip


# in `make test` nbval runs the pages of the slow ones
@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.slow) if what in ("shapes", "sparse") else what
                                  for what in ASKED])  # fmt: skip
def test_a_page_finds_its_masks_on_digits(what, tmp_path, monkeypatch):
    methods, kinds = ASKED[what]
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(profiles.PROFILES["smoke"].training, "epochs", 1)
    live = run(tmp_path / "smoke", "smoke", "run", seeds=1)
    found = probes.masks(live, what)
    assert set(found.method) == methods - ({"lt"} if what == "spoilt" else set()) and set(found.corruption) == kinds
    assert set(found.network) == (set(probes.SHAPED.values()) if what == "shapes" else {"tiny ResNet"})
    expected = {"spoilt": 2 * 3 * 2, "shapes": 2 * 4 * 3, "rules": 4 * 3}
    assert len(found) == expected.get(what, len(found)) and found.duplicated(probes.MASK).sum() in (0, 6)
    monkeypatch.setattr(probe.Prober, "measure", None)
    assert len(probes.masks(live, what)) == len(found)  # nothing is found twice


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_masks_on_the_papers_networks_are_those_of_the_books_own_scores(profile):
    """The runs of the profile `paper` take the authors' scores; the masks that pages compare do not."""
    known = {probe.name(config) for config in grids.probes("paper", CIFAR, 1)}
    asked = [config for config in probes._asked(profile, "rules", CIFAR, 1) if config.ticket != "lt"]
    ours = {probe.name(config) for config in asked if config.network in ("resnet32", "vgg19")}
    assert len(ours) == 2 * 3 * 3 and ours <= known


def cells_of(*lines):
    """Cells as `probes.cells` gives them from (network, method, sparsity, live, empty)."""
    found = pd.DataFrame(lines, columns=[*probes.MASK, "live", "empty"])
    return found.assign(n=1).set_index(probes.MASK)


CELLS = cells_of(("ResNet-20", "snip", "0.9", 1.0, 0), ("ResNet-20", "snip", "0.999", 0.25, 3),
                 ("ResNet-20", "erk", "0.9", 0.9, 0), ("VGG-19", "snip", "0.9", 0.89, 0))  # fmt: skip


def test_cells_are_means_over_seeds_of_clean_masks():
    rows = [mask_row(seed=0), mask_row(seed=1, counts=HALF | {"conv.weight": 0}, effective_sparsity=0.8),
            mask_row(seed=2, changes={"corruption": "both"}, effective_sparsity=1.0)]  # fmt: skip
    found = probes.table(rows, "laptop")
    [cell] = probes.cells(found).itertuples()
    assert cell.effective == pytest.approx(0.7) and (cell.empty, cell.n) == (1, 2) and np.isnan(cell.rearranged)
    assert cell.live == pytest.approx(found.live[:2].mean())


def test_tables_say_what_was_not_run_and_what_is_not_defined():
    shown = probes.by_sparsity(CELLS, "ResNet-20", "kept weights that are live, %", ["snip", "erk", "uniform_plus"])
    assert list(shown.columns[1:]) == ["0.9", "0.999"]
    assert shown.values.tolist() == [["SNIP", "100", "25"], ["ERK", "90", "not run"],
                                     ["uniform+", "not run", "not defined here"]]  # fmt: skip
    assert probes.by_sparsity(CELLS, "ResNet-20", "empty layers", ["snip"]).values.tolist() == [["SNIP", "0", "3"]]


def test_sound_masks_are_counted_from_nine_tenths_on():
    lines = probes.sound_table(CELLS).values.tolist()
    assert lines == [["ResNet-20", "2 of 2", "0 of 1", "SNIP 25 %"], ["VGG-19", "0 of 1", "not run", ""]]


def test_a_reason_stands_once_with_the_budget_of_each_sparsity():
    [small] = probes.reasons_table(["ResNet-20"], ["0.9", "0.999"]).values.tolist()
    assert small[:2] == ["ResNet-20", "uniform+"] and small[3] == "0.999 (budget 271)" and "560 weights" in small[2]
    large = probes.reasons_table(["ResNet-50"], ["0.9", "0.98", "0.99"]).values.tolist()
    assert large[0][1] == "smart ratio, linear, cubic, ascending"
    assert large[0][3] == "0.98 (budget 510,058), 0.99 (budget 255,029)" and len(large) == 2
    assert probes.reason("ResNet-50", "synflow", "0.999") == "" == probes.reason("VGG-19", "smart", "0.9")
    assert probes.reason("VGG-16", "smart", "0.9")


def test_live_shares_are_drawn_over_density():
    ax = Figure().subplots()
    probes.draw_live(ax, CELLS, "ResNet-20", ["snip", "lt"])
    [line] = ax.lines
    assert line.get_xdata() == pytest.approx([0.1, 10]) and line.get_ydata() == pytest.approx([25, 100])


def test_the_map_shows_every_method_or_says_why_not():
    found = probes.at_scale()
    rows = probes.IMAGENET_METHODS
    image = probes.draw_map(Figure().subplots(), found[found.method != "synflow"], "ResNet-50", "0.98", rows)
    said = [text.get_text() for text in image.axes.texts]
    assert said == ["not run", *["not defined here"] * 4]  # SynFlow, then the smart ratio and its ablations
    grid = image.get_array()
    assert grid.shape == (len(rows), 54) and grid.mask.all(axis=1).sum() == 5
    uniform = grid[rows.index("uniform")]
    assert uniform.data == pytest.approx([0.02] * 54, abs=1e-3)


def test_masks_at_scale_stand_beside_a_readers_own(tmp_path):
    values = probe.imagenet_configuration("resnet50", "random", "0.9")
    stored = probes.at_scale().row.iloc[0]
    Ledger(tmp_path).add(Row(stored | {"config": values | {"seed": 1}, "name": name_of(values | {"seed": 1})}))
    assert set(probes.at_scale(tmp_path).seed) == {0, 1} and set(probes.at_scale().seed) == {0}
    assert set(probes.at_scale().network) == {"ResNet-50", "VGG-16"}
