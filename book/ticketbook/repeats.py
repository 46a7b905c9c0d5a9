"""What pages say of audits: every run that was carried out again, and what other arithmetic does to one."""

from collections import Counter

from ticketbook import arithmetic, checks
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import title
from ticketlib.experiments import campaign
from ticketlib.experiments.audit import DENSE, DIFFERS, ELSEWHERE, EQUAL, folder, has_changed
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.places import book_ledger

CAME_OUT = {EQUAL: f"came out {EQUAL}", DIFFERS: "came out otherwise", ELSEWHERE: "ran on another machine"}


def substitutions(ledger, rows):
    """Names that pages may write as {{ name }}: dict from name to Markdown. Arguments: a ledger, and its rows."""
    images = {row["name"]: row["config"]["dataset"] for row in rows}
    audits = [Row(row | {"dataset": images.get(row["config"]["audit"], "")}) for row in folder(ledger).rows()]
    plain, dense = ([row for row in audits if row["config"]["changes"] == of] for of in ({}, DENSE))
    return {
        "audit_status": status(plain),
        "audit_table": table(plain),
        "audit_reasons": reasons(plain),
        "spread_table": spread_table(ledger, [row for row in audits if row["config"]["changes"] not in ({}, DENSE)]),
        "dense_again": arithmetic.again(dense),
        "dense_moved": arithmetic.moved(dense),
        "lineage": lineage(rows),
    }


def dense_of(a, b):
    """How far a difference of two arms moved when its runs were made again in the dense engine, as Markdown."""
    audits = [row for row in folder(Ledger(book_ledger("laptop"))).rows() if row["config"]["changes"] == DENSE]
    return arithmetic.of_pair(audits, a, b)


def status(audits):
    """How many rows were carried out again, and what came of them, in sentences."""
    if not audits:
        return "**No audit has been made yet.**"
    found = Counter(row["outcome"] for row in audits)
    if len(audits) == 1:
        return f"**One run was carried out again. It {CAME_OUT[audits[0]['outcome']]}.**"
    times = len({(row["config"]["code"], row["config"]["date"]) for row in audits})
    counts = {words: found[outcome] for outcome, words in CAME_OUT.items() if found[outcome]}
    said = ", ".join(f"{'all' if count == len(audits) else count} {words}" for words, count in counts.items())
    runs = len({row["config"]["audit"] for row in audits})
    how_often = f", {len(audits)} times in all" if runs < len(audits) else ""
    return f"**{runs} runs were carried out again{how_often}, in {times} audit{'s' * (times > 1)}: {said}.**"


def table(audits):
    """Every run of every audit, as Markdown: a table an audit, under its date and code."""
    found = {}
    for row in sorted(audits, key=_when):
        found.setdefault((row["config"]["date"], row["config"]["code"]), []).append(_line(row))
    titles = ["run", "ticket", "on record, %", "again, %", "outcome"]
    parts = [f"**{date}, code `{code}`**\n\n{prose.table(titles, lines)}" for (date, code), lines in found.items()]
    return "\n\n".join(parts) or "Nothing has been carried out again."


def _line(row):
    name, answers = row["config"]["audit"], _answers(row)
    run = f'<a href="run.html#{name}">{name}</a>'
    outcome = row["outcome"] + (f"; test answers that turned: {answers}" if answers else "")
    return [run, _run(row), *map(_accuracy, (row["recorded"], row["again"])), outcome]


def _run(row):
    """An audited run in words: ticket, sparsity, network, data where they are known, seed, epochs."""
    ticket, _, sparsity = row["arm"].partition("@")
    at = "" if ticket.partition("+")[0] == "dense" else f", {sparsity} removed"
    on = ", ".join(map(title, filter(None, (row["network"], row.get("dataset")))))
    return f"{checks.label(ticket)}{at}; {on}, seed {row['seed']}, {row['epochs']} epochs"


def _when(row):
    return row["config"]["date"], row["config"]["code"], row["arm"], row["name"]


def _accuracy(facts):
    return "diverged" if facts["diverged"] else f"{facts['accuracy']:.2f}"


def _answers(row):
    return f"{row['answers']:,} of {row['num_test']:,}" if "answers" in row else ""


def reasons(audits):
    """Why runs did not come out equal, as far as the rows tell: a Markdown list, or one sentence."""
    lines = [f"- `{row['config']['audit']}` ({_run(row)}): {_reason(row)}"
             for row in sorted(audits, key=_when) if row["outcome"] != EQUAL]  # fmt: skip
    return "\n".join(lines) or "No run has come out otherwise."


def _reason(row):
    before, after = row["recorded"], row["again"]
    said = [f"{what} was {_text(before[what])}, is {_text(after[what])}" for what in row["elsewhere"]]
    fields = ", ".join(row["differs"]) or "no figure"
    if said:
        return f"{'; '.join(said)}. Another machine may round otherwise. What differs: {fields}."
    return f"the same machine, other figures: {fields}. On record with code {before['code']}, again {after['code']}."


def _text(value):
    return ", ".join(f"{k} {v}" for k, v in sorted(value.items())) if isinstance(value, dict) else value


def spread_table(ledger, audits):
    """What another number of threads or another precision does to one and the same run, as Markdown.

    Arguments: ledger, with the runs on record; audits, rows of the spread.
    """
    if not audits:
        return "Not measured yet: `python -m ticketlib audit --spread` measures it."
    titles = ["changed", "engine", "run", "accuracy on record, %", "again, %", "test answers that turned", "machine"]
    lines = []
    for row in sorted(audits, key=_when):
        changed = ", ".join(f"{what}: {value}" for what, value in row["config"]["changes"].items())
        if not has_changed(ledger[row["config"]["audit"]], row["config"]["changes"]):
            changed += " (as on record already: this line measures nothing)"
        run = _run(row)
        where = f"another ({', '.join(row['elsewhere'])})" if row["elsewhere"] else "the same"
        accuracies = map(_accuracy, (row["recorded"], row["again"]))
        lines.append([changed, row["engine"], run, *accuracies, _answers(row), where])
    return prose.table(titles, lines)


def lineage(rows):
    """Whether every row was made from the trained net that is on record for its parent, in Markdown."""
    by_name = {row["name"]: row for row in rows}
    children = [row for row in rows if row.get("parent") in by_name]
    wrong = [said for row in children if (said := campaign.differing_checkpoint(row, by_name))]
    head = f"Rows made from a trained net that has a row of its own: {len(children)}. "
    return head + ("\n".join(["They fail the audit where it says so here:", "", *(f"- {said}" for said in wrong)])
                   if wrong else "Every one of them was made from the net on record.")  # fmt: skip

