"""What chapters show: the pilot's numbers and words, keep counts side by side."""

import itertools

import numpy as np
import pytest
import torch
from synthetic import CIFAR
from ticketbook import shares

from ticketlib import data, masks, models, ratios
from ticketlib.experiments import grids, profiles, session
from ticketlib.experiments import probe as probes
from ticketlib.experiments.ledger import Ledger

LAYERS = [ratios.Layer(name, (3, 4), 12, name == "classifier") for name in ("first", "second", "classifier")]


def notebook(folder, **values):
    """Checked parameters of a notebook whose rows lie in a folder."""
    given = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="") | values
    return session.NotebookRun(**given, ledger=folder)


def fill(folder, rows):
    for one in rows:
        Ledger(folder).add(one)
    return folder


# the pilot


# keep counts side by side


def test_distance_by_hand():
    smart, uniform = (ratios.keep_counts(LAYERS, rule, "0.5", family="resnet") for rule in ("smart", "uniform"))
    assert list(smart.values()) == [9, 5, 4] and list(uniform.values()) == [6, 6, 6]
    assert shares.distance(smart, uniform) == pytest.approx(3 / 18) == shares.distance(uniform, smart)
    assert shares.distance(smart, smart) == 0 and shares.distance({"a": 2, "b": 0}, {"a": 0, "b": 7}) == 1


def test_rules_that_are_not_defined_are_none_and_say_so():
    networks = {"small": models.build("resnet8", 10, 1, width=8)}
    counts = shares.rule_counts(networks["small"], "0.98")
    assert counts["ascending"] is None and sum(counts["smart"].values()) == 389
    head, lines = shares.distances(networks)
    assert head == ["rule", "small, 0.9", "small, 0.95", "small, 0.98"] and len(lines) == len(ratios.RULES) - 1
    assert next(line for line in lines if line[0] == "ascending")[-1] == "not defined here"
    titles = list(shares.rule_panels(networks["small"]))
    assert len(titles) == 9 and "not defined here: ascending" in titles[6]


def test_rule_groups_name_every_rule_once():
    assert sorted(sum(shares.GROUPS.values(), ("smart",))) == sorted(ratios.RULES)


def test_keep_ratios_follow_the_layers_not_the_order_of_the_counts():
    model = models.build("resnet8", 10, 1, width=8)
    counts = {layer.name: layer.size // 2 for layer in reversed(ratios.layers(model))}
    assert np.allclose(shares.keep_ratios(counts, model), 0.5)


def test_depth_and_size_of_layers_that_only_grow():
    sizes = [3, 4, 5, 6]
    layers = ratios.layers(torch.nn.Sequential(*[torch.nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(sizes)]))
    assert shares.depth_and_size(layers) == pytest.approx(1)
    assert shares.depth_and_size(layers[::-1]) == pytest.approx(-1)


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """A ledger with SNIP's clean mask at one sparsity, and one found on corrupted data."""
    folder, digits = tmp_path_factory.mktemp("probed"), data.load("digits")
    prober = probes.Prober(digits, folder)
    made = [profiles.config("smoke", "snip", "0.9", 0, dataset=digits, corruption=c) for c in ("none", "both")]
    return fill(folder / "smoke", [prober.measure(config) for config in made])


def test_measured_masks_are_clean_ones_and_what_is_missing_is_kept_as_a_gap(probed):
    found = shares.measured(notebook(probed, profile="smoke"))
    assert len(found) == 12 and [key for key, rows in found.items() if rows] == [("resnet8", "snip", "0.9")]
    assert found["resnet8", "snip", "0.9"][0]["config"]["corruption"] == "none"
    lines = shares.table_of(found)[1]
    assert lines[0][:3] == ["ResNet-8", "SNIP", lines[0][2]] and lines[0][3:5] == ["not run", "not run"]
    assert lines[0][2].startswith("0.2") and lines[0][-2:] == ["0", "0 or 1"] and lines[1][2] == "not run"
    assert {len(line) for line in lines} == {len(shares.table_of(found)[0])}
    assert shares.reading(found).startswith("Of 1 cells with rows, the nearest rule is the smart ratio in 0, ")
    assert "Not run" in shares.reading({("resnet8", "snip", "0.9"): {}})
    panels = shares.panels(found)
    assert list(panels) == [("ResNet-8", "0.9")] and list(panels["ResNet-8", "0.9"]) == ["smart", "snip"]


def test_masks_of_the_papers_networks_lie_beside(probed):
    run = notebook(probed.parent / "laptop")
    tickets = {"resnet32": shares.SCORED, "vgg19": shares.SCORED, "resnet20": (*shares.SCORED, "lt")}
    assert set(shares.measured(run)) == {(n, t, s) for n in tickets for t in tickets[n] for s in shares.SPARSITIES}
    fill(probed.parent / "paper", [])
    assert len(shares._rows(notebook(probed, profile="smoke"))) == 2


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_masks_are_those_of_the_books_own_scores_in_every_profile(profile):
    """The runs of the profile `paper` take the authors' scores; the masks that pages compare do not."""
    known = {probes.name(config) for config in grids.probes("paper", CIFAR, 1)}
    scored = [config for config in shares.probe_configs(profile, CIFAR, 1) if config.network in ("resnet32", "vgg19")]
    scored = [config for config in scored if config.ticket != "lt"]
    assert len(scored) == 18 and {probes.name(config) for config in scored} <= known
    plain, authors = (probes.configuration(grids.arm("paper", "snip@0.9", 0, CIFAR, **changes))
                      for changes in (grids.OWN_SCORES, {"variant": "default"}))  # fmt: skip
    assert [probes.is_plain({"kind": "probe", "config": config}) for config in (plain, authors)] == [True, False]


def test_probes_are_made_with_the_nets_they_need(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shares, "SPARSITIES", ("0.9",))
    monkeypatch.setattr(shares, "SCORED", ("snip",))
    live = notebook(tmp_path / "smoke", profile="smoke", source="run", seeds=1)
    monkeypatch.setitem(profiles.PROFILES["smoke"].training, "epochs", 1)
    found = shares.measured(live)
    assert {key[1]: len(rows) for key, rows in found.items()} == {"snip": 1, "lt": 1}
    kinds = sorted(made["kind"] for made in Ledger(live.ledger).rows())
    assert kinds == ["probe", "probe", "run"]
    assert shares._seconds([], []) == 0
    mask = masks.Mask.dense(models.build("resnet8", 10, 1, width=8))
    assert set(found["resnet8", "lt", "0.9"][0]["keep_counts"]) == set(mask)
