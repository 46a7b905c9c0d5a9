"""What pages of prose compute when the book is built: tables and sentences of the protocol, as Markdown."""


from ticketbook import front, reading, speed
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger


def substitutions():
    """Names that pages may write as {{ name }}: dict from name to Markdown."""
    rows = Ledger(book_ledger("laptop")).rows()
    return {
        **speed.substitutions(),
        **reading.substitutions(rows),
        **front.substitutions(),
    }
