"""What is stored of ImageNet's scale: a cheap part is computed again and must agree to the last digit."""

import importlib.util
import json
import sys

import pytest
import torch

from ticketlib import imagenet, limits, ratios
from ticketlib.errors import TicketError
from ticketlib.nb import ROOT

STORED = imagenet.load()


@pytest.mark.parametrize("network", imagenet.NETWORKS)
@pytest.mark.parametrize("rule", ratios.RULES)
def test_stored_keep_counts_are_those_of_the_rule(network, rule):
    for sparsity in imagenet.SPARSITIES:
        cell = STORED["cells"][network, rule, sparsity]
        try:
            counts = ratios.keep_counts(imagenet.layers(network), rule, sparsity, family=imagenet.FAMILIES[network])
        except TicketError as error:
            assert cell["reason"] in str(error)
        else:
            assert cell["keep_counts"] == list(counts.values())


@pytest.mark.parametrize("method, sparsity", [("uniform", "0.999"), ("magnitude", "0.99"), ("smart", "0.98")])
def test_a_cell_measured_again_is_the_stored_one(method, sparsity):
    with torch.device("cpu"):
        model = imagenet.build("resnet50")
    found, stored = (dict(cell) for cell in (imagenet.measure("resnet50", model, method, sparsity),
                                             STORED["cells"]["resnet50", method, sparsity]))  # fmt: skip
    for cell in (found, stored):
        cell.pop("seconds", None), cell.pop("busy", None)
    assert found == stored


def test_the_initial_weights_are_always_the_same_and_torchs_generator_is_left_alone():
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    one, two = imagenet.build("resnet50"), imagenet.build("resnet50")
    assert torch.equal(one.fc.weight, two.fc.weight) and torch.equal(torch.rand(1), wanted)
    with pytest.raises(TicketError, match="network 'resnet18' is not known"):
        imagenet.build("resnet18")


def test_cells_as_the_page_shows_them(monkeypatch, tmp_path):
    cells = imagenet.cells_of(STORED)
    assert len(cells) == 2 * len(imagenet.METHODS) * len(imagenet.SPARSITIES)
    assert all(cells["VGG-16", "smart", s].reason for s in imagenet.SPARSITIES)
    assert cells["ResNet-50", "smart", "0.9"].live > limits.SOUND
    said = imagenet.answer(cells)
    assert said.startswith("**Not all of them.** The smart ratio is not defined here on ResNet-50 at 0.98, 0.99, 0.999")
    assert imagenet.made_on(STORED).startswith(f"{len(STORED['cells'])} cells, last made on cpu")
    monkeypatch.setattr(imagenet, "STORED", tmp_path / "none.json")
    nothing = imagenet.load()
    assert imagenet.answer(imagenet.cells_of(nothing)).startswith("**Not run.**") and imagenet.made_on(nothing) == ""


def test_the_command_keeps_cells_beside_those_that_are_there(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("bench_imagenet", ROOT / "benchmarks" / "imagenet.py")
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    monkeypatch.setattr(imagenet, "STORED", tmp_path / "imagenet.json")
    monkeypatch.setattr(imagenet, "SPARSITIES", ("0.9",))
    monkeypatch.setattr(imagenet, "measure", lambda network, model, method, sparsity: {
        "network": network, "method": method, "sparsity": sparsity})  # fmt: skip
    monkeypatch.setattr(imagenet, "build", lambda network: None)
    monkeypatch.setattr(command, "busy_share", lambda wait: None)
    monkeypatch.setattr(sys, "argv", ["imagenet.py", "resnet50", "--without", "synflow", *ratios.RULES])
    command.main()
    assert list(imagenet.load()["cells"]) == [("resnet50", m, "0.9") for m in ("magnitude", "random")]
    monkeypatch.setattr(imagenet, "measure", None)  # nothing is measured twice
    command.main()
    assert json.loads((tmp_path / "imagenet.json").read_text())["machine"]["threads"] >= 1
