"""What chapters show: the pilot's numbers and words, keep counts side by side."""

import itertools

import numpy as np
import pytest
import torch
from synthetic import CIFAR, row
from ticketbook import budget, pilot, shares
from ticketbook.notebook import accuracy_table

from ticketlib import data, masks, models, ratios
from ticketlib.analysis import plots
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


def test_accuracies_show_every_seed_and_what_is_missing():
    rows = {"smart@0.9": {0: row("smart@0.9", 0, 80.0, keep_counts={"a": 1500}), 1: row("smart@0.9", 1, 82.0)}}
    head, lines = accuracy_table(rows | {"uniform@0.9": {}})
    assert lines[0] == ["smart ratio", "1,500", "80.00, 82.00", "81.00 (n = 2)"] and len(head) == 4
    assert lines[1] == ["uniform", "", "not run", "not run"]
    assert accuracy_table(rows, rows)[1][0][-1] == "81.00 (n = 2)"


# the pilot


def pilot_row(key, seed, epochs, accuracy, **facts):
    changes = {"recipe": 0, "held_out": 5000, "epochs": epochs}
    return row(key, seed, accuracy, changes=changes, **facts)


def pilot_rows(lead=(6.0, 2.0, 0.4)):
    """Three lengths and seeds; LT leads its rearranged mask by `lead`, SNIP never does; dense is 1 point better."""
    rows = []
    for epochs, more in zip((5, 10, 20), lead, strict=True):
        for seed in (1000, 1001, 1002):
            wobble = 0.2 * (seed - 1001)
            for key, mean in (("lt", 70 + more + wobble), ("lt+rearranged", 70), ("snip", 70), ("uniform", 60)):
                rows.append(pilot_row(f"{key}@0.9", seed, epochs, mean))
            rows += [pilot_row("snip+rearranged@0.9", seed, epochs, 70.5), pilot_row("smart@0.9", seed, epochs, 71.0)]
            rows.append(pilot_row("dense", seed, epochs, 71.0 + epochs))
    return rows


@pytest.fixture
def whole(tmp_path):
    return notebook(fill(tmp_path, pilot_rows()))


def test_the_pilot_takes_its_own_rows_only(whole):
    strangers = [row("smart@0.9", 0, 10.0), pilot_row("smart@0.98", 1000, 5, 10.0)]
    strangers += [row("smart@0.9", 1000, 10.0, changes={"recipe": 0, "held_out": 5000, "epochs": 5, "lr": 0.05})]
    fill(whole.ledger, strangers)
    arms = pilot.pilot_rows(whole)
    assert list(arms) == ["dense", "lt", "lt+rearranged", "snip", "snip+rearranged", "smart", "uniform"]
    assert pilot.accuracies(arms)["smart"] == {e: dict.fromkeys((1000, 1001, 1002), 71.0) for e in (5, 10, 20)}
    assert pilot.progress(whole, arms) == (63, 63)


def test_differences_are_paired_within_seeds(whole):
    curve = pilot.paired(pilot.pilot_rows(whole), pilot.CONTRASTS[0])
    assert {e: [round(d, 6) for d in at.values()] for e, at in curve.items()} == {
        5: [5.8, 6.0, 6.2], 10: [1.8, 2.0, 2.2], 20: [0.2, 0.4, 0.6]
    }  # fmt: skip


def test_pairs_that_differ_in_device_are_left_out_and_said(whole):
    other = [pilot_row("lt@0.9", 1000, 40, 75.0, device="cuda"), pilot_row("lt+rearranged@0.9", 1000, 40, 70.0)]
    arms = pilot.pilot_rows(notebook(fill(whole.ledger, other)))
    assert list(pilot.paired(arms, pilot.CONTRASTS[0])) == [5, 10, 20]
    assert pilot.refused(arms) == ["device"] and "left out because of device" in budget.verdict(whole, arms)


TOY = {5: {0: 6.0, 1: 5.0}, 10: {0: 2.0, 1: 2.4}, 20: {0: 0.4, 1: 0.6}, 40: {0: 0.3, 2: 9.0}}


def test_steps_are_taken_within_common_seeds():
    assert {step: found.point for step, found in pilot.steps(TOY).items()} == pytest.approx(
        {(5, 10): -3.3, (10, 20): -1.7, (20, 40): -0.1}
    )


@pytest.mark.parametrize(("means", "flat"), [
    ([6.0, 2.0, 0.4, 0.3], 20), ([1.0, 1.5, 1.2, 1.9], 5), ([1.0, 1.5, 1.2, 2.2], None), ([1.0], None), ([], None),
])  # fmt: skip
def test_flat_from(means, flat):
    curve = {epochs: {0: mean, 1: mean} for epochs, mean in zip((5, 10, 20, 40), means, strict=False)}
    assert pilot.flat_from(curve) == flat


def test_a_step_of_fewer_than_two_common_seeds_is_not_flat():
    assert pilot.flat_from({5: {0: 1.0}, 10: {1: 1.0}}) is None
    assert pilot.flat_from({5: {0: 1.0, 1: 1.0}, 10: {1: 1.0}}) is None


def test_nothing_is_flat_by_a_length_that_was_not_measured(tmp_path):
    run = notebook(fill(tmp_path, [row for row in pilot_rows() if row.config.epochs < 20]))
    assert "Flat by then, by the rule below: nothing." in budget.verdict(run, pilot.pilot_rows(run))


def test_spreads_need_two_seeds(whole):
    found = pilot.spreads(pilot.pilot_rows(whole))
    assert len(found) == 15 and found["LT − LT rearranged", 5] == pytest.approx(0.2)
    assert pilot.spreads(pilot.pilot_rows(notebook(whole.ledger, seeds=1))) == {}


def test_two_seeds_are_drawn_without_interval():
    assert [found.low is None for _, found in pilot.drawn({5: {0: 1, 1: 2}, 10: {0: 1, 1: 2, 2: 3}}).values()] == [
        True, False
    ]  # fmt: skip


def test_the_words_follow_the_numbers(whole, monkeypatch):
    monkeypatch.setattr(pilot.board, "protocol", lambda: None)
    arms = pilot.pilot_rows(whole)
    assert budget.verdict(whole, arms).startswith("**63 of 63 runs are here.** The runs that count train for 20 epochs")
    assert "below: LT − LT" not in budget.verdict(whole, arms) and "below: SNIP − SNIP" in budget.verdict(whole, arms)
    said = budget.sentences(arms).splitlines()
    assert said[0].startswith("- LT − LT rearranged: +6.00 points after 5 epochs, +0.40 after 20. It shrinks.")
    assert "hardly moves" in said[1] and "zero outside" in said[1] and "(n = 3)" in said[1]
    assert "changes sides" in budget.sentences(pilot.select(pilot_rows((-3.0, 1.0, 2.0)), whole)).splitlines()[0]
    assert "It grows" in budget.sentences(pilot.select(pilot_rows((1.0, 3.0, 4.0)), whole)).splitlines()[0]
    assert "A spread of 0.20 points, at a margin of 1, needs " in budget.spread(whole, arms)
    assert said[-1].endswith("These words look at the whole way.") and "seeds" in budget.spread(whole, arms)
    assert "100 s for 5 epochs" in budget.costs(arms)


def test_tables_of_the_pilot(whole):
    arms = pilot.pilot_rows(whole)
    head, lines = budget.difference_table(arms, arms)
    assert head == ["difference", "5 epochs", "10 epochs", "20 epochs", "flat from"] and len(lines) == 10
    assert lines[1][0] == "LT − LT rearranged, the book's" and lines[1][1:] == lines[0][1:]
    assert lines[0][1] == "+6.00 (+5.50 to +6.50, n = 3)" and lines[0][-1] == "not shown" and lines[2][-1] == 5
    assert budget.accuracy_table(arms)[1][0] == [
        "dense", "76.00 (SD 0.00, n = 3)", "81.00 (SD 0.00, n = 3)", "91.00 (SD 0.00, n = 3)", "not shown"
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [[], pilot_rows()[:1], pilot_rows()[:9]])
def test_an_unfinished_pilot_says_so(tmp_path, rows):
    run = notebook(fill(tmp_path, rows))
    arms = pilot.pilot_rows(run)
    assert budget.verdict(run, arms).startswith("**Not run.**" if not rows else f"**{len(rows)} of 63 runs")
    assert ("not run" in budget.sentences(arms)) == (len(rows) < 9) == ("No difference" in budget.spread(run, arms))
    assert "not run" in budget.costs(arms) or rows[8:]
    assert len(budget.accuracy_table(arms)[1]) == 7 and len(budget.difference_table(arms, arms)[1]) >= 5


def test_a_pilot_of_other_seeds_keeps_every_arm_and_length(tmp_path):
    run = notebook(tmp_path, profile="smoke", seeds=3)
    made = pilot.configs(run, data.load("digits"))
    assert sorted({c.seed for c in made}) == [1000, 1001, 1002] and len(made) == 3 * 7 * 2
    assert {c.recipe for c in made} == {0} and len({c.name for c in made}) == len(made)


def doubled_rows():
    """Runs that count, at 20 epochs with four seeds and at 40 with two; LT's lead of 2 points shrinks to 1."""
    rows = []
    for epochs, seeds, lead in ((20, range(4), 2.0), (40, range(2), 1.0)):
        for seed in seeds:
            for key, mean in (("dense", 90.0), ("lt@0.9", 80 + lead), ("lt+rearranged@0.9", 80), ("smart@0.9", 79.5)):
                rows.append(row(key, seed, mean + epochs / 20 + 0.1 * seed, changes={"epochs": epochs}))
    return rows


def test_twice_the_length_stands_beside_the_rows_that_count_and_never_joins_the_pilot(tmp_path):
    run = notebook(fill(tmp_path, [*doubled_rows(), *pilot_rows()]))
    arms = pilot.doubled(run)
    assert {arm: {e: sorted(at) for e, at in of.items()} for arm, of in arms.items()} == dict.fromkeys(
        pilot.LONGER, {20: [0, 1, 2, 3], 40: [0, 1]}
    )  # fmt: skip
    assert pilot.progress(run, pilot.pilot_rows(run)) == (63, 63)
    assert [c.label for c in budget.longer_contrasts()] == ["LT − LT rearranged", "smart ratio − LT"]
    lines = budget.longer_table(arms).splitlines()
    assert lines[0] == "|  | 20 epochs | 40 epochs | change within the same seeds |" and len(lines) == 10
    assert lines[3].startswith("| LT | 83.15 (SD 0.13, n = 4) | 83.05 (SD 0.07, n = 2) | 0.00 (")
    assert lines[6] == (
        "| LT − LT rearranged | +2.00 (+2.00 to +2.00, n = 4) | +1.00 (+1.00 to +1.00, n = 2) "
        "| −1.00 (−1.00 to −1.00, n = 2) |"
    )


def test_a_seed_whose_longer_dense_net_diverged_is_not_lost(tmp_path):
    rows = [r for r in doubled_rows() if (r["arm"], r.config.epochs, r.config.seed) != ("dense@0", 40, 1)
            and not (r["arm"].startswith("lt") and r.config.epochs == 40 and r.config.seed == 1)]  # fmt: skip
    rows.append(row("dense", 1, 90.0, changes={"epochs": 40}, diverged=True))
    arms = pilot.doubled(notebook(fill(tmp_path, rows)))
    assert sorted(arms["lt"][40]) == [0, 1] and arms["lt"][40][1]["not_made"]
    assert arms["lt"][40][1].config.epochs == 40 and arms["lt"][40][0]["name"] in {r["name"] for r in rows}


def test_twice_the_length_says_what_is_missing(tmp_path):
    one_length = [row for row in doubled_rows() if row.config.epochs == 20]
    run = notebook(fill(tmp_path, one_length))
    assert budget.longer_table(pilot.doubled(run)).startswith("**Only the length that counts")
    fill(tmp_path, [row for row in doubled_rows() if row.config.epochs == 40 and row.config.ticket == "dense"])
    lines = budget.longer_table(pilot.doubled(run)).splitlines()
    assert lines[3].endswith("| not run | not run |") and lines[7].endswith("| not run | not run |")
    assert sorted(pilot.doubled(notebook(tmp_path, seeds=1))["dense"][20]) == [0]


def test_every_difference_has_a_style():
    assert [plots.style(contrast.key).label for contrast in pilot.CONTRASTS] == ["LT", "SNIP", "LT", "SNIP", "uniform"]


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
