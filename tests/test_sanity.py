"""Bring your own pruner: wrong functions, unseen ones, names that follow the function, and the checks themselves."""

import contextlib
import functools
import io
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from synthetic import noise, row
from torch import nn

import ticketlib
from ticketlib import pruners, ratios, tickets
from ticketlib.analysis import findings, sanity
from ticketlib.analysis import scorer as scorers
from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.experiments import run as experiment
from ticketlib.models import build, prunable


def magnitude(model, images, labels):
    return {name: weight.abs() for name, weight in prunable(model).items()}


def snip(model, images, labels):
    weights = prunable(model)
    grads = torch.autograd.grad(F.cross_entropy(model(images), labels), list(weights.values()))
    return {name: (weight * grad).abs() for (name, weight), grad in zip(weights.items(), grads, strict=True)}


def dice(model, images, labels):
    return {name: torch.rand(weight.shape) for name, weight in prunable(model).items()}


@pytest.fixture(scope="module")
def batch():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(20, 1, 8, 8, generator=draw), torch.arange(20) % 10


@pytest.fixture(scope="module")
def model():
    return build("resnet8", 10, 1, width=8)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Two epochs instead of six, and two seeds whose keep-counts are averaged."""
    make_short(monkeypatch)


def make_short(monkeypatch):
    monkeypatch.setattr(grids, "arm", functools.partial(grids.arm, epochs=2))
    monkeypatch.setattr(sanity, "RATIO_SEEDS", range(10_000, 10_002))


def count_runs(monkeypatch, most=1000):
    """Count the runs carried out, by ticket; the one after `most` is interrupted."""
    made, execute = Counter(), experiment.execute

    def counted(config, dataset, **options):
        if len(dataset.train) != 1437:  # the few steps that are timed do not count
            return execute(config, dataset, **options)
        if made.total() == most:
            raise KeyboardInterrupt
        made[config.ticket.split("-")[0] + ("-mean" if config.ticket.endswith("-mean") else "")] += 1
        return execute(config, dataset, **options)

    monkeypatch.setattr(experiment, "execute", counted)
    return made


def check(function, folder, **options):
    return ticketlib.sanity_check(function, **{"seeds": 1, "ledger": folder, "progress": False, **options})


def first(scores, change):
    return {name: change(score) if name == "conv.weight" else score for name, score in scores.items()}


def untidy(change):
    def function(model, images, labels):
        change(model, images, labels)
        return magnitude(model, images, labels)

    return function


def one_minus_infinity(score):
    return torch.where(score == score.max(), -torch.inf, score)


def fail():
    raise AssertionError


def leave_gradient(model, images, labels):
    F.cross_entropy(model(images), labels).backward()


WRONG = {
    "returned list; it must return a dict": lambda *batch: list(magnitude(*batch).values()),
    "no scores for conv.weight": lambda *batch: {k: v for k, v in magnitude(*batch).items() if k != "conv.weight"},
    "scores for the unknown bn.weight": lambda *batch: magnitude(*batch) | {"bn.weight": torch.ones(8)},
    "conv.weight scores of shape (2, 1, 3, 3); the weight has (8, 1": lambda *b: first(magnitude(*b), lambda s: s[:2]),
    "conv.weight 72 scores that are NaN": lambda *batch: first(magnitude(*batch), lambda s: s * torch.nan),
    "conv.weight 72 scores that are NaN or inf": lambda *batch: first(magnitude(*batch), lambda s: s + torch.inf),
    "no scores for conv.weight, blocks.0.conv1.weight, blocks.0.conv2.weight and 7 more, and scores for the unknown "
    "conv, blocks.0.conv1": lambda *b: {name.removesuffix(".weight"): s for name, s in magnitude(*b).items()},
    "returned no scores for conv.weight, blocks.0.conv1.weight, blocks.0.conv2.weight and 7 more;": lambda *batch: {},
    "scores for the unknown 3;": lambda *batch: magnitude(*batch) | {3: torch.ones(2)},
    "returned NoneType; it must return a dict": lambda *batch: None,
    "conv.weight 1 scores that are NaN or inf": lambda *batch: first(magnitude(*batch), one_minus_infinity),
    "conv.weight with ndarray; it must be a dense real tensor on cpu": lambda *batch: {
        name: score.detach().numpy() for name, score in magnitude(*batch).items()
    },
    "conv.weight with torch.float32 on meta": lambda *batch: first(magnitude(*batch), lambda s: s.to("meta")),
    "conv.weight with Tensor; it must be a dense": lambda *batch: first(magnitude(*batch), lambda s: s.to_sparse()),
    "raised AssertionError (its line": lambda *batch: fail(),
    "changed the values of conv.weight": untidy(lambda model, *_: model.half()),
    "changed the mode of conv;": untidy(lambda model, *_: setattr(model, "conv", nn.Conv2d(1, 8, 3, bias=False))),
    "conv.weight with float": lambda *batch: first(magnitude(*batch), lambda s: 0.5),
    "conv.weight with torch.complex64": lambda *batch: first(magnitude(*batch), lambda s: s * 1j),
    "the same score": lambda *batch: {name: torch.ones_like(s) for name, s in magnitude(*batch).items()},
    "raised ZeroDivisionError: division by zero (its line": lambda *batch: 1 / 0,
    "raised TypeError": lambda model: magnitude(model, None, None),
    "changed the values of fc.weight": untidy(lambda model, *_: model.fc.weight.data.mul_(2)),
    "changed the values of bn.running_mean": untidy(lambda model, *_: model.bn.running_mean.add_(1)),
    "changed the mode of the model": untidy(lambda model, *_: model.train()),
    "changed the gradient of conv.weight": untidy(leave_gradient),
    "on a second, equal call": lambda *batch: {name: s * next(CALLS) for name, s in magnitude(*batch).items()},
}
CALLS = iter(range(1, 10**6))


@pytest.mark.parametrize("sentence", WRONG)
def test_a_wrong_function_is_told_in_one_sentence_before_any_training(sentence, tmp_path, monkeypatch):
    made = count_runs(monkeypatch)
    with pytest.raises(TicketError, match=re.escape(sentence)) as error:
        check(WRONG[sentence], tmp_path, name="mine")
    assert str(error.value).startswith("Pruner 'mine' ") and str(error.value).endswith(".")
    assert not made and not list(tmp_path.rglob("*.json"))


ARGUMENTS = {
    "must be a function": dict(function=3),
    "Pruner name 'a b'": dict(name="a b"),
    "Pruner name '<script>'": dict(name="<script>"),
    "profile 'huge'": dict(profile="huge"),
    "network 'mlp'": dict(network="mlp"),
    "seeds -1": dict(seeds=-1),
    "device 'gpu'": dict(device="gpu"),
    "sparsities ()": dict(sparsities=()),
    "sparsity 'most'": dict(sparsities=("most",)),
    "sparsity '1.5'": dict(sparsities=("1.5",)),
    "sparsity None is not": dict(sparsities=None),
    "sparsities '0' are not": dict(sparsities="0"),
    "sparsities [0, 0.9] are not": dict(sparsities=[0, 0.9]),
    "sparsity 0.99999999 keeps none of 19464": dict(sparsities=("0.9", "0.99999999")),
    "ledger 5 is not": dict(folder=5),
    "cannot be written to": dict(folder="/proc/nowhere"),
}


@pytest.mark.parametrize("sentence", ARGUMENTS)
def test_a_wrong_argument_is_told(sentence, tmp_path):
    with pytest.raises(TicketError, match=re.escape(sentence)):
        check(**{"function": magnitude, "folder": tmp_path} | ARGUMENTS[sentence])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A check of a function that the library has never seen, carried out once: folder, runs made, text, result."""
    folder, said = tmp_path_factory.mktemp("whole"), io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(said):
        make_short(monkeypatch)
        made = count_runs(monkeypatch)
        return folder, made, said.getvalue, check(snip, folder, progress=True)


def test_an_unseen_function_goes_through_every_check(whole):
    _, made, said, result = whole
    assert made == {"snip": 5, "snip-mean": 1, "synflow": 1, "smart": 1, "uniform": 1}
    lines = said().splitlines()
    assert re.fullmatch(r"9 runs to carry out, expected to take \d+ (s|min)\.", lines[0]) and "all there" in lines[-1]
    words = Counter(f.verdict.word for f in result.findings)
    assert words.total() == 9 and words["provisional"] >= 1 and set(words) <= {"provisional", "collapsed"}
    assert "provisional, 1 of 6" in result.table and "| rearranged minus as found |" in result.table
    assert "; 1 seed, and a verdict takes 6." in result.scope and "Empty layers" not in result.scope
    assert "one seed, no interval" in result.table and "6 epochs; sparsity 0.9" in result.scope
    assert "decide nothing" in result._repr_markdown_() and result.accuracies in str(result)


def test_its_masks_are_what_they_are_called(whole):
    rows = {key.removesuffix("@0.9"): by_seed[0] for key, by_seed in whole[3].arms.items()}
    assert set(rows) == set(findings.NAMES) and {sum(row["keep_counts"].values()) for row in rows.values()} == {1946}
    own, digests = rows["own"], {name: row["mask_digest"] for name, row in rows.items()}
    for check_of_weights in ("shuffled", "reinitialised"):
        assert digests[f"own+{check_of_weights}"] == own["mask_digest"]
    assert len(set(digests.values())) == len(rows) - 2
    assert rows["own+rearranged"]["keep_counts"] == own["keep_counts"] != rows["mean"]["keep_counts"]
    shares = [row["keep_counts"]["fc.weight"] for row in (own, rows["mean"], rows["uniform"])]
    assert abs(shares[1] - shares[0]) < abs(shares[1] - shares[2])  # the average is nearer to one seed than to a rule


def test_the_controls_did_something(whole):
    did = {f.comparison.key: f.control for f in whole[3].findings[:4]}
    assert re.fullmatch(r"labels unchanged: 0\.(0[6-9]|1[0-4]), pixel correlation: −?0\.0\d", did["both"])
    assert re.fullmatch(r"positions moved: 0\.[5-9]\d", did["rearranged"])
    assert did["reinitialised"] == "values changed: 1.00"


def test_it_agrees_with_the_same_score_of_the_library(whole):
    _, _, _, result = whole
    ours = result.arms["own@0.9"][0]
    config = ours.config
    model = experiment.build(config, digits := sanity.session.images(sanity.session.check(GIVEN)))
    theirs = grids.arm("smoke", "snip@0.9", 0, digits)
    mask, _ = experiment.ticket_mask(theirs, digits, model)
    assert mask.digest() == ours["mask_digest"]


GIVEN = dict(profile="smoke", source="run", ledger="", seeds=0, device="cpu", data_root="")


def test_a_second_call_trains_nothing_and_says_the_same(whole, monkeypatch):
    folder, _, _, result = whole
    made = count_runs(monkeypatch)
    assert str(check(snip, folder)) == str(result) == str(check(snip, folder, source="stored")) and not made


def test_nothing_stays_registered(whole):
    for table in (pruners.METHODS, pruners.NEEDS_BATCH, ratios.RULES, tickets.TICKETS):
        assert not [key for key in table if key.startswith("snip-")]


def test_an_interrupted_check_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    for path in sorted(tmp_path.rglob("*.json"))[:3]:
        path.unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_runs(patch, most=1)
        check(snip, tmp_path)
    made = count_runs(monkeypatch)
    assert str(check(snip, tmp_path)) == str(whole[3]) and made.total() == 2


def test_a_changed_function_is_run_again_and_its_yardsticks_are_not(whole, monkeypatch):
    made = count_runs(monkeypatch)
    changed = check(functools.partial(snip), whole[0], name="snip")
    assert made == {"snip": 5, "snip-mean": 1} and str(changed) == str(whole[3])


def test_a_rule_that_cannot_be_met_says_so(tmp_path):
    result = check(magnitude, tmp_path, source="stored", sparsities="0.998")
    words = {f.comparison.key: f.verdict.word for f in result.findings[:8]}
    assert words["smart"] == words["uniform"] == "not defined here" and words["both"] == words["own"] == "not run"
    assert result.figure().get_xlabel()


def judged(means, **facts):
    """Findings on eight seeds of made-up rows around these means; the rest of the arms at 80 %."""
    arms = {
        f"{arm}@0.9": {
            seed: row(
                "+".join(["snip" if arm.startswith("own") else "smart", *arm.split("+")[1:]]) + "@0.9", seed,
                means.get(arm, 80) + noise(arm, seed), mask_digest=f"{arm}{seed}", **facts,
            )
            for seed in range(8)
        }
        for arm in findings.NAMES
    }  # fmt: skip
    return {f.comparison.key: f for f in reversed(findings.judge(arms, ("0.9",), 6))}, arms


def test_words_come_from_the_rule_of_the_book():
    found, _ = judged({"uniform": 70, "own+rearranged": 77, "smart": 70})
    words = {key: finding.verdict.word for key, finding in found.items()}
    assert words == {"both": "holds", "rearranged": "does not hold", "shuffled": "holds", "reinitialised": "holds",
                     "own": "holds", "synflow": "holds", "smart": "does not hold", "uniform": "holds"}  # fmt: skip


def test_a_control_that_did_nothing_gives_no_word():
    found, _ = judged({}, control={"moved_share": 0.0, "label_agreement": 1.0})
    for key in ("both", "rearranged", "shuffled"):
        assert found[key].verdict.sentence == "undecided: the control did nothing"


def test_a_score_without_data_is_told_as_such():
    _, arms = judged({})
    for seed, ours in arms["own+both@0.9"].items():
        ours["mask_digest"] = arms["own@0.9"][seed]["mask_digest"]
    found = findings.judge(arms, ("0.9",), 6)[0]
    assert found.verdict.word == "same mask" and "no use of its batch" in found.verdict.sentence


def test_layers_that_its_masks_leave_empty_are_named():
    _, arms = judged({})
    assert findings.emptied(arms) == ""
    arms["own@0.9"][0]["empty_layers"], arms["own@0.9"][1]["empty_layers"] = ["fc.weight"], ["conv.weight"]
    arms["smart@0.9"][0]["empty_layers"] = ["other"]
    assert findings.emptied(arms).startswith(
        " **Empty layers:** in 2 of 8 runs its mask keeps nothing of conv.weight or fc.weight; "
    )


def test_two_collapsed_arms_are_not_compared():
    found, _ = judged({"own": 10, "own+rearranged": 10})
    assert found["rearranged"].verdict.sentence == "nothing to compare: both collapsed in every run"
    assert "collapsed runs: 8" in found["smart"].verdict.sentence and found["smart"].verdict.word == "undecided"


def test_a_function_sees_its_batch_through_batch_norm_and_leaves_no_trace(model, batch):
    state, seen = {name: t.clone() for name, t in model.state_dict().items()}, []

    def function(model, images, labels):
        seen.extend([model.training, model.bn.training, model(images).std().item()])
        images.zero_()
        return magnitude(model, images, labels)

    scorers.scorer(function)(model, *batch)
    assert seen[:2] == [False, True] and seen[2] > 0
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items()) and batch[0].any()
    assert model.bn.track_running_stats and all(p.grad is None for p in model.parameters())


def test_random_scores_repeat_with_the_weights_and_touch_no_global_stream(model, batch):
    before = torch.get_rng_state()
    first, second = (scorers.scorer(dice)(model, *batch) for _ in range(2))
    other = scorers.scorer(dice)(build("resnet8", 10, 1, width=8, generator=torch.Generator().manual_seed(1)), *batch)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv.weight"], other["conv.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_integer_scores_are_scores(model, batch):
    ranks = scorers.scorer(lambda *b: {n: s.flatten().argsort().view(s.shape) for n, s in magnitude(*b).items()})
    assert {score.dtype for score in ranks(model, *batch).values()} == {torch.float32}


def test_names_of_functions():
    named = [scorers.scorer(function).name for function in (lambda *batch: None, functools.partial(snip), snip)]
    assert named == ["lambda", "partial", "snip"]
    assert scorers.scorer(snip, "a.b-1").key.startswith("a.b-1-")


def test_the_library_stays_light():
    code = "import sys, ticketlib; assert 'torch' not in sys.modules; assert not hasattr(ticketlib, 'nothing')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_function_may_change_its_labels_and_rank_all_layers_but_one(model):
    def function(model, images, labels):
        labels.zero_()
        return magnitude(model, images, labels) | {"fc.weight": torch.ones_like(model.fc.weight)}

    labels = torch.arange(20) % 10
    found = scorers.scorer(function)(model, torch.zeros(20, 1, 8, 8), labels)
    assert found["fc.weight"].unique().tolist() == [1] and labels.tolist() == [*range(10)] * 2
