"""The verdict at the top of a chapter: the words agree with the numbers in every branch, on synthetic rows."""

import pytest
from synthetic import CIFAR, arms, row, row_of
from ticketbook import board_1 as board
from ticketbook import checks, judging

from ticketlib.experiments import grids, session
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.profiles import Images

FOUND = {"snip": 80.0, "grasp": 79.0, "lt": 81.0}
MOVED = {f"{ticket}+rearranged": mean for ticket, mean in FOUND.items()}
RANDOM = {"smart": 80.9, "uniform": 70.0}
TRAINED = {"lrr": 85.0, "lrr+half": 83.0, "lrr+shuffled": 82.0, "lrr+rearranged": 81.0, "hybrid": 87.0}


@pytest.fixture(autouse=True)
def fixed(monkeypatch):
    """A protocol of six seeds."""
    monkeypatch.setattr(board, "protocol", lambda: {"margin": 1.0, "seeds": 6})


def page(folder, rows=(), *claims, **values):
    """What a chapter says of some claims when its ledger has these rows."""
    for one in rows:
        Ledger(folder).add(one)
    given = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="") | values
    return judging.verdict(session.NotebookRun(**given, ledger=folder), *claims)


def test_without_a_protocol_or_rows_or_at_toy_scale_there_is_no_word(tmp_path, monkeypatch):
    assert page(tmp_path, (), "C", profile="smoke").startswith("**Claim C: no verdict on this page.**")
    assert page(tmp_path, (), "D1", "D2", profile="smoke").startswith("**Claims D1 and D2: no verdict")
    said = page(tmp_path, (), "C")
    assert said.startswith("**Claim C: not run.**") and said.endswith("not in this ledger.")
    monkeypatch.setattr(board, "protocol", lambda: None)
    assert "not fixed a margin" in page(tmp_path, (), "C")


def test_a_claim_that_holds_has_scope_effect_interval_seeds_device_margin_and_control(tmp_path):
    said = page(tmp_path, arms(FOUND | MOVED | RANDOM), "B")
    first, _, _, _, line, *rest = said.splitlines()
    assert first == (
        "**Claim B: holds.** Where it applies: ResNet-20 (width 16, stem stride 2), CIFAR-10, 20 epochs; the mean over "
        "0.9 and 0.98 of the weights removed."
    )
    assert line.startswith("| SNIP, rearranged − SNIP | holds: ") and "interval" in line and "n = 6" in line
    assert "Made with n = 6, cpu: synthetic, 1 thread." in rest
    assert rest[-1].startswith("The margin is ±1 point. For comparison, smart ratio minus uniform (only the keep-")
    assert "collapsed" not in said and "so far" not in said


def test_in_part_says_which(tmp_path):
    said = page(tmp_path, arms(FOUND | MOVED | {"lt+rearranged": 75.0}), "B")
    assert said.startswith("**Claim B: holds in part.** *Holds*: SNIP, GraSP. *Does not hold*: LT. Where it applies")
    assert "is not known here yet" in said


def test_not_holding_and_undecided_need_no_list(tmp_path):
    worse = {arm: mean - 5 for arm, mean in MOVED.items()}
    assert page(tmp_path, arms(FOUND | worse), "B").startswith("**Claim B: does not hold.** Where it applies")
    wide = [Row(one | {"accuracy": one["accuracy"] + 4 * (one.config.seed % 3) * (one.config.check != "none") - 4})
            for one in arms(FOUND | MOVED)]  # fmt: skip
    assert page(tmp_path / "wide", wide, "B").startswith("**Claim B: undecided.** Where it applies")


def test_before_all_seeds_there_are_numbers_and_no_word(tmp_path):
    said = page(tmp_path, arms(FOUND | MOVED, seeds=range(3)), "B")
    assert said.startswith("**Claim B: provisional.** Where it applies") and "n = 3" in said
    assert said.count("provisional, 3 of 6 seeds; so far ") == 3
    one = page(tmp_path / "one", arms(FOUND | MOVED, seeds=range(1)), "B")
    assert one.count("provisional, 1 of 6 seeds; so far ") == 3 and one.count("one seed, no interval") == 3


def test_the_books_numbers_stand_beside_those_of_others(tmp_path):
    for one in arms(FOUND | MOVED, seeds=range(3)):
        Ledger(tmp_path).add(one)
    run = session.NotebookRun("laptop", "stored", tmp_path, 0, "auto", "")
    said = judging.beside_others(run, "B")
    assert said.startswith("**This book's, beside them** (ResNet-20") and said.count("90 % interval") == 3
    assert "; intervals before Holm's method, which are never wider than those that decide): " in said
    assert "SNIP, rearranged − SNIP: " in said and said.endswith("n = 3.") and "holds" not in said
    assert "hybrid − LRR: no runs." in judging.beside_others(run, "D2")
    assert judging.beside_others(session.NotebookRun("smoke", "run", tmp_path, 0, "auto", ""), "B") == ""


def test_superiority_shows_no_margin_and_two_claims_share_one_control(tmp_path):
    said = page(tmp_path, arms(TRAINED | RANDOM), "D1", "D2")
    assert "margin" not in said and said.count("For comparison") == 1
    assert "**Claim D1: holds.**" in said and "**Claim D2: holds.**" in said
    assert "| LRR − LRR, half the data | holds: " in said and "| hybrid − LRR | holds: " in said


def test_the_positive_control_is_not_said_twice_of_the_claim_that_tests_it(tmp_path):
    said = page(tmp_path, arms(FOUND | RANDOM), "C")
    assert "**Claim C: holds.**" in said and "| smart ratio − uniform | holds: " in said
    assert "The margin is ±1 point." in said and "For comparison" not in said


def test_an_empty_layer_is_told_from_a_run_near_guessing(tmp_path):
    rows = [Row(one | {"empty_layers": ["conv.weight"]}) if one["arm"].startswith("snip") else one
            for one in arms(FOUND | MOVED)]  # fmt: skip
    said = page(tmp_path, rows, "B")
    assert "*Holds*: GraSP, LT. *Undecided*: SNIP." in said and "a collapse bars that word; collapsed runs: 24" in said
    assert "Collapsed runs: 24 (an empty layer), of 72 in all. A run with an empty layer counts as collapsed" in said
    assert "whatever its accuracy" in said and "The runs with an empty layer ended at 79." in said
    near = [Row(one | {"accuracy": 10.0}) if one["arm"] == "lt@0.98" and one.config.seed == 1 else one
            for one in arms(FOUND | MOVED)]  # fmt: skip
    said = page(tmp_path / "near", near, "B")
    assert "Collapsed runs: 1 (below twice chance), of 72 in all." in said and "whatever its accuracy" not in said


def test_a_control_that_did_nothing_and_mixed_devices_are_said_in_the_table(tmp_path):
    still = arms(FOUND) + arms(MOVED, control={"moved_share": 0.0})
    assert page(tmp_path, still, "B").count("| undecided: the control did nothing |") == 3
    mixed = arms(FOUND) + arms(MOVED, device="cuda")
    said = page(tmp_path / "mixed", mixed, "B")
    assert said.count("| undecided: pairs refused, they differ in device |") == 3
    assert "Made with n = 6, cpu: synthetic, 1 thread; cuda, 1 thread." in said


def test_the_positive_control_is_said_or_said_to_be_missing():
    rows = arms({"smart": 80.0, "uniform": 70.0}, seeds=range(8))
    said = judging.positive_control(rows, "laptop", 6)
    assert "is +10.0" in said and "95 % interval" in said and said.endswith("n = 6.")
    assert "not known here yet" in judging.positive_control(rows[:3], "laptop", 6)
    other = [Row(one | {"device": "cuda"}) if one.config.ticket == "smart" else one for one in rows]
    assert "not known here yet" in judging.positive_control(other, "laptop", 6)


def test_the_verdict_is_shown_anew_in_its_place_once_runs_were_made(tmp_path, monkeypatch):
    shown = []

    class Line:
        def display(self, markdown):
            shown.append(["first", markdown.data])

        def update(self, markdown):
            shown.append(["again", markdown.data])

    monkeypatch.setattr(judging, "DisplayHandle", Line)
    monkeypatch.setattr(session, "images", lambda run: CIFAR)
    run = session.NotebookRun(profile="laptop", source="run", ledger=tmp_path, seeds=0, device="auto", data_root="")
    again = judging.show_verdict(run, "B")
    for one in [*arms(FOUND | MOVED), row("dense", 0, 90.0)]:
        Ledger(tmp_path).add(one)
    again()
    assert [(when, text.split(".")[0]) for when, text in shown] == [
        ("first", "**Claim B: not run"), ("again", "**Claim B: holds")
    ]  # fmt: skip


def unjudged(folder, rows, *claims, **values):
    for one in rows:
        Ledger(folder).add(one)
    given = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="") | values
    run = session.NotebookRun(**given, ledger=folder)
    return judging.elsewhere(run, checks.rows(run, ()), *claims)


def pairs_at(sparsity, differences, arm, against, **options):
    """Rows of two arms with these differences, seed by seed."""
    return [row(f"{name}@{sparsity}", seed, 70.0 + by * (name == arm), **options)
            for seed, by in enumerate(differences) for name in (arm, against)]  # fmt: skip


def test_what_no_verdict_reads_is_said_to_lie_with_or_against_a_claim(tmp_path):
    rows = pairs_at("0.98", (5.0, 5.2, 5.1), "snip+rearranged", "snip")  # the verdict's own: not told here
    rows += pairs_at("0.995", (0.1, 0.2, 0.3), "snip+rearranged", "snip")
    rows += pairs_at("0.995", (-3.0, -3.2, -3.1), "lt+rearranged", "lt")
    rows += pairs_at("0.98", (-3.0, 5.0), "grasp+rearranged", "grasp", changes={"network": "vgg"})
    first, _, *lines = unjudged(tmp_path, rows, "B").splitlines()
    assert first == judging.UNJUDGED and [line.partition(":")[0] for line in lines] == [
        "- *As claim B says* (1)", "- *Against claim B* (1)", "- *Unsettled for claim B* (1)"
    ]  # fmt: skip
    assert "SNIP, rearranged − SNIP, ResNet-20 at 0.995: +0.20 (" in lines[0] and "LT, rearranged − LT" in lines[1]
    assert "GraSP, rearranged − GraSP, slim VGG-16 at 0.98: +1.00 (" in lines[2] and "n = 2)" in lines[2]


def test_other_data_and_claims_without_a_margin_are_read_too(tmp_path):
    rows = [row_of(grids.arm("laptop", f"{arm}@0.9", seed, Images("cifar100"), **grids.other_recipe("laptop")), of)
            for seed in range(3) for arm, of in (("lrr", 46.0 + 0.1 * seed), ("hybrid", 44.5))]  # fmt: skip
    rows += pairs_at("0.995", (2.0, 2.5, 3.0), "lrr", "lrr+rearranged", empty_layers=["conv"])
    said = unjudged(tmp_path, rows, "D1", "D2").splitlines()[2:]
    assert said[0].startswith("- *As claim D1 says* (1): LRR − LRR, rearranged, ResNet-20 at 0.995: +2.50 (")
    assert said[0].endswith("collapsed runs: 6 (an empty layer).")
    assert said[1].startswith("- *Against claim D2* (1): hybrid − LRR, ResNet-20, CIFAR-100 at 0.9: −1.60 (")


def test_nothing_is_said_without_a_second_seed_a_protocol_or_at_toy_scale(tmp_path, monkeypatch):
    one = pairs_at("0.995", (1.0,), "snip+rearranged", "snip")
    assert unjudged(tmp_path, one, "B") == ""
    two = pairs_at("0.995", (1.0, 2.0), "lt+rearranged", "lt")
    assert unjudged(tmp_path, two, "B") and unjudged(tmp_path, [], "B", profile="smoke") == ""
    monkeypatch.setattr(board, "protocol", lambda: None)
    assert unjudged(tmp_path, [], "B") == ""
