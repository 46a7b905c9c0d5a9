"""The first screen of the site and of README: what was found, the board, one picture."""

import io
import re
import textwrap
from itertools import pairwise

import jinja2
import matplotlib.pyplot as plt
import numpy as np

from ticketbook import board, claim_page, notebook, numbers
from ticketbook.book_rows import ledger_frame
from ticketlib.analysis import pairs, plots, stats, verdicts, words
from ticketlib.errors import TicketError
from ticketlib.experiments.places import ROOT

FINDINGS = ROOT / "book" / "findings.md"  # read by the front page and by README
PICTURE = "book/_assets/accuracy.svg"  # as README shows it
DRAWN = ("dense", "lrr", "hybrid", "lt", "snip", "smart", "uniform")
EMPHASISED, WIDTHS = "smart", (1.2, 2.6)  # whose line and name stand out; widths of the other lines and of that one
INK = "#010203"  # stands for the page's own text colour while matplotlib draws
APART = 1.9  # points of accuracy between two names at the right end, at least
SIZE = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 345.6 288" width="480" '
    'height="400" style="max-width:100%;height:auto"'
)
CAPTION = (
    "<em>Smart ratio</em> is the random ticket. <em>Dense</em> keeps all weights, <em>uniform</em> the same share of "
    "every layer. LT, LRR and hybrid need a trained network first, so they cost about twice the training of the "
    "others. GraSP is on its pages. Means over seeds, with 95 % intervals."
)
SHADES = "<style>svg{color:#24292f}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"


def substitutions():
    """Names that the front page writes as {{ name }}: dict from name to Markdown."""
    plan = board.PLANS["shown"]()
    scope = notebook.markdown(claim_page.scope("laptop", plan))
    table = f":::{{table}}\n:class: board\n\n{board.Boards().claims('shown')}\n:::"
    # A block of HTML: within a paragraph the site would mark up the words of the picture, and break it.
    drawn = picture(ledger_frame(), plan)
    drawn = f'<figure class="drawn">{drawn}<figcaption>{CAPTION}</figcaption></figure>'
    return {"claims_board": table, "board_scope": scope, "accuracy_picture": drawn}


def findings():
    """What was found, in the sentences of book/findings.md, with the numbers of the book's rows: Markdown."""
    said = jinja2.Template(FINDINGS.read_text(encoding="utf-8")).render(rows=numbers.Rows())
    return "\n\n".join(textwrap.fill(" ".join(part.split()), 120) for part in said.split("\n\n"))


def accuracies(runs, plan):
    """Mean accuracy of the tickets in the picture: dict ticket -> {sparsity: stats.Estimate}, 95 % intervals.

    Arguments: runs, as ledger.frame gives; plan, claims.Plan.
    """
    chosen = pairs.planned(runs, plan)
    means = {}
    for ticket in DRAWN:
        of = chosen[chosen.arm == ticket + "@" + chosen.sparsity]
        means[ticket] = {s: stats.t_interval(each.accuracy.to_list()) for s, each in of.groupby("sparsity")}
    return means


def in_words(means):
    """The numbers of the picture, for those who do not see it, and to tell whether it is of today's rows."""
    said = [f"{plots.style(ticket).label} " + ", ".join(f"{mean.point:.2f} at {s}" for s, mean in of.items())
            for ticket, of in means.items() if of]  # fmt: skip
    return f"Accuracy in per cent, by the share of weights removed: {'; '.join(said)}."


def picture(runs, plan, style=""):
    """Accuracy against sparsity, with intervals, as SVG of one line in the text colour of the page it stands on."""
    means = accuracies(runs, plan)
    inked = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with plt.rc_context(inked | {"svg.fonttype": "none", "svg.hashsalt": "accuracy", "font.size": 11}):
        figure, ax = plt.subplots(figsize=(4.8, 4), layout="constrained")
        draw(ax, means)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    drawn = file.getvalue().replace(INK, "currentColor")
    body = " ".join(drawn.partition("</metadata>")[2].split())
    return f'<svg {SIZE} class="drawn" role="img" aria-label="{in_words(means)}">{style}{body}'


def draw(ax, means):
    """Draw a line a ticket, its intervals, and its name at the right end; dense as a line across."""
    levels = sorted({s for of in means.values() for s in of if s != "0"}, key=float)
    ends = {}
    for ticket, of in means.items():
        of = dict.fromkeys(levels, of["0"]) if "0" in of else of
        if not of:
            continue
        look, at = plots.style(ticket), [levels.index(s) for s in of]
        point, low, high = np.array([[mean.point, mean.low, mean.high] for mean in of.values()], float).T
        colour = INK if ticket == "dense" else look.colour
        width = WIDTHS[ticket == EMPHASISED]
        ax.plot(at, point, look.marker, color=colour, linestyle=look.linestyle, linewidth=width)
        ax.vlines(at, low, high, color=colour, linewidth=1.6)
        ends[look.label] = point[-1]
    for (label, _), y in zip(sorted(ends.items(), key=lambda end: end[1]), spread(sorted(ends.values())), strict=True):
        weight = "bold" if label == plots.style(EMPHASISED).label else "normal"
        ax.annotate(label, (len(levels) - 1, y), xytext=(10, 0), textcoords="offset points", va="center", weight=weight)
    ax.set(ylabel="test accuracy, %", xlim=(-0.15, len(levels) - 0.55))
    ax.set_xticks(range(len(levels)), [words.removed(s) for s in levels])
    ax.spines[["top", "right"]].set_visible(False)


def spread(values):
    """Ascending values moved up as far as needed to be APART from each other: list."""
    placed = list(values)
    for i, (low, high) in enumerate(pairwise(values)):
        placed[i + 1] = max(high, placed[i] + APART) if low <= high else high
    return placed


def write(root, runs):
    """Refresh what README shows first: findings and board between its marks, and the picture beside the site's.

    Arguments: root, the repository's folder; runs, as ledger.frame gives.
    """
    plan = board.shown_plan(runs)
    table = notebook.markdown(board.claims_table(*verdicts.board(runs, plan)))
    write_between(root / "README.md", "board", f"{findings()}\n\n{table}")
    (root / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    (root / PICTURE).write_text(picture(runs, plan, SHADES) + "\n", encoding="utf-8")


def write_between(path, name, section):
    """Write a section between its markers in a Markdown file, <!-- name --> and <!-- /name -->; nothing else changes.

    Raises: TicketError for a file without the markers.
    """
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    text = path.read_text(encoding="utf-8")
    if not marked.search(text):
        raise TicketError(f"{path.name} has no lines <!-- {name} --> and <!-- /{name} -->; they mark its {name}.")
    path.write_text(marked.sub(lambda markers: f"{markers[1]}{section}\n{markers[2]}", text), encoding="utf-8")
