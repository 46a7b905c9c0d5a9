"""Version 1 of the protocol: its numbers, and its claims judged, for pages that have not turned to version 2."""

import json

from ticketbook.claims_1 import CLAIMS
from ticketlib.analysis import evidence
from ticketlib.experiments import places

PROTOCOL = places.ROOT / "book" / "protocol_1.json"  # of version 1: margin and n, written by hand once, before its runs


def protocol():
    """The numbers the protocol fixed: version, margin in points, seeds, reason; None until the pilot is done."""
    return json.loads(PROTOCOL.read_text(encoding="utf-8")) if PROTOCOL.is_file() else None


def judged(rows, profile="laptop"):
    """All claims judged from rows: dict from claim id to verdicts.Judged; empty until the protocol is fixed."""
    fixed = protocol()
    if fixed is None:
        return {}
    return {claim: evidence.judge(rows, claim, profile, fixed["margin"], fixed["seeds"]) for claim in CLAIMS}
