"""Pictures, tables and examples beside the chapters: drawn and computed from code, and nothing left dangling."""

import sys
from types import SimpleNamespace

import pytest
from docutils import nodes
from synthetic import arms, row_of
from ticketbook import checks

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
