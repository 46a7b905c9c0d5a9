"""Masks at ImageNet's scale: what the ledger has of them is found again in part, and must agree to the last weight."""

import importlib.util
import sys

import pytest
import rowdata
import torch

from ticketlib import ratios
from ticketlib.errors import TicketError
from ticketlib.experiments import machine, probe
from ticketlib.experiments.ledger import Ledger, Row, name_of, read_row
from ticketlib.experiments.places import ROOT, book_ledger


def imagenet_rows(rows):
    """The rows of these masks among others: dict (network, method, sparsity) -> Row."""
    ours = [row for row in rows if row["kind"] == "probe" and row["config"]["dataset"] == probe.IMAGENET]
    return {tuple(row["config"][what] for what in ("network", "ticket", "sparsity")): row for row in ours}


STORED = imagenet_rows(Ledger(book_ledger("paper")).rows())


def fake(network, method, sparsity, **facts):
    """A row as `measure` makes it, of a mask that keeps the same share of every layer."""
    config, layers = probe.imagenet_configuration(network, method, sparsity), probe.imagenet_layers(network)
    counts = ratios.keep_counts(layers, "uniform", sparsity)
    sizes = {layer.name: layer.size for layer in layers}
    kept = sum(counts.values()) / sum(sizes.values())
    row = dict(keep_counts=counts, sizes=sizes, empty_layers=[], effective_sparsity=1 - 0.95 * kept,
               classifier_share=0.3, mask_seconds=1.25, seconds=2.0, device="cpu: of a test", threads=1)  # fmt: skip
    return Row(kind="probe", name=name_of(config), config=config, arm=f"{method}@{sparsity}") | row | facts


@pytest.mark.parametrize("network", probe.IMAGENET_NETWORKS)
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


def test_the_flow_is_that_of_a_whole_image(monkeypatch):
    model, seen = torch.nn.Linear(4, 3), {}
    scores = lambda _, method, images, **__: seen.update({method: images}) or {"weight": model.weight.detach()}  # noqa: E731
    monkeypatch.setattr(probe.pruners, "score", scores)
    for method in ("synflow", "magnitude"):
        assert probe._imagenet_mask(model, method, "0.5", "resnet").kept == 6
    assert torch.equal(seen["synflow"], torch.ones(1, 3, 224, 224)) and seen["magnitude"] is None


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
    wanted = [key for network in probe.IMAGENET_NETWORKS for key in probe.imagenet_wanted(network)]
    assert not any(probe.imagenet_reason(*key) for key in wanted)
    asked = probe.imagenet_wanted("vgg16", ("smart", "synflow"))
    assert asked == [("vgg16", "synflow", sparsity) for sparsity in probe.IMAGENET_SPARSITIES]
    with pytest.raises(TicketError, match=ratios.NOT_DEFINED):
        probe.measure_imagenet("resnet50", probe.imagenet_network("resnet50"), "smart", "0.98")


def test_other_readers_of_the_ledger_pass_over_these_rows():
    row = fake("resnet50", "random", "0.9")
    assert all("dataset" in row["config"] for row in Ledger(book_ledger("paper")).rows())
    shown = [name for name, _, _ in rowdata.layers(row)]  # what the page of one row draws
    assert shown == [layer.name for layer in probe.imagenet_layers("resnet50")]


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
    found = imagenet_rows(Ledger(tmp_path).rows())
    assert set(found) == {("resnet50", method, "0.9") for method in ("magnitude", "random")}
    monkeypatch.setattr(probe, "measure_imagenet", None)  # nothing is measured twice
    command.main()
    torch.set_num_threads(threads)
    assert capsys.readouterr().out.count("\n") == 2
