"""What stands under every figure of a chapter: its cell, the data behind it, and how to run it again at another scale.

A cell that draws a figure says in its metadata what the figure was made from: {"ticketbook": {"data": "runs"}}.
"""

from urllib.parse import urlencode

SCALE = (
    "`laptop` takes hours on a CPU, `smoke` about a minute, `paper` needs a GPU and days. The page says first how "
    "long it will take. Stopped and started again, it goes on where it was. `-p seeds 10` asks for ten seeds."
)
REDRAWN = "Nothing is trained: the figure is drawn again from what is stored."
DATA = {  # what a figure was made from -> (text of the link or sentence, where it leads, what the command does)
    "runs": ("the rows behind it", {"kind": "run"}, SCALE),
    "probes": ("the rows behind it", {"kind": "probe"}, SCALE),
    "formulas": ("computed from formulas; no rows", None, REDRAWN),
    "published": ("the published figures behind it", "09_published.html#the-differences", REDRAWN),
    "benchmarks": ("the stored benchmarks behind it", "06_speed.html#all-figures", "`make bench` measures them again."),
    "masks": ("the rows behind it", {"kind": "probe", "dataset": "imagenet"},
              "`python benchmarks/imagenet.py` finds masks that are missing."),
}
LIVE = "its runs were made with this page and are in no ledger"


def caption_of(cell):
    """The figure's settings in a cell's metadata, an empty dict where the cell draws none."""
    return cell["metadata"].get("mystnb", {}).get("figure", {})


def data_of(cell):
    """What a cell says its figure was made from; None if it does not say."""
    return cell["metadata"].get("ticketbook", {}).get("data")


def problems(cell):
    """Yield what a cell that draws a figure does not say of it: caption, name, alternative text, data."""
    figure = caption_of(cell)
    if not figure:
        return
    yield from (what for what in ("caption", "name") if not figure.get(what))
    if not cell["metadata"]["mystnb"].get("image", {}).get("alt"):
        yield "alt"
    if data_of(cell) not in DATA:
        yield f"ticketbook data, one of {', '.join(DATA)}"


def add(cells, page, parameters):
    """A page's cells with an anchor before each cell that draws a figure and the figure's links after it.

    Arguments: cells, of an executed notebook; page, its name; parameters, what papermill passed.
    """
    found = []
    for cell in cells:
        drawn = caption_of(cell) and data_of(cell) and cell["outputs"]
        before = [_markdown(f"anchor-{cell['id']}", f'<span id="cell-{cell["id"]}"></span>')] if drawn else []
        after = [_markdown(f"links-{cell['id']}", _links(cell, page, parameters))] if drawn else []
        found += [*before, cell, *after]
    return found


def command(page, parameters):
    """The papermill command that makes a page from runs of one's own, at the page's scale."""
    given = parameters | {"source": "run"}
    return " ".join(["papermill", f"notebooks/{page}.ipynb", "out.ipynb", *(f"-p {k} {v}" for k, v in given.items())])


def _markdown(name, text):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def _links(cell, page, parameters):
    text, where, remark = DATA[data_of(cell)]
    if isinstance(where, dict):
        live = parameters.get("source") == "run"
        text, where = (LIVE, None) if live else (text, f"../explore.html#{urlencode({'page': page} | where)}")
    rows = f'<a href="{where.replace("&", "&amp;")}">{text}</a>' if where else text
    own = f'<a href="#cell-{cell["id"]}">the cell that draws it</a>'
    return (
        f'<div class="figure-links">This figure: {own} · {rows}</div>\n\n'
        ":::{dropdown} Re-run this at your scale\n:class-container: figure-rerun\n"
        f"```bash\n{command(page, parameters)}\n```\n{remark}\n:::\n"
    )
