"""Where things lie: the repository, the book's own rows, a reader's rows."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository


def book_ledger(profile=""):
    """The book's own rows of a profile; no notebook ever writes there."""
    return ROOT / "book" / "ledger" / profile


def run_ledger(profile):
    """Where a notebook's own runs go unless it names a folder: one folder a profile, outside the repository.

    $TICKETLIB_LEDGER/<profile> if that is set, else ticketlib/ledger/<profile> in the user's data folder.
    """
    home = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "ticketlib" / "ledger"
    return Path(os.environ.get("TICKETLIB_LEDGER") or home).expanduser() / profile
