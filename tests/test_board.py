"""The board and the computed parts of prose pages, on synthetic rows; and README against the committed ledger."""

import json
import re
from xml.etree import ElementTree

import pytest
from docutils.core import publish_string
from myst_parser.parsers.docutils_ import Parser
from synthetic import arms, book, row
from ticketbook import board_1 as board
from ticketbook import reading
from ticketbook.claims_1 import CLAIMS

from ticketlib.analysis import evidence
from ticketlib.experiments import places
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.places import ROOT, book_ledger

MEANS = {"snip": 80.0, "grasp": 79.0, "lt": 81.0, "smart": 80.9, "uniform": 70.0}
FIXED = {"margin": 1.0, "seeds": 6, "reason": "Because.",
         "versions": [[1, "2026-11-22", "the first"], [2, "2026-11-23", "the second"]]}  # fmt: skip


@pytest.fixture
def fixed(tmp_path, monkeypatch):
    """A protocol whose numbers are fixed."""
    path = tmp_path / "protocol.json"
    path.write_text(json.dumps(FIXED))
    monkeypatch.setattr(board, "PROTOCOL", path)


@pytest.fixture
def not_fixed(tmp_path, monkeypatch):
    monkeypatch.setattr(board, "PROTOCOL", tmp_path / "absent.json")


def test_until_the_protocol_is_fixed_no_claim_has_a_word(not_fixed):
    assert {word for word, _ in board.said(board.judged(arms(MEANS))).values()} == {"not run"}
    assert "Scope" not in board.table(arms(MEANS)) and board.protocol() is None


def test_every_claim_is_on_the_board_and_rows_fill_it(fixed):
    table = board.table(arms(MEANS))
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:7]] == list(CLAIMS)
    assert re.search(r"\| C \| .* \| holds: .*n = 6 \|", table) and "| A | " in table and "not run |" in table
    scope, words = table.split("\n\n")[1:]
    where = "ResNet-20 (width 16, stem stride 2), CIFAR-10, 20 epochs"
    assert scope == f"Scope of every verdict: {where}. The margin is 1 point."
    assert words == "*Not run* is no verdict: runs that would decide are not there yet."
    assert board.no_words(["holds", "undecided"]) == ""


def drawn(rows):
    """The board of the front page by claim, its drawings apart: dict claim -> (line without drawing, drawing)."""
    table = board.drawn(rows, {"01_smart_ratios"})
    lines = {name: line for line in table.splitlines() for name in CLAIMS if line.startswith(f"| **{name}.**")}
    svg = re.compile("<svg.*?</svg>")
    return {name: (svg.sub("", line), (svg.findall(line) or [""])[0]) for name, line in lines.items()}


def test_before_the_protocol_the_front_page_draws_nothing(not_fixed):
    found = drawn(arms(MEANS))
    assert list(found) == list(CLAIMS) and not any(drawing for _, drawing in found.values())
    assert all("{bdg-light}`not run` | – | no runs |" in line for line, _ in found.values())


def test_the_front_page_draws_effects_intervals_margin_seeds_and_device(fixed):
    line, drawing = drawn(arms(MEANS))["C"]
    assert line.startswith(
        "| **C.** [Random tickets with smart ratios do as well](claims/01_smart_ratios) {bdg-success}"
    )
    assert line.endswith("| n = 6, cpu: synthetic, 1 thread |") and "{bdg-success}`holds`" in line
    root = ElementTree.fromstring(drawing)
    assert root.get("aria-label").startswith("holds: ") and len(root.findall("circle")) == 4
    assert len(root.findall("rect")) == 3  # superiority has no margin
    assert len(root.findall("line")) == 1 + 4 + 2 * 3  # zero, the intervals, the ends of the margins
    judged = board.judged(arms(MEANS))["C"].compared
    for row_, circle in zip(judged, root.findall("circle"), strict=True):
        points = (float(circle.get("cx")) - board.MIDDLE) / board.PER_MARGIN
        assert points == pytest.approx(max(-3, min(3, row_.adjusted.point)), abs=1e-3)
    assert "holds: +10" in " ".join(root.itertext())


def test_the_drawings_come_through_markdown_whole(fixed):
    text = re.sub(r"\{bdg-\w+\}", "", board.drawn(arms(MEANS), set()))
    options = {"myst_enable_extensions": ["colon_fence"], "output_encoding": "unicode", "embed_stylesheet": False}
    html = publish_string(text, parser=Parser(), writer_name="html5", settings_overrides=options)
    assert '<table class="board">' in html and "system-message" not in html
    [drawing] = re.findall("<svg.*?</svg>", html, re.S)
    assert len(ElementTree.fromstring(drawing).findall("circle")) == 4


def test_the_front_page_counts_the_words(fixed):
    assert board.summary(arms(MEANS)) == "**Of 5 claims: 1 *holds*, 4 *not run*.**"
    assert board.summary(arms({"hybrid": 84.0, "lrr": 84.0}, seeds=[0])).endswith("1 *provisional*, 4 *not run*.**")


def test_what_collapsed_runs_bar_is_said_before_the_last_seed(fixed):
    assert board.barred(arms(MEANS, seeds=range(3))) == "" == board.barred([])
    some = arms({"hybrid": 84.0, "lrr": 84.0}, seeds=range(3), empty_layers=["conv.weight"])
    assert board.barred(arms(MEANS, seeds=range(3)) + some) == (
        "Collapsed runs bar *holds* for 1 of 5 comparisons, whatever seeds are still to come. "
        "At best the words will be: D2 *undecided*."
    )
    assert board.barred(arms(MEANS) + some[:0]) == ""  # a word that is given says so itself


def test_what_a_mean_over_sparsities_hides_is_named(fixed):
    means = {"hybrid@0.9": 82.0, "lrr@0.9": 80.0, "hybrid@0.98": 70.0, "lrr@0.98": 72.0}
    rows = [row(arm, seed, mean + seed / 10) for arm, mean in means.items() for seed in range(3)]
    said = board.hidden(rows)
    assert "of its own): D2, hybrid − LRR +2.00 at 0.9 and −2.00 at 0.98. Single" in said
    assert said in board.table(rows) and board.hidden(arms(MEANS)) == ""


def changed(one, whether, **facts):
    return Row(one | facts) if whether else one


def test_what_the_words_would_be_if_an_empty_layer_were_no_collapse(fixed):
    rows = [changed(one, one["arm"] == "lrr@0.98", empty_layers=["conv.weight"]) for one in book(("step1",))]
    assert [board.judged(rows)[claim].word for claim in ("D1", "D2")] == ["undecided"] * 2
    said = board.without_empty(rows)
    assert said.startswith("If an empty layer alone were no collapse: D1 would be *holds*; D2 would be *holds*; ")
    assert "A, B, C would keep their words. Of the " in said and "none diverged or ended below twice guessing" in said
    assert said in board.table(rows)
    first = [one["arm"] == "lrr@0.98" and not one.config.seed for one in rows]
    low = board.without_empty([changed(*pair, accuracy=11.0) for pair in zip(rows, first, strict=True)])
    assert "D1, D2 would keep their words" in low and ", 1 diverged or ended" in low
    assert board.without_empty(rows[:40]) == board.at_half_margin(rows[:40]) == ""  # some claims have no word yet


def test_what_the_words_would_be_at_half_the_margin(fixed):
    rows = book(("step1",))
    assert board.at_half_margin(rows) == "At half the margin: A, B, C, D1, D2 would keep their words."
    worse = [changed(one, one["arm"].startswith("smart@"), accuracy=one["accuracy"] - 0.7) for one in rows]
    said = board.at_half_margin(worse)
    assert board.judged(worse)["C"].word == "holds"
    assert said.startswith("At half the margin: C would be *undecided*; A, B, D1, D2 would keep their words. Single ")
    assert "smart ratio over SNIP (claim C) *" in said and "uniform" not in said


def test_claims_without_a_page_are_no_links_and_what_is_not_ready_has_words_for_a_dot(fixed):
    found = drawn(arms({"hybrid": 84.0, "lrr": 84.0}, seeds=range(3)))
    line, drawing = found["D2"]
    assert "](" not in line and "{bdg-light}`provisional`" in line and "n = 3" in line
    assert "<circle" not in drawing and "<line" not in drawing and "provisional, 3 of 6" in drawing
    assert found["A"][0].endswith("| – | no runs |")


def test_collapsed_runs_are_counted_beside_the_drawing(fixed):
    rows = arms({**MEANS, "uniform": 11.0})
    assert "; collapsed runs: 12 (below twice chance) |" in drawn(rows)["C"][0]
    shared = arms({**MEANS, "smart": 11.0})
    assert "; collapsed runs: 12 in all (below twice chance); comparisons share runs |" in drawn(shared)["C"][0]


def test_collapsed_runs_of_a_seed_that_is_not_whole_are_not_counted(fixed):
    rows = arms(MEANS) + [row("snip@0.9", 9, 11.0)]
    assert "collapsed" not in drawn(rows)["C"][0]


def test_the_board_is_explained_as_far_as_it_is_filled(fixed):
    none = reading.board_reading([])
    assert none.startswith("*Not run* is no verdict") and "dot" not in none
    early = reading.board_reading(arms({"hybrid": 84.0, "lrr": 84.0}, seeds=[0]))
    assert early.startswith("*Not run* ") and (
        "*Provisional, 1 of 6 seeds* is no verdict yet: 1 of the 6 seeds that the protocol asks for is done." in early
    )
    assert "dot" not in early and "In the drawings a dot" in reading.board_reading(arms(MEANS))


@pytest.fixture
def own_book(tmp_path, monkeypatch):
    """A book of one's own, with an empty ledger."""
    monkeypatch.setattr(places, "book_ledger", lambda profile="": tmp_path / "ledger" / profile)
    return tmp_path


def test_the_history_notes_words_that_change_and_nothing_else(fixed, own_book):
    assert not board.record([], "2026-11-22") and board.changelog() == "No claim has a verdict yet."
    assert not board.record(arms(MEANS, seeds=range(3)), "2026-11-23")  # provisional is no verdict
    assert board.record(arms(MEANS), "2026-11-24") and not board.record(arms(MEANS), "2026-11-25")
    assert board.changelog() == "- 2026-11-24 (protocol 2, recipe 1): C: *no verdict* → *holds*"
    assert board.record(arms({**MEANS, "uniform": 90.0}), "2026-11-26")
    assert board.changelog().splitlines()[0] == "- 2026-11-26 (protocol 2, recipe 1): C: *holds* → *does not hold*"


def test_without_a_protocol_nothing_is_noted(not_fixed, own_book):
    assert not board.record(arms(MEANS), "2026-11-22") and board.changes() == []


def test_readme_says_what_the_committed_ledger_says():
    rows = Ledger(book_ledger("laptop")).rows()
    assert board.table(rows) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_rows_beyond_the_protocols_seeds_stand_behind_no_verdict(fixed):
    rows = arms({"hybrid": 88.0, "lrr": 84.0}, seeds=range(8))
    behind = board.behind(board.judged(rows)["D2"], evidence.select(rows, "laptop"))
    assert {one.config.seed for one in behind} == set(range(6)) and len(behind) == 24


def test_what_means_hide_ends_with_the_protocols_seeds(fixed):
    means = {"hybrid@0.9": 82.0, "lrr@0.9": 80.0, "hybrid@0.98": 70.0, "lrr@0.98": 72.0}
    rows = [row(arm, seed, mean + seed / 10) for arm, mean in means.items() for seed in (5, 6, 7)]
    assert board.hidden(rows) == ""


def test_what_turns_elsewhere_is_named_and_only_that(fixed):
    rows = arms(MEANS | {f"{ticket}+rearranged": MEANS[ticket] for ticket in ("snip", "grasp", "lt")}, seeds=range(6))
    assert board.said(board.judged(rows))["B"][0] == "holds" and board.elsewhere(rows) == ""
    slim = dict(changes={"network": "vgg"})
    for seed, by in enumerate((-9.0, -9.1, -9.2)):
        rows += [row("lt@0.98", seed, 60.0, **slim), row("lt+rearranged@0.98", seed, 60.0 + by, **slim)]
        rows += [row("snip@0.995", seed, 60.0), row("snip+rearranged@0.995", seed, 60.1 - by / 90)]  # as the verdict
    said = board.elsewhere(rows)
    assert said.startswith(f"{board.TURNED}: B, LT, rearranged − LT, slim VGG-16 at 0.98: −9.10 (")
    assert "SNIP" not in said


def test_a_comparison_that_failed_is_turned_by_one_that_holds(fixed):
    rows = arms(MEANS | {"hybrid": 80.0, "lrr": 84.0}, seeds=range(6))
    assert board.said(board.judged(rows))["D2"][0] == "does not hold"
    for seed, by in enumerate((2.0, 2.1, 2.2)):
        rows += [row("lrr@0.995", seed, 60.0), row("hybrid@0.995", seed, 60.0 + by)]
    assert "D2, hybrid − LRR, ResNet-20 at 0.995: +2.10 (" in board.elsewhere(rows)
