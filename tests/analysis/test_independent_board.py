"""The board once more, from the JSON rows alone, by pandas and SciPy and none of the library's statistics."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from synthetic import CIFAR, row_of

from ticketlib.analysis import verdicts
from ticketlib.experiments import claims, grids
from ticketlib.experiments.ledger import Ledger, frame
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import Images

SHARED = ["device", "threads", "versions"]
RECIPE = ["engine", "precision", "batch", "lr", "momentum", "weight_decay", "drops", "padding", "flip", "fingerprint"]
GRID = grids.grid("v2", "laptop", Images("cifar10", CIFAR.fingerprint))
OURS = {"network": "resnet20", "width": 16, "stem_stride": 2, "dataset": "cifar10", "recipe": 1, "held_out": 0}


def read(folder, plan):
    """The plan's runs from their files: DataFrame, a line a run, and the trained nets among them by name."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    ours = (OURS | {"epochs": plan.epochs}).items()
    rows = [one for one in rows if one["kind"] == "run" and ours <= one["config"].items()
            and one["config"]["seed"] in plan.seeds]  # fmt: skip
    runs = pd.json_normalize(rows, max_level=1).set_index("config.seed").sort_index()
    return runs.reindex(columns=runs.columns.union([f"control.{name}" for name in CONTROLS] + ["effective_sparsity"]))


CONTROLS = ("moved_share", "changed_share", "label_agreement", "pixel_correlation", "images_kept")


def did_its_work(run, nets):
    """Whether a run's control did something; of a ticket from a trained net, whether the net saw what it should."""
    spoilt = run.arm[:2] in ("lt", "lr") and ("both" in run.arm or "half" in run.arm)
    net, found = nets.loc[run.parent] if spoilt else run, []
    if "rearranged" in run.arm:
        found.append(run["control.moved_share"] >= 0.1)
    if "shuffled" in run.arm:
        found.append(run["control.changed_share"] >= 0.1)
    if "both" in run.arm:
        found += [abs(net["control.label_agreement"] - 0.1) <= 0.05, abs(net["control.pixel_correlation"]) <= 0.1]
        found += [net.loss < 0.9 * math.log(10)] * (net is not run)
    return all(found + [abs(net["control.images_kept"] - 0.5) <= 0.05] * ("half" in run.arm))


def interval(points, confidence):
    if np.ptp(points) == 0:
        return points[0], points[0]
    return tuple(ttest_1samp(points, 0).confidence_interval(confidence))


def p_smallest(points, margin, loss_only):
    above, below = (lambda x: ttest_1samp(points, x, alternative="greater").pvalue,
                    lambda x: ttest_1samp(points, x, alternative="less").pvalue)  # fmt: skip
    tests = [max(above(-margin), below(margin)), ttest_1samp(points, 0).pvalue, above(margin), below(-margin)]
    return min(tests + [above(-margin)] * loss_only)


def word(points, margin, alpha):
    """Lines 7 to 11."""
    (low, high), (low95, high95) = interval(points, 1 - 2 * alpha), interval(points, 1 - alpha)
    scale = {"same": -margin < low and high < margin, "better by more than the margin": low > margin,
             "worse by more than the margin": high < -margin, "better": low95 > 0, "worse": high95 < 0,
             "not worse": low > -margin, "not better": high < margin, "open": True}  # fmt: skip
    return next(name for name, is_so in scale.items() if is_so), low, high


def unread(a, b, nets, n, known):
    """Lines 1 to 6; "" for a difference that can be read."""
    seeds = a.index.intersection(b.index)
    a, b = a.loc[seeds], b.loc[seeds]
    if len(seeds) == 0:
        return "not testable here" if known else "not run"
    idle = not all(did_its_work(run, nets) for of in (a, b) for _, run in of.iterrows())
    differ = any((a[f].astype(str) != b[f].astype(str)).any() for f in a if f.split(".")[0] in SHARED)
    both = pd.concat([a, b])
    differ |= any(both[f"config.{field}"].astype(str).nunique() > 1 for field in RECIPE)
    dead = both.diverged | (both.effective_sparsity == 1) | (both.accuracy < 20)
    lines = {"not testable here": idle or (a.accuracy == b.accuracy).all(), "refused": differ,
             "seeds missing": len(seeds) < n, "collapsed": dead.any()}  # fmt: skip
    return next((name for name, is_so in lines.items() if is_so), "")


def judge(runs, claim, sparsity, plan, margin):
    """Every comparison's (word, mean, low, high, level) and the claim's word."""
    nets, found = runs[runs.arm.str.startswith("dense")].set_index("name"), {}
    for one in claim.comparisons:
        a, b = (runs[runs.arm == f"{arm}@{sparsity}"] for arm in (one.a, one.b))
        against = unread(a, b, nets, len(plan.seeds), one.a in plan.not_again)
        found[one.key] = (a.accuracy - b.accuracy).dropna(), against
    asked = {one.key: one for one in claim.comparisons if one.demand}
    p = {k: 9 if found[k][1] else p_smallest(found[k][0].to_numpy(), margin, "not worse" in asked[k].demand)
         for k in asked}  # fmt: skip
    levels, order = dict.fromkeys(found, 0.05), sorted(p, key=p.get)
    for r, key in enumerate(order):
        failed = next((i for i in range(r) if p[order[i]] > 0.05 / (len(p) - i)), r)
        levels[key] = 0.05 / (len(p) - failed)
    read_as = {k: (no, points.mean(), *interval(points.to_numpy(), 1 - 2 * levels[k])) if no and len(points) > 1 else
               (no, points.mean() if len(points) else math.nan, None, None) if no else  # one seed has no interval
               (lambda w: (w[0], points.mean(), *w[1:]))(word(points.to_numpy(), margin, levels[k]))
               for k, (points, no) in found.items()}  # fmt: skip
    left = {k: read_as[k][0] for k in asked if read_as[k][0] not in ("not testable here", "refused")}
    good = [w in asked[k].demand for k, w in left.items()]
    clear = {"same", "better", "worse", "better by more than the margin", "worse by more than the margin"}
    says = {"not run": left and set(left.values()) == {"not run"},
            "seeds missing": {"not run", "seeds missing"} & set(left.values()), "not testable here": not left,
            "yes": all(good), "in part": any(good), "no": set(left.values()) <= clear, "open": True}  # fmt: skip
    return read_as, levels, next(name for name, is_so in says.items() if is_so)


def agree(folder, plan):
    """Compare every number and word of the library's board with those of this file; returns the claims' words."""
    words, comparisons = verdicts.board(frame(Ledger(folder).rows()), plan)
    runs, comparisons = read(folder, plan), comparisons.set_index(["claim", "sparsity", "key"]).sort_index()
    for claim, sparsity in itertools.product(claims.CLAIMS.values(), plan.sparsities):
        if sparsity not in claim.sparsities:
            assert words.loc[claim.id, sparsity] == "not run"
            continue
        read_as, levels, said = judge(runs, claim, sparsity, plan, plan.margin)
        halves, _, _ = judge(runs, claim, sparsity, plan, plan.margin / 2)
        assert words.loc[claim.id, sparsity] == said, (claim.id, sparsity)
        for key, (name, *numbers) in read_as.items():
            line = comparisons.loc[claim.id, sparsity, key]
            half = halves[key][0].replace("the margin", f"{plan.margin / 2:g}")
            assert line.word == name and line.alpha == pytest.approx(levels[key]), (claim.id, sparsity, key)
            assert name in verdicts.UNREAD or line.said_at_half.removesuffix(", off zero") == half
            ours = [line["mean"], line.low, line.high]
            assert [*map(float, filter(pd.notna, ours))] == pytest.approx([*filter(pd.notna, numbers)], abs=1e-9)
    return words


def test_the_exploratory_board_of_the_committed_rows():
    words = agree(book_ledger("laptop"), claims.EXPLORATORY)
    assert words.loc["D1"].tolist() == ["yes", "yes"]


def test_version_2s_board_of_the_committed_rows():
    agree(book_ledger("laptop"), claims.protocol())


@pytest.mark.parametrize("draw", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_made_up_board_of_version_2(tmp_path, draw):
    plan, random, ledger = claims.protocol(), np.random.default_rng(draw), Ledger(tmp_path)
    shift = {}
    for config in GRID:
        mean = shift.setdefault(config.arm, 70 + random.normal(0, 1.0))
        ledger.add(row_of(config, round(mean + random.normal(0, 0.6), 2)))
    words = agree(tmp_path, plan)
    assert not words.loc["A":"C"].isin(["not run", "seeds missing"]).any(axis=None)
