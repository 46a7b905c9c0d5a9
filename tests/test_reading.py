"""Pictures, tables and examples beside the chapters: drawn and computed from code, and nothing left dangling."""

import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from docutils import nodes
from synthetic import arms, row, row_of
from ticketbook import checks, drawings, pipeline, spent
from ticketbook.claims_1 import CLAIMS

from ticketlib import ratios
from ticketlib.experiments import grids
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import Images

PILOT = {"recipe": 0, "held_out": 5000, "epochs": 10}


@pytest.fixture
def wording():
    """The Sphinx extension that rewrites docstrings."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    yield __import__("wording")
    sys.path.pop(0)


def texts(drawing):
    """All words of a drawing, which must be sound XML, on one line."""
    assert "\n" not in drawing
    return " ".join(ElementTree.fromstring(drawing).itertext())


def test_the_random_ticket_keeps_in_the_picture_what_the_rule_says():
    drawing = drawings.random_ticket()
    counts = ratios.keep_counts(drawings.TOY, "smart", drawings.TOY_SPARSITY, family="resnet")
    assert sum(counts.values()) == 18 and all(f"{count} of 24" in texts(drawing) for count in counts.values())
    cells = [float(x) for x in re.findall(r'<rect[^>]*fill-opacity="([\d.]+)"', drawing)]
    assert len(cells) == 6 * 24
    masks = [cells[48 * i + 24 : 48 * i + 48] for i in range(3)]
    assert [sum(mask) for mask in masks] == list(counts.values())
    for i, mask in enumerate(masks):  # the darkest squares on the left are those that stay
        scores = cells[48 * i : 48 * i + 24]
        stay = [score for score, kept in zip(scores, mask, strict=True) if kept]
        assert min(stay) >= max(score for score, kept in zip(scores, mask, strict=True) if not kept)
    assert "smart ratio" in ElementTree.fromstring(drawing).get("aria-label")


def test_words_in_a_drawing_cannot_be_markup():
    assert texts(drawings.svg(10, 10, [drawings.text(0, 0, "<b> & co")], 'a "quoted" alt')) == "<b> & co"


def test_every_arrow_of_the_pipeline_has_words_and_every_check_has_a_place():
    words = texts(pipeline.picture())
    assert all(a.words and all(w in words for w in a.words) and a.meaning for a in pipeline.ARROWS)
    assert {sign for a in pipeline.ARROWS for sign, _, _ in a.checks} == set(pipeline.CHECKS)
    assert {name for a in pipeline.ARROWS for name in (a.start, a.end)} == set(pipeline.NODES)
    assert {a.end for a in pipeline.ARROWS}.isdisjoint(n for n, node in pipeline.NODES.items() if node.given)


def test_the_pipeline_stays_within_its_picture_and_no_two_words_share_a_place():
    places = [a.at for a in pipeline.ARROWS] + [node.place[:2] for node in pipeline.NODES.values()]
    assert len(set(places)) == len(places)
    points = [p for a in pipeline.ARROWS for p in (*a.points, a.at, *(c[1:] for c in a.checks))]
    assert all(0 <= x <= pipeline.WIDTH and 0 <= y <= pipeline.HEIGHT for x, y in points)


def test_the_pipeline_in_words_says_what_the_picture_says():
    lines = pipeline.in_words().splitlines()
    assert len(lines) == len(pipeline.ARROWS) and "**Check 3** cuts in here." in "\n".join(lines)
    assert len(pipeline.checks_table()[1]) == len(pipeline.CHECKS)


def test_the_checks_of_the_claims_are_in_the_pipeline_with_the_tickets_they_are_asked_of():
    signs = {"both": "1", "half": "2", "rearranged": "3", "shuffled": "4"}
    for claim in CLAIMS.values():
        for c in claim.comparisons:
            for arm in (c.a, c.b):
                ticket, *checks = arm.split("+")
                for check in checks:
                    asked = pipeline.CHECKS[signs[check]][2].lower().split(", ")
                    assert ticket in asked, (arm, asked)


def test_what_was_spent_lists_seeds_in_their_order():
    of = {seed: row("smart@0.9", seed, 70.0 + seed) for seed in (2, 0, 1)}
    assert spent.spent({"smart@0.9": of}, ("smart",), "0.9")["smart"][20][0] == [70.0, 71.0, 72.0]


def test_other_data_are_described_by_their_rows():
    config = grids.arm("laptop", "smart@0.9", 2, Images("cifar100"), **grids.other_recipe("laptop"))
    rows = [row_of(config, 37.0, images=50 * 20_000, device="a GPU"), *arms({"smart": 80.0})]
    said = checks.other_data(checks.by_place(rows, "laptop"))
    assert said == (
        "They trained on 20,000 images of CIFAR-100 for 50 epochs, about as many steps as the runs on CIFAR-10, in the "
        "dense engine, on a GPU, with 0.9 removed and 1 seed."
    )


def test_docstrings_become_fields_and_keep_their_text(wording):
    lines = ["Do *this* with `x_y`: a|b_, lt@0.9.", "", "Arguments:", "    x_y: first,", "        still first."]
    lines += ["    z: second.", "Returns: nothing.", "", "More."]
    wording.rewrite(None, None, None, None, None, lines)
    assert lines == [r"Do *this* with ``x_y``: a\|b\_, lt\@0.9.", "", "", ":Arguments: ", "", r"   * x\_y: first,",
                     "     still first.", "   * z: second.", ":Returns: nothing.", "", "More."]  # fmt: skip


def test_maths_in_docstrings_becomes_maths(wording):
    assert wording.literal("ratio `$(L-i+1)^2$`, a^2") == "ratio :math:`(L-i+1)^2`, a^2"


def test_links_to_the_glossary_carry_its_words_and_others_do_not(wording):
    term, meaning = nodes.term("", "mask", ids=["term-mask"]), nodes.definition("", nodes.paragraph("", "Which stay."))
    words = nodes.bullet_list("", nodes.definition_list("", nodes.definition_list_item("", term, meaning)))
    env = SimpleNamespace(all_docs={"glossary": 0}, get_doctree=lambda name: words)
    links = [nodes.reference(refuri=f"../glossary.html#{anchor}") for anchor in ("term-mask", "training")]
    page = nodes.paragraph("", "", *links)
    wording.explain(SimpleNamespace(env=env), page, "claims/02")
    assert links[0]["reftitle"] == "Which stay." and "reftitle" not in links[1]


def test_arguments_in_one_line_stay_a_sentence(wording):
    lines = ["Say.", "", "Arguments: a, one; b,", "    two.", "Raises: never."]
    wording.rewrite(None, None, None, None, None, lines)
    assert lines[2:] == ["", ":Arguments: a, one; b,", "   two.", ":Raises: never."]
