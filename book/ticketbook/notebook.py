"""What a page shows: a table, a text, and where its results came from."""

from collections import Counter

import pandas as pd
from IPython.display import display

from ticketlib.analysis import words
from ticketlib.experiments import session


def markdown(table):
    """A DataFrame as a Markdown table, its index left out; what is missing is an empty cell."""
    lines = table.astype(object).where(table.notna(), "").to_numpy()
    rows = [table.columns, ["---"] * len(table.columns), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows)


class PageText(session.Text):
    """Markdown whose plain form leaves out what a page folds away."""

    def __repr__(self):
        return words.without_folded(self.data)


def show(content):
    """Show a DataFrame or Markdown text, in a raw notebook and in the built book alike; nothing where it is empty."""
    if len(content):  # an empty text would be printed as the name of its class
        display(PageText(markdown(content) if isinstance(content, pd.DataFrame) else content))


def provenance(run, rows=()):
    """Show where a page's results came from: parameters, rows, devices, versions, code, time.

    Arguments: run, session.NotebookRun; rows, of a ledger, or a DataFrame of runs; what a row lacks is left out.
    """
    rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows)
    facts = {"parameters": f"profile {run.profile}, source {run.source}", "rows": str(len(rows))}
    for what in ("device", "threads", "versions", "code"):
        facts[what] = "; ".join(_counted(row[what] for row in rows if row.get(what)))
    facts["hours"] = f"{sum(row.get('seconds') or 0 for row in rows) / 3600:.2f}" if rows else ""
    made = pd.DataFrame([(what, fact) for what, fact in facts.items() if fact], columns=["made from", ""])
    names = " ".join(row["name"] for row in rows)  # plain: marked as code, two thousand would weigh 200 kB
    show("\n\n".join([markdown(made), *([words.folded("Names of the rows", names)] if rows else [])]))


def _counted(values):
    texts = (", ".join(f"{k} {v[k]}" for k in sorted(v)) if isinstance(v, dict) else str(v) for v in values)
    return [f"{text} ({n} rows)" for text, n in sorted(Counter(texts).items())]
