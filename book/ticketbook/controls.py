"""What a chapter's arms did by themselves: what controls measured, what pretraining reached, what masks keep."""

import math
import statistics

import numpy as np

from ticketbook import checks, overlaps, speed
from ticketbook import verdicts_1 as verdicts
from ticketlib.analysis import evidence, plots, stats
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import span, title
from ticketlib.experiments.profiles import PROFILES

LEARNED = 0.01  # who ends no further than this from the loss of guessing has learned next to nothing

MEASURED = {  # a manipulation check as rows name it -> what it measures, what is wanted of it
    "moved_share": ("kept places that changed", f"at least {evidence.MOVED_FLOOR:g}"),
    "changed_share": ("kept values that changed", f"at least {evidence.MOVED_FLOOR:g}"),
    "label_agreement": ("labels that are still right", f"1 / classes, give or take {evidence.LABELS_SLACK:g}"),
    "pixel_correlation": ("correlation with the true image", f"at most {evidence.PIXELS_CEILING:g}"),
    "images_kept": ("share of the images", f"a half, give or take {evidence.LABELS_SLACK:g}"),
}


def control_table(found, pairs):
    """What the manipulation checks of a chapter's arms measured, as Markdown: smallest and largest over seeds.

    Rearranged arms have one more line: the share of the kept places that can be expected to change (`movable`).

    Arguments: found, as `checks.rows` gives; pairs, list of Comparison.
    """
    named, lines = {arm for pair in pairs for arm in (pair.a, pair.b) if "+" in arm}, []
    for network, arms in found.items():
        trained = {row["name"]: row for arm, of in arms.items() if arm.startswith("dense") for row in of.values()}
        for arm, of in sorted(arms.items()):
            made = [row for row in of.values() if not row.get("not_made")]
            if arm.partition("@")[0] in named and made:
                lines += _control_lines(title(network), arm, made, trained)
    if not lines:
        return "**Not run.** No arm with a control is in this ledger."
    return prose.table(["network", "arm", "measured", "wanted", "over seeds", "did its work"], lines)


def _control_lines(network, arm, of, trained):
    pairs = [(row, trained.get(evidence.dense_net(row), {})) for row in of]
    values = [{**before.get("control", {}), **row.get("control", {})} for row, before in pairs]
    works = sum(not evidence.control_did_nothing(row, before) for row, before in pairs)
    label = f"{checks.label(arm)}, {arm.partition('@')[2]}"
    lines = []
    for name in [name for name in MEASURED if any(name in of for of in values)]:
        what, wanted = MEASURED[name]
        ends = span([of[name] for of in values if name in of], 3)
        lines.append([network, label, what, wanted, ends, f"{works} of {len(values)}"])
    if of[0].config.check == "rearranged":
        lines.append([network, label, "kept places that can be expected to change", "", span(map(movable, of), 3), ""])
    return lines


def movable(row):
    """Share, 0 to 1, of a run's kept weights that rearranging within layers moves, on average."""
    return overlaps.movable(row["keep_counts"], overlaps.sizes_of(row))


def pretraining_table(arms):
    """What dense nets reached on clean and on spoilt data, as Markdown: final training loss, accuracy on clean tests.

    Beneath stands the loss of guessing, and whether training on spoilt data ended at it or how far below.

    Arguments: arms, {arm: {seed: Row}} of one network.
    """
    lines, below = [], []
    classes = {row["num_classes"] for of in arms.values() for row in of.values()}
    for arm in ("dense", "dense+half", "dense+labels", "dense+pixels", "dense+both"):
        of = [row for row in arms.get(f"{arm}@0", {}).values() if not row["diverged"]]
        losses = [row["loss"] for row in of]
        accuracies = _range([row["accuracy"] for row in of], 2)
        lines.append([plots.style(arm).label, _range(losses, 3), accuracies, len(of)])
        if of and arm not in ("dense", "dense+half"):
            below.append(_beside_guessing(plots.style(arm.partition("+")[2]).label, np.log(max(classes)), losses))
    said = "".join(f"\n\nGuessing among {n} classes gives a loss of {np.log(n):.3f}." for n in sorted(classes))
    said = " ".join([said, *below])
    return prose.table(["pretrained on", "final training loss", "accuracy on clean tests, %", "seeds"], lines) + said


def noise(arms, profile):
    """Why LT on noise must be read with care, in sentences; "" where the dense nets on noise are not there or learned.

    Arguments: arms, {arm: {seed: Row}} of the residual network; profile, a name of profiles.PROFILES.
    """
    of = [row for row in arms.get("dense+both@0", {}).values() if not row["diverged"]]
    far = any(abs(np.log(row["num_classes"]) - row["loss"]) > LEARNED for row in of)
    if profile != "laptop" or not of or far:  # other data, or the paper's own recipe
        return ""
    ours, theirs = (PROFILES[name].training for name in (profile, "paper"))
    steps, longer = (made["epochs"] * math.ceil(speed.IMAGES / made["batch"]) for made in (ours, theirs))
    return (
        "Mind LT. Its dense network learned next to nothing from the noise: in every seed on "
        f"{title(of[0].config.dataset)} the loss ended within {LEARNED:g} of that of guessing. "
        f"It was trained for {steps:,} steps; the recipe of the paper's code takes "
        f"{longer:,}, on larger networks. There the network may learn the noise by heart, and the mask may be another. "
        "What is said of LT here is said of this length of training."
    )


def _beside_guessing(data, guessing, losses):
    """Where training on spoilt data ended, in a sentence: at the loss of guessing, to three digits, or how far off."""
    below = round(float(guessing - np.mean(losses)), 3)
    how = f"{abs(below):.3f} {'below' if below > 0 else 'above'}" if below else "at"
    return f"Training on {data} ended {how} the loss of guessing."


def _range(values, digits):
    if not values:
        return verdicts.NOT_RUN
    mean, ends = f"{np.mean(values):.{digits}f}", span(values, digits)
    return f"{mean} ({ends})" if ends != mean else mean


def guessing(arms, key):
    """Why an arm that keeps nothing of its classifier says nothing beside others, a sentence; "" where it keeps some.

    Arguments: arms, {arm: {seed: Row}} of one network; key, the arm with its sparsity.
    """
    kept = [row["classifier_share"] for row in arms.get(key, {}).values() if "classifier_share" in row]
    if not kept or any(kept):
        return ""
    ticket, _, sparsity = key.partition("@")
    return (
        f"Mind *{checks.label(ticket)}* at {sparsity}: one threshold over all layers leaves nothing of its classifier. "
        "So it can only guess, and its differences to other tickets say nothing about the masks of those."
    )


def cut(found, pairs):
    """Which tickets of a chapter have masks that no path leads through, in how many runs, in sentences; "" for none.

    Arguments: found, as `checks.rows` gives; pairs, list of Comparison.
    """
    named, said = dict.fromkeys(arm for pair in pairs for arm in (pair.b, pair.a)), []
    for place, arms in found.items():
        for key, of in sorted(arms.items()):
            rows = [row for row in of.values() if "effective_sparsity" in row]
            dead = sum(row["effective_sparsity"] == 1 for row in rows)
            if dead and key.partition("@")[0] in named:
                where = f"{title(place)} at {key.partition('@')[2]}"
                said.append(f"{checks.label(key.partition('@')[0])}, {where}: {dead} of {len(rows)} runs")
    if not said:
        return ""
    return (f"No path leads through some masks, and such a net can only guess: {'; '.join(said)}. Where both tickets "
            "of a pair are cut, their difference is zero, and says nothing.")  # fmt: skip


def arms_table(found, pairs):
    """Every arm of a chapter's differences by itself, as Markdown: accuracy, what its masks keep, collapsed runs.

    Arguments: found, as `checks.rows` gives; pairs, list of Comparison.
    """
    named = dict.fromkeys(arm for pair in pairs for arm in (pair.b, pair.a))
    lines = [
        [title(network), checks.label(arm), key.partition("@")[2], *_facts(list(arms[key].values()))]
        for network, arms in found.items()
        for arm in named
        for key in sorted(key for key in arms if key.partition("@")[0] == arm and arms[key])
    ]
    if not lines:
        return "**Not run.** No arm of this chapter is in this ledger."
    titles = ["network", "ticket", "removed", "accuracy, %", "removed in effect", "classifier's share, %",
              "collapsed runs"]  # fmt: skip
    return prose.folded("Every ticket by itself", prose.table(titles, lines))


def _facts(rows):
    mean = stats.t_interval([evidence.accuracy(row) for row in rows])
    spread = "" if mean.sd is None else f"SD {mean.sd:.2f}, "
    effective, share = (
        [row[what] for row in rows if what in row] for what in ("effective_sparsity", "classifier_share")
    )
    return [
        f"{mean.point:.2f} ({spread}n = {mean.n})",
        f"{statistics.mean(effective):.4f}" if effective else "",
        f"{100 * statistics.mean(share):.1f}" if share else "",
        evidence.collapses(rows).removeprefix("collapsed runs: "),
    ]
