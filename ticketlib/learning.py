"""What rows say of speed: whether the engines learn the same, and the seconds a ticket takes to an accuracy."""

from collections import defaultdict
from dataclasses import replace
from statistics import mean, median
from types import SimpleNamespace

from scipy.stats import f as f_distribution

from ticketlib import evidence, grids, pages, plots, stats, verdicts
from ticketlib.runs import PROFILES

SPARSE, FLOAT32, BF16 = "sparse engine, float32", "dense engine, float32", "dense engine, bf16"
COLOURS = {SPARSE: plots.RED, FLOAT32: plots.BLACK, BF16: plots.BLUE}
LINES = {SPARSE: "-", FLOAT32: "--", BF16: ":"}
CONFIDENCE = 0.95
ANYWHERE = "0" * 16  # in place of a data fingerprint
TARGETS = tuple(range(50, 100, 5))  # accuracies in percent
TICKETS = ("smart", "lt")  # a ticket known before training, and one that needs a trained net


def arithmetic(config):
    """Which of the three a configuration trains in."""
    return SPARSE if config.engine == "sparse" else FLOAT32 if config.precision == "float32" else BF16


def planned(profile):
    """The configurations of the grid `engines` by their names, made from no images in particular."""
    anywhere = SimpleNamespace(name=PROFILES[profile].dataset, fingerprint=ANYWHERE)
    return {config.name: config for config in grids.engines(profile, anywhere)}


def engine_rows(rows, profile):
    """The rows of the grid `engines`, whatever images they were made from: dict arithmetic -> {seed: Row}."""
    wanted, found = planned(profile), {kind: {} for kind in (SPARSE, FLOAT32, BF16)}
    arms = {config.arm for config in wanted.values()}
    for row in rows:
        if row["kind"] == "run" and row["arm"] in arms:
            config = replace(row.config, fingerprint=ANYWHERE)
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


def same(found):
    """Whether the sparse engine learns what dense float32 does, as far as bf16 does: None where too few are there.

    Two things must hold: the 95 % interval of sparse minus float32 has zero inside, and the spread of those differences
    is not larger than the spread of bf16 minus float32 beyond chance (a one-sided F test at 5 %).
    """
    sparse, bf16 = (stats.t_interval(list(of.values())) for of in differences(found).values())
    if sparse.sd is None or bf16.sd is None:
        return None
    return sparse.low <= 0 <= sparse.high and sparse.sd <= bf16.sd * spread_bound(sparse.n, bf16.n)


def spread_bound(n, m):
    """How many times as large one spread may be as another by chance: standard deviations of n and of m values."""
    return float(f_distribution.ppf(CONFIDENCE, n - 1, m - 1)) ** 0.5


def same_verdict(found, profile):
    """The answer of `same` in words, with its numbers."""
    answer = same(found)
    there = f"{sum(map(len, found.values()))} of {len(planned(profile))} runs of the grid `engines` are here."
    if answer is None:
        return f"**{verdicts.NOT_RUN.capitalize()}.** {there}"
    sparse, bf16 = (stats.t_interval(list(of.values())) for of in differences(found).values())
    word = "**within the spread**" if answer else "**outside of the spread**"
    return (
        f"The differences between the sparse engine and dense float32 are {word} of those between bf16 and float32. "
        f"Sparse minus float32: {_said(sparse)}. Bf16 minus float32: {_said(bf16)}. {there}"
    )


def _said(estimate):
    return (
        f"mean {estimate.point:+.2f} points, 95 % interval {estimate.low:+.2f} to {estimate.high:+.2f}, "
        f"standard deviation {estimate.sd:.2f}, n = {estimate.n}"
    )


def same_table(found):
    """Accuracies of each seed in the three arithmetics, and both differences, as Markdown."""
    apart, lines = differences(found), []
    for seed in sorted(set().union(*found.values())):
        accuracies = [f"{evidence.accuracy(of[seed]):.2f}" if seed in of else "" for of in found.values()]
        points = [f"{of[seed]:+.2f}" if seed in of else "" for of in apart.values()]
        lines.append([seed, *accuracies, *points])
    titles = ["seed", *(f"{kind}, %" for kind in found), "sparse − float32", "bf16 − float32"]
    return pages.table(titles, lines) if lines else f"**{verdicts.NOT_RUN.capitalize()}.**"


def draw_losses(ax, found):
    """Draw the training loss over epochs, a line a run."""
    for kind, of in found.items():
        for number, row in enumerate(of.values()):
            epochs, _, losses = zip(*row["curve"], strict=True)
            look = dict(color=COLOURS[kind], linestyle=LINES[kind], label="" if number else kind)
            ax.plot(epochs, losses, alpha=0.8, **look)
    ax.set(xlabel="epochs", ylabel="training loss")
    return ax


def draw_differences(ax, found):
    """Draw the paired differences in final accuracy, a dot a seed."""
    for place, (kind, of) in enumerate(differences(found).items()):
        ax.plot([place] * len(of), list(of.values()), "o", color=COLOURS[kind], alpha=0.8)
    ax.axhline(0, color="0.4", linewidth=0.8)
    ax.set(xlim=(-0.6, 1.6), ylabel="difference in accuracy, points")
    ax.set_xticks([0, 1], ["sparse −\nfloat32", "bf16 −\nfloat32"])
    return ax


def clocked(rows, profile, network="resnet"):
    """Rows whose seconds may be set beside one another: those that count, or the pilot's while there are none of them.

    Returns: (where they are from, dict (ticket, sparsity) -> {epochs: {seed: Row}}); plain tickets in the profile's
        own engine, and dense nets.
    """
    chosen = PROFILES[profile]
    name, width, stem_stride = chosen.networks[network]
    found = {"the runs that count": {}, "the pilot": {}}
    for row in rows:
        config = row.config if row["kind"] == "run" else None
        if config is None or (config.network, config.width, config.stem_stride) != (name, width, stem_stride):
            continue
        plain = config.arm == f"{config.ticket}@{config.sparsity}" and config.ticket in (*TICKETS, "dense")
        usual = chosen.training["precision"] if config.ticket == "dense" else chosen.training["engine"]
        if plain and usual == (config.precision if config.ticket == "dense" else config.engine):
            source = {(chosen.training["recipe"], 0): "the runs that count", (0, chosen.pilot["held_out"]): "the pilot"}
            where = found.get(source.get((config.recipe, config.held_out)), {})
            where.setdefault((config.ticket, config.sparsity), defaultdict(dict))[config.epochs][config.seed] = row
    whole = {source for source, of in found.items() if {key[0] for key in of} >= {"dense", *TICKETS}}
    return next(((source, of) for source, of in found.items() if source in whole), ("", {}))


def seconds_to(row, target, before=None):
    """Training seconds until a run's test accuracy is first seen to reach a target, in percent; None if it never is.

    Arguments: before, the row of the dense net it needed first, whose whole training is added.
    """
    an_epoch = row["train_seconds"] / row["curve"][-1][0]
    for epochs, accuracy, _ in row["curve"]:
        if accuracy >= target:
            return epochs * an_epoch + (before["train_seconds"] if before else 0)
    return None


def fastest(of, target, trained):
    """The length of training that reaches a target soonest in all its seeds: (mean seconds, epochs, seeds) or None.

    Arguments: of, {epochs: {seed: Row}}; trained, dict name -> Row of the dense nets that tickets start from. A ticket
        whose dense net is not there is left out.
    """
    found = []
    for epochs, seeds in of.items():
        rows = [row for row in seeds.values() if "parent" not in row or row["parent"] in trained]
        took = [seconds_to(row, target, trained.get(row.get("parent"))) for row in rows]
        if took and None not in took:
            found.append((mean(took), epochs, len(took)))
    return min(found, default=None)


def to_accuracy(of):
    """Seconds to each accuracy that anything reached: dict target -> {(ticket, sparsity): (seconds, epochs, seeds)}."""
    dense = of.get(("dense", "0"), {})
    trained = {row["name"]: row for seeds in dense.values() for row in seeds.values()}
    found = {target: {key: fastest(at, target, trained) for key, at in sorted(of.items())} for target in TARGETS}
    return {target: at for target, at in found.items() if any(at.values())}


def seconds_table(of):
    """`to_accuracy` as Markdown, the seconds with the length of training that took them."""
    found = to_accuracy(of)
    keys = sorted(of, key=lambda key: (float(key[1]), key[0] == "lt"))
    lines = [[f"{target} %", *(_took(at.get(key)) for key in keys)] for target, at in found.items()]
    titles = ["accuracy", *(_title(*key) for key in keys)]
    return pages.table(titles, lines) if lines else f"**{verdicts.NOT_RUN.capitalize()}.**"


def _title(ticket, sparsity):
    if ticket == "dense":
        return "dense"
    what = "random ticket" if ticket == "smart" else "LT, with its dense net"
    return f"{what}, {100 * float(sparsity):g} % removed"


def _took(found):
    return "not reached" if found is None else f"{found[0]:,.0f} s ({found[1]} epochs, n = {found[2]})"


def _speeds(at):
    return [row["images_per_second"] for seeds in at.values() for row in seeds.values()]


def load_said(of):
    """How much the images/s of equal runs differ, in a sentence: what other work on the machine did to the seconds."""
    apart = [max(speeds) / min(speeds) for speeds in map(_speeds, of.values()) if len(speeds) > 1]
    if not apart:
        return ""
    return (
        f"Equal work took up to **{max(apart):.1f} times** as long in one run as in another: the campaign shared its "
        "machine with other work. So these seconds were taken under load, and an idle machine is faster."
    )


def common_target(of):
    """The highest accuracy that the dense net, a random ticket and LT all reached; None if there is none."""
    reached = [target for target, at in to_accuracy(of).items()
               if {key[0] for key, took in at.items() if took} >= {"dense", *TICKETS}]  # fmt: skip
    return max(reached, default=None)


def draw_seconds(axes, of):
    """Draw images/s of the rows, and seconds to the highest common accuracy, over the share of weights kept."""
    target = common_target(of)
    at = to_accuracy(of).get(target, {})
    speeds = {key: median(_speeds(seeds)) for key, seeds in of.items()}
    took = {key: value[0] for key, value in at.items() if value}
    for ax, values, label in zip(axes, (speeds, took), ("training, images/s", f"seconds to {target} %"), strict=True):
        for ticket in TICKETS:
            points = sorted((100 - 100 * float(s), value) for (t, s), value in values.items() if t == ticket)
            look = plots.style(ticket)
            line = dict(color=look.colour, marker=look.marker, linestyle=look.linestyle)
            ax.plot(*zip(*points, strict=True), label=_title(ticket, "0").partition(", 0")[0], **line)
        ax.axhline(values[("dense", "0")], color="black", linestyle="--", label="dense")
        ax.set(ylabel=label, ylim=(0, None))
        plots.kept_axis(ax, sorted({100 - 100 * float(s) for t, s in values if t != "dense"}))
    return axes
