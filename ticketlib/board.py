"""The verdict board: one line a claim, computed from the book's ledger, for the front page and README."""

import json
import re

from ticketlib import evidence, verdicts
from ticketlib.claims import CLAIMS
from ticketlib.errors import TicketError
from ticketlib.ledger import Ledger
from ticketlib.nb import ROOT, book_ledger

PROTOCOL = ROOT / "book" / "protocol.json"  # margin and n, written by hand once, before any row that counts
MARKED = re.compile(r"(<!-- board -->\n).*?(<!-- /board -->)", re.S)


def protocol():
    """The numbers the protocol fixed: version, margin in points, seeds, reason; None until the pilot is done."""
    return json.loads(PROTOCOL.read_text(encoding="utf-8")) if PROTOCOL.is_file() else None


def judged(rows, profile="laptop", network="resnet"):
    """All claims judged from rows: dict from claim id to verdicts.Judged; empty until the protocol is fixed."""
    fixed = protocol()
    if fixed is None:
        return {}
    return {
        claim: evidence.judge(rows, claim, profile, fixed["margin"], fixed["seeds"], network) for claim in CLAIMS
    }


def found(rows, profile="laptop", network="resnet"):
    """The word and the sentence of every claim: dict from claim id to (word, sentence)."""
    judgements = judged(rows, profile, network)
    return {
        claim: (judgements[claim].word, judgements[claim].sentence) if judgements else (verdicts.NOT_RUN,) * 2
        for claim in CLAIMS
    }


def table(rows, profile="laptop"):
    """The board as a Markdown table for README: claim, verdict with effect, interval and n; then the scope."""
    lines = ["| claim | what the paper says | what we found |", "| --- | --- | --- |"]
    for claim, (_, sentence) in found(rows, profile).items():
        lines.append("| " + " | ".join([claim, CLAIMS[claim].sentence, sentence.replace("|", "/")]) + " |")
    return "\n".join([*lines, *scope(profile)])


def scope(profile="laptop"):
    """The line under the board that says where its verdicts apply; no line until the protocol is fixed."""
    return ["", f"Scope of every verdict: {evidence.scope(profile)}."] if protocol() else []


def refresh(path, rows=None):
    """Write the board between the markers of a Markdown file; nothing else of it changes."""
    rows = Ledger(book_ledger("laptop")).rows() if rows is None else rows
    text = path.read_text(encoding="utf-8")
    if not MARKED.search(text):
        raise TicketError(f"{path.name} has no board; it needs the lines <!-- board --> and <!-- /board -->.")
    path.write_text(MARKED.sub(lambda m: m[1] + table(rows) + "\n" + m[2], text), encoding="utf-8")
