"""Numbers in prose: what pages write is computed from the rows, and refused where the rows say otherwise."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from ticketbook import audits, numbers
from ticketbook.numbers import Rows

from ticketlib.errors import TicketError

IDS = (
    [f"R1.{k}" for k in range(1, 5)] + [f"R2.{k}" for k in range(1, 15)] + [f"R3.{k}" for k in range(1, 4)]
    + [f"R3.C{k}" for k in range(7)] + ["R3.P1", "R3.F1"]
)  # fmt: skip
ITEM = re.compile(r"^\*\*(R\d\.\w+)\. .+?\*\* (.+?)(?=\n\n|\Z)", re.M | re.S)
rows = Rows()


def rendered(path):
    """A page with every {{ rows.... }} replaced by its number, as the build does it."""
    text, objects = path.read_text(encoding="utf-8"), {"rows": rows, "audits": audits.Audits()}
    return re.sub(r"\{\{\s*((?:rows|audits)\..+?)\s*\}\}", lambda found: eval(found[1], objects), text, flags=re.S)


def test_every_assertion_beside_a_number_holds_in_the_rows_of_today(root):
    pages = {path.name: rendered(path) for path in (root / "book").glob("*.md")}
    assert not [name for name, text in pages.items() if "{{ rows." in text or "{{ audits." in text]


def test_all_thirty_items_are_answered_in_one_short_sentence_that_begins_with_the_answer(root):
    found = dict(ITEM.findall(rendered(root / "book" / "reviewers.md")))
    assert list(found) == IDS and len(IDS) == 30
    answers = ("Yes: ", "No: ", "In part: ", "Not known: ")
    assert not [one for one, text in found.items() if not text.startswith(answers)]
    assert not [one for one, text in found.items() if len(text.split()) > 25]


def test_a_difference_is_that_of_accuracies_of_the_same_seeds():
    frame = numbers.ledger_frame()
    runs = frame.query("recipe == 1 and dataset == 'cifar10' and network == 'resnet20' and epochs == 20")
    points = runs.query("arm == 'snip+rearranged@0.98'").set_index("seed").accuracy
    points = (points - runs.query("arm == 'snip@0.98'").set_index("seed").accuracy).loc[range(10)]
    reach = stats.t.ppf(0.975, 9) * points.std() / np.sqrt(10)
    ends = " to ".join(f"{points.mean() + sign * reach:+.2f}".replace("-", "−") for sign in (-1, 1))
    assert rows.difference("snip+rearranged@0.98", "snip@0.98") == f"+{points.mean():.2f} ({ends}, n = 10)"
    assert rows.difference("snip+rearranged@0.98", "snip@0.98", short=True) == f"+{points.mean():.2f}"


@pytest.mark.parametrize("wrong", [{"above": 0.5}, {"below": 1.4}, {"around": 0}, {"around": 1.6}])
def test_a_sentence_that_the_interval_does_not_bear_is_refused_with_the_numbers(wrong):
    assert rows.difference("hybrid@0.98", "lrr@0.98", above=0.4, below=1.6, around=1)  # +0.44 to +1.50
    with pytest.raises(TicketError, match=r"hybrid@0.98 − lrr@0.98 is \+0.97"):
        rows.difference("hybrid@0.98", "lrr@0.98", **wrong)


def test_one_seed_bears_no_assertion_and_no_pairs_bear_no_number(monkeypatch):
    monkeypatch.setattr(numbers, "paired", lambda *_, **__: SimpleNamespace(points=pd.Series({0: -1.914})))
    assert rows.difference("a@0.9", "b@0.9") == "−1.91 (one seed)"
    with pytest.raises(TicketError, match="a@0.9"):
        rows.difference("a@0.9", "b@0.9", below=0)
    monkeypatch.undo()
    with pytest.raises(TicketError, match="snip@0.123"):
        rows.difference("snip@0.123", "lt@0.123")


def test_other_lengths_and_seeds_are_not_mixed_in():
    assert set(numbers.runs().epochs) == {20} and set(numbers.runs().seed) == set(range(10))
    assert set(numbers.runs(dataset="cifar100").dataset) == {"cifar100"}
    with pytest.raises(TicketError, match="smart@0.98"):  # trained for 35 epochs: only where a page asks for it
        numbers.paired("smart@0.98", "snip@0.98", b_epochs=40)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("accuracy", dict(arm="snip@0.98", above=66.3)), ("accuracy", dict(arm="snip@0.98", below=66.2)),
        ("loss", dict(arm="dense@0", above=1)), ("spread", dict(arm="snip@0.98", widest=True)),
        ("collapsed", dict(sparsity="0.98", most=0)), ("collapsed", dict(sparsity="0.9", least=1)),
        ("emptied", dict(arm="lrr@0.98", least=10)), ("untrained", dict(least=8)), ("apart", dict(above=18)),
        ("seeds", dict(arms=["snip@0.98"], n=9)), ("spoilt", dict(method="grasp", places=["VGG-19"], below=2)),
        ("probes", dict(ticket="smart", network="resnet50", dataset="imagenet", n=2)),
    ],
)  # fmt: skip
def test_every_kind_of_number_is_refused_where_its_assertion_fails(method, arguments):
    with pytest.raises(TicketError, match="write the sentence anew"):
        getattr(rows, method)(*arguments.pop("arms", []), **arguments)


def test_what_spoilt_data_move_is_counted_from_masks_of_the_same_seeds():
    asked = {"ticket": "snip", "network": "vgg19", "sparsity": "0.98", "linear": "own", "variant": "default"}
    probed = [row for row in numbers.ledger_rows("paper") if row["kind"] == "probe"]
    of = [row for row in probed if asked.items() <= row["config"].items()]
    counts = {(row["config"]["corruption"], row["config"]["seed"]): row["keep_counts"] for row in of}
    moved = [sum(abs(n - counts["both", seed][name]) for name, n in counts["none", seed].items()) for seed in range(10)]
    share = 50 * np.mean(moved) / sum(counts["none", 0].values())
    assert rows.spoilt("snip", ["VGG-19"]) == f"{share:.0f} %" and share > 1
