"""Audits as tables: every run that was carried out again, and what other arithmetic does to one."""

import functools

import pandas as pd

from ticketbook.book_rows import ledger_rows
from ticketbook.notebook import markdown
from ticketlib.analysis import plots, stats
from ticketlib.analysis.words import signed, span, title
from ticketlib.errors import TicketError
from ticketlib.experiments import campaign
from ticketlib.experiments.audit import DENSE, DIFFERS, EQUAL, folder, has_changed
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger

PAIRS = (("snip+rearranged", "snip"), ("smart", "snip"), ("smart", "uniform"))


@functools.cache
def audit_frame():
    """Every run that was carried out again, a line each: what it was, with what it was made again, what came of it."""
    lines = [_line(row) for row in folder(Ledger(book_ledger("laptop"))).rows()]
    return pd.DataFrame(lines).sort_values(["date", "code", "arm", "seed", "run"], ignore_index=True)


def _line(row):
    asked, (before, after) = row["config"], (row["recorded"], row["again"])
    facts = {what: row[what] for what in ("arm", "network", "seed", "epochs", "engine", "outcome", "differs")}
    changes = asked["changes"]
    return facts | {
        "run": asked["audit"], "date": asked["date"], "code": asked["code"], "changes": changes,
        "before": None if before["diverged"] else before["accuracy"], "elsewhere": row["elsewhere"],
        "after": None if after["diverged"] else after["accuracy"],
        "turned": row.get("answers"), "images": row["num_test"],
        "machine": f"{after['device']}, torch {after['versions']['torch']}",
        "kind": "again" if not changes else "dense" if changes == DENSE else "spread",
    }  # fmt: skip


def _what(line, data=""):
    """An audited run in words: ticket, sparsity, network, data, seed, epochs."""
    at = "" if line.arm.startswith("dense") else f", {line.arm.partition('@')[2]} removed"
    on = ", ".join(map(title, filter(None, (line.network, data))))
    return f"{plots.style(line.arm).label}{at}; {on}, seed {line.seed}, {line.epochs} epochs"


class Audits:
    """What pages call `audits`: numbers of the audits, each with its assertion."""

    def repeated(self):
        """How many runs were carried out again on the same kind of machine, asserted to be equal to the last digit."""
        again = audit_frame().query("kind == 'again'")
        otherwise = again.run[again.outcome == DIFFERS].tolist()
        if otherwise:
            raise TicketError(f"audits came out otherwise: {otherwise}; the page has to say so.")
        return str(again.run[again.outcome == EQUAL].nunique())

    def inherited(self):
        """How many rows were made from a trained net on record, asserted to be that very net, all of them."""
        by_name = {row["name"]: row for row in ledger_rows()}
        children = [row for row in by_name.values() if row.get("parent") in by_name]
        if wrong := [said for row in children if (said := campaign.differing_checkpoint(row, by_name))]:
            raise TicketError(f"{wrong[0]}; the page on audits has to say so.")
        return str(len(children))

    def moved(self, least, most):
        """How far mean differences moved in another arithmetic, in points: "0.06 to 1.25", asserted to lie between."""
        far = shifts().change.abs()
        if not least <= far.min() <= far.max() <= most:
            raise TicketError(f"differences moved by {span(far)} points, and this page says {least} to {most}.")
        return span(far)


def audit_table():
    """Every run that was carried out again as it was."""
    data = {row["name"]: row["config"]["dataset"] for row in ledger_rows()}
    again = audit_frame().query("kind == 'again'")
    return markdown(pd.DataFrame({
        "date": again.date, "made again with code": again.code,
        "run": [f'<a href="run.html#{name}">{name}</a>' for name in again.run],
        "ticket": [_what(line, data.get(line.run, "")) for line in again.itertuples()],
        "on record, %": again.before.map("{:.2f}".format), "again, %": again.after.map("{:.2f}".format),
        "outcome": [_outcome(line) for line in again.itertuples()],
    }))  # fmt: skip


def _outcome(line):
    differs = f": {', '.join(line.differs)}" if line.outcome == DIFFERS else ""
    return f"{line.outcome}{differs}; answers that turned: {line.turned:,.0f} of {line.images:,}"


def spread_table():
    """What another number of threads or another precision does to one and the same run."""
    ledger = {row["name"]: row for row in ledger_rows()}
    spread = audit_frame().query("kind == 'spread'")
    spread = spread[[has_changed(ledger[line.run], line.changes) for line in spread.itertuples()]]
    return markdown(pd.DataFrame({
        "changed": [", ".join(f"{what}: {value}" for what, value in of.items()) for of in spread.changes],
        "engine": spread.engine, "run": [_what(line) for line in spread.itertuples()],
        "accuracy on record, %": spread.before.map("{:.2f}".format), "again, %": spread.after.map("{:.2f}".format),
        "test answers that turned": [f"{line.turned:,.0f} of {line.images:,}" for line in spread.itertuples()],
    }))  # fmt: skip


def shifts():
    """Differences of PAIRS on record and made again in the dense engine: a line a machine, pair and sparsity."""
    dense = audit_frame().query("kind == 'dense'").dropna(subset=["before", "after"])
    dense = dense.drop_duplicates(["machine", "arm", "seed"], keep="last")
    dense = dense.assign(ticket=dense.arm.str.partition("@")[0], sparsity=dense.arm.str.partition("@")[2])
    lines = []
    for (machine, sparsity), of in dense.groupby(["machine", "sparsity"]):
        both = of.pivot(index="seed", columns="ticket", values=["before", "after"])
        for a, b in [pair for pair in PAIRS if set(pair) <= set(of.ticket)]:
            points = pd.DataFrame({when: both[when][a] - both[when][b] for when in ("before", "after")}).dropna()
            change = stats.t_interval((points.after - points.before).tolist())
            label = f"{plots.style(a).label} − {plots.style(b).label}"
            lines.append([machine, label, sparsity, len(points), *points.mean(), change.point, change.low, change.high,
                          [signed(value) for value in points.after - points.before]])  # fmt: skip
    columns = ["machine", "difference", "sparsity", "n", "before", "after", "change", "low", "high", "each"]
    return pd.DataFrame(lines, columns=columns)


def on_gpu_and_processor(difference):
    """The lines of `shifts` of one difference, made again on a GPU and on a processor: a pair.

    Arguments: difference, its label.
    """
    of = shifts().query("difference == @difference")
    return tuple(of[of.machine.str.startswith("cpu") == cpu].iloc[0] for cpu in (False, True))


def dense_table():
    """Differences of a few tickets on record and made again in the dense engine, on each machine."""
    of = shifts()
    ends = ["" if pd.isna(low) else f" ({signed(low)} to {signed(high)})"
            for low, high in zip(of.low, of.high, strict=True)]  # fmt: skip
    return markdown(pd.DataFrame({
        "made again on": of.machine, "difference, points": of.difference, "removed": of.sparsity, "seeds": of.n,
        "on record": of.before.map(signed), "again": of.after.map(signed),
        "change, 95 % interval": [*map(str.__add__, of.change.map(signed), ends)],
        "change in each seed": of.each.map(", ".join),
    }))  # fmt: skip
