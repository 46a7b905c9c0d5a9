"""The claims of the paper: what each compares with what, by which kind of test, at which sparsities."""
from dataclasses import dataclass
from typing import NamedTuple

CONFIDENCE = {"equivalence": 0.90, "noninferiority": 0.90, "superiority": 0.95}  # two-sided, before Holm's adjustment


class Comparison(NamedTuple):
    """One difference, arm a minus arm b; arms are written ticket[+check][+corruption], the sparsity left open."""

    key: str  # unique in its claim, and the name of a style in `plots`
    label: str
    a: str
    b: str


class Part(NamedTuple):
    """The comparisons of a claim that share a kind of test."""

    kind: str  # a key of CONFIDENCE
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, the notebook that judges it, and what is compared."""

    id: str
    sentence: str
    notebook: str
    parts: tuple[Part, ...]
    sparsities: tuple[str, ...] = ("0.9", "0.98")  # decimal text; differences are averaged over them within a seed

    @property
    def comparisons(self):
        """All comparisons of all parts, in order: the family that Holm adjusts."""
        return [comparison for part in self.parts for comparison in part.comparisons]

    def keys(self, arm):
        """Return the arm keys of one arm, one a sparsity: 'snip' gives ['snip@0.9', 'snip@0.98']."""
        return [f"{arm}@{sparsity}" for sparsity in self.sparsities]


def _against_itself(suffix):
    """Compare SNIP, GraSP and LT with a suffix to the same as found."""
    return tuple(Comparison(m, label, f"{m}+{suffix}", m) for m, label in _FOUND)


_FOUND = (("snip", "SNIP"), ("grasp", "GraSP"), ("lt", "LT"))
_SMART_OVER_FOUND = tuple(Comparison(m, f"smart ratio over {label}", "smart", m) for m, label in _FOUND)
_SMART_OVER_UNIFORM = (Comparison("uniform", "smart ratio over uniform", "smart", "uniform"),)
_LRR_OVER_CONTROLS = (
    Comparison("half", "LRR over LRR on half the data", "lrr", "lrr+half"),
    Comparison("shuffled", "LRR over LRR with shuffled weights", "lrr", "lrr+shuffled"),
    Comparison("rearranged", "LRR over LRR rearranged", "lrr", "lrr+rearranged"),
)
CLAIMS = {claim.id: claim for claim in (
    Claim("A", "Initial tickets hardly use the data", "02_data_checks",
          (Part("equivalence", _against_itself("both")),)),
    Claim("B", "Their arrangement within a layer does not matter", "03_architecture_checks",
          (Part("equivalence", _against_itself("rearranged")),)),
    Claim("C", "Random tickets with smart ratios do as well", "01_smart_ratios",
          (Part("noninferiority", _SMART_OVER_FOUND), Part("superiority", _SMART_OVER_UNIFORM))),
    Claim("D1", "Partially-trained tickets depend on data and weights", "04_hybrid_tickets",
          (Part("superiority", _LRR_OVER_CONTROLS),)),
    Claim("D2", "Hybrid tickets improve on partially-trained ones", "04_hybrid_tickets",
          (Part("superiority", (Comparison("hybrid", "hybrid over LRR", "hybrid", "lrr"),)),)),
)}
