"""Whether the engines learn the same: one ticket trained in three arithmetics, and how far the results lie apart."""

from dataclasses import replace

import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.stats import t as t_distribution

from ticketbook import verdicts_1 as verdicts
from ticketlib.analysis import evidence, plots, stats
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import signed
from ticketlib.experiments import grids
from ticketlib.experiments.profiles import NO_IMAGES, PROFILES, Images

SPARSE, FLOAT32, BF16 = "sparse engine, float32", "dense engine, float32", "dense engine, bf16"
COLOURS = {SPARSE: plots.RED, FLOAT32: plots.BLACK, BF16: plots.BLUE}
LINES = {SPARSE: "-", FLOAT32: "--", BF16: (0, (1, 1))}
WIDTHS = {SPARSE: 1.2, FLOAT32: 1.2, BF16: 2.2}  # dots need more to be seen
ONE_SIDED = 0.95  # confidence of each bound on the ratio of two spreads


def arithmetic(config):
    """Which of the three a configuration trains in."""
    return SPARSE if config.engine == "sparse" else FLOAT32 if config.precision == "float32" else BF16


def planned(profile):
    """The configurations of the grid `engines` by their names, made from no images in particular."""
    images = Images(PROFILES[profile].dataset)
    return {config.name: config for config in grids.engines(profile, images)}


def engine_rows(rows, profile):
    """The rows of the grid `engines`, whatever images they were made from: dict arithmetic -> {seed: Row}."""
    wanted, found = planned(profile), {kind: {} for kind in (SPARSE, FLOAT32, BF16)}
    arms = {config.arm for config in wanted.values()}
    for row in rows:
        if row["kind"] == "run" and row["arm"] in arms:
            config = replace(row.config, fingerprint=NO_IMAGES.fingerprint)
            if config.name in wanted:
                found[arithmetic(config)][config.seed] = row
    return found


def differences(found):
    """Final accuracy minus that of dense float32, paired within seeds: dict arithmetic -> {seed: points}.

    Pairs that differ in device, threads or versions are left out.
    """
    reference = found[FLOAT32]
    return {
        kind: {
            seed: evidence.accuracy(row) - evidence.accuracy(reference[seed])
            for seed, row in sorted(found[kind].items())
            if seed in reference and all(row[what] == reference[seed][what] for what in evidence.SAME_IN_A_PAIR)
        }
        for kind in (SPARSE, BF16)
    }


def directly(found):
    """Final accuracy of the sparse engine minus that of dense bf16, of seeds that all three have: {seed: points}."""
    apart = differences(found)
    return {seed: apart[SPARSE][seed] - apart[BF16][seed] for seed in apart[SPARSE] if seed in apart[BF16]}


def spread_ratio(a, b):
    """How many times as large the spread of a is as that of b, where both are measured on the same seeds.

    Both differences have the same run subtracted, so they are correlated, and an F test would not hold.

    Arguments: a, b: floats, paired, at least 3. Returns: (ratio of standard deviations, lower and upper bound, each
        with a one-sided confidence of 95 %).
    Source: Pitman (1939), Morgan (1939), for a ratio q of variances: t^2 = (n - 2) (1 - q)^2 / (4 q (1 - r^2)).
    """
    wide, narrow = np.std(a, ddof=1), np.std(b, ddof=1)
    if wide == 0 or narrow == 0:
        return (0.0, 0.0, 0.0) if wide == 0 else (np.inf, np.inf, np.inf)
    open_part = 1 - np.corrcoef(a, b)[0, 1] ** 2
    middle = 1 + 2 * open_part * t_distribution.ppf(ONE_SIDED, len(a) - 2) ** 2 / (len(a) - 2)
    factor = float(np.sqrt(middle + np.sqrt(middle**2 - 1)))
    return float(wide / narrow), float(wide / narrow / factor), float(wide / narrow * factor)


def _spreads(found):
    """`spread_ratio` of sparse minus float32 and bf16 minus float32; None for fewer than 3 seeds with all three."""
    apart, seeds = differences(found), directly(found)
    if len(seeds) < 3:
        return None
    return spread_ratio(*([apart[kind][seed] for seed in seeds] for kind in (SPARSE, BF16)))


def same(found):
    """Whether the sparse engine learns what dense float32 does, as far as bf16 does: None where too few are there.

    Two things must hold: the 95 % interval of sparse minus float32 has zero inside, and the spread of those differences
    is not larger than the spread of bf16 minus float32 beyond chance (one-sided, at 5 %).
    """
    ratio = _spreads(found)
    if ratio is None:
        return None
    sparse = stats.t_interval(list(differences(found)[SPARSE].values()))
    return sparse.low <= 0 <= sparse.high and ratio[1] <= 1


def same_verdict(found, profile):
    """The answer of `same` in words, with its numbers and with what so few pairs leave open."""
    answer = same(found)
    there = f"{sum(map(len, found.values()))} of {len(planned(profile))} runs of the engine comparison are here."
    if answer is None:
        return f"**{verdicts.NOT_RUN.capitalize()}.** {there}"
    sparse, bf16 = (stats.t_interval(list(of.values())) for of in differences(found).values())
    apart, (ratio, low, high) = stats.t_interval(list(directly(found).values())), _spreads(found)
    word = "**within the spread**" if answer else "**outside of the spread**"
    return (
        f"The differences between the sparse engine and dense float32 are {word} of those between bf16 and float32, as "
        f"far as {sparse.n} pairs can tell. {there}\n\n"
        f"- Sparse minus float32: {_said(sparse)}.\n- Bf16 minus float32: {_said(bf16)}.\n"
        f"- Sparse minus bf16: {_said(apart)}.\n"
        f"- The first spread is {ratio:.2f} times the second; with {sparse.n} pairs, anything from {low:.2f} to "
        f"{high:.2f} times fits (90 % interval).\n\n"
        f"So few pairs cannot show that the engines are equal. A true shift anywhere from {signed(sparse.low)} to "
        f"{signed(sparse.high)} points would fit them."
    )


def _said(estimate):
    return (
        f"mean {signed(estimate.point)} points, 95 % interval {signed(estimate.low)} to {signed(estimate.high)}, "
        f"standard deviation {estimate.sd:.2f}, n = {estimate.n}"
    )


def same_table(found):
    """Accuracies of each seed in the three arithmetics, and both differences, as Markdown."""
    apart, lines = [*differences(found).values(), directly(found)], []
    for seed in sorted(set().union(*found.values())):
        accuracies = [f"{evidence.accuracy(of[seed]):.2f}" if seed in of else "" for of in found.values()]
        points = [signed(of[seed]) if seed in of else "" for of in apart]
        lines.append([seed, *accuracies, *points])
    titles = ["seed", *(f"{kind}, %" for kind in found), "sparse − float32", "bf16 − float32", "sparse − bf16"]
    return prose.table(titles, lines) if lines else f"**{verdicts.NOT_RUN.capitalize()}.**"


def draw_losses(ax, found):
    """Draw the training loss over epochs, a line a run."""
    for kind, of in found.items():
        for number, row in enumerate(of.values()):
            epochs, _, losses = zip(*row["curve"], strict=True)
            look = dict(color=COLOURS[kind], linestyle=LINES[kind], linewidth=WIDTHS[kind])
            ax.plot(epochs, losses, label="" if number else kind, **look)
    ax.set(xlabel="epochs", ylabel="training loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def draw_differences(ax, found):
    """Draw the paired differences in final accuracy, a dot a seed."""
    for place, (kind, of) in enumerate(differences(found).items()):
        ax.plot([place] * len(of), list(of.values()), "o", color=COLOURS[kind], alpha=0.8)
    ax.axhline(0, color="0.4", linewidth=0.8)
    ax.set(xlim=(-0.6, 1.6), ylabel="difference in accuracy, points")
    ax.set_xticks([0, 1], ["sparse −\nfloat32", "bf16 −\nfloat32"])
    return ax
