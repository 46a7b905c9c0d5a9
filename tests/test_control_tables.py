"""Tables of a chapter's arms: what controls measured, what pretraining reached, what masks keep; on synthetic rows."""

import pytest
from synthetic import book, row
from ticketbook import checks, controls

from ticketlib.analysis.evidence import select
from ticketlib.experiments import grids

MOVED, SPOILT = checks.against_itself("rearranged"), checks.against_itself("both")


def chapter(*rows):
    """Rows as a chapter has them."""
    return checks.by_place(rows, "laptop")


def test_controls_are_read_from_the_arm_or_from_its_trained_net():
    dense = row("dense+both", 0, 20.0)
    ticket = row("lt+both@0.9", 0, 80.0, control={}, parent=dense["name"])
    lines = controls.control_table(chapter(dense, ticket), SPOILT).splitlines()
    assert len(lines) == 4 and "labels that are still right" in lines[2] and lines[2].endswith("1 of 1 |")
    assert "| 0.010 |" in lines[3]
    assert controls.control_table({"resnet20": {}}, SPOILT).startswith("**Not run.**")


def test_an_arm_without_a_classifier_says_nothing_beside_others():
    arms = {f"magnitude@{s}": {0: row(f"magnitude@{s}", 0, 10.0, classifier_share=share)}
            for s, share in (("0.9", 0.1), ("0.98", 0.0))}  # fmt: skip
    said = controls.guessing(arms, "magnitude@0.98")
    assert said.startswith("Mind *magnitude at initialisation* at 0.98: one threshold")
    assert controls.guessing(arms, "magnitude@0.9") == controls.guessing(arms, "magnitude@0.5") == ""


def test_a_rearranged_arm_says_how_much_could_move():
    (first, size), *others = [(layer.name, layer.size) for layer in grids.layers("laptop", "resnet")]
    counts = {name: 0 for name, _ in others} | {first: size // 2}
    made = row("snip+rearranged@0.9", 0, 80.0, keep_counts=counts)
    lines = controls.control_table(chapter(made), MOVED).splitlines()
    assert controls.movable(made) == pytest.approx(0.5) and lines[-1].count("| 0.500 |") == 1
    assert "kept places that can be expected to change" in lines[-1] and "kept places that changed" in lines[-2]
    whole = row("snip+rearranged@0.9", 1, 80.0, keep_counts=counts | {first: size})
    assert controls.movable(whole) == 0


def test_a_control_that_did_nothing_is_counted():
    rows = [row("snip+shuffled@0.9", seed, 80.0, control={"changed_share": share})
            for seed, share in enumerate((0.8, 0.02))]  # fmt: skip
    lines = controls.control_table(chapter(*rows), checks.against_itself("shuffled")).splitlines()
    assert len(lines) == 3
    assert lines[2].endswith("| kept values that changed | at least 0.1 | 0.020 to 0.800 | 1 of 2 |")


def test_pretraining_shows_loss_accuracy_and_how_far_below_guessing():
    made = [row("dense", 0, 90.0), row("dense", 1, 91.0, loss=0.7), row("dense+both", 0, 12.0, loss=2.3)]
    lines = controls.pretraining_table(chapter(*made)["resnet20"]).splitlines()
    assert lines[2] == "| dense | 0.600 (0.500 to 0.700) | 90.50 (90.00 to 91.00) | 2 |"
    assert lines[6] == "| dense, random labels and pixels | 2.300 | 12.00 | 1 |"
    assert lines[3].endswith("| not run | not run | 0 |")
    assert lines[-1] == (
        "Guessing among 10 classes gives a loss of 2.303. "
        "Training on random labels and pixels ended 0.003 below the loss of guessing."
    )


@pytest.mark.parametrize(("loss", "said"), [
    (2.3026, "ended at the loss"), (2.4026, "ended 0.100 above the loss"), (2.2026, "ended 0.100 below the loss")
])  # fmt: skip
def test_training_on_noise_is_held_against_guessing_to_three_digits(loss, said):
    assert said in controls.pretraining_table(chapter(row("dense+both", 0, 12.0, loss=loss))["resnet20"])


def test_a_network_that_learned_nothing_from_noise_is_said():
    def said(*losses, profile="laptop"):
        made = [row("dense+both", seed, 10.0, loss=loss) for seed, loss in enumerate(losses)]
        return controls.noise(chapter(*made)["resnet20"], profile)

    assert "trained for 7,820 steps; the recipe of the paper's code takes 125,120" in said(2.302, 2.303)
    assert said(2.302, 2.2) == said(2.302, 2.5) == controls.noise({}, "laptop") == said(2.302, profile="paper") == ""


def test_pretraining_that_has_not_run_is_said():
    lines = controls.pretraining_table({}).splitlines()
    assert len(lines) == 7 and all(line.endswith("| not run | not run | 0 |") for line in lines[2:])


def test_every_arm_stands_by_itself_with_what_its_masks_keep():
    facts = {"effective_sparsity": 0.91, "classifier_share": 0.02}
    made = [row("snip@0.9", seed, 80.0 + seed, empty_layers=["a"] * seed, **facts) for seed in range(3)]
    lines = controls.arms_table(chapter(*made, row("smart@0.9", 0, 79.0)), MOVED).splitlines()
    assert [line for line in lines if line.startswith("| ResNet")] == [
        "| ResNet-20 | SNIP | 0.9 | 81.00 (SD 1.00, n = 3) | 0.9100 | 2.0 | 2 (an empty layer) |"
    ]
    assert lines[0] == "<details><summary>Every ticket by itself</summary>" and lines[-1] == "</details>"
    assert controls.arms_table({"resnet20": {}}, MOVED).startswith("**Not run.**")


def test_a_finished_campaign_has_every_arm_of_the_claims():
    found = {"resnet20": select(book(("step1",)), "laptop")}
    lines = [line for line in controls.arms_table(found, [*MOVED, *SPOILT]).splitlines() if line.startswith("| Res")]
    assert len(lines) == 18 and all("n = 10" in line for line in lines)


def test_masks_without_a_path_are_counted():
    moved = checks.against_itself("rearranged", ("lt",))
    rows = [row("lt@0.98", seed, 10.0, effective_sparsity=1.0 if seed else 0.98) for seed in range(3)]
    rows += [row(f"{arm}@0.98", 0, 10.0, effective_sparsity=1.0) for arm in ("lt+rearranged", "snip")]
    said = controls.cut({"resnet20": select(rows, "laptop")}, moved)
    cut = "LT, rearranged, ResNet-20 at 0.98: 1 of 1 runs; LT, ResNet-20 at 0.98: 2 of 3 runs. "
    assert f"can only guess: {cut}" in said and "SNIP" not in said
    assert controls.cut({"resnet20": select(rows[:1], "laptop")}, moved) == ""
