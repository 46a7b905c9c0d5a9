"""The rows of the book's ledgers, read once."""

import functools

from ticketlib.experiments.ledger import Ledger, frame
from ticketlib.experiments.places import book_ledger


@functools.cache
def ledger_rows(profile="laptop"):
    """The rows of the book's ledger of a profile."""
    return tuple(Ledger(book_ledger(profile)).rows())


@functools.cache
def ledger_frame():
    """The runs of the book's ledger of the laptop, as ledger.frame gives them."""
    return frame(ledger_rows())
