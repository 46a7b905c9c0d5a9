"""Accuracy against all the training that went into a ticket, the dense net it needs included."""

from collections import defaultdict

from ticketlib import checks, evidence, pages, plots, runs, stats
from ticketlib.tickets import REWIND_TO, TICKETS


def total_epochs(config):
    """Epochs spent on a ticket in all: its own, and those of the dense net it needs."""
    own = config.epochs * (1 if TICKETS[config.ticket].schedule == "full" else 1 - float(REWIND_TO))
    before = runs.parent(config)
    return own + (total_epochs(before) if before else 0)


def spent(arms, tickets, sparsity):
    """Accuracy against all epochs spent, for `plots.curves`: dict ticket -> {epochs: (values a seed, Estimate)}.

    Arguments: arms, {arm: {seed: Row}}; tickets, names, the dense net among them if wanted; sparsity, decimal text.
    """
    found = {ticket: defaultdict(list) for ticket in tickets}
    for arm, of in arms.items():
        names, _, at = arm.partition("@")
        ticket, *options = names.split("+")
        if ticket in found and at in (sparsity, "0") and all(o.startswith("epochs=") for o in options):
            for row in of.values():
                found[ticket][total_epochs(row.config)].append(evidence.accuracy(row))
    return {ticket: {e: (values, checks.without_wide(stats.t_interval(values))) for e, values in sorted(at.items())}
            for ticket, at in found.items() if at}  # fmt: skip


def spent_table(curves):
    """The numbers behind `spent` as Markdown: a line a ticket and budget, cheapest first."""
    found = sorted((epochs, ticket, *of) for ticket, at in curves.items() for epochs, of in at.items())
    titles = ["epochs in all", "ticket", "mean accuracy, %", "each seed", "seeds"]
    lines = [
        [f"{epochs:g}", plots.style(ticket).label, f"{mean.point:.2f}", ", ".join(f"{v:.2f}" for v in seeds), mean.n]
        for epochs, ticket, seeds, mean in found
    ]
    return pages.table(titles, lines) if lines else "**Not run.** No run of this figure is in the ledger."
