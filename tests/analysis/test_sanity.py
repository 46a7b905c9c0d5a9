"""Bring your own pruner: every check on a score, network and images from outside, resumed, read by the book's words."""

import functools
import hashlib
import itertools
import re
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ticketlib
from ticketlib import masks, ratios
from ticketlib.analysis import arms, sanity, verdicts
from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, grids, run
from ticketlib.experiments.config import Config
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.profiles import Images
from ticketlib.models import build, logits, prunable


def magnitude(model, images, labels):
    return {name: weight.abs() for name, weight in prunable(model).items()}


def snip(model, images, labels):
    F.cross_entropy(logits(model(images)), labels).backward()
    return {name: (weight * weight.grad).abs() for name, weight in prunable(model).items()}


def mlp(width=16):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(), nn.Linear(width, 3))


class Cnn(nn.Module):
    """Group norm and dropout, and what the network sees kept beside its logits."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 8, 3)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(8, 3)

    def forward(self, x):
        seen = F.relu(self.b(F.relu(self.norm(self.a(x))))).mean((2, 3))
        return self.head(self.drop(seen)), seen


def of(count):
    labels = torch.arange(count) % 3
    images = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
    images[labels == 1, :, ::2] += 1.5  # rows
    images[labels == 2, :, :, ::2] += 1.5  # columns
    return images, labels


DATA = *of(300), *of(90)
OWN = dict(model=mlp, data=DATA, training=dict(epochs=1), seeds=2, progress=False)


@pytest.fixture
def runs(monkeypatch):
    """Which runs are trained in full, rehearsals apart, by mask; the one after `most` is interrupted."""
    made, execute = Counter(), run.execute

    def counted(config, dataset, *, steps=None, **options):
        if not steps:
            if made.total() == counted.most:
                raise KeyboardInterrupt
            made[(config.ticket[:3], config.check, config.corruption)] += 1
        return execute(config, dataset, steps=steps, **options)

    counted.most = 1000
    monkeypatch.setattr(run, "execute", counted)
    monkeypatch.setattr(arms, "RATIO_SEEDS", range(10_000, 10_002))
    made.counted = counted
    return made


def check(function, folder, **options):
    return ticketlib.sanity_check(function, ledger=folder, **OWN | options)


def facts(result):
    """All that a result says, as one value."""
    return result.table.to_csv() + result.accuracies.to_csv() + "".join(result.scope)


def test_every_check_on_a_network_and_images_from_outside_killed_and_resumed(tmp_path, runs):
    runs.counted.most = 5
    with pytest.raises(KeyboardInterrupt):
        check(snip, tmp_path, family="resnet", model=Cnn)
    runs.counted.most = 1000
    result = check(snip, tmp_path, family="resnet", model=Cnn)
    assert runs == {("own", "none", "none"): 6, ("own", "none", "both"): 2, ("own", "rearranged", "none"): 2,
                    ("own", "shuffled", "none"): 2, ("own", "reinitialised", "none"): 2,
                    ("own", "random_signs", "none"): 2, ("own", "fresh_magnitudes", "none"): 2,
                    ("uni", "none", "none"): 2, ("erk", "none", "none"): 2}  # fmt: skip
    again, stored = (check(snip, tmp_path, family="resnet", model=Cnn, source=source) for source in ("run", "stored"))
    assert runs.total() == 22 and facts(again) == facts(stored) == facts(result)

    rows = {key[0]: row for key, row in result.rows.items() if key[2] == 0}
    assert set(rows) == set(arms.ARMS) - {"synflow"}
    assert {sum(row["keep_counts"].values()) for row in rows.values()} == {masks.asked_total(36 + 288 + 24, "0.9")}
    digests = {name: row["mask_digest"] for name, row in rows.items()}
    same_places = ("shuffled", "reinitialised", "random_signs", "fresh_magnitudes")
    assert {digests[f"own+{check}"] for check in same_places} == {digests["own"]}
    assert len(set(digests.values())) == len(rows) - 4
    assert rows["own"]["keep_counts"] == rows["own+rearranged"]["keep_counts"] != rows["mean"]["keep_counts"]
    for rule in ("smart", "erk", "uniform"):
        assert rows[rule]["keep_counts"] == ratios.keep_counts(Cnn(), rule, "0.9", family="resnet")
    assert all(0 < row["control"]["changed_share"] <= 1 for name, row in rows.items() if name.endswith(("led", "sed")))
    assert rows["own+rearranged"]["control"]["moved_share"] > 0.5
    assert rows["own+fresh_magnitudes"]["control"]["signs_kept"] == 1
    assert 0.1 < rows["own+random_signs"]["control"]["signs_kept"] < 0.9  # of 34 weights
    assert abs(rows["own+both"]["control"]["pixel_correlation"]) < 0.1

    words = dict(zip(result.readings.key, result.readings.word, strict=True))
    assert words.pop("synflow") == verdicts.NOT_DEFINED and "norm" in result.readings.set_index("key").beside["synflow"]
    assert set(words.values()) <= {verdicts.SEEDS_MISSING, verdicts.NOT_TESTABLE}
    assert set(words) == {one.key for one in sanity.COMPARISONS} - {"synflow"}
    line = result.readings.set_index("key").loc["rearranged"]
    ours, theirs = result.rows["own+rearranged", "0.9", 1], result.rows["own", "0.9", 1]
    points = line.points
    assert points[1] == ours["accuracy"] - theirs["accuracy"] and line["mean"] == pytest.approx(points.mean())
    short = result.readings.word == verdicts.SEEDS_MISSING
    assert str(result).count("2 of 6 seeds") == short.sum() > 0
    assert any("348 of 371 " in line for line in result.scope)  # all but norm and biases
    assert len(result.figure().axes) == 1 and repr(result) == "SanityCheck('snip', 22 runs)"


def test_a_network_is_trained_as_its_own_loop_would(tmp_path, runs):
    """The mask as found by hand, and the accuracy of the row by a loop of torch's own optimiser."""
    result = check(snip, tmp_path, model=plain, seeds=1)
    row = result.rows["own", "0.9", 0]
    plan, config = result.plan, row.config
    model = plan.draw(config)
    (images, labels), _ = run.scoring_batch(plan.dataset, config, "batch")
    mask = masks.global_mask(snip(plan.draw(config), images, labels), "0.9")
    assert mask.digest() == row["mask_digest"] and labels.bincount().tolist() == [10] * 3
    mask.apply(model)
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    order = run.streams(config)("order/train")
    for number, index in enumerate(torch.randperm(300, generator=order).split(64)):
        sgd.param_groups[0]["lr"] = 0.1 * 0.1 ** sum(number >= int(5 * drop) for drop in (0.5, 0.75))
        sgd.zero_grad()
        F.cross_entropy(model(DATA[0][index]), DATA[1][index]).backward()
        sgd.step()
        mask.apply(model)
    accuracy = 100 * float((model.eval()(DATA[2]).argmax(1) == DATA[3]).float().mean())
    assert row["accuracy"] == pytest.approx(accuracy, abs=0.01)


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))


def test_a_run_with_dropout_goes_on_inside_itself_to_the_last_digit(tmp_path, monkeypatch):
    plan = check(snip, make(tmp_path / "rows"), source="stored", training=dict(epochs=2)).plan
    config, saved = plan.config("own", "0.9", 0), []
    whole = plan.carry_out(config, cache=tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        save = checkpoints.Keeper.save
        then = lambda *given: (save(*given), saved.append(1), len(saved) < 4 or stop())  # noqa: E731
        patched.setattr(checkpoints.Keeper, "save", then)
        plan.carry_out(config, cache=tmp_path / "cut", save_every=0)
    row = plan.carry_out(config, cache=tmp_path / "cut")
    assert row["went_on"] == 1 and (row["loss"], row["correct"]) == (whole["loss"], whole["correct"])


def stop():
    raise KeyboardInterrupt


@pytest.mark.slow
def test_rows_are_named_by_what_decides_them(tmp_path, runs):
    def names(function=snip, **options):
        options = OWN | dict(seeds=1) | options
        check(function, tmp_path, **options)
        made = runs.total()
        runs.clear()
        return made

    power = 2

    def other(model, images, labels):
        return {name: score**power for name, score in snip(model, images, labels).items()}

    assert names() == 11 and names() == 0 and names(name="another") == 0
    assert names(other) == 8  # the yardsticks are there
    power = 3
    assert names(other) == 8
    assert names(model=Cnn) == 10 and names(model=Cnn, family="vgg") == 1 == names(model=Cnn, family="resnet")
    assert names(seeds=2) == 11 and names(sparsities=("0.9", "0.8")) == 11
    for change in (dict(model=plain), dict(training=dict(epochs=2)), dict(training=dict(epochs=1, lr=0.2)),
                   dict(per_class=9), dict(data=(DATA[0] * 2, *DATA[1:]))):  # fmt: skip
        assert names(**change) == 11
    with pytest.raises(TicketError, match="'no/such'"):
        check(snip, "no/such", source="stored")


def test_rows_are_a_table_without_the_function_at_hand(tmp_path, runs):
    result = check(magnitude, tmp_path, seeds=1)
    table = sanity.frame(Ledger(tmp_path / "own").rows())
    assert pd.testing.assert_frame_equal(table, result.frame()) is None
    assert table["mask"].tolist() == [name for arm, name in arms.ARMS.items() if arm != "smart"]
    assert table.score.tolist() == ["magnitude"] * 8 + [""] * 3 and set(table.drawn) == {"mlp"}
    assert table.accuracy.between(0, 100).all() and set(table.num_test) == {90}
    both = result.readings.set_index("key").loc["both"]
    assert both.word == verdicts.NOT_TESTABLE and both["mean"] == 0
    empty = check(snip, tmp_path, source="stored")
    assert set(empty.readings.word) == {verdicts.NOT_RUN, verdicts.NOT_DEFINED} and not len(empty.frame()) - 3
    assert empty.figure().axes


@pytest.mark.slow
def test_an_estimate_comes_first_on_stderr_and_the_seeds_that_a_word_takes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.path.insert(0, sys.argv[1])\nimport test_sanity as t\n"
                      "import ticketlib\nprint(repr(ticketlib.sanity_check(t.magnitude, ledger='rows', "
                      "**t.OWN | dict(seeds=1, progress=True))))\n")  # fmt: skip
    done = subprocess.run([sys.executable, script, __file__.rpartition("/")[0]], cwd=tmp_path, capture_output=True,
                          text=True, check=True)  # fmt: skip
    lines = done.stderr.splitlines()
    [estimate] = [line for line in lines if re.match(r"11 runs .* \d+ (s|min)\b.* 6 seeds .* 1 ", line)]
    assert len(lines[lines.index(estimate) :]) == 1 + 11  # a line a run after it
    assert "magnitude+rearranged@0.9" in done.stderr and "own-" not in done.stderr
    assert done.stdout == "SanityCheck('magnitude', 11 runs)\n" and len(Ledger(tmp_path / "rows/own").names()) == 11


def test_the_time_expected_is_that_of_training_testing_and_scoring(tmp_path, monkeypatch):
    training = dict(epochs=5, eval_every=2)
    plan = ticketlib.sanity_check(snip, ledger=make(tmp_path), source="stored", training=training).plan
    row = dict(images=100, train_seconds=2.0, num_test=50, eval_seconds=1.0, seconds=10.0)  # 7 s find the mask
    monkeypatch.setattr(sanity, "_rehearse", lambda *_: (None, row, None))
    monkeypatch.setattr(arms.OwnPlan, "synflow", lambda *_, **__: None)
    monkeypatch.setattr(sanity.time, "perf_counter", itertools.count(0, 0.5).__next__)  # half a second a round
    each = 5 * 1437 * 0.02 + 3 * 360 * 0.02
    for keys, more in ((("own", "own+both", "mean", "smart"), 3 * 7), (("synflow", "erk"), 100 * 0.5)):
        found = sanity._expected(plan, [(key, None) for key in keys], "cpu")
        assert found == pytest.approx(len(keys) * each + more + 5 * 7)  # and five more scores for the mean's counts


def made_up(plan, means, seeds=8, **facts):
    """Rows of a plan as training might have left them, around these accuracies; the rest at 80 %."""
    from synthetic import noise, row_of

    for (arm, sparsity, seed), config in plan.configs(seeds).items():
        accuracy = means.get(arm, 80) + noise(arm + sparsity, seed)
        digest = hashlib.sha256(f"{arm}{seed}".encode()).hexdigest()
        row = row_of(config, accuracy, mask_digest=digest, classifier_share=0.1, effective_sparsity=0.9,
                     **{"keep_counts": {"fc.weight": 3}} | facts)  # fmt: skip
        plan.ledger.add(row | {"own": plan.label(arm)})


@pytest.fixture
def plan(tmp_path):
    """The plan of a call on the profile's network, nothing of it run."""
    return lambda **options: ticketlib.sanity_check(
        snip, **dict(ledger=make(tmp_path), source="stored", seeds=8, per_class=10) | options
    ).plan


def make(folder):
    folder.mkdir(exist_ok=True)
    return folder


def read(plan):
    return sanity._read(plan).readings.set_index(["key", "sparsity"])


def test_words_are_those_of_the_protocol_at_each_sparsity(plan):
    plan = plan(sparsities=("0.9", "0.8"))
    made_up(plan, {"uniform": 70, "own+rearranged": 77, "smart": 90, "erk": 79.3})
    found = read(plan)
    for sparsity in ("0.9", "0.8"):
        words = found.xs(sparsity, level="sparsity").word
        assert words.to_dict() == {
            "both": "same", "rearranged": "worse by more than the margin", "shuffled": "same", "reinitialised": "same",
            "random_signs": "same", "fresh_magnitudes": "same", "own": "same", "synflow": "same", "erk": "same",
            "smart": "better by more than the margin", "uniform": "worse by more than the margin",
            "control": "better by more than the margin",
        }  # fmt: skip
    assert (found.n == 8).all() and len(sanity._read(plan).figure().axes) == 2


def test_eleven_lines_share_holms_level_and_the_control_stands_apart(plan):
    plan = plan()
    made_up(plan, {})
    alphas = read(plan).droplevel("sparsity").alpha
    assert alphas["control"] == 0.05 and sorted(alphas.drop("control")) == pytest.approx(
        [0.05 / m for m in range(11, 0, -1)]
    )


def test_n_is_what_the_first_call_asked_for(plan):
    at_six = plan(seeds=6)
    made_up(at_six, {}, seeds=6)
    later = plan(seeds=8)
    made_up(later, {"own": 70}, seeds=8)  # adds seeds 6 and 7 alone
    found = sanity._read(later)
    assert later.seeds("0.9") == 6 and (found.readings.n == 6).all() and found.readings.word.iloc[1] == "same"
    assert found.frame().seed.max() == 7 and sanity._read(plan(seeds=3)).readings.said.iloc[1] == "same"


def test_a_short_first_call_leaves_six_to_be_asked_for(plan):
    made_up(plan(seeds=2), {}, seeds=2)
    assert read(plan(seeds=2)).said.iloc[1] == "2 of 6 seeds"
    made_up(plan(seeds=6), {}, seeds=6)
    assert read(plan(seeds=6)).word.iloc[1] == "same"


def test_a_control_that_did_nothing_gives_no_word(plan):
    plan = plan()
    made_up(plan, {}, control={"moved_share": 0.0, "label_agreement": 1.0, "changed_share": 0.0})
    found = read(plan).droplevel("sparsity").word
    controls = [one.key for one in sanity.COMPARISONS if "+" in one.a]
    assert len(controls) == 6 and set(found[controls]) == {verdicts.NOT_TESTABLE} and found["own"] == "same"


def test_layers_that_its_masks_leave_empty_are_named(plan):
    plan = plan()
    made_up(plan, {}, empty_layers=["fc.weight"], keep_counts={"conv.weight": 3, "fc.weight": 0})
    assert any("fc.weight" in line and "8 of 8" in line for line in sanity._read(plan).scope)


def test_runs_that_learnt_nothing_are_counted_and_differences_of_zero_are_told(plan, monkeypatch):
    monkeypatch.setattr("synthetic.noise", lambda *_: 0)
    plan = plan()
    made_up(plan, {arm: 10 for arm, *_ in plan.configs(8) if arm != "uniform"})
    found, runs = sanity._read(plan), len(plan.configs(8))
    assert any(f"{runs - 8} of {runs} runs collapsed" in line for line in found.scope)
    beside = found.readings.set_index("key").beside
    assert "exactly 0" in beside["rearranged"] and "exactly 0" not in beside["uniform"]


def test_stored_rows_are_read_where_runs_are_written_without_a_ledger_named(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_LEDGER", str(tmp_path))
    made_up(plan(ledger=make(tmp_path / "smoke")), {})
    assert (ticketlib.sanity_check(snip, source="stored", seeds=8).readings.n == 8).all()


def test_seeds_beyond_those_of_the_first_call_are_told_before_they_are_made(plan, tmp_path, monkeypatch, capsys):
    made_up(plan(seeds=2), {}, seeds=2)
    monkeypatch.setattr(sanity, "_expected", lambda *_: 1.0)
    monkeypatch.setattr(sanity, "conduct", lambda *_: SimpleNamespace(failed=[]))
    for seeds, told in ((6, False), (9, True)):
        ticketlib.sanity_check(snip, ledger=tmp_path, seeds=seeds)
        assert ("read at 6" in capsys.readouterr().err) == told


def test_what_cannot_be_met_says_why(tmp_path):
    found = ticketlib.sanity_check(magnitude, ledger=make(tmp_path), source="stored", sparsities="0.998")
    words, why = (found.readings.set_index("key")[what] for what in ("word", "beside"))
    assert words["smart"] == verdicts.NOT_DEFINED and "budget" in why["smart"]
    assert words["both"] == verdicts.NOT_RUN


def zero_headed():
    net = plain()
    nn.init.zeros_(net[3].weight)
    return net


def test_magnitudes_are_not_drawn_from_a_layer_of_zeros(tmp_path):
    found = check(magnitude, make(tmp_path), source="stored", model=zero_headed)
    line = found.readings.set_index("key").loc["fresh_magnitudes"]
    assert line.word == verdicts.NOT_DEFINED and "3.weight" in line.beside


def test_the_old_call_goes_through_every_check_with_the_rows_of_the_profile(tmp_path, runs, monkeypatch):
    monkeypatch.setattr(grids, "arm", functools.partial(grids.arm, epochs=1))
    result = ticketlib.sanity_check(snip, seeds=1, ledger=tmp_path, progress=False)
    assert runs.total() == 12
    config, dataset = result.rows["synflow", "0.9", 0].config, result.plan.dataset
    theirs = grids.arm("smoke", "synflow@0.9", 0, Images("digits", dataset.fingerprint))
    assert config == theirs
    mask, _ = run.ticket_mask(grids.arm("smoke", "snip@0.9", 0, dataset), dataset, run.build(config, dataset))
    assert mask.digest() == result.rows["own", "0.9", 0]["mask_digest"]


ARGUMENTS = {
    "3": dict(function=3),
    "'a b'": dict(name="a b"),
    "profile 'huge'": dict(profile="huge"),
    "network 'mlp'": dict(network="mlp", model=None),
    "ResNet": dict(network=build("resnet8", 10, 1), model=None),
    "family 'vgg'": dict(family="vgg", model=None),
    "seeds -1": dict(seeds=-1),
    "device 'gpu'": dict(device="gpu"),
    "sparsities ()": dict(sparsities=()),
    "'most'": dict(sparsities=("most",)),
    "'1.5'": dict(sparsities=("1.5",)),
    "None": dict(sparsities=None),
    "'0'": dict(sparsities="0"),
    "[0, 0.9]": dict(sparsities=[0, 0.9]),
    "0.99999 keeps none of 1072": dict(sparsities=("0.9", "0.99999")),
    "ledger 5": dict(folder=5),
    "/proc/nowhere": dict(folder="/proc/nowhere"),
    "'speed'": dict(training=dict(speed=3)),
    "'engine'": dict(training=dict(engine="sparse")),
    "epochs '3'": dict(training=dict(epochs="3")),
    "Class 0 has 100 images, 101": dict(per_class=101),
    "second, equal call": dict(function=lambda *b: {n: s * next(CALLS) for n, s in magnitude(*b).items()}),
    "ZeroDivisionError": dict(function=lambda *b: 1 / 0),
    "(2, 3) for 2 images; allowed: logits (2, 4 or more), as labels go up to 3": dict(
        data=(DATA[0], DATA[1] + 1, *DATA[2:])),
    "0 cannot work on images of shape (2, 1, 8, 8)": dict(model=lambda: nn.Sequential(nn.Conv2d(3, 4, 3))),
    "drops (0.5,)": dict(training=dict(drops=(0.5,))),
}
CALLS = iter(range(1, 10**6))


@pytest.mark.parametrize("named", ARGUMENTS)
def test_a_wrong_argument_is_told_before_anything_is_trained(named, tmp_path, runs):
    with pytest.raises(TicketError, match=re.escape(named)):
        check(**{"function": magnitude, "folder": tmp_path} | ARGUMENTS[named])
    assert not runs and not list(tmp_path.rglob("*.json"))


def test_a_configuration_takes_what_comes_from_outside_by_sixteen_digits():
    known = grids.arm("smoke", "snip@0.9", 0, Images("digits")).as_dict()
    own = "own-0123456789abcdef"
    config = Config.from_dict(known | dict(ticket=own, network=own, dataset=own))
    assert config.arm == f"{own}@0.9"
    for what in ("ticket", "dataset"):
        for wrong in ("own-", "own-0123456789abcde", f"{own}0", own.upper(), f"{own}\n"):
            with pytest.raises(TicketError, match=what.replace("set", "")):
                Config.from_dict(known | {what: wrong})
