"""What the checks found on a pruner from outside: its comparisons, judged, in a table and a figure."""

import statistics
from dataclasses import dataclass, replace
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import Claim, Comparison, Part

from ticketlib.analysis import evidence, plots, stats
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import decimal

MARGIN = 1.0  # points
NAMES = {
    "own": "as found",
    "own+both": "found on corrupted data",
    "own+rearranged": "rearranged",
    "own+shuffled": "weights shuffled",
    "own+reinitialised": "re-initialised",
    "mean": "random mask, its average keep-counts",
    "synflow": "SynFlow",
    "smart": "random mask, smart ratios",
    "uniform": "random mask, uniform ratios",
}
CHECKS = Claim("own", "What a score function finds", "10_bring_your_own", (
    Part("equivalence", (
        Comparison("both", "random labels and pixels in its batch change nothing", "own+both", "own"),
        Comparison("rearranged", "moving kept weights within their layer changes nothing", "own+rearranged", "own"),
        Comparison("shuffled", "shuffling the kept weights' values changes nothing", "own+shuffled", "own"),
        Comparison("reinitialised", "fresh initial weights change nothing", "own+reinitialised", "own"),
    )),
    Part("noninferiority", (
        Comparison("own", "a random mask with its keep-counts, averaged over other seeds, does as well", "mean", "own"),
        Comparison("synflow", "SynFlow, which sees no data, does as well", "synflow", "own"),
        Comparison("smart", "a random mask with smart ratios does as well", "smart", "own"),
    )),
    Part("superiority", (
        Comparison("uniform", "it beats a random mask with uniform ratios", "own", "uniform"),
    )),
))  # fmt: skip
CONTROL = Claim("control", "Keep-counts matter here", "10_bring_your_own", (
    Part("superiority", (
        Comparison("uniform", "positive control: smart ratios beat uniform ones", "smart", "uniform"),
    )),
))  # fmt: skip
SHOWN = {"moved_share": "positions moved", "changed_share": "values changed", "label_agreement": "labels unchanged",
         "pixel_correlation": "pixel correlation"}  # fmt: skip


class Finding(NamedTuple):
    """What was found on one comparison."""

    comparison: Comparison
    points: np.ndarray  # arm a minus arm b, one a seed
    estimate: stats.Estimate  # of their mean, before Holm's adjustment
    verdict: verdicts.Verdict
    control: str  # what the manipulation check measured


@dataclass(frozen=True, repr=False)
class SanityCheck:
    """What the checks found on one pruner; shows itself in a notebook."""

    name: str
    scope: str  # where it applies, and what it takes to be a verdict
    findings: tuple[Finding, ...]
    arms: dict  # arm with sparsity -> {seed: ledger.Row}

    @property
    def table(self):
        """Every comparison with its verdict, or why there is none yet, as Markdown."""
        lines = [(f.comparison.label, told(f.verdict, f.estimate), _minus(f.comparison), f.control)
                 for f in self.findings]  # fmt: skip
        return prose.table(("statement", "what we found", "points of accuracy are", "the control did"), lines)

    @property
    def accuracies(self):
        """Every arm with the accuracy of each seed, as Markdown."""
        lines = [[*_arm(key), *_facts(list(rows.values()))] for key, rows in self.arms.items()]
        titles = ("mask", "sparsity", "accuracy of each seed, %", "mean, %", "classifier's share", "empty layers")
        return prose.table(titles, lines)

    def figure(self, ax=None):
        """Draw every difference: each seed a dot, the estimate with its interval, the margin a band; returns `ax`."""
        ax = plt.subplots(figsize=(7, 0.55 * len(self.findings) + 1))[1] if ax is None else ax
        widest = max([2 * MARGIN, *(abs(point) for f in self.findings for point in f.points)])
        plots.margin_band(ax, MARGIN, horizontal=False)
        for place, (comparison, points, estimate, _, _) in enumerate(self.findings):
            look = plots.style(comparison.key)
            ax.plot(points, [place + 0.25] * len(points), ".", color=look.colour, markersize=4, zorder=3)
            if estimate.low is not None:
                ax.plot([estimate.low, estimate.high], [place] * 2, color=look.colour, linewidth=1.5)
            if estimate.point is not None:
                ax.plot([estimate.point], [place], look.marker, color=look.colour)
        names = [_minus(f.comparison).replace(" minus ", "\nminus ") for f in self.findings]
        ax.set_yticks(range(len(names)), names, fontsize=9)
        ax.set(ylim=(len(names) - 0.4, -0.6), xlim=(-1.2 * widest, 1.2 * widest))  # wider intervals leave the picture
        ax.set_xlabel("difference in accuracy, points")
        return ax

    def __repr__(self):
        return f"SanityCheck({self.name!r}, {len(self.findings)} comparisons)"

    def __str__(self):
        return f"{self.scope}\n\n{self.table}\n\n{self.accuracies}"

    _repr_markdown_ = __str__


def judge(arms, sparsities, needed, undefined=()):
    """Judge every comparison, the positive control apart from the others, which Holm adjusts together.

    Arguments: arms, dict arm with sparsity -> {seed: Row}; sparsities, decimal texts; needed, the seeds of a verdict;
        undefined, the arms of NAMES that cannot be made here.
    Returns: tuple of Finding.
    """
    return tuple(f for claim in (CHECKS, CONTROL) for f in _judged(claim, arms, sparsities, needed, undefined))


def emptied(arms):
    """Which layers the masks as found leave empty, as a sentence; "" where they leave none.

    Arguments: arms, dict arm with sparsity -> {seed: Row}.
    """
    rows = [row for key, of in arms.items() if key.partition("@")[0] == "own" for row in of.values()]
    layers = sorted({name for row in rows for name in row["empty_layers"]})
    if not layers:
        return ""
    runs = sum(bool(row["empty_layers"]) for row in rows)
    return (
        f" **Empty layers:** in {runs} of {len(rows)} runs its mask keeps nothing of {' or '.join(layers)}; a network "
        "that is cut there cannot learn. One threshold ranks all layers together, so their scores need one scale."
    )


def _judged(claim, arms, sparsities, needed, undefined):
    found = {c.key: evidence.compare(arms, c.a, c.b, sparsities) for c in claim.comparisons}
    points = {key: values for key, (values, _) in found.items()}
    not_defined = {c.key: c.a in undefined or c.b in undefined for c in claim.comparisons}
    flags = {key: replace(flags, not_defined=not_defined[key]) for key, (_, flags) in found.items()}
    for row in verdicts.judge(replace(claim, sparsities=sparsities), points, MARGIN, needed, flags).compared:
        ours, theirs = ([arms.get(f"{arm}@{s}", {}) for s in sparsities] for arm in row.comparison[2:])
        verdict = _beforehand(row.comparison.key, ours, theirs)
        yield Finding(row.comparison, points[row.comparison.key], row.estimate, verdict or row.verdict, _control(ours))


def _beforehand(key, ours, theirs):
    """What stands before any difference: both arms collapsed in every run, or corruption left every mask as it was."""
    pairs = [(a[seed], b[seed]) for a, b in zip(ours, theirs, strict=True) for seed in a.keys() & b.keys()]
    if pairs and all(evidence.collapsed(row) for pair in pairs for row in pair):
        return verdicts.Verdict("collapsed", "nothing to compare: both collapsed in every run")
    if key == "both" and pairs and all(a["mask_digest"] == b["mask_digest"] for a, b in pairs):
        return verdicts.Verdict("same mask", "same mask, weight for weight: this score makes no use of its batch")
    return None


def _control(ours):
    """What the manipulation checks of an arm measured, means over its rows, in words."""
    rows = [row.get("control", {}) for by_seed in ours for row in by_seed.values()]
    shown = {said: [row[what] for row in rows if what in row] for what, said in SHOWN.items()}
    return ", ".join(f"{said}: {decimal(statistics.mean(values))}" for said, values in shown.items() if values)


def told(verdict, estimate):
    """A verdict's sentence with its numbers; before there is a verdict, the numbers so far."""
    so_far = verdict.word == verdicts.PROVISIONAL
    return f"{verdict.sentence}; so far {verdicts.effect(estimate)}" if so_far else verdict.sentence


def _minus(comparison):
    return f"{NAMES[comparison.a]} minus {NAMES[comparison.b]}"


def _arm(key):
    name, _, sparsity = key.partition("@")
    return NAMES[name], sparsity


def _facts(rows):
    """Accuracies, their mean, the classifier's share of the kept weights, and empty layers, of an arm's rows."""
    if not rows:
        return [verdicts.NOT_RUN] * 4
    found = [evidence.accuracy(row) for row in rows]
    share = statistics.mean(row["classifier_share"] for row in rows)
    empty = max(len(row["empty_layers"]) for row in rows)
    return [", ".join(f"{a:.2f}" for a in found), f"{statistics.mean(found):.2f}", f"{share:.3f}", empty]
