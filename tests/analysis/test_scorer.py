"""Score functions from outside: a digest that follows what they compute with, and wrong ones told in one sentence."""

import functools
import hashlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ticketlib import pruners
from ticketlib.analysis.scorer import digest, plain_name, scorer
from ticketlib.errors import TicketError
from ticketlib.models import build, prunable

HELPER = "def helper(x): return x {} 2"
SOURCE = """
import torch
{helper}
class Base:
    power = {power}
class Kind(Base):
    def __init__(self, rate): self.rate = rate
    def __call__(self, model, images, labels): return self.rate * self.power
    @staticmethod
    def rule(w): return {static} * w
    @classmethod
    def of(cls, w): return {method} * w
    @property
    def shown(self): return {shown}
kind = Kind({rate})
table = {{"a": torch.tensor([{entry}])}}
def pruner(model, images, labels, top={top}, *, low={low}):  # {comment}
    class Inner:
        rate = INNER
    return [helper(x) for x in (1, {constant})] if model in {{"a", "b", "c"}} else (table, kind, lambda: pruner)
INNER = {inner}
"""
PLAIN = dict(helper=HELPER.format("*"), comment="a")
NUMBERS = ("power", "rate", "entry", "top", "constant", "static", "method", "inner", "low", "shown")
PLAIN |= dict.fromkeys(NUMBERS, 1)


def digests(**changes):
    known = {"__name__": "__main__"}
    exec(SOURCE.format(**PLAIN | changes), known)
    return digest(known["pruner"]), digest(known["kind"])


def test_a_digest_follows_what_a_function_computes():
    changes = [dict(helper=HELPER.format("+")), *({what: 2} for what in NUMBERS)]
    found = [digests()[0], *(digests(**change)[0] for change in changes)]
    assert len(set(found)) == len(found) and all(re.fullmatch("[0-9a-f]{16}", name) for name in found)
    assert digests(comment="another") == digests()
    assert len({digests()[1], digests(power=2)[1], digests(rate=2)[1]}) == 3


def test_two_functions_on_one_line_differ_and_bound_ones_count():
    one, two = (lambda *batch: 1, lambda *batch: 2)
    assert digest(one) != digest(two) and digest(one) == digest(one) and digest(one, two) != digest(two, one)
    assert digest(functools.partial(one, 1)) != digest(functools.partial(one, 2))
    assert len({digest([1].append), digest([2].append), digest(torch.relu), digest(torch.tanh)}) == 4


def test_a_digest_is_the_same_in_another_process(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SOURCE.format(**PLAIN))
    code = "import mine\nfrom ticketlib.analysis.scorer import digest\nprint(digest(mine.pruner))"
    there = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "1"},
                           capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    mine = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine", mine)
    spec.loader.exec_module(mine)
    assert digest(mine.pruner) == there


def test_a_module_imported_inside_counts_by_its_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def inside(model, images, labels):
        import a_helper_of_mine  # noqa: F401

    found = [digest(inside)]  # there is none: what the function has to live with
    for text in ("POWER = 1", "POWER = 2"):
        (tmp_path / "a_helper_of_mine.py").write_text(text)
        importlib.invalidate_caches()
        found.append(digest(inside))
        del sys.modules["a_helper_of_mine"]
    assert len(set(found)) == 3


ASKED = {
    "the package": "import mine_too\nscore = lambda *batch: mine_too.score(*batch)",
    "its function": "from mine_too import score",
    "inside": "def score(*batch):\n    import mine_too\n    return mine_too.score(*batch)",
    "a module of it": "def score(*batch):\n    from mine_too.inner import core\n    return core.score(*batch)",
}


@pytest.mark.parametrize("text", ASKED.values(), ids=ASKED)
def test_what_a_module_imports_counts_as_well(text, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package, found = tmp_path / "mine_too", []
    (package / "inner").mkdir(parents=True)
    inside = "def score(*batch):\n    from .inner.core import score\n    return score(*batch)"
    (package / "__init__.py").write_text(inside)
    (package / "inner" / "__init__.py").write_text("")
    for power in (1, 2):
        (package / "inner" / "core.py").write_text(f"def score(*batch):\n    return {power}")
        importlib.invalidate_caches()
        exec(text, known := {"__name__": "a_script"})
        found.append(digest(known["score"]))
        for name in [name for name in sys.modules if name.startswith("mine_too")]:
            del sys.modules[name]
    assert found[0] != found[1]


def test_what_is_registered_counts_where_its_name_is_asked_for(monkeypatch):
    def by_name(model, images, labels):
        return pruners.score(model, "gradient_of_mine", images, labels)

    found = []
    for power in (1, 2):
        monkeypatch.setitem(pruners.METHODS, "gradient_of_mine", lambda task, power=power: power)
        found.append((digest(by_name), digest(lambda *batch: "snip")))
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1]


def test_what_is_installed_counts_by_name():
    from ticketlib import masks

    assert len({digest(f) for f in (masks.global_mask, masks.from_counts, nn.Linear, nn.Conv2d, np, torch)}) == 6


class Slotted:
    __slots__ = ("power",)


def slotted():
    class Local(Slotted):
        __slots__ = ()

    return Local()


LOCK, LOGGER = threading.Lock(), logging.getLogger("mine")


@pytest.mark.parametrize("held", [LOCK, slotted(), torch.eye(2).to_sparse()], ids=lambda held: type(held).__name__)
def test_what_cannot_be_read_is_refused_with_its_type_and_variable(held):
    with pytest.raises(TicketError, match=f"{type(held).__name__}, which held holds"):
        digest(lambda *batch: held)


def test_a_module_level_lock_is_named_and_a_logger_is_fine():
    with pytest.raises(TicketError, match="which LOCK holds"):
        digest(lambda *batch: LOCK)
    assert digest(lambda *batch: LOGGER.info("x"))


HELD = {
    "bf16": lambda x: torch.tensor(x, dtype=torch.bfloat16),
    "conjugated": lambda x: torch.tensor([x + 1j]).conj(),
    "objects": lambda x: np.array([x, "b"], object),
    "array": lambda x: np.array([x]),
    "set": lambda x: {x, "b"},
    "bf16 module": lambda x: nn.BatchNorm1d(2).bfloat16().requires_grad_(False).apply(lambda m: m.weight.fill_(x)),
}


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_a_change_of_what_is_held_is_seen(make):
    def named(x):
        held = make(x)
        return digest(lambda *batch: held)

    assert named(1.0) == named(1.0) != named(2.0)


def test_shape_and_kind_of_what_is_held_count():
    values = (torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.int32), np.zeros((2, 3), np.float32),
              np.zeros((3, 2), np.float32), [0], (0,), {0: 0}, 0, "0", b"0", None)  # fmt: skip
    assert len({digest(value) for value in values}) == len(values)


def test_an_empty_cell_is_lived_with():
    def outer():
        def inner(*batch):
            return later

        found = digest(inner)
        later = 1
        return found, digest(inner)

    before, after = outer()
    assert before != after


def test_names_of_functions():
    functions = (lambda *batch: None, functools.partial(snip), snip, Slotted)
    assert list(map(plain_name, functions)) == ["lambda", "snip", "snip", "Slotted"]
    assert scorer(snip, "a.b-1").name == "a.b-1" and scorer(snip, "x").digest == scorer(snip).digest
    for name in ("a b", "<script>", "", 3):
        with pytest.raises(TicketError, match=re.escape(repr(name))):
            scorer(snip, name)
    with pytest.raises(TicketError, match="3"):
        scorer(3)


# calling them


def magnitude(model, images, labels):
    return {name: weight.abs() for name, weight in prunable(model).items()}


def snip(model, images, labels):
    weights = prunable(model)
    grads = torch.autograd.grad(F.cross_entropy(model(images), labels), list(weights.values()))
    return {name: (weight * grad).abs() for (name, weight), grad in zip(weights.items(), grads, strict=True)}


def backward_snip(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    return {name: (weight * weight.grad).abs() for name, weight in prunable(model).items()}


@pytest.fixture(scope="module")
def batch():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(20, 1, 8, 8, generator=draw), torch.arange(20) % 10


@pytest.fixture(scope="module")
def model():
    return build("resnet8", 10, 1, width=8)


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


WRONG = {  # what the one sentence must name -> the mistake
    "list": lambda *batch: list(magnitude(*batch).values()),
    "NoneType": lambda *batch: None,
    "conv.weight": lambda *batch: {k: v for k, v in magnitude(*batch).items() if k != "conv.weight"},
    "unknown bn.weight": lambda *batch: magnitude(*batch) | {"bn.weight": torch.ones(8)},
    "and 7 more, and scores for the unknown conv,": lambda *b: {
        name.removesuffix(".weight"): s for name, s in magnitude(*b).items()
    },
    "conv.weight, blocks.0.conv1.weight, blocks.0.conv2.weight and 7 more;": lambda *batch: {},
    "unknown 3;": lambda *batch: magnitude(*batch) | {3: torch.ones(2)},
    "(2, 1, 3, 3); the weight has (8, 1, 3, 3)": lambda *b: first(magnitude(*b), lambda s: s[:2]),
    "conv.weight 72 scores": lambda *batch: first(magnitude(*batch), lambda s: s * torch.nan),
    "conv.weight 72 ": lambda *batch: first(magnitude(*batch), lambda s: s + torch.inf),
    "conv.weight 1 ": lambda *batch: first(magnitude(*batch), one_minus_infinity),
    "ndarray": lambda *batch: {name: score.detach().numpy() for name, score in magnitude(*batch).items()},
    "torch.float32 on meta": lambda *batch: first(magnitude(*batch), lambda s: s.to("meta")),
    "conv.weight with Tensor": lambda *batch: first(magnitude(*batch), lambda s: s.to_sparse()),
    "conv.weight with float": lambda *batch: first(magnitude(*batch), lambda s: 0.5),
    "torch.complex64": lambda *batch: first(magnitude(*batch), lambda s: s * 1j),
    "AssertionError (its line": lambda *batch: fail(),
    "ZeroDivisionError: division by zero (its line": lambda *batch: 1 / 0,
    "TypeError": lambda model: magnitude(model, None, None),
    "same score": lambda *batch: {name: torch.ones_like(s) for name, s in magnitude(*batch).items()},
    "changed conv.weight": untidy(lambda model, *_: model.half()),
    "changed conv.weight;": untidy(lambda model, *_: setattr(model, "conv", nn.Conv2d(1, 8, 3, bias=False))),
    "changed fc.weight": untidy(lambda model, *_: model.fc.weight.data.mul_(2)),
    "changed bn.running_mean": untidy(lambda model, *_: model.bn.running_mean.add_(1)),
    "changed extra": untidy(lambda model, *_: model.register_buffer("extra", torch.ones(1))),
}


@pytest.mark.parametrize("named", WRONG)
def test_a_wrong_function_is_told_with_its_name_and_the_layer(named, model, batch):
    with pytest.raises(TicketError, match=re.escape(named)) as error:
        scorer(WRONG[named], "mine")(model, *batch)
    assert "'mine'" in str(error.value) and "\n" not in str(error.value)


def test_a_function_sees_its_batch_through_batch_norm_and_leaves_no_trace(model, batch):
    state, seen = {name: t.clone() for name, t in model.state_dict().items()}, []

    def function(model, images, labels):
        seen.extend([model.training, model.bn.training, model(images).std().item()])
        scores = backward_snip(model.train(), images, labels)
        images.zero_()
        labels.zero_()
        return scores

    with torch.no_grad():
        scorer(function)(model, *batch)
    assert seen[:2] == [False, True] and seen[2] > 0
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())
    assert batch[0].any() and batch[1].any()
    assert model.bn.track_running_stats and all(p.grad is None for p in model.parameters())


def test_scores_by_backward_are_those_by_grad(model, batch):
    ours, theirs = scorer(backward_snip)(model, *batch), scorer(snip)(model, *batch)
    assert all(torch.equal(ours[name], theirs[name]) and not ours[name].requires_grad for name in theirs)
    assert all(p.grad is None for p in model.parameters())


def test_random_scores_repeat_with_the_weights_and_touch_no_global_stream(model, batch):
    def dice(model, images, labels):
        seeds.append(torch.initial_seed())
        return {name: torch.rand(weight.shape) for name, weight in prunable(model).items()}

    before, seeds = torch.get_rng_state(), []
    one, two = (scorer(dice)(model, *batch) for _ in range(2))
    other = scorer(dice)(build("resnet8", 10, 1, width=8, generator=torch.Generator().manual_seed(1)), *batch)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["conv.weight"], other["conv.weight"])
    assert torch.equal(torch.get_rng_state(), before)
    content = b"".join(weight.detach().numpy().tobytes() for weight in prunable(model).values())
    assert seeds[0] == seeds[1] == int(hashlib.sha256(content).hexdigest()[:14], 16) != seeds[2]


def test_integer_scores_and_one_layer_of_equal_ones_are_scores(model, batch):
    def ranks(model, images, labels):
        found = {n: s.flatten().argsort().view(s.shape) for n, s in magnitude(model, images, labels).items()}
        return found | {"fc.weight": torch.ones_like(model.fc.weight)}

    found = scorer(ranks)(model, *batch)
    assert {score.dtype for score in found.values()} == {torch.float32} and found["fc.weight"].unique().tolist() == [1]
