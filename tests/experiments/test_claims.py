"""Plans: which runs judge, as the protocols' own files fix them."""

import json

import pytest

from ticketlib.errors import TicketError
from ticketlib.experiments import claims
from ticketlib.experiments.claims import Plan
from ticketlib.experiments.places import ROOT


@pytest.mark.parametrize(("profile", "count", "seeds", "epochs", "not_again"), [
    ("laptop", 0, range(10, 18), 40, ("lt+both",)), ("laptop", 3, range(10, 13), 40, ("lt+both",)),
    ("smoke", 0, range(2), 6, ()), ("paper", 2, range(2), 160, ()),
])  # fmt: skip
def test_a_plan_reads_the_protocols_seeds_or_a_profiles_own(profile, count, seeds, epochs, not_again):
    assert claims.plan(profile, count) == Plan(tuple(seeds), epochs, ("0.8", "0.9", "0.98"), 1.0, not_again)


def test_a_protocol_of_another_version_is_not_carried_out(tmp_path):
    fixed = json.loads(claims.PROTOCOL.read_text(encoding="utf-8"))
    (tmp_path / "protocol.json").write_text(json.dumps(fixed | {"version": 3}))
    with pytest.raises(TicketError, match="version 3 .* 2"):
        claims.protocol(tmp_path / "protocol.json")


def test_what_was_seen_first_are_the_runs_of_version_one():
    fixed, plan = json.loads((ROOT / "book" / "protocol_1.json").read_text(encoding="utf-8")), claims.EXPLORATORY
    assert (plan.seeds, plan.margin) == (tuple(range(fixed["seeds"])), fixed["margin"])
    assert (plan.epochs, plan.sparsities, plan.not_again) == (20, ("0.9", "0.98"), ())
