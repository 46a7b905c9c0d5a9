"""Where things lie: the repository, the book's own rows, a reader's rows."""

import os
from pathlib import Path

from ticketlib.errors import TicketError

ROOT = Path(__file__).resolve().parents[2]  # of the repository
GPU_PACES = ROOT / "book" / "reference" / "gpu.json"  # images/s of GPUs, by benchmarks/gpu.py
PROFILES = ("smoke", "laptop", "paper")  # those of `profiles`, for what must answer without torch


def book_ledger(profile=""):
    """The book's own rows of a profile; no notebook ever writes there."""
    return ROOT / "book" / "ledger" / profile


def run_ledger(profile):
    """Where a notebook's own runs go unless it names a folder: one folder a profile, outside the repository.

    $TICKETLIB_LEDGER/<profile> if that is set, else ticketlib/ledger/<profile> in the user's data folder.
    """
    home = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "ticketlib" / "ledger"
    return Path(os.environ.get("TICKETLIB_LEDGER") or home).expanduser() / profile


def check_folder(folder):
    """Refuse a ledger that is a file, or a folder that could only be there by a slip of the pen.

    A new folder is made only below one that is there, and not at the root of the file system; rows/<profile>, as
    `commit-rows` wants it, and the usual places may be new altogether.
    Raises: TicketError.
    """
    folder = Path(folder).absolute()
    if folder.is_dir():
        return
    if folder.exists():
        raise TicketError(f"ledger {str(folder)!r} is a file; it must be a folder, which may still be missing.")
    if folder.resolve() in (run_ledger(folder.name).resolve(), book_ledger(folder.name).resolve()):
        return
    above = folder.parent.parent if folder.name in PROFILES else folder.parent
    if not above.is_dir() or above == Path(above.anchor):
        raise TicketError(f"ledger {str(folder)!r} is not there, and is not made in {str(above)!r}; name a folder, or "
                          "a new one in a folder of yours.")  # fmt: skip
