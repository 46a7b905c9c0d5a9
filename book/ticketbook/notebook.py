"""What every page shows: Markdown, where its numbers came from, a table of arms."""

from collections import Counter

from IPython.display import Markdown, display

from ticketbook import verdicts_1 as verdicts
from ticketlib.analysis import evidence, plots
from ticketlib.analysis.words import folded
from ticketlib.experiments import session


def show_markdown(text):
    """Show text as Markdown, in a raw notebook and in the built book alike; nothing for an empty text."""
    if text:  # an empty one would be printed as the name of its class
        display(Markdown(text))


def provenance(run, rows=()):
    """Show where a page's results came from: rows, devices, versions, time, code.

    Arguments: run, a session.NotebookRun. rows: the ledger rows the page used; what a row lacks is left out.
    """
    rows = list(rows)
    facts = {"parameters": f"profile {run.profile}, source {run.source}", "rows": str(len(rows))}
    for what in ("device", "threads", "versions", "code"):
        facts[what] = "; ".join(_counted(row[what] for row in rows if row.get(what)))
    facts["hours"] = f"{sum(row.get('seconds', 0) for row in rows) / 3600:.2f}" if rows else ""
    lines = ["| made from | |", "| --- | --- |", *(f"| {what} | {fact} |" for what, fact in facts.items() if fact)]
    if rows:
        names = " ".join(row["name"] for row in rows)  # plain: marked as code, two thousand would weigh 200 kB
        lines += ["", folded("Names of the rows", names)]
    show_markdown("\n".join(lines))


def _counted(values):
    texts = (", ".join(f"{k} {v[k]}" for k in sorted(v)) if isinstance(v, dict) else str(v) for v in values)
    return [f"{text} ({n} rows)" for text, n in sorted(Counter(texts).items())]


def no_claim(run):
    """What a page that judges no claim can show, as Markdown: what it trains, how often, and how little that proves."""
    trained = f"{evidence.scope(run.profile)}, with {session.seeds(run)} seeds"
    said = f"**No claim is judged on this page.** It trains {trained}."
    if run.profile == "smoke":
        said += " Seconds of training on tiny images show how things work. They prove nothing about the paper."
    return said


def accuracy_table(rows, book=()):
    """Column titles and lines of a table of arms, one line each, every seed shown; missing arms say so.

    Arguments: rows, dict arm -> {seed: Row}; book, the book's own in the same form, for a column beside.
    """
    head = ["ticket", "weights kept", "accuracy of each seed, %", "mean, %", *(["the book's mean, %"] if book else [])]
    lines = [[plots.style(arm).label, *_arm(rows[arm]), *([_arm(book.get(arm))[2]] if book else [])] for arm in rows]
    return head, lines


def _arm(rows):
    if not rows:
        return ["", verdicts.NOT_RUN, verdicts.NOT_RUN]
    found = [evidence.accuracy(row) for row in rows.values()]
    kept = {sum(row["keep_counts"].values()) for row in rows.values() if "keep_counts" in row}
    mean = f"{sum(found) / len(found):.2f} (n = {len(found)})"
    return [" or ".join(f"{count:,}" for count in sorted(kept)), ", ".join(f"{a:.2f}" for a in found), mean]
