"""A digest that follows what a function computes with, and nothing else."""

import importlib.util
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from ticketlib.analysis import identity
from ticketlib.errors import TicketError

HELPER = "def helper(x): return x {} 2"
SOURCE = """
import torch
{helper}
class Kind:
    power = {power}
    def __init__(self, rate): self.rate = rate
    def __call__(self, model, images, labels): return self.rate * self.power
kind = Kind({rate})
table = {{"a": torch.tensor([{entry}])}}
def pruner(model, images, labels, top={top}):  # {comment}
    return [helper(x) for x in (1, {constant})] if model in {{"a", "b", "c"}} else (table, kind, lambda: pruner)
"""
PLAIN = dict(helper=HELPER.format("*"), power=1, rate=1, entry=1, top=1, comment="a", constant=1)


def digests(**changes):
    known = {"__name__": "__main__"}
    exec(SOURCE.format(**PLAIN | changes), known)
    return identity.digest(known["pruner"]), identity.digest(known["kind"])


def test_a_name_follows_what_a_function_computes():
    changes = [dict(helper=HELPER.format("+")), *({what: 2} for what in ("entry", "top", "constant", "power", "rate"))]
    found = [digests()[0], *(digests(**change)[0] for change in changes)]
    assert len(set(found)) == len(found) and all(re.fullmatch("[0-9a-f]{12}", name) for name in found)
    assert digests(comment="another")[0] == found[0]
    assert len({digests()[1], digests(power=2)[1], digests(rate=2)[1]}) == 3


RULES = """
class Kind:
    @staticmethod
    def rule(w): return {static} * w
    @classmethod
    def of(cls, w): return {method} * w
def pruner(model, images, labels): return Kind
"""


def test_what_hides_in_a_class_counts():
    def named(**changes):
        known = {"__name__": "__main__"}
        exec(RULES.format(**{"static": 1, "method": 1} | changes), known)
        return identity.digest(known["pruner"])

    assert len({named(), named(static=2), named(method=2)}) == 3 and named() == named()


def test_a_global_read_in_a_class_made_inside_counts():
    def named(power):
        known = {"__name__": "__main__"}
        exec(f"POWER = {power}\ndef pruner(*batch):\n    class Inner:\n        rate = POWER\n    return Inner", known)
        return identity.digest(known["pruner"])

    assert named(1) != named(2)


def test_a_name_is_the_same_in_another_process(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SOURCE.format(**PLAIN))
    code = "import mine\nfrom ticketlib.analysis import identity\nprint(identity.digest(mine.pruner))"
    there = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "1"},
                           capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    mine = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine", mine)
    spec.loader.exec_module(mine)
    assert identity.digest(mine.pruner) == there


def test_a_module_imported_inside_counts_by_its_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def inside(model, images, labels):
        import a_helper_of_mine  # noqa: F401

    found = [identity.digest(inside)]  # there is none: what the function has to live with
    for text in ("POWER = 1", "POWER = 2"):
        (tmp_path / "a_helper_of_mine.py").write_text(text)
        importlib.invalidate_caches()
        found.append(identity.digest(inside))
        del sys.modules["a_helper_of_mine"]
    assert len(set(found)) == 3


class Slotted:
    __slots__ = ("power",)


def slotted():
    class Local(Slotted):
        __slots__ = ()

    return Local()


@pytest.mark.parametrize("held", [threading.Lock(), slotted(), torch.eye(2).to_sparse()],
                         ids=lambda held: type(held).__name__)  # fmt: skip
def test_what_cannot_be_read_is_refused(held):
    with pytest.raises(TicketError, match=f"holds a {type(held).__name__}, whose content cannot be read"):
        identity.digest(lambda *batch: held)


HELD = {
    "bf16": lambda x: torch.tensor(x, dtype=torch.bfloat16),
    "conjugated": lambda x: torch.tensor([x + 1j]).conj(),
    "objects": lambda x: np.array([x, "b"], object),
    "bf16 module": lambda x: nn.BatchNorm1d(2).bfloat16().requires_grad_(False).apply(lambda m: m.weight.fill_(x)),
}


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_a_change_of_what_is_held_is_seen(make):
    def named(x):
        held = make(x)
        return identity.digest(lambda *batch: held)

    assert named(1.0) == named(1.0) != named(2.0)


def test_an_empty_cell_is_none():
    def outer():
        def inner(*batch):
            return later

        found = identity.digest(inner)
        later = None
        return found, identity.digest(inner)

    before, after = outer()
    assert before == after


def test_a_default_that_only_its_name_can_change_counts():
    def named(power):
        known = {"__name__": "__main__"}
        exec(f"def pruner(model, images, labels, *, power={power}): return power", known)
        return identity.digest(known["pruner"])

    assert named(1) != named(2)
