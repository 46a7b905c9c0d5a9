"""How far keep-ratios drift: measures by hand, an independent formula, the answer's words, LT's runs beside probes."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from synthetic import row
from ticketbook import drifts, overlaps

from ticketlib import ratios
from ticketlib.experiments import session
from ticketlib.experiments.ledger import Ledger

SIZES = {"first": 100, "second": 900}
CLEAN, SPOILT = {"first": 50, "second": 50}, {"first": 60, "second": 40}


def pair(clean=CLEAN, spoilt=SPOILT, **facts):
    return {"keep_counts": clean, "sizes": SIZES, **facts}, {"keep_counts": spoilt, "sizes": SIZES}


def test_the_divergence_is_that_of_scipy_weighted_by_size():
    parts = []
    for name, size in SIZES.items():
        p, q = CLEAN[name] / size, SPOILT[name] / size
        parts.append(size / 1000 * jensenshannon([p, 1 - p], [q, 1 - q], base=2) ** 2)
    assert drifts.divergence(CLEAN, SPOILT, SIZES) == pytest.approx(sum(parts))
    assert drifts.divergence(CLEAN, CLEAN, SIZES) == pytest.approx(0, abs=1e-15)
    whole, empty = {"first": 100, "second": 900}, {"first": 0, "second": 0}
    assert drifts.divergence(whole, empty, SIZES) == pytest.approx(1)


def test_apart_is_the_mean_over_pairs():
    assert drifts.apart([(CLEAN, SPOILT)], SIZES)[:2] == pytest.approx((0.1, 0.1))
    assert drifts.apart([(CLEAN, SPOILT), (CLEAN, CLEAN)], SIZES)[:2] == pytest.approx((0.05, 0.05))
    assert drifts.apart([], SIZES) is None
    assert drifts.largest(CLEAN, SPOILT, SIZES) == (pytest.approx(0.1), "first")


def test_yardsticks_are_another_batch_and_another_seed():
    other = {"first": 54, "second": 46}
    of = {0: pair(second_keep_counts=other), 1: pair({"first": 52, "second": 48})}
    moved = drifts.drift(of)
    assert moved["second batch"][0] == pytest.approx(0.04)  # of the one seed that has it
    assert moved["other seed"][0] == pytest.approx(0.02)
    assert moved["spoilt"][0] == pytest.approx((0.10 + 0.08) / 2)


NEAR = {"first": 51, "second": 49}
BIT, FAR = {"first": 56, "second": 44}, {"first": 70, "second": 30}
KEYS = ("resnet32", "snip", "0.9"), ("resnet32", "grasp", "0.9")


@pytest.mark.parametrize(
    "spoilt, word",
    [((NEAR, NEAR), "SNIP, GraSP: no more than another seed does. LT: not run yet."),
     ((BIT, BIT), "SNIP, GraSP: about as much as another seed does. LT: not run yet."),
     ((FAR, NEAR), "SNIP: more than another seed does. GraSP: no more than another seed does. LT: not run yet.")],
)  # fmt: skip
def test_the_answer_has_a_word_for_each_method(spoilt, word, monkeypatch):
    seeds = {"first": 50, "second": 50}, {"first": 55, "second": 45}
    found = {key: {i: pair(seed, counts if i == 0 else {n: seed[n] + counts[n] - seeds[0][n] for n in seed})
                   for i, seed in enumerate(seeds)} for key, counts in zip(KEYS, spoilt, strict=True)}  # fmt: skip
    said = drifts.answer(found | {("resnet20", "lt", "0.9"): {}})
    assert said.startswith(f"**{word}** Spoilt data move keep-ratios, by their median divergence, ")
    assert " % for GraSP.\n" in said
    assert said.splitlines()[-1] == "| LT | not run | not run | not run | not run | 0 |"
    far = {id(NEAR): "1.0", id(BIT): "6.0", id(FAR): "20.0"}[id(spoilt[0])]
    assert f"| SNIP | {far} | 5.0 | " in said and "| not run | 1 |" in said
    for key in KEYS:
        found[key][0][0]["second_keep_counts"] = {"first": 51, "second": 49}
    both = drifts.answer(found)
    assert "| not run | 1 |" not in both and " (GraSP) times as far as another clean batch does. Kept weights" in both
    layers = [ratios.Layer(name, (size,), size, name == "second") for name, size in SIZES.items()]
    monkeypatch.setattr(drifts, "_layers", lambda row: layers)
    *table, _, below = drifts.table(found | {("resnet20", "lt", "0.9"): {}}).splitlines()
    assert below == drifts.BELOW and len(table) == 2 + 3
    assert table[-1] == "| ResNet-20 | LT | 0.9 | " + "not run | " * 4 + "0 |"
    assert "| first convolution, 0.53 to " in table[2]


def test_one_seed_has_no_yardstick():
    said = drifts.answer({KEYS[0]: {0: pair()}})
    assert said.startswith("**SNIP: one seed, so no yardstick yet.**") and said.endswith("| not run | not run | 1 |")
    assert drifts.answer({}).startswith("**Not run.**") and drifts.answer({KEYS[0]: {}}).startswith("**Not run.**")


def test_lt_comes_from_the_runs(tmp_path):
    counts = {"conv.weight": 100, "fc.weight": 10}
    for seed in (0, 1):
        for arm in ("lt@0.9", "lt+both@0.9"):
            Ledger(tmp_path).add(row(arm, seed, 80.0, keep_counts=counts))
    Ledger(tmp_path).add(row("lt@0.9", 2, 80.0, keep_counts=counts))  # its pair is missing
    given = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="")
    found = drifts.measured(session.NotebookRun(**given, ledger=tmp_path))
    assert list(found["resnet20", "lt", "0.9"]) == [0, 1] and found["resnet20", "lt", "0.98"] == {}
    assert overlaps.sizes_of(found["resnet20", "lt", "0.9"][0][0]) == {"conv.weight": 432, "fc.weight": 640}
    assert {key[1] for key in drifts.with_overlap(found)} == {"snip", "grasp"}  # LT's runs have no overlap
    snip = found["resnet32", "snip", "0.98"]
    panel = drifts.panels(found, "0.98")["ResNet-32", "snip"]
    first, last = (np.mean([p[0]["keep_counts"][n] / p[0]["sizes"][n] for p in snip.values()])
                   for n in ("conv.weight", "fc.weight"))  # fmt: skip
    assert panel["snip"][0] == pytest.approx(first) and panel["snip"][-1] == pytest.approx(last)
    assert list(panel) == ["snip", "snip+both"] and panel["snip"].shape == (34,)


def test_what_it_explains_says_no_word_that_no_run_gave(tmp_path):
    given = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="")
    assert drifts.claim_words(session.NotebookRun(**given, ledger=tmp_path)).count("not run") == 2
