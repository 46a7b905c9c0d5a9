"""The verdict board: one line a claim, computed from the book's ledger, for the front page and README."""

import json
import re

from ticketlib import evidence
from ticketlib.claims import CLAIMS
from ticketlib.errors import TicketError
from ticketlib.ledger import Ledger
from ticketlib.nb import ROOT, book_ledger

PROTOCOL = ROOT / "book" / "protocol.json"  # margin and n, written by hand once, before any row that counts
MARKED = re.compile(r"(<!-- board -->\n).*?(<!-- /board -->)", re.S)


def protocol():
    """The numbers the protocol fixed: margin in points, n seeds, and why."""
    return json.loads(PROTOCOL.read_text(encoding="utf-8"))


def judged(rows, profile="laptop", network="resnet"):
    """All claims judged from rows: dict from claim id to verdicts.Judged."""
    fixed = protocol()
    return {
        claim: evidence.judge(rows, claim, profile, fixed["margin"], fixed["seeds"], network) for claim in CLAIMS
    }


def table(rows, profile="laptop"):
    """The board as a Markdown table: claim, verdict with effect, interval and n, chapter."""
    lines = ["| claim | what the paper says | what we found | chapter |", "| --- | --- | --- | --- |"]
    for claim, judgement in judged(rows, profile).items():
        cells = claim, judgement.claim.sentence, judgement.sentence, judgement.claim.notebook
        lines.append("| " + " | ".join(text.replace("|", "/") for text in cells) + " |")
    lines += ["", f"Scope of every verdict: {evidence.scope(profile)}."]
    return "\n".join(lines)


def refresh(path, rows=None):
    """Write the board between the markers of a Markdown file; nothing else of it changes."""
    rows = Ledger(book_ledger("laptop")).rows() if rows is None else rows
    text = path.read_text(encoding="utf-8")
    if not MARKED.search(text):
        raise TicketError(f"{path.name} has no board; it needs the lines <!-- board --> and <!-- /board -->.")
    path.write_text(MARKED.sub(lambda m: m[1] + table(rows) + "\n" + m[2], text), encoding="utf-8")
