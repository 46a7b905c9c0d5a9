"""What pages beside the chapters show: pictures, a map of the paper, data sources, how references were checked."""

from dataclasses import replace

from ticketbook import board_1 as board
from ticketbook import checks, drawings, pipeline
from ticketbook import verdicts_1 as verdicts
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import points
from ticketlib.experiments import grids, profiles


def substitutions(rows):
    """Names that pages may write as {{ name }}: dict from name to Markdown.

    Arguments: rows, of the profile `laptop`.
    """
    shown = "Left: the fuller a square, the higher its score. Right: full squares stay. Drawn from the book's own code."
    return {
        "random_ticket": figure(drawings.random_ticket(), shown),
        "pipeline": figure(pipeline.picture(), "Circles are checks, listed below. Drawn from the book's own code."),
        "pipeline_words": pipeline.in_words(),
        "pipeline_checks": prose.table(*pipeline.checks_table()),
        "board_summary": board.summary(rows),
        "board_progress": board_progress(rows),
        "board_barred": board_barred(rows),
        "board_reading": board_reading(rows),
        "board_hidden": board.hidden(rows),
        "board_otherwise": board.without_empty(rows),
        "other_data": checks.other_data(checks.by_place(rows, "laptop")),
        "board_elsewhere": board.elsewhere(rows),
    }



def figure(drawing, caption):
    """A drawing with its caption, as one line of HTML."""
    return f'<figure class="drawn">{drawing}<figcaption>{caption}</figcaption></figure>'


def board_progress(rows):
    """How many runs of the grid that belongs to the claims are in the ledger, as one sentence."""
    planned = {replace(config, fingerprint="") for config in grids.grid("step1", "laptop", profiles.NO_IMAGES)}
    made = {replace(row.config, fingerprint="") for row in rows if row["kind"] == "run"}
    return f"Of the {len(planned)} runs planned for the claims, {len(planned & made)} are made."


def board_barred(rows):
    """What collapsed runs rule out, with a link to the reason; "" where they rule out nothing."""
    said = board.barred(rows)
    return f"{said} [Why such runs count as collapsed](threats.md)." if said else ""


def board_reading(rows):
    """How to read the board, in sentences: words that are no verdict, and drawings, each where the board has them."""
    fixed, judged = board.protocol(), board.judged(rows).values()
    words, said = {one.word for one in judged} or {verdicts.NOT_RUN}, []
    if verdicts.NOT_RUN in words:
        said.append("*Not run* is no verdict: the runs that would decide are not there yet.")
    if verdicts.PROVISIONAL in words:
        done = min(pair.estimate.n for one in judged if one.word == verdicts.PROVISIONAL
                   for pair in one.compared if pair.verdict.word != verdicts.NOT_DEFINED)  # fmt: skip
        said.append(f"*Provisional, {done} of {fixed['seeds']} seeds* is no verdict yet: {done} of the "
                    f"{fixed['seeds']} seeds that the protocol asks for {'is' if done == 1 else 'are'} done.")
    if any(pair.ready for one in judged for pair in one.compared):
        said.append(
            "In the drawings a dot is the mean over seeds, its line the interval that decides. The grey band is the "
            f"margin, {points(fixed['margin'])} either way, where there is one. A dot at the edge lies beyond it."
        )
    if any(verdicts.BARRED in pair.verdict.sentence for one in judged for pair in one.compared):
        said.append("*(collapse)* stands where the interval would give *holds*, and a collapsed run bars that word "
                    "([why](threats.md)).")  # fmt: skip
    return " ".join([*said, "*n* counts seeds."])

