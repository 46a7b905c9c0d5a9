"""Seconds to an accuracy: how long a random ticket trains until it gets there, and how long LT with its dense net.

Two clocks: the seconds that the runs took, under whatever else the machine did; and the same runs at the speeds of the
stored benchmarks, which an idle machine would reach.
"""

from collections import defaultdict
from statistics import mean

from ticketbook import speed
from ticketbook import verdicts_1 as verdicts
from ticketlib.analysis import plots
from ticketlib.analysis import words as prose
from ticketlib.experiments.profiles import PROFILES, fields

TARGETS = tuple(range(50, 100, 5))  # accuracies in percent
TICKETS = ("smart", "lt")  # a ticket known before training, and one that needs a trained net
FREE = ("epochs", "recipe", "engine", "precision", "eval_every")  # of a profile's training; read, or let be
WITH_DENSE = ", with its dense net"
SLOWED = 0.8  # a run below this share of the benchmark's images/s was held up by other work


def clocked(rows, profile):
    """Rows whose seconds may be set beside one another: those that count, or the pilot's while there are none of them.

    Returns: (where they are from, dict (ticket, sparsity) -> {epochs: {seed: Row}}); plain tickets in the profile's
        own engine, and dense nets.
    """
    chosen = PROFILES[profile]
    wanted = fields(profile, but=FREE)
    sources = {
        (chosen.training["recipe"], 0): "the runs that count",
        (0, chosen.pilot["held_out"]): "the pilot",
    }  # by version of the recipe and images held out
    found = {source: defaultdict(lambda: defaultdict(dict)) for source in sources.values()}
    for row in rows:
        config = row.config if row["kind"] == "run" else None
        source = config and sources.get((config.recipe, config.held_out))
        if source and _is_plain(config, chosen) and all(getattr(config, what) == of for what, of in wanted.items()):
            found[source][config.ticket, config.sparsity][config.epochs][config.seed] = row
    for source, of in found.items():
        if {ticket for ticket, _ in of} >= {"dense", *TICKETS}:
            return source, of
    return "", {}


def _is_plain(config, chosen):
    """Whether a run is a dense net, or a ticket as found in the profile's engine."""
    if config.arm != f"{config.ticket}@{config.sparsity}" or config.ticket not in (*TICKETS, "dense"):
        return False
    if config.ticket == "dense":
        return config.precision == chosen.training["precision"]
    return config.engine == chosen.training["engine"]


def idle(stored, profile, network="resnet"):
    """Images/s of whole steps on an idle machine: {"dense": speed, sparsity: speed}; empty if they are not stored."""
    name, width, _ = PROFILES[profile].networks[network]
    return next((of for net, of in speed.training(stored).items() if speed.NETWORKS[net] == (name, width)), {})


def training_seconds(row, idle_speeds=None):
    """Seconds of a run's training: those it took or, given images/s as `idle` does, those of an idle machine.

    Returns: float, or None where there is no speed for the row's sparsity.
    """
    if idle_speeds is None:
        return row["train_seconds"]
    config = row.config
    images_per_second = idle_speeds.get("dense" if config.ticket == "dense" else config.sparsity)
    return images_per_second and row["images"] / images_per_second


def seconds_to(row, target, before=None, idle_speeds=None):
    """Training seconds until a run's test accuracy is first seen to reach a target, in percent; None if it never is.

    Arguments: before, the row of the dense net it needed first, whose training is added; idle_speeds, as in
        `training_seconds`.
    """
    whole, finding = training_seconds(row, idle_speeds), training_seconds(before, idle_speeds) if before else 0
    for epochs, accuracy, _ in row["curve"]:
        if accuracy >= target:
            return whole and whole * epochs / row["curve"][-1][0] + finding
    return None


def fastest(of, target, trained, idle_speeds=None):
    """The length of training that reaches a target soonest in all its seeds: (mean seconds, epochs, seeds) or None.

    Arguments: of, {epochs: {seed: Row}}; trained, dict name -> Row of the dense nets that tickets start from. A ticket
        whose dense net is not there is left out.
    """
    found = []
    for epochs, seeds in of.items():
        rows = [row for row in seeds.values() if "parent" not in row or row["parent"] in trained]
        took = [seconds_to(row, target, trained.get(row.get("parent")), idle_speeds) for row in rows]
        if took and None not in took:
            found.append((mean(took), epochs, len(took)))
    return min(found, default=None)


def to_accuracy(of, idle_speeds=None):
    """Seconds to each accuracy that anything reached: dict target -> {(ticket, sparsity): (seconds, epochs, seeds)}."""
    trained = {row["name"]: row for seeds in of.get(("dense", "0"), {}).values() for row in seeds.values()}
    found = {t: {key: fastest(at, t, trained, idle_speeds) for key, at in sorted(of.items())} for t in TARGETS}
    return {target: at for target, at in found.items() if any(at.values())}


def columns(of):
    """The dense net, then both tickets of each sparsity side by side."""
    return sorted(of, key=lambda key: (float(key[1]), key[0] == "lt"))


def table(of, idle_speeds=None):
    """`to_accuracy` as Markdown, the seconds with the length of training that took them."""
    found = to_accuracy(of, idle_speeds)
    lines = [[f"{target} %", *(_took(at.get(key)) for key in columns(of))] for target, at in found.items()]
    titles = ["accuracy", *(_title(*key) for key in columns(of))]
    return prose.table(titles, lines) if lines else f"**{verdicts.NOT_RUN.capitalize()}.**"


def _title(ticket, sparsity):
    if ticket == "dense":
        return "dense"
    what = "random ticket" if ticket == "smart" else f"LT{WITH_DENSE}"
    return f"{what}, {100 * float(sparsity):g} % removed"


def _took(found):
    return "not reached" if found is None else f"{found[0]:,.0f} s ({found[1]} epochs, n = {found[2]})"


def verdict(of, idle_speeds=None):
    """A line for each sparsity: seconds of both tickets, and of a dense net, to the most accuracy that both reached."""
    found, lines = to_accuracy(of, idle_speeds), []
    for sparsity in sorted({s for ticket, s in of if ticket != "dense"}, key=float):
        pairs = {target: [at.get((ticket, sparsity)) for ticket in TICKETS] for target, at in found.items()}
        target = max((target for target, pair in pairs.items() if all(pair)), default=None)
        if target is not None:
            (smart, *_), (lt, *_) = pairs[target]
            dense = found[target].get(("dense", "0"))
            alone = f" The dense net by itself gets there in {dense[0]:,.0f} s." if dense else ""
            lines.append(
                f"- {100 * float(sparsity):g} % removed, to {target} %: {smart:,.0f} s for a random ticket, "
                f"{lt:,.0f} s for LT with its dense net, {lt / smart:.1f} times as long.{alone}"
            )
    if not lines:
        return f"**{verdicts.NOT_RUN.capitalize()}.**"
    clock = "On an idle machine, as estimated:" if idle_speeds else "By the seconds that the runs took:"
    return "\n".join([clock, "", *lines])


def load_said(of, idle_speeds=None):
    """What other work on the machine did to the seconds, in sentences: images/s of equal runs, and of an idle machine.

    Arguments: of, as `clocked` gives; idle_speeds, as `idle` gives. "" where nothing is known to have been held up.
    """
    speeds = {key: [row["images_per_second"] for seeds in at.values() for row in seeds.values()]
              for key, at in of.items()}  # fmt: skip
    apart = [max(found) / min(found) for found in speeds.values() if len(found) > 1]
    told = [f"{_title(*key).replace(WITH_DENSE, '')}: {_span(speeds[key])} instead of {idle_speeds[at]:,.0f}"
            for key in columns(of)
            if (at := "dense" if key[0] == "dense" else key[1]) in (idle_speeds or {})
            and min(speeds[key]) < SLOWED * idle_speeds[at]]  # fmt: skip
    said = [f"Equal work took up to **{max(apart):.1f} times** as long in one run as in another."] if apart else []
    if told:
        said += ["In the campaign these runs were made beside other work, at fewer images a second than in the "
                 f"benchmark ({'; '.join(told)}). So these seconds say little about speed."]  # fmt: skip
    return " ".join(said)


def _span(values):
    low, high = (f"{end(values):,.0f}" for end in (min, max))
    return low if low == high else f"{low} to {high}"


def common_target(of):
    """The highest accuracy that the dense net and both tickets reached at every sparsity; None if there is none."""
    return max((target for target, at in to_accuracy(of).items() if all(at.values())), default=None)


def draw(axes, of, idle_speeds):
    """Draw seconds to the common accuracy over the share of weights kept: as they were, and on an idle machine."""
    target = common_target(of)
    for ax, speeds, clock in zip(axes, (None, idle_speeds), ("as the runs went", "on an idle machine"), strict=True):
        took = {key: value[0] for key, value in to_accuracy(of, speeds).get(target, {}).items() if value}
        for ticket in TICKETS:
            points = sorted((100 - 100 * float(s), value) for (t, s), value in took.items() if t == ticket)
            look = plots.style(ticket)
            line = dict(color=look.colour, marker=look.marker, linestyle=look.linestyle)
            label = "random ticket" if ticket == "smart" else f"LT{WITH_DENSE}"
            ax.plot([x for x, _ in points], [y for _, y in points], label=label, **line)
        if ("dense", "0") in took:
            ax.axhline(took["dense", "0"], color="black", linestyle="--", label="dense")
        ax.set(title=clock, ylabel=f"seconds to {target} %", ylim=(0, None))
        plots.kept_axis(ax, sorted({100 - 100 * float(s) for t, s in of if t != "dense"}))
    return axes
