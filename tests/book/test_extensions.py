"""Extensions of the book: tables for phones, wide figures, labels of the bibliography, answers on the front page."""

import json
import struct
from types import SimpleNamespace

import bibliography
import book_pages
import polish
import pytest
import tables
import wording
from docutils import nodes
from docutils.core import publish_doctree
from sphinx import addnodes
from sphinx.errors import ExtensionError


def table(*lines):
    """A document with one table, its first line the titles."""
    between = "\n     - "
    cells = "\n".join(f"   * - {between.join(line)}" for line in lines)
    return publish_doctree(f".. list-table::\n   :header-rows: 1\n\n{cells}\n")


def classes(doctree):
    """The classes of every cell, line by line."""
    return [[entry["classes"] for entry in row.findall(nodes.entry)] for row in doctree.findall(nodes.row)]


def test_long_cells_of_four_columns_are_stacked_and_say_what_they_are():
    found = table(["item", "asked", "n", "word"], ["R1", "a question that is longer than thirty letters", "3", "–"])
    tables.lay_out(None, found)
    assert next(found.findall(nodes.table))["classes"] == ["stacked"]
    assert [entry.astext() for entry in found.findall(nodes.entry)][4:] == [
        "R1", "asked: a question that is longer than thirty letters", "n: 3", "word: –"]  # fmt: skip
    assert classes(found)[1] == [["short", "naming"], [], [], ["empty"]]


def test_as_many_columns_as_tell_rows_apart_are_the_title_of_a_card():
    long = "a text that is longer than thirty letters"
    found = table(["net", "ticket", "kept", "words"], ["A", "snip", "9", long], ["A", "lt", "9", long])
    tables.lay_out(None, found)
    assert classes(found)[1] == [["short", "naming"], ["short", "naming"], [], []]
    assert [entry.astext() for entry in found.findall(nodes.entry)][4:7] == ["A", "snip", "kept: 9"]
    many = table(["a", "b", "c", "d"], *[[str(i), long, "", ""] for i in range(tables.MANY + 1)])
    tables.lay_out(None, many)
    assert next(many.findall(nodes.table))["classes"] == ["stacked", "many"]
    three = table(["a", "b", "c"], ["x", "y", "three columns are stacked if a text has more than sixty letters"])
    tables.lay_out(None, three)
    assert next(three.findall(nodes.table))["classes"] == ["stacked"]
    assert tables.naming([["A", "1"], ["A", "1"]]) == 1 and tables.naming([]) == 1


@pytest.mark.parametrize("lines", [
    (["a", "b", "c"], ["x", "y", "of three columns, more than thirty letters"]),
    (["a", "b"], ["x", "two columns are not stacked, however long the text of a cell may be"]),
    (["a", "b", "c", "d"], ["1", "2", "3", "4"]),
    (["a", "b", "c", "d"], ["only the first is longer than thirty", "2", "3", "4"]),
])  # fmt: skip
def test_other_tables_stay_tables(lines):
    found = table(*lines)
    before = found.astext()
    tables.lay_out(None, found)
    assert next(found.findall(nodes.table))["classes"] == [] and found.astext() == before


def test_a_column_without_a_title_puts_nothing_before_its_cells():
    found = table(["what", "goal", "of", ".."], ["a figure", "2", "3", "reached, which is more than thirty letters"])
    list(found.findall(nodes.entry))[3].clear()
    tables.lay_out(None, found)
    assert [entry.astext() for entry in found.findall(nodes.entry)][-2:] == [
        "of: 3", "reached, which is more than thirty letters"]


def test_a_citation_is_not_short():
    entry = nodes.entry("", nodes.paragraph("", "", addnodes.pending_xref("", nodes.inline("", "su2020"))))
    assert tables.kinds(entry, True) == []
    assert tables.kinds(nodes.entry("", nodes.paragraph("", "su2020")), True) == ["short"]


@pytest.mark.parametrize("width", [polish.NARROW, polish.NARROW + 1])
def test_only_wide_figures_are_marked_and_linked(tmp_path, width):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, 5))
    html = '<figure class="align-default" id="x">\n<img alt="A line." src="a.png" />\n<figcaption>'
    wide = html.replace('"align', '"wide align').replace(
        '<img alt="A line." src="a.png" />',
        '<a class="full-size" title="Show it in full size" href="a.png"><img alt="A line." src="a.png" /></a>')
    assert polish.mark_wide(html, tmp_path) == (wide if width > polish.NARROW else html)


def test_a_number_stays_with_its_sign_and_the_text_stays_what_it_was():
    page = publish_doctree("ResNet-20 on CIFAR-10: the 95 % interval, n = 3, of +1.50 % and ``5 %``.")
    before = page.astext()
    wording.keep_together(None, page, "claims/02")
    kept = [node.astext() for node in page.findall(nodes.inline)]
    assert kept == ["ResNet-20", "CIFAR-10", "95 %", "n = 3", "+1.50 %"] and page.astext() == before


def test_labels_name_authors_and_year():
    def entry(*names):
        persons = [SimpleNamespace(prelast_names=name.split()[:-1], last_names=name.split()[-1:]) for name in names]
        return SimpleNamespace(persons={"author": persons}, fields={"year": "2020"})

    labels = bibliography.AuthorsAndYear().format_labels([entry("Su"), entry("van Gog", "Su"), entry("A", "B", "C")])
    assert list(labels) == ["Su, 2020", "van Gog and Su, 2020", "A et al., 2020"]


@pytest.mark.parametrize("facts", [{"exception": True, "end_time": "2026"}, {"end_time": None}, {}])
def test_a_run_that_failed_or_never_ended_is_no_page(facts):
    app = SimpleNamespace(env=SimpleNamespace(doc2path=lambda docname: f"{docname}.ipynb"))
    source = [json.dumps({"cells": [], "metadata": {"papermill": facts}})]
    with pytest.raises(ExtensionError, match="claims/x: the papermill run failed or never finished"):
        book_pages.source_read(app, "claims/x", source)


def test_docstrings_become_fields_and_keep_their_text():
    lines = ["Do *this* with `x_y`: a|b_, lt@0.9.", "", "Arguments:", "    x_y: first,", "        still first."]
    lines += ["    z: second.", "Returns: nothing.", "", "More."]
    wording.rewrite(None, None, None, None, None, lines)
    assert lines == [r"Do *this* with ``x_y``: a\|b\_, lt\@0.9.", "", "", ":Arguments: ", "", r"   * x\_y: first,",
                     "     still first.", "   * z: second.", ":Returns: nothing.", "", "More."]  # fmt: skip


def test_maths_in_docstrings_becomes_maths():
    assert wording.literal("ratio `$(L-i+1)^2$`, a^2") == "ratio :math:`(L-i+1)^2`, a^2"


def test_links_to_the_glossary_carry_its_words_and_others_do_not():
    term, meaning = nodes.term("", "mask", ids=["term-mask"]), nodes.definition("", nodes.paragraph("", "Which stay."))
    words = nodes.bullet_list("", nodes.definition_list("", nodes.definition_list_item("", term, meaning)))
    env = SimpleNamespace(all_docs={"glossary": 0}, get_doctree=lambda name: words)
    links = [nodes.reference(refuri=f"../glossary.html#{anchor}") for anchor in ("term-mask", "training")]
    page = nodes.paragraph("", "", *links)
    wording.explain(SimpleNamespace(env=env), page, "claims/02")
    assert links[0]["reftitle"] == "Which stay." and "reftitle" not in links[1]


def test_arguments_in_one_line_stay_a_sentence():
    lines = ["Say.", "", "Arguments: a, one; b,", "    two.", "Raises: never."]
    wording.rewrite(None, None, None, None, None, lines)
    assert lines[2:] == ["", ":Arguments: a, one; b,", "   two.", ":Raises: never."]
