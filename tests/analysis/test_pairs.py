"""Which runs may be compared, their paired difference, and what stands against reading it: bounds by hand."""

import dataclasses
import math

import pytest
from synthetic import row, row_of

from ticketlib.analysis import pairs
from ticketlib.errors import TicketError
from ticketlib.experiments import claims
from ticketlib.experiments.ledger import frame

LN10 = math.log(10)


def runs(*rows, **changes):
    return pairs.select(frame(list(rows)), "laptop", **changes)


def test_runs_of_another_recipe_network_or_length_are_left_out():
    own = row("snip@0.9", 0, 80.0)
    others = [row("snip@0.9", 1, 80.0, changes=change) for change in (
        {"recipe": 0}, {"epochs": 40}, {"held_out": 5000}, {"lr": 0.2}, {"drops": ("0.5",)}, {"network": "vgg"},
        {"flip": False})]  # fmt: skip
    others.append(row_of(dataclasses.replace(own.config, dataset="cifar100"), 80.0))
    assert runs(own, *others).name.tolist() == [own["name"]]
    assert all(len(runs(own, *others, **change)) == 1 for change in (
        {"epochs": 40}, {"network": "vgg"}, {"dataset": "cifar100"}))  # fmt: skip
    engines = [row("snip@0.9", 1, 80.0, changes={"engine": "dense"}), row("snip@0.9", 2, 80.0)]
    assert len(runs(*engines)) == 2  # what a pair must share, and a profile need not


def test_two_rows_of_one_arm_and_seed_are_refused():
    with pytest.raises(TicketError, match=r"snip@0.9.* 3 "):
        runs(row("snip@0.9", 3, 80.0), row("snip@0.9", 3, 80.0, changes={"engine": "dense"}))


def test_an_empty_ledger_has_no_runs():
    assert runs().empty and pairs.measurements(runs(), "snip+both@0.9").empty
    assert pairs.difference(runs(), "snip@0.9", "lt@0.9").points.empty


def test_a_plan_reads_its_seeds_length_and_sparsities():
    rows = [row(arm, seed, 80.0, changes={"epochs": epochs})
            for arm in ("dense@0", "snip@0.9", "snip@0.95") for seed in (0, 1) for epochs in (20, 40)]  # fmt: skip
    planned = pairs.planned(frame(rows), claims.Plan((1, 2), 40, ("0.9", "0.98"), 1.0))
    assert planned.arm.tolist() == ["dense@0", "snip@0.9"] and set(planned.seed) == {1} and set(planned.epochs) == {40}


def test_a_ticket_whose_net_diverged_takes_its_place_as_a_guess():
    nets = [row("dense", 0, 90.0), row("dense", 1, 0.0, diverged=True, device="another")]
    rows = [*nets, row("lt@0.9", 0, 80.0), row("snip@0.9", 0, 79.0), row("snip@0.9", 1, 79.0, device="another")]
    lost = runs(*rows).set_index(["arm", "seed"]).loc[("lt@0.9", 1)]
    assert (lost.accuracy, lost.diverged, lost.collapsed, lost.device) == (10, True, True, "another")
    found = pairs.difference(runs(*rows), "lt@0.9", "snip@0.9")
    assert found.points.to_dict() == {0: 1.0, 1: -69.0} and found.collapsed == 1 and not found.refused
    assert len(runs(*rows[1:])) == 5 and len(runs(*rows, row("lt@0.9", 1, 70.0))) == 6  # none invented where one is


@pytest.mark.parametrize(("facts", "collapsed"), [
    ({"accuracy": 20.0}, False), ({"accuracy": 19.9}, True), ({"accuracy": 3.9, "num_classes": 50}, True),
    ({"accuracy": 4.0, "num_classes": 50}, False), ({"accuracy": 80.0, "diverged": True}, True),
    ({"accuracy": 80.0, "effective_sparsity": 1}, True), ({"accuracy": 80.0, "effective_sparsity": 0.999}, False),
    ({"accuracy": 80.0, "empty_layers": ["a"]}, False),
])  # fmt: skip
def test_what_a_collapsed_run_is(facts, collapsed):
    assert runs(row("snip@0.9", 0, **facts)).collapsed.tolist() == [collapsed]


def test_differences_pair_by_seed_in_order():
    a = [row("smart@0.9", seed, 70.0 + seed) for seed in (3, 0, 2)]
    b = [row("snip@0.9", seed, 69.0 - seed) for seed in (2, 1, 3)]
    found = pairs.difference(runs(*a, *b), "smart@0.9", "snip@0.9")
    assert found.points.to_dict() == {2: 5.0, 3: 7.0} and found.points.index.tolist() == [2, 3]
    assert found.a.accuracy.tolist() == [72, 73] and found.b.accuracy.tolist() == [67, 66]
    assert pairs.difference(runs(*a, *b), "smart@0.9", "snip@0.9", seeds=(3, 4)).points.to_dict() == {3: 7.0}
    assert pairs.difference(runs(*a, *b), "smart@0.9", "snip@0.98", undefined="x").undefined == "x"


def refused(a=None, b=None, **facts):
    """What a pair is refused for whose second run differs: in facts of its row, or in fields of its configuration."""
    one, other = row("smart@0.9", 0, 70.0, changes=a), row("snip@0.9", 0, 70.0, changes=b, **facts)
    table = frame([one, other])
    return pairs.difference(table.assign(collapsed=False), "smart@0.9", "snip@0.9").refused


def test_what_a_pair_must_share():
    assert refused() == () == refused(seconds=1.0, code="another", b={"eval_every": 5})
    assert refused(device="x", threads=2) == ("device", "threads") and refused(versions={"torch": "3"}) == ("versions",)
    for field, value in (("engine", "dense"), ("precision", "float32"), ("recipe", 0), ("batch", 64), ("lr", 0.2),
                         ("momentum", 0.5), ("weight_decay", 0.1), ("drops", ("0.5",)), ("padding", 1),
                         ("flip", False), ("epochs", 5)):  # fmt: skip
        assert refused(b={field: value}) == (field,)


def test_a_recipe_is_shared_over_seeds_and_a_machine_within_one():
    rows = [row(f"{t}@0.9", seed, 70.0, changes={"engine": ("dense", "sparse")[seed]}, device=f"kind {seed}")
            for t in ("snip", "smart") for seed in (0, 1)]  # fmt: skip
    assert pairs.difference(runs(*rows), "smart@0.9", "snip@0.9").refused == ("engine",)


def sound(key, control, **facts):
    """Whether each check of an arm passed: dict from what it measures."""
    found = pairs.measurements(runs(row(key, 0, 70.0, control=control, **facts)), key)
    return dict(zip(found.measures, found.sound, strict=True))


@pytest.mark.parametrize(("key", "control", "expected"), [
    ("snip+rearranged@0.9", {"moved_share": 0.1}, [True]), ("snip+rearranged@0.9", {"moved_share": 0.099}, [False]),
    ("snip+rearranged@0.9", {"changed_share": 0.5}, [False]), ("lt+shuffled@0.9", {"changed_share": 0.1}, [True]),
    ("lt+shuffled@0.9", {"changed_share": 0.09}, [False]), ("lt+shuffled@0.9", {"moved_share": 0.9}, [False]),
    ("lrr+reinitialised@0.9", {"changed_share": 1.0}, [True]), ("snip+labels@0.9", {"label_agreement": 0.149}, [True]),
    ("snip+labels@0.9", {"label_agreement": 0.051}, [True]), ("snip+labels@0.9", {"label_agreement": 0.151}, [False]),
    ("snip+labels@0.9", {"label_agreement": 0.049}, [False]), ("snip+pixels@0.9", {"pixel_correlation": -0.1}, [True]),
    ("snip+pixels@0.9", {"pixel_correlation": 0.11}, [False]),
    ("snip+pixels@0.9", {"pixel_correlation": -0.11}, [False]),
    ("dense+half@0", {"images_kept": 0.549}, [True]), ("dense+half@0", {"images_kept": 0.449}, [False]),
    ("snip+both@0.9", {"label_agreement": 0.1, "pixel_correlation": 0.0}, [True, True]),
    ("snip+both@0.9", {"label_agreement": 0.1}, [True, False]), ("snip+rearranged+both@0.9", {}, [False] * 3),
    ("lt+random_signs@0.9", {"changed_share": 0.5, "signs_kept": 0.41}, [True, True]),
    ("lt+random_signs@0.9", {"changed_share": 0.09, "signs_kept": 0.61}, [False, False]),
    ("lt+random_signs@0.9", {"changed_share": 1.0, "signs_kept": 0.39}, [True, False]),
    ("lt+fresh_magnitudes@0.9", {"changed_share": 1.0, "signs_kept": 1.0}, [True, True]),
    ("lt+fresh_magnitudes@0.9", {"changed_share": 1.0, "signs_kept": 0.999}, [True, False]), ("snip@0.9", {}, []),
])  # fmt: skip
def test_manipulation_checks_at_their_bounds(key, control, expected):
    assert list(sound(key, control).values()) == expected


def test_labels_at_random_agree_as_often_as_there_are_classes():
    assert sound("snip+labels@0.9", {"label_agreement": 0.01}, num_classes=100) == {"labels that are still right": True}


def of_net(loss, **facts):
    """The measurements of LT on noise whose net ended at a loss."""
    net = row("dense+both", 0, 12.0, loss=loss, **facts)
    return pairs.measurements(runs(net, row("lt+both@0.9", 0, 70.0, control={}, loss=0.1)), "lt+both@0.9")


def test_a_net_trained_on_noise_must_have_learnt_and_carries_the_checks():
    assert of_net(0.9 * LN10 - 1e-6).sound.tolist() == [True] * 3
    assert of_net(0.9 * LN10 + 1e-6).failed[lambda failed: ~of_net(0.9 * LN10 + 1e-6).sound].tolist() == [
        "the network learnt too little from noise"]  # fmt: skip
    assert of_net(1.0, control={"label_agreement": 0.5, "pixel_correlation": 0.0}).sound.tolist() == [False, True, True]
    missing = pairs.measurements(runs(row("lt+both@0.9", 0, 70.0)), "lt+both@0.9")
    assert missing.sound.tolist() == [False] * 3 and missing.value.isna().all()
    half = [row("dense+half", 0, 80.0, loss=9.0), row("lrr+half@0.9", 0, 70.0)]
    assert pairs.measurements(runs(*half), "lrr+half@0.9").sound.tolist() == [True]  # half the data are no noise


def test_a_check_that_failed_in_one_seed_is_named_with_it():
    rows = [row(arm, seed, 70.0, control={"moved_share": seed / 10}) for arm in ("snip@0.9", "snip+rearranged@0.9")
            for seed in (0, 1, 2)]  # fmt: skip
    found = pairs.difference(runs(*rows), "snip+rearranged@0.9", "snip@0.9")
    assert found.untested == ("no weights moved (seed 0)",)
    assert pairs.difference(runs(*rows), "snip@0.9", "snip+rearranged@0.9").untested == found.untested
    assert pairs.difference(runs(*rows), "snip+rearranged@0.9", "snip@0.9", seeds=(1, 2)).untested == ()
    lost = [row("snip+rearranged@0.9", 0, 10.0, diverged=True, control={}), row("snip@0.9", 0, 70.0)]
    assert pairs.difference(runs(*lost), "snip+rearranged@0.9", "snip@0.9").untested == ()


def test_rearranging_may_not_change_keep_counts():
    def untested(ticket, counts, **facts):
        rows = [row("snip+rearranged@0.9", 0, 70.0, keep_counts={"a": 3}, **facts),
                row(f"{ticket}@0.9", 0, 70.0, keep_counts=counts)]  # fmt: skip
        return pairs.difference(runs(*rows), "snip+rearranged@0.9", f"{ticket}@0.9").untested

    assert untested("snip", {"a": 3}) == () == untested("grasp", {"a": 4})
    assert untested("snip", {"a": 4}) == ("rearranging changed keep-counts (seed 0)",)
    assert untested("snip", {"a": 4}, diverged=True) == ()


def test_rules_without_a_solution():
    assert pairs.not_defined("laptop", "smart@0.9") == pairs.not_defined("laptop", "snip@0.999") == ""
    assert pairs.not_defined("laptop", "uniform_plus@0.999") != ""
    assert pairs.not_defined("laptop", "uniform_plus+min_per_layer=1@0.999") == ""
