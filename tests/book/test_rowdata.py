"""The data of the interactive pages: what is written, in which order, and that no text in it can be markup."""

import json

import pytest
import rowdata
from site_build import from_script, value_of

from ticketlib import models, ratios


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028\u2029", '"];alert(1)//', "\\", "a=b"])
def test_a_script_holds_any_text_and_no_markup(text):
    found = rowdata.script("rows", [text])
    assert "<" not in found and found.isascii() and value_of(found) == [text]


def test_pages_of_a_row_are_those_whose_last_cell_names_it(tmp_path):
    for page, cell in (("01_a", "made-from"), ("02_b", "made-from"), ("03_c", "other")):
        output = {"data": {"text/markdown": f"{'a' * 16} and {page}, not {'b' * 17}"}}
        notebook = {"cells": [{"cell_type": "markdown", "id": "title"}, {"id": cell, "outputs": [output]}]}
        (tmp_path / f"{page}.ipynb").write_text(json.dumps(notebook))
    assert rowdata.pages_by_row(tmp_path) == {"a" * 16: ["01_a", "02_b"]}


def test_a_row_becomes_a_line_with_what_it_lacks_left_empty():
    row = {"name": "a" * 16, "kind": "probe", "config": {"ticket": "snip", "seed": 3}, "overlap": 0.123456}
    found = dict(zip(rowdata.COLUMNS, rowdata.line(row, "paper", ["01_a"]), strict=True))
    assert [found[what] for what in ("overlap", "seed", "pages", "profile")] == [0.1235, 3, "01_a", "paper"]
    assert found["accuracy"] is None and found["epochs"] is None and found["check"] is None


def test_layers_come_in_forward_order_whatever_the_order_of_the_file():
    config = {"network": "resnet8", "width": 8, "stem_stride": 1, "dataset": "digits"}
    table = ratios.layers(models.build("resnet8", 10, 1, width=8))
    counts = {layer.name: i for i, layer in enumerate(table)}
    row = {"config": config, "keep_counts": dict(sorted(counts.items()))}
    assert rowdata.layers(row) == [[layer.name, layer.size, i] for i, layer in enumerate(table)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The data of the interactive pages, from the book's ledger."""
    folder = tmp_path_factory.mktemp("data")
    rowdata.write(folder, folder)
    return folder


def test_every_row_is_found_in_its_bundle_whole(written):
    bundles = {path.stem: from_script(path) for path in (written / "runs").glob("*.js")}
    for profile, row in rowdata.profiles():
        run = bundles[rowdata.bundle(row["name"])][row["name"]]
        assert run["row"] == row and run["profile"] == profile
        assert {name: kept for name, _, kept in run["layers"]} == row.get("keep_counts", {})


def test_the_data_are_few_files_and_light(written):
    files = [path for path in written.rglob("*") if path.is_file()]
    assert len(files) <= 260 and sum(path.stat().st_size for path in files) < 8_000_000


def test_intervals_of_a_selection_are_students(written):
    quantiles = from_script(written / "rows.js")["quantiles"]
    assert quantiles[0] == pytest.approx(12.706, abs=1e-3) and quantiles[8] == pytest.approx(2.262, abs=1e-3)


def test_layers_of_a_network_that_is_no_longer_built_stay_in_the_order_of_their_names():
    config = {"network": "forgotten", "width": 8, "stem_stride": 1, "dataset": "digits"}
    row = {"config": config, "keep_counts": {"a": 1, "b": 2}, "sizes": {"a": 3, "b": 4}}
    assert rowdata.layers(row) == [["a", 3, 1], ["b", 4, 2]]


def a_row(kind, arm, recipe=1, seed=0, **config):
    """The parts of a row that its place and its label are made from."""
    given = {"dataset": "cifar10", "network": "resnet20", "ticket": arm.partition("@")[0], "sparsity": "0.9",
             "corruption": "none", "recipe": recipe, "seed": seed}  # fmt: skip
    return {"name": f"{arm}-{recipe}-{seed}", "kind": kind, "arm": arm, "config": given | config}


def test_runs_stand_before_probes_and_the_pilot_after_the_other_runs():
    rows = [a_row("probe", "lt@0.9"), a_row("run", "snip@0.9", 0), a_row("run", "snip@0.9", 1, 7)]
    rows += [a_row("run", "lt@0.9")]
    found = [row for _, row in rowdata.in_order([("laptop", row) for row in rows])]
    assert found == [rows[3], rows[2], rows[1], rows[0]]
    name, label = rowdata.examples([("laptop", row) for row in found])[0]
    assert (name, label) == ("snip@0.9-1-7", "SNIP, at sparsity 0.9, seed 7")


def test_labels_are_those_of_figures_and_chapters(tmp_path):
    notebook = {"cells": [{"cell_type": "markdown", "source": ["# What it costs\n", "Text."]}]}
    (tmp_path / "05_budget.ipynb").write_text(json.dumps(notebook))
    rows = [a_row("run", "uniform_plus@0.9"), a_row("probe", "er@0.9", network="vgg16_equal")]
    found = rowdata.labels([("laptop", row) for row in rows], tmp_path)
    assert found["network"] == {"resnet20": "ResNet-20", "vgg16_equal": "VGG-16, equal layers"}
    assert found["ticket"]["uniform_plus"] == "uniform+" and found["dataset"] == {"cifar10": "CIFAR-10"}
    assert found["check"]["shuffled"] == "weights shuffled" and found["corruption"]["half"] == "half the data"
    assert found["pages"] == {"05_budget": "What it costs"}


@pytest.fixture(scope="module")
def networks():
    return rowdata.networks()


def test_every_cell_of_the_ratios_has_its_counts_or_says_why_not(networks):
    for network in networks:
        sizes = [size for _, size in network["layers"]]
        for rule, cells in network["counts"].items():
            assert set(cells) == set(rowdata.SPARSITIES), rule
            for found in cells.values():
                if isinstance(found, str):
                    assert found.startswith("not defined here")
                else:
                    assert len(found) == len(sizes) and all(0 <= k <= n for k, n in zip(found, sizes, strict=True))


def test_the_golden_ratios_of_the_paper_are_on_the_page(networks):
    vgg = next(network for network in networks if network["name"] == "the paper's VGG-19 (10 classes)")
    kept = [k / size for k, (_, size) in zip(vgg["counts"]["smart"]["0.9"], vgg["layers"], strict=True)]
    assert kept[:6] == [1.0] * 6 and kept[6:8] == pytest.approx([0.3177, 0.1730], abs=1e-4)
