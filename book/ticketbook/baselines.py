"""Which baselines belong beside a new pruner, and how many seeds each takes: computed from the pilot's spreads."""

from typing import NamedTuple

from ticketbook import pilot
from ticketlib.analysis import findings, stats
from ticketlib.analysis import words as prose
from ticketlib.experiments import profiles


class Baseline(NamedTuple):
    """A ticket to train beside one's own, and the pilot's difference that is most like it."""

    name: str
    says: str  # what it says if it does as well as the pruner
    like: str  # label of a pilot.CONTRASTS


CONTROL = "smart ratio − uniform"  # a large difference that must be seen: not planned by the margin
BASELINES = (
    Baseline("rearranged: the mask's own keep-counts, places by lot", "the pruner finds how many, not which",
             "SNIP − SNIP rearranged"),
    Baseline("random ticket with smart ratios", "a formula that sees nothing does the same", "smart ratio − SNIP"),
    Baseline("LT: largest weights of a trained network", "it reaches what training first would give",
             "smart ratio − LT"),
    Baseline("random ticket with uniform ratios", "the set-up is too weak to tell tickets apart", CONTROL),
)  # fmt: skip


def spreads(rows, profile="laptop"):
    """Standard deviation of every pilot difference: dict label -> (epochs, points), at the length that counts.

    Where that length has fewer than two seeds, the longest one that has two stands in.
    """
    counting, found = profiles.PROFILES[profile].training["epochs"], {}
    known = pilot.spreads(pilot.of_profile(rows, profile))
    for (label, epochs), sd in sorted(known.items(), key=lambda item: item[0][1]):
        if epochs <= counting:
            found[label] = epochs, sd
    return found


def table(rows, profile="laptop"):
    """The baselines as a Markdown table: what each tells, the spread it is planned with, seeds asked and power."""
    known, lines = spreads(rows, profile), []
    for baseline in BASELINES:
        figures = _figures(baseline, *known[baseline.like]) if baseline.like in known else ["not measured"] * 4
        lines.append([baseline.name, baseline.says, baseline.like, *figures])
    titles = ["train beside it", "if it does as well", "planned like", "spread over seeds", "seeds asked",
              "seeds taken", "smallest margin they show"]  # fmt: skip
    return prose.table(titles, lines)


def _figures(baseline, epochs, sd):
    spread = f"{sd:.2f} points, {epochs} epochs"
    if baseline.like == CONTROL:
        return [spread, "as the others", "as the others", "none: any difference above 0"]
    plan = stats.seeds_needed(sd, pilot.margin())
    return [spread, plan.asked, f"{plan.n}, power {100 * plan.power:.0f} %", f"{plan.resolves:.2f} points"]


def sentence(rows, profile="laptop"):
    """How many seeds to plan with, in one sentence: the largest number that any equivalence baseline asks for."""
    known = spreads(rows, profile)
    asked = {b: known[b.like][1] for b in BASELINES if b.like in known and b.like != CONTROL}
    if not asked:
        return "The pilot has no spread over seeds yet, so no number of seeds can be planned."
    worst = max(asked, key=asked.get)
    plan = stats.seeds_needed(asked[worst], pilot.margin())
    margin, family = prose.points(pilot.margin()), len(findings.CHECKS.comparisons)
    strictest = stats.seeds_needed(asked[worst], pilot.margin(), family=family).strictest
    return (
        f"**Plan {max(plan.asked, plan.n)} seeds** for a power of 80 %, with a margin of {margin} on a network like "
        f"ours. The largest spread decides: {asked[worst]:.2f} points ({worst.like}). With {plan.n} seeds the chance "
        f"to show that a true zero is zero is {100 * plan.power:.0f} % for one comparison alone. "
        f"`sanity_check` judges {family} together; at the strictest level of Holm's method it is "
        f"{100 * strictest:.0f} %. So plan more, or name beforehand the one comparison that matters."
    )
