"""The claims of the paper: what each compares with what and demands of it; and the plan of the runs that judge them."""

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

from ticketlib.errors import TicketError
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import PROFILES

PROTOCOL = ROOT / "book" / "protocol.json"  # written by hand, before the first run that it judges
VERSION = 2  # of the protocol that this code carries out
SAME, BETTER, WORSE, NOT_WORSE, NOT_BETTER = "same", "better", "worse", "not worse", "not better"
FAR_BETTER, FAR_WORSE = "better by more than the margin", "worse by more than the margin"


class Comparison(NamedTuple):
    """A difference in accuracy, arm a minus arm b; arms are written ticket[+check][+corruption][+option=value]."""

    key: str  # unique in its claim, and the name of a style in `plots`
    label: str
    a: str
    b: str
    demand: tuple[str, ...] = ()  # the words that are as claimed; none: shown beside the claim, and not judged


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, the notebook that judges it, and what it compares."""

    id: str
    sentence: str
    notebook: str
    comparisons: tuple[Comparison, ...]
    sparsities: tuple[str, ...] = ("0.8", "0.9", "0.98")  # where it is judged, each by itself

    @property
    def demanded(self):
        """The comparisons that decide: the family over which Holm's method is taken, at each sparsity."""
        return tuple(one for one in self.comparisons if one.demand)


@dataclass(frozen=True)
class Plan:
    """Which runs a judgement reads: all others are left out of it."""

    seeds: tuple[int, ...]
    epochs: int
    sparsities: tuple[str, ...]
    margin: float  # points of accuracy
    not_again: tuple[str, ...] = ()  # arms that are not run, since their control is known to fail at this length


_FOUND = (("snip", "SNIP"), ("grasp", "GraSP"), ("lt", "LT"))
_NO_LOSS = (SAME, NOT_WORSE, BETTER, FAR_BETTER)


def _against_itself(check, label):
    return tuple(Comparison(m, f"{name} {label} − {name}", f"{m}+{check}", m, (SAME,)) for m, name in _FOUND)


CLAIMS = {claim.id: claim for claim in (
    Claim("A", "Initial tickets hardly use the data", "02_data_checks", _against_itself("both", "on corrupted data")),
    Claim("B", "Their arrangement within a layer does not matter", "03_architecture_checks",
          _against_itself("rearranged", "rearranged")),
    Claim("C", "Random tickets with smart ratios do as well", "01_smart_ratios",
          (*(Comparison(m, f"smart ratio − {name}", "smart", m, _NO_LOSS) for m, name in _FOUND),
           Comparison("uniform", "smart ratio − uniform", "smart", "uniform", (BETTER, FAR_BETTER)))),
    Claim("D1", "Partially-trained tickets depend on weights and places", "04_hybrid_tickets",
          (Comparison("shuffled", "LRR, weights shuffled − LRR", "lrr+shuffled", "lrr", (WORSE, FAR_WORSE)),
           Comparison("rearranged", "LRR rearranged − LRR", "lrr+rearranged", "lrr", (WORSE, FAR_WORSE)),
           Comparison("half", "LRR on half the data − LRR", "lrr+half", "lrr")), ("0.9", "0.98")),
    Claim("D2", "Hybrid tickets improve on partially-trained ones", "04_hybrid_tickets",
          (Comparison("hybrid", "hybrid − LRR, equal classifiers", "hybrid", "lrr+linear=0.3", (BETTER, FAR_BETTER)),
           Comparison("lrr", "hybrid − LRR", "hybrid", "lrr")), ("0.9", "0.98")),
)}  # fmt: skip
NOT_AGAIN = ("lt+both",)  # at 40 epochs too the network trained on noise ended where guessing ends (seeds 0 and 1)
EXPLORATORY = Plan(tuple(range(10)), 20, ("0.9", "0.98"), 1.0)  # version 1's runs, whose results were seen first


def protocol(path=PROTOCOL):
    """The plan that the protocol fixed. Raises: TicketError for a file of another version than this code knows."""
    fixed = json.loads(path.read_text(encoding="utf-8"))
    if fixed["version"] != VERSION:
        raise TicketError(f"protocol version {fixed['version']} is not known to this code; it carries out {VERSION}.")
    return Plan(tuple(fixed["seeds"]), fixed["epochs"], tuple(fixed["sparsities"]), fixed["margin"], NOT_AGAIN)


def plan(profile, count=0):
    """The plan by which a profile's runs are judged: the protocol's for `laptop`, the profile's own length elsewhere.

    Arguments: profile, a name of PROFILES; count, how many of its seeds, from the first; 0 for all.
    """
    fixed = protocol()
    if profile != "laptop":
        seeds, epochs = tuple(range(PROFILES[profile].seeds)), PROFILES[profile].training["epochs"]
        fixed = Plan(seeds, epochs, fixed.sparsities, fixed.margin)
    first, n = fixed.seeds[0], count or len(fixed.seeds)
    return replace(fixed, seeds=tuple(range(first, first + n)))
