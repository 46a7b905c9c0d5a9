"""A pruner, a rule and a check from outside, as the package's docstring writes them: from the function to a word."""

import re
import textwrap

import pytest

import ticketlib
from ticketlib import data, pruners, ratios, tickets
from ticketlib.analysis import pairs, plots, verdicts
from ticketlib.experiments import grids, run
from ticketlib.experiments.ledger import Ledger, frame

ARMS = ("gradient@0.9", "gradient+negated@0.9", "root@0.9", "root+rearranged@0.9", "root+negated@0.9")
REGISTERS = (pruners.METHODS, pruners.NEEDS_BATCH, ratios.RULES, tickets.CHECKS)


@pytest.fixture(scope="module")
def code():
    return textwrap.dedent(re.search(r"(?ms)^    import torch.*?(?=^\S)", ticketlib.__doc__)[0]).strip()


@pytest.fixture(scope="module")
def rows(code, tmp_path_factory):
    """A row of every arm, through a ledger; what the code registered is gone when all is over."""
    before = [register.copy() for register in REGISTERS]
    exec(code, {})
    digits, folder = data.load("digits"), tmp_path_factory.mktemp("rows")
    ledger = Ledger(folder)
    for arm in ARMS:
        ledger.add(run.execute(grids.arm("smoke", arm, 0, digits, epochs=1), digits, cache=folder, progress=False))
    yield {row["arm"]: row for row in ledger.rows()}
    for register, was in zip(REGISTERS, before, strict=True):
        register.clear()
        register.update(was)


def test_the_page_shows_the_same_code(code, root):
    assert f"```python\n{code}\n```" in (root / "book" / "extend.md").read_text(encoding="utf-8")


def test_what_was_registered_makes_tickets(rows):
    assert set(rows) == set(ARMS)
    for row in rows.values():
        assert sum(row["keep_counts"].values()) == 1946  # a tenth of 19,464
    counts = rows["root@0.9"]["keep_counts"]
    sizes = {layer.name: layer.size for layer in grids.layers("smoke", "resnet")}
    one, four = "blocks.0.conv1.weight", "blocks.2.conv2.weight"
    assert counts[four] / counts[one] == pytest.approx((sizes[four] / sizes[one]) ** 0.5, rel=0.02)
    assert rows["gradient@0.9"]["keep_counts"] != counts


def test_a_new_check_is_measured_and_judged_as_the_others_are(rows):
    assert rows["root+negated@0.9"]["control"] == {"changed_share": 1.0}
    assert rows["root+rearranged@0.9"]["control"]["moved_share"] > 0.5
    runs = pairs.select(frame(rows.values()), "smoke", epochs=1)
    for a, b in (("root+negated", "root"), ("gradient+negated", "gradient"), ("root", "gradient")):
        a, b = f"{a}@0.9", f"{b}@0.9"
        found = pairs.difference(runs, a, b)
        assert found.points.tolist() == [pytest.approx(rows[a]["accuracy"] - rows[b]["accuracy"])]
        assert found.untested == found.refused == ()
        assert verdicts.read(found, margin=1.0, n=8).word == verdicts.SEEDS_MISSING


def test_it_has_a_look_in_figures_without_a_line_of_its_own(rows):
    assert plots.style("gradient+negated@0.9").label == "gradient, negated"
    assert plots.style("lt+negated").colour == plots.style("lt").colour
