"""Sphinx extension: tables that can be read on a phone, where a row of many long cells becomes a card of its own."""

from docutils import nodes
from sphinx import addnodes

SHORT = 16  # letters; a cell of no more is not broken on a phone
LONG = 30  # letters; with a longer cell, a table of COLUMNS and more is stacked on a phone
COLUMNS = 4
EMPTY = ("", "–")  # what a phone leaves out of a row that it stacks


def lay_out(app, doctree):
    """Mark short cells of every table; where rows are to be stacked, put each column's title into its cells."""
    for table in doctree.findall(nodes.table):
        lines = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
        for entry in (entry for line in lines for entry in line):
            entry["classes"] += kinds(entry)
        longest = max((len(entry.astext()) for line in lines for entry in line), default=0)
        if "board" not in table["classes"] and len(lines[0]) >= COLUMNS and longest > LONG:
            stack(table, lines)


def kinds(entry):
    """The classes of a cell: empty, short, or none of these. A citation is longer than its key, which stands there."""
    text = entry.astext()
    if text in EMPTY:
        return ["empty"]
    return ["short"] if len(text) <= SHORT and not list(entry.findall(addnodes.pending_xref)) else []


def stack(table, lines):
    """Mark a table as one to be stacked, and say in every cell but the first of a row what its column is."""
    table["classes"].append("stacked")
    titles = [entry.astext() for entry in lines[0]]
    for line in lines[1:]:
        for title, entry in list(zip(titles, line, strict=False))[1:]:
            if title and entry.children:
                entry.children[0].insert(0, nodes.inline("", f"{title}: ", classes=["column-title"]))


def setup(app):
    """Register the extension."""
    app.connect("doctree-read", lay_out)
    return {"parallel_read_safe": True}
