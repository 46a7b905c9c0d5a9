"""The rows of the book's ledgers, read once; and which runs its grids take."""

import functools

from ticketlib.experiments import grids
from ticketlib.experiments.config import lineage
from ticketlib.experiments.ledger import Ledger, frame
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import KNOWN


@functools.cache
def ledger_rows(profile="laptop"):
    """The rows of the book's ledger of a profile."""
    return tuple(Ledger(book_ledger(profile)).rows())


@functools.cache
def ledger_frame():
    """The runs of the book's ledger of the laptop, as ledger.frame gives them."""
    return frame(ledger_rows())


def grid_runs(name):
    """The runs of a grid of the laptop profile, on the book's images: list of Config."""
    return grids.grid(name, "laptop", KNOWN[grids.data_of(name, "laptop")][0])


def grid_lineage(name):
    """Every run that a grid takes, those that others start from included: list of Config."""
    return list({one.name: one for config in grid_runs(name) for one in lineage(config)}.values())


@functools.cache
def _more_runs():
    return {config.name for name in grids.MORE for config in grid_lineage(name)}


def without_more_runs(runs):
    """Runs less those of the grids of the page *More runs*, which are compared with none outside their own grid.

    Arguments: runs, as ledger.frame gives.
    """
    return runs[~runs.name.isin(_more_runs())]
