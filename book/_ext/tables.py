"""Sphinx extension: tables that can be read on a phone, where a row of many long cells becomes a card of its own."""

from docutils import nodes
from sphinx import addnodes

SHORT = 16  # letters; a cell of no more is not broken on a phone
LONG = 30  # letters; with a longer cell, a table of COLUMNS and more is stacked on a phone
COLUMNS = 4  # one column less takes a cell twice as long, and no more than MANY rows
NAMES = 2  # columns, whose short cells are broken nowhere (custom.css)
MANY = 15  # cards; of more, a phone shows the first ones and a button (reach.js)
EMPTY = ("", "–")  # what a phone leaves out of a row that it stacks


def lay_out(app, doctree):
    """Mark short cells of every table; where rows are to be stacked, put each column's title into its cells."""
    for table in doctree.findall(nodes.table):
        lines = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
        longest = max((len(entry.astext()) for line in lines for entry in line[1:]), default=0)  # the first may wrap
        three = len(lines[0]) == COLUMNS - 1 and longest > 2 * LONG and len(lines) - 1 <= MANY
        stacked = three or len(lines[0]) >= COLUMNS and longest > LONG
        for line in lines:
            for i, entry in enumerate(line):  # beside one another on a phone too, if not stacked
                entry["classes"] += kinds(entry, i < NAMES or not stacked)
        if stacked:
            stack(table, lines)


def kinds(entry, matters):
    """The classes of a cell: empty, short where that matters, or none. A citation is longer than its key, seen here."""
    text = entry.astext()
    if text in EMPTY:
        return ["empty"]
    return ["short"] if matters and len(text) <= SHORT and not list(entry.findall(addnodes.pending_xref)) else []


def stack(table, lines):
    """Mark a table as one to be stacked: what tells its rows apart is a card's title, the rest says its column."""
    table["classes"] += ["stacked"] + ["many"] * (len(lines) - 1 > MANY)
    titles = [entry.astext() for entry in lines[0]]
    first = naming([[entry.astext() for entry in line] for line in lines[1:]])
    for line in lines[1:]:
        for entry in line[:first]:
            entry["classes"].append("naming")
        for title, entry in list(zip(titles, line, strict=False))[first:]:
            if title and entry.children:
                entry.children[0].insert(0, nodes.inline("", f"{title}: ", classes=["column-title"]))


def naming(texts):
    """How many leading columns tell the rows of a table apart, from the texts of its cells; at least one."""
    apart = [len({tuple(line[:width]) for line in texts}) for width in range(1, len(texts[0]) + 1)] if texts else [0]
    return 1 + apart.index(apart[-1])


def setup(app):
    """Register the extension."""
    app.connect("doctree-read", lay_out)
    return {"parallel_read_safe": True}
