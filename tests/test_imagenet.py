"""Masks at ImageNet's scale: what the ledger has of them is found again in part, and must agree to the last weight."""

import importlib.util
import sys

import pytest
import rowdata
import torch
from matplotlib.figure import Figure
from ticketbook import imagenet, limits
from ticketbook import verdicts_1 as verdicts

from ticketlib import ratios
from ticketlib.errors import TicketError
from ticketlib.experiments import machine, probe
from ticketlib.experiments.ledger import Ledger, Row, name_of, read_row
from ticketlib.experiments.places import ROOT, book_ledger

STORED = imagenet.load()


def fake(network, method, sparsity, **facts):
    """A row as `measure` makes it, of a mask that keeps the same share of every layer."""
    config, layers = probe.imagenet_configuration(network, method, sparsity), probe.imagenet_layers(network)
    counts = {layer.name: max(1, round(layer.size * (1 - float(sparsity)))) for layer in layers}
    sizes = {layer.name: layer.size for layer in layers}
    kept = sum(counts.values()) / sum(sizes.values())
    row = dict(keep_counts=counts, sizes=sizes, empty_layers=[], effective_sparsity=1 - 0.95 * kept,
               classifier_share=0.3, mask_seconds=1.25, seconds=2.0, device="cpu: of a test", threads=1)  # fmt: skip
    return Row(kind="probe", name=name_of(config), config=config, arm=f"{method}@{sparsity}") | row | facts


def all_rows():
    keys = [key for network in imagenet.NETWORKS for key in probe.imagenet_wanted(network)]
    return probe.imagenet_rows([Row(fake(*key, busy=0.5)) for key in keys])


@pytest.mark.parametrize("network", imagenet.NETWORKS)
def test_keep_counts_in_the_ledger_are_those_of_the_rules(network):
    assert network in {of for of, _, _ in STORED}
    for (of, rule, sparsity), row in STORED.items():
        if of == network and rule in ratios.RULES:
            family = probe.IMAGENET_NETWORKS[network]
            counts = ratios.keep_counts(probe.imagenet_layers(network), rule, sparsity, family=family)
            assert row["keep_counts"] == counts


@pytest.mark.parametrize("method, sparsity", [("uniform", "0.999"), ("magnitude", "0.99")])
def test_a_mask_found_again_is_the_one_in_the_ledger(method, sparsity, tmp_path):
    row = probe.measure_imagenet("resnet50", probe.imagenet_network("resnet50"), method, sparsity)
    Ledger(tmp_path).add(row)
    found = read_row(tmp_path / f"{row['name']}.json")
    assert sum(found["keep_counts"].values()) == round(25_502_912 * (1 - float(sparsity)))
    assert found["effective_sparsity"] >= float(sparsity) - 1e-6 and found["mask_seconds"] <= found["seconds"] + 1
    stored = STORED["resnet50", method, sparsity]
    for what in ("keep_counts", "mask_digest", "effective_sparsity", "empty_layers", "classifier_share"):
        assert found[what] == stored[what], what


def test_the_initial_weights_are_always_the_same_and_torchs_generator_is_left_alone():
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    one, two = probe.imagenet_network("resnet50"), probe.imagenet_network("resnet50")
    assert torch.equal(one.fc.weight, two.fc.weight) and torch.equal(torch.rand(1), wanted)
    with pytest.raises(TicketError, match="network 'resnet18' is not known"):
        probe.imagenet_network("resnet18")


def test_what_a_rule_cannot_meet_is_not_defined_and_has_no_row():
    assert all(probe.imagenet_reason("vgg16", "smart", s) for s in probe.IMAGENET_SPARSITIES)
    assert probe.imagenet_reason("resnet50", "smart", "0.9") == "" == probe.imagenet_reason("vgg16", "synflow", "0.999")
    assert "0.3 of the linear layers, 614,400 weights" in probe.imagenet_reason("resnet50", "smart", "0.98")
    wanted = [key for network in imagenet.NETWORKS for key in probe.imagenet_wanted(network)]
    assert not any(probe.imagenet_reason(*key) for key in wanted)
    asked = probe.imagenet_wanted("vgg16", ("smart", "synflow"))
    assert asked == [("vgg16", "synflow", sparsity) for sparsity in probe.IMAGENET_SPARSITIES]
    with pytest.raises(TicketError, match=verdicts.NOT_DEFINED):
        probe.measure_imagenet("resnet50", probe.imagenet_network("resnet50"), "smart", "0.98")


def test_cells_as_the_page_shows_them():
    cells = imagenet.cells_of(all_rows())
    assert len(cells) == 2 * len(probe.IMAGENET_METHODS) * len(probe.IMAGENET_SPARSITIES) and None not in cells.values()
    assert cells["VGG-16", "smart", "0.9"].reason and cells["ResNet-50", "smart", "0.9"].live == pytest.approx(0.95)
    assert (cells["VGG-16", "synflow", "0.999"].seconds, cells["VGG-16", "synflow", "0.999"].n) == (1.25, 1)
    said = imagenet.answer(cells)
    assert "Not run yet" not in said
    part = imagenet.answer(cells | {("VGG-16", "synflow", "0.9"): None})
    assert "Not run yet: SynFlow on VGG-16." in part
    assert said.startswith("**Not all of them.** The smart ratio is not defined here on ResNet-50 at 0.98, 0.99, 0.999")
    assert verdicts.NOT_RUN not in limits.table(cells, "seconds")
    assert imagenet.busy(all_rows()) == "Other work used 50 % of the processors meanwhile."
    kept = imagenet.keep_ratios(all_rows(), "resnet50", "0.9", ("synflow", "lt"))
    assert list(kept) == ["synflow"] and kept["synflow"] == pytest.approx([0.1] * 54, abs=1e-3)


def test_without_rows_the_page_says_what_is_not_run():
    cells = imagenet.cells_of({})
    assert imagenet.answer(cells).startswith("**Not run.**") and imagenet.busy({}) == ""
    wanted = [key for network in imagenet.NETWORKS for key in probe.imagenet_wanted(network)]
    assert limits.table(cells, "seconds").count(verdicts.NOT_RUN) == len(wanted)


def test_the_map_shows_every_method_or_says_why_not():
    figure = Figure()
    rows = all_rows()
    rows.pop(("resnet50", "synflow", "0.98"))
    image = imagenet.heat_map(figure.subplots(), rows, "resnet50", "0.98")
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == [verdicts.NOT_RUN, *[verdicts.NOT_DEFINED] * 4]  # SynFlow, then the smart ratio and its ablations
    table = image.get_array()
    assert table.shape == (len(probe.IMAGENET_METHODS), 54) and table.mask.all(axis=1).sum() == 5
    assert table[0].data == pytest.approx([0.02] * 54, abs=1e-3)


def test_other_readers_of_the_ledger_pass_over_these_rows():
    rows = list(all_rows().values())
    assert all("dataset" in row["config"] for row in Ledger(book_ledger("paper")).rows())
    shown = [name for name, _, _ in rowdata.layers(rows[0])]  # what the page of one row draws
    assert shown == [layer.name for layer in probe.imagenet_layers(rows[0]["config"]["network"])]


def test_the_command_adds_what_is_missing_and_nothing_twice(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("bench_imagenet", ROOT / "benchmarks" / "imagenet.py")
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    monkeypatch.setattr(probe, "IMAGENET_SPARSITIES", ("0.9",))
    monkeypatch.setattr(probe, "measure_imagenet", lambda network, model, method, s: Row(fake(network, method, s)))
    monkeypatch.setattr(probe, "imagenet_network", lambda network: None)
    monkeypatch.setattr(command, "busy_share", lambda wait: None)
    asked = ["resnet50", "--only", "magnitude", "random", "--ledger", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["imagenet.py", *asked])
    monkeypatch.setattr(machine, "code_version", lambda: "tag-0-g0123456789ab-dirty")
    with pytest.raises(TicketError, match="is not a commit's"):
        command.main()
    monkeypatch.setattr(machine, "code_version", lambda: "tag-0-g0123456789ab")
    threads = torch.get_num_threads()
    command.main()
    found = probe.imagenet_rows(Ledger(tmp_path).rows())
    assert set(found) == {("resnet50", method, "0.9") for method in ("magnitude", "random")}
    monkeypatch.setattr(probe, "measure_imagenet", None)  # nothing is measured twice
    command.main()
    torch.set_num_threads(threads)
    assert capsys.readouterr().out.count("\n") == 2
