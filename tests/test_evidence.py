"""From rows to verdicts: every branch on synthetic rows."""

import dataclasses

import pytest
from synthetic import arms, row, row_of
from ticketbook.claims_1 import CLAIMS

from ticketlib.analysis import evidence
from ticketlib.errors import TicketError
from ticketlib.experiments.ledger import Ledger, Row

FOUND = {"snip": 80.0, "grasp": 79.0, "lt": 81.0}
REARRANGED = {f"{ticket}+rearranged": mean for ticket, mean in FOUND.items()}
CORRUPTED = {f"{ticket}+both": mean for ticket, mean in FOUND.items()}


def judge(rows, claim="B"):
    return evidence.judge(rows, claim, "laptop", 1.0, 6)


def test_no_rows_is_no_verdict():
    assert judge([]).word == "not run"


def test_equal_arms_hold():
    assert judge(arms(FOUND | REARRANGED)).word == "holds"
    assert judge(arms(FOUND | CORRUPTED), "A").word == "holds"


def test_a_large_difference_does_not_hold():
    assert judge(arms(FOUND | {arm: mean - 5 for arm, mean in REARRANGED.items()})).word == "does not hold"


def test_one_method_that_differs_gives_part():
    assert judge(arms(FOUND | REARRANGED | {"lt+rearranged": 75.0})).word == "holds in part"


def test_too_few_seeds_are_provisional():
    judged = judge(arms(FOUND | REARRANGED, seeds=range(3)))
    assert judged.word == "provisional" and "3 of 6" in judged.sentence


def test_seeds_beyond_the_protocol_do_not_count():
    rows = arms(FOUND | REARRANGED) + arms({"snip+rearranged": 10.0, "snip": 80.0}, seeds=range(6, 9))
    assert judge(rows).word == "holds"


def test_random_tickets_need_both_parts():
    means = FOUND | {"smart": 80.9}
    assert judge(arms(means | {"uniform": 70.0}), "C").word == "holds"
    assert judge(arms(means | {"uniform": 90.0}), "C").word == "does not hold"


def test_a_rearrangement_that_does_nothing():
    rows = arms(FOUND) + arms(REARRANGED, control={"moved_share": 0.0})
    judged = judge(rows)
    assert judged.word == "undecided" and "control did nothing" in judged.compared[0].verdict.sentence


@pytest.mark.parametrize("control", [{}, {"label_agreement": 0.9, "pixel_correlation": 0.0},
                                     {"label_agreement": 0.1, "pixel_correlation": 0.9}])
def test_a_corruption_that_does_nothing_or_was_not_recorded(control):
    judged = judge(arms(FOUND) + arms(CORRUPTED, control=control), "A")
    assert "control did nothing" in judged.compared[0].verdict.sentence


def test_a_corrupted_pretraining_records_its_control_in_the_parent():
    parent = row("dense+both", 0, 10.0)
    child = row("lt+both@0.9", 0, 80.0, control={}, parent=parent["name"])
    assert evidence.control_did_nothing(child) and not evidence.control_did_nothing(child, parent)


@pytest.mark.parametrize("facts", [{"diverged": True}, {"empty_layers": ["conv.weight"]}, {"accuracy": 15.0}])
def test_a_collapse_is_counted_and_bars_holds(facts):
    rows = arms(FOUND | REARRANGED)
    rows[0] = Row(rows[0] | facts)
    judged = judge(rows)
    assert "collapsed runs: 1" in judged.compared[0].verdict.sentence and judged.compared[0].verdict.word != "holds"
    assert "; collapsed runs: 1); GraSP holds (" in judged.sentence


def test_a_rule_that_empties_a_layer_is_not_defined_here():
    rows = arms(FOUND | {"smart": 80.0}) + arms({"uniform": 70.0}, empty_layers=["conv.weight"])
    assert [r.verdict.word for r in judge(rows, "C").compared][-1] == "not defined here"


@pytest.mark.parametrize("facts", [{"device": "cuda"}, {"threads": 2}, {"versions": {"torch": "3"}}])
def test_pairs_of_different_machines_are_refused(facts):
    judged = judge(arms(FOUND) + arms(REARRANGED, **facts))
    assert judged.word == "undecided" and next(iter(facts)) in judged.compared[0].verdict.sentence


@pytest.mark.parametrize("changes", [{"engine": "dense"}, {"precision": "float32"}, {"fingerprint": "1" * 16}])
def test_pairs_of_different_recipes_are_refused(changes):
    judged = judge(arms(FOUND) + arms(REARRANGED, changes=changes))
    assert next(iter(changes)) in judged.compared[0].verdict.sentence


@pytest.mark.parametrize("changes", [{"recipe": 0}, {"held_out": 5000}, {"epochs": 5}, {"lr": 0.01}])
def test_rows_of_the_pilot_or_another_length_never_count(changes):
    assert judge(arms(FOUND | REARRANGED, changes=changes)).word == "not run"


def test_a_diverged_run_counts_as_chance():
    assert evidence.accuracy(row("snip@0.9", 0, 80.0, diverged=True)) == 10.0


def one_diverged(means, dense="dense"):
    """Rows of a claim's arms where the net that one seed's tickets start from diverged: those tickets have no row."""
    rows = arms(means) + [row(dense, seed, 90.0, diverged=seed == 2) for seed in range(6)]
    lost = ("lt", "lrr", "hybrid") if dense == "dense" else tuple(key for key in means if dense[5:] in key)
    return [r for r in rows if not (r.config.seed == 2 and r.config.ticket in ("lt", "lrr", "hybrid")
                                    and (r.config.corruption == "none") == (dense == "dense")
                                    and any(r["arm"].startswith(key) for key in lost))]  # fmt: skip


def test_tickets_of_a_net_that_diverged_count_as_diverged_and_no_seed_is_lost():
    rows = one_diverged({"lrr": 85.0, "hybrid": 87.0})
    assert not any(r.config.seed == 2 for r in rows if r.config.ticket == "lrr")
    judged = judge(rows, "D2")
    assert judged.compared[0].estimate.n == 6 and "collapsed runs: 4" in judged.compared[0].verdict.sentence
    found = evidence.select(rows, "laptop")
    assert {key: [seed for seed, r in of.items() if r.get("not_made")] for key, of in found.items()} == {
        "dense@0": [], **{f"{t}@{s}": [2] for t in ("lrr", "hybrid") for s in ("0.9", "0.98")},
        **{f"{t}@{s}": [2] for t in ("lt", "lt+rearranged", "lrr+shuffled", "lrr+rearranged") for s in ("0.9", "0.98")},
    }  # fmt: skip
    assert evidence.accuracy(found["lrr@0.9"][2]) == 10.0


def test_a_pretraining_on_spoilt_data_that_diverged_bars_holds():
    rows = one_diverged(FOUND | CORRUPTED, "dense+both")
    judged = judge(rows, "A")
    words = {r.comparison.key: r.verdict for r in judged.compared}
    assert words["lt"].word == "undecided" and "collapsed runs: 2" in words["lt"].sentence
    assert words["snip"].word == "holds" and judged.word == "holds in part"


def test_a_ticket_that_has_a_row_keeps_it():
    rows = arms({"lt": 80.0}) + [row("dense", 0, 90.0, diverged=True)]
    assert not evidence.select(rows, "laptop")["lt@0.9"][0].get("not_made")


def test_a_rearrangement_that_changed_the_keep_counts_did_something_else():
    rows = arms(FOUND, keep_counts={"a": 5, "b": 5}) + arms(REARRANGED, keep_counts={"a": 6, "b": 4})
    assert "control did nothing" in judge(rows).compared[0].verdict.sentence
    rows = arms(FOUND, keep_counts={"a": 5, "b": 5}) + arms(REARRANGED, keep_counts={"a": 5, "b": 5})
    assert judge(rows).word == "holds"


@pytest.mark.parametrize("changed", [lambda one: one.config.seed > 2, lambda one: one.config.sparsity == "0.98"])
def test_an_engine_that_changes_between_seeds_or_sparsities_is_refused(changed):
    rows = [arms_of for arms_of in arms(FOUND | REARRANGED) if not changed(arms_of)]
    rows += [one for one in arms(FOUND | REARRANGED, changes={"engine": "dense"}) if changed(one)]
    judged = judge(rows)
    assert judged.word == "undecided" and "they differ in engine" in judged.compared[0].verdict.sentence


def test_two_rows_of_one_place_are_refused_by_name():
    rows = arms({"snip": 80.0}, seeds=[0]) + arms({"snip": 79.0}, seeds=[0], changes={"per_class": 1})
    with pytest.raises(TicketError, match=r"both snip@0.9, seed 0; they differ in per_class \(10, 1\)"):
        evidence.select(rows, "laptop")


def test_what_a_mean_over_sparsities_hides_is_found():
    means = {"smart@0.9": 82.0, "snip@0.9": 80.0, "smart@0.98": 70.0, "snip@0.98": 72.0}
    rows = [row(arm, seed, mean + seed / 10) for arm, mean in means.items() for seed in range(3)]
    smart_over_snip = CLAIMS["C"].comparisons[0]

    def uneven(rows, sparsities=("0.9", "0.98")):
        return evidence.uneven(evidence.select(rows, "laptop"), smart_over_snip, "noninferiority", 1.0, sparsities)

    found = uneven(rows)
    assert {s: round(one.point) for s, one in found.items()} == {"0.9": 2, "0.98": -2}
    assert uneven(rows, ("0.9",)) == {}
    mixed = [Row(one | {"threads": 2}) if one["arm"].startswith("snip") else one for one in rows]
    assert uneven(mixed) == uneven(rows[:6]) == {}


@pytest.mark.parametrize(("kind", "at_09", "at_098", "spread", "hides"), [
    ("noninferiority", -0.1, -2.0, 0.1, True),  # one sparsity alone fails
    ("noninferiority", -0.1, -2.0, 1.0, False),  # its interval reaches above the limit
    ("noninferiority", -1.5, -2.0, 0.1, False),  # both fail
    ("noninferiority", -0.1, -0.5, 0.1, False),
    ("noninferiority", 0.5, 2.0, 0.1, False),
    ("noninferiority", 0.5, -0.5, 0.1, True),  # opposite sides of zero
    ("noninferiority", 0.5, -0.5, 1.0, False),
    ("superiority", 0.0, 2.0, 0.1, True),  # one alone is better
    ("superiority", 1.0, 2.0, 0.1, False),
])  # fmt: skip
def test_single_sparsities_are_read_by_their_intervals(kind, at_09, at_098, spread, hides):
    means = {"smart@0.9": 80 + at_09, "snip@0.9": 80.0, "smart@0.98": 80 + at_098, "snip@0.98": 80.0}
    rows = [row(arm, seed, mean + (seed - 1) * spread * arm.startswith("smart"))
            for arm, mean in means.items() for seed in range(3)]  # fmt: skip
    pair = CLAIMS["C"].comparisons[0]
    assert bool(evidence.uneven(evidence.select(rows, "laptop"), pair, kind, 1.0, ("0.9", "0.98"))) == hides


def test_a_corrupted_row_is_refused_before_anything_is_judged(tmp_path):
    rows = arms(FOUND | REARRANGED)
    for one in rows:
        Ledger(tmp_path).add(one)
    assert judge(Ledger(tmp_path).rows()).word == "holds"
    path = Ledger(tmp_path).path(rows[0]["name"])
    for old, new in (('"accuracy": ', '"accuracy": 9'), ('"seed": 0', '"seed": 7'), ("{", "")):
        whole = path.read_text()
        path.write_text(whole.replace(old, new, 1))
        with pytest.raises(TicketError, match=path.name):
            judge(Ledger(tmp_path).rows())
        path.write_text(whole)


@pytest.mark.parametrize(("arm", "control", "nothing"), [
    ("snip+rearranged", {"moved_share": 0.1}, False), ("snip+rearranged", {"moved_share": 0.099}, True),
    ("snip+shuffled", {"changed_share": 0.1}, False), ("snip+shuffled", {"changed_share": 0.099}, True),
    ("snip+labels", {"label_agreement": 0.149}, False), ("snip+labels", {"label_agreement": 0.151}, True),
    ("snip+labels", {"label_agreement": 0.04}, True), ("snip+pixels", {"pixel_correlation": 0.1}, False),
    ("snip+pixels", {"pixel_correlation": 0.11}, True), ("snip+pixels", {"pixel_correlation": -0.9}, True),
    ("lrr+half", {"images_kept": 0.5}, False), ("lrr+half", {"images_kept": 1.0}, True), ("lrr+half", {}, True),
])  # fmt: skip
def test_what_a_control_must_have_done(arm, control, nothing):
    assert evidence.control_did_nothing(row(f"{arm}@0.9", 0, 80.0, control=control)) is nothing


def test_labels_of_a_hundred_classes_stay_right_one_time_in_a_hundred():
    of = lambda share: row("snip+labels@0.9", 0, 80.0, control={"label_agreement": share}, num_classes=100)  # noqa: E731
    assert not evidence.control_did_nothing(of(0.01)) and evidence.control_did_nothing(of(0.1))


def test_a_control_of_the_arm_s_own_goes_before_its_parents():
    found = row("lt+both@0.9", 0, 80.0, control={"label_agreement": 0.9, "pixel_correlation": 0.0})
    assert evidence.control_did_nothing(found, row("dense+both", 0, 10.0))


@pytest.mark.parametrize("changes", [
    {"width": 8}, {"stem_stride": 1}, {"batch": 64}, {"momentum": 0.8}, {"weight_decay": 1e-4},
    {"drops": ("0.5",)}, {"padding": 2}, {"flip": False},
])  # fmt: skip
def test_rows_of_other_networks_or_recipes_never_count(changes):
    assert judge(arms(FOUND | REARRANGED, changes=changes)).word == "not run"


def test_rows_of_another_data_set_never_count():
    configs = [dataclasses.replace(one.config, dataset="cifar100") for one in arms(FOUND | REARRANGED)]
    assert judge([row_of(config, 80.0) for config in configs]).word == "not run"


def test_a_collapse_lies_below_twice_chance():
    assert [evidence.collapse(row("snip@0.9", 0, accuracy)) for accuracy in (20.0, 19.99)] == ["", "below twice chance"]


def test_what_a_mean_hides_needs_seeds_that_count_and_controls_that_did_something():
    means = {"lrr@0.9": 82.0, "lrr+shuffled@0.9": 80.0, "lrr@0.98": 70.0, "lrr+shuffled@0.98": 72.0}
    rows = [row(arm, seed, mean + seed / 10) for arm, mean in means.items() for seed in range(3)]

    def uneven(rows, limit):
        pair = CLAIMS["D1"].comparisons[1]
        return evidence.uneven(evidence.select(rows, "laptop"), pair, "superiority", None, ("0.9", "0.98"), limit)

    assert uneven(rows, 3) and uneven(rows, 1) == {}
    assert uneven([Row(one | {"control": {}}) for one in rows], 3) == {}
