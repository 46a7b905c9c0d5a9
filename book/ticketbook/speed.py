"""How fast: the stored benchmarks as one table, what rows say of seconds and of engines, what a GPU would take."""

import functools
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as t_distribution
from torch import nn

from ticketlib import models
from ticketlib.analysis import pairs, plots, stats, words
from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, grids, ledger, places
from ticketlib.experiments.claims import CLAIMS
from ticketlib.experiments.config import lineage
from ticketlib.experiments.machine import SAME_IN_A_PAIR
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import NO_IMAGES, PROFILES

BOOKS = ROOT / "book" / "benchmarks.json"  # by benchmarks/run.py; the sentences of the book are about this file
RESULTS = Path(os.environ.get("TICKETLIB_BENCHMARKS") or BOOKS)
NOT_MEASURED = "**Not measured yet.** `make bench`, on an idle machine, writes the file that is read here."
GROUPS = ("dense", "scores", "upkeep", "sparse")  # modules of benchmarks/
OF_A_SET = ("group", "date", "processor", "busy", "machine", "figures")
OF_A_FIGURE = ("quantity", "network", "sparsity", "engine", "phase", "batch", "processes", "value", "unit",
               "yardstick", "against", "goals")  # benchmarks/timing.py says what each is  # fmt: skip
PHASES = {  # one name for what all loops have to do; what is timed apart in one loop only is added up here
    "images": "images", "draws of augmentation": "images", "images augmented and laid out": "images",
    "forward": "forward", "convolutions forward": "forward", "backward": "backward",
    "gradients of inputs": "backward", "gradients of weights": "backward",
    "batch norm, ReLU, residual sums, loss": "between the convolutions",
    "masks": "masks, update, metrics", "update": "masks, update, metrics", "metrics": "masks, update, metrics",
    "evaluation": "evaluation",
}  # fmt: skip
CALLED = {"dense": "dense", "smart": "random ticket", "lt": "LT, after its dense net"}
LOOPS = ["usual loop", "dense", "sparse"]  # in the order in which they are shown
PALETTE = (plots.OLIVE, plots.SKY, plots.BLUE, plots.ORANGE, plots.PINK, plots.GREY)  # of phases
BF16, FLOAT32, SPARSE = ("dense", "bf16"), ("dense", "float32"), ("sparse", "bf16")  # engine, precision of dense nets
IMAGES = 50_000  # of CIFAR-10's training set
PAPER = PROFILES["paper"]


def sets(path=None):
    """What every call of the benchmarks stored, oldest first: list of dicts; empty before the first `make bench`.

    Arguments: path, of the file; None for RESULTS. Raises: TicketError for a file that benchmarks/run.py did not write.
    """
    path = path or RESULTS
    if not path.is_file():
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        whole = all(set(one) == set(OF_A_SET) for one in stored)
        sound = all({"quantity", "value", "unit"} <= set(figure) <= set(OF_A_FIGURE)
                    for one in stored for figure in one["figures"])  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise TicketError(f"{path.name} is not a file of benchmarks ({error!r}); `make bench` writes one.") from None
    if not (whole and sound):
        raise TicketError(f"{path.name} has sets or figures with fields that are missing or not known; a set has "
                          f"{', '.join(OF_A_SET)}, a figure {', '.join(OF_A_FIGURE)}.")  # fmt: skip
    return stored


def _newest(path=None):
    """The newest set of each group and processor."""
    return {(one["processor"], one["group"]): one for one in sets(path)}.values()


def load(path=None):
    """The newest figures of each processor as a table, a line a figure; columns: group, date, processor, OF_A_FIGURE.

    What does not apply is "", no image (batch), one process, no yardstick (against is missing).
    """
    empty = dict.fromkeys(OF_A_FIGURE, "") | {"batch": 0, "processes": 1, "against": np.nan, "goals": {}}
    lines = [{what: one[what] for what in OF_A_SET[:3]} | empty | figure
             for one in _newest(path) for figure in one["figures"]]  # fmt: skip
    return pd.DataFrame(lines, columns=[*OF_A_SET[:3], *OF_A_FIGURE])


def machines():
    """Where and when each set that `load` shows was measured, and how busy the machine was: a line a set."""
    lines = [
        {what: one[what] for what in ("processor", "group", "date")}
        | {"others' use of it, %": 100 * one["busy"] if one["busy"] is not None else np.nan}
        | {"code": one["machine"]["code"]} | one["machine"]["versions"]
        for one in _newest()
    ]  # fmt: skip
    return pd.DataFrame(lines)


def markdown(table, digits=".0f"):
    """A table as Markdown, its index left out: sparsities in percent, nothing where nothing is.

    Arguments: digits, format of numbers.
    """
    if "sparsity" in table:
        table = table.assign(sparsity=[words.percent(s) if s else "" for s in table.sparsity])
    return table.astype(object).where(table.notna(), None).to_markdown(index=False, floatfmt=digits, missingval="")


def training(figures, processes=1):
    """Images/s of training: a line a processor and network, a column a fraction removed; 0 is the dense network."""
    chosen = figures[(figures.quantity == "training") & (figures.engine == "sparse")]
    chosen = chosen[chosen.processes == processes].astype({"sparsity": float})
    sparse = chosen.pivot(index=["processor", "network"], columns="sparsity", values="value")
    sparse.insert(0, 0.0, chosen.groupby(["processor", "network"]).against.first())
    return sparse


class Crossing(NamedTuple):
    """Where the sparse engine becomes the faster one, between two neighbours among the measured sparsities."""

    low: float | None  # fraction removed at which it is still the slower one; None if it was faster at each
    high: float | None  # and from which on it is faster; None if it never was
    at: float  # estimate in between; `high` where `low` is None, 1 where `high` is


def crossing(speeds, dense):
    """Where both engines are as fast: bracketed by measurements, and estimated in between.

    Seconds an image are taken as a straight line over the share of weights kept, since the work of the convolutions is.

    Arguments: speeds, {fraction removed: images/s} of the sparse engine; dense, images/s. Returns: Crossing.
    """
    removed = sorted(speeds)
    slower = [i for i, s in enumerate(removed) if speeds[s] <= dense]
    if not slower:
        return Crossing(None, removed[0], removed[0])
    low, above = removed[slower[-1]], removed[slower[-1] + 1 :]
    if not above:
        return Crossing(low, None, 1.0)
    share = (1 / speeds[low] - 1 / dense) / (1 / speeds[low] - 1 / speeds[above[0]])
    return Crossing(low, above[0], low + share * (above[0] - low))


def break_even(figures):
    """The crossing of every processor and network, in percent removed: a line each."""
    table = training(figures)
    crossings = [crossing(speeds.drop(0.0).dropna().to_dict(), speeds[0.0]) for _, speeds in table.iterrows()]
    columns = ["dense faster at, %", "sparse faster from, %", "equal at, %"]
    return 100 * pd.DataFrame(crossings, index=table.index, columns=columns, dtype=float)


def phases(figures):
    """Microseconds an image by what is done: a line a processor, network, loop and sparsity, a column a phase."""
    chosen = figures[figures.quantity == "phase"].astype({"batch": int})
    chosen = chosen.assign(phase=chosen.phase.map(PHASES), took=1000 * chosen.value / chosen.batch)
    index = ["network", "processor", "engine", "sparsity"]
    table = chosen.pivot_table(index=index, columns="phase", values="took", aggfunc="sum", fill_value=0.0)
    table = table.sort_index(key=lambda level: level.map(LOOPS.index) if level.name == "engine" else level)
    return table.reindex(columns=list(dict.fromkeys(PHASES.values())), fill_value=0.0)


def bounds(figures):
    """What bounds a step: a line a processor, network and sparsity; shares and `reached` in percent."""
    quantities = ["arithmetic", "memory traffic", "multiply-adds that stay dense", "arithmetic's share of the bound"]
    index = ["processor", "network", "sparsity"]
    table = figures[figures.quantity.isin(quantities)].pivot(index=index, columns="quantity", values="value")
    speed = figures[figures.quantity == "bound"].set_index(index)
    table = table.join(speed.against.rename("bound, images/s")).join(speed.value.rename("measured, images/s"))
    return table.assign(reached=100 * speed.value / speed.against).dropna()  # the whole network has no bound


def goals(figures):
    """Every goal that was set: a line each, with the figure it was set for and whether it was reached."""
    set_for = figures[figures.goals.map(bool)]
    lines = [line | {"goal": goal, "reached": reached} for line in set_for.to_dict("records")
             for goal, reached in line["goals"].items()]  # fmt: skip
    return pd.DataFrame(lines, columns=[*figures.columns, "goal", "reached"])


def in_short(figures):
    """README's table as Markdown: times the dense network's images/s, a line a processor and network."""
    table = training(figures)
    if table.empty:
        return NOT_MEASURED
    times = table.drop(columns=0.0).div(table[0.0], axis=0)
    return markdown(times.rename(columns=words.removed).reset_index(), ".2f")


def draw_training(axes, figures):
    """Draw images/s over the share of weights kept, a panel a network, a marker a processor; dashed: dense."""
    table = training(figures)
    looks = [plots.style(key) for key in ("smart", "snip", "grasp", "lt")]
    processors = list(table.index.unique("processor"))
    for ax, network in zip(axes, table.index.unique("network"), strict=False):
        for processor, look in zip(processors, looks, strict=False):
            speeds = table.loc[processor, network]
            kept = [100 - 100 * s for s in speeds.index if s]
            ax.plot(kept, speeds[1:], color=look.colour, marker=look.marker, label=f"random ticket, {processor}")
            ax.axhline(speeds[0.0], color=look.colour, linestyle="--", label=f"dense, {processor}")
            plots.sparsity_axis(ax, kept)
        ax.set(title=network.replace(", ", ",\n"), ylim=(0, None), xlabel="", ylabel="")
    return axes


def draw_phases(axes, table):
    """Draw `phases` as bars, a panel a network, a bar a loop."""
    for ax, (network, bars) in zip(axes, table.groupby("network"), strict=False):
        bars = bars.droplevel("network")
        if bars.index.get_level_values("processor").nunique() == 1:
            bars = bars.droplevel("processor")
        labels = [", ".join([*loop, words.percent(removed)]) for *loop, removed in bars.index]
        start = np.zeros(len(bars))
        for phase, colour in zip(bars.columns, PALETTE, strict=True):
            ax.barh(labels, bars[phase], left=start, color=colour, label=phase, edgecolor="white", linewidth=0.5)
            start = start + bars[phase].to_numpy()
        ax.set(title=network.replace(", ", ",\n"), xlabel="µs an image")
        ax.invert_yaxis()
    return axes


def beside_peer(figures):
    """The figures beside SparseProp, with `times` as fast as it: a line a layer or whole step, and sparsity."""
    beside = figures[(figures.yardstick == "SparseProp")]
    times = np.where(beside.unit == "ms", beside.against / beside.value, beside.value / beside.against)
    return beside.assign(times=times.astype(float), phase=beside.phase.replace("", "a whole step of training"))


def draw_peer(axes, peer):
    """Draw how many times as fast as SparseProp ours is, a panel a network, a line a layer."""
    for ax, (network, layers) in zip(axes, peer.groupby("network"), strict=False):
        for (removed, here), key in zip(layers.groupby("sparsity"), ("snip", "grasp", "lt"), strict=False):
            look = plots.style(key)
            ax.plot(here.times, here.phase, look.marker, color=look.colour, label=words.removed(removed))
        ax.axvline(1, color="0.4", linewidth=0.8)
        ax.set(title=network, xlim=(0, 1.05 * peer.times.max()), xlabel="times as fast as SparseProp")
        ax.margins(y=0.15)
        ax.invert_yaxis()
    return axes


def learning_curves(rows, profile, speeds, epochs):
    """Mean accuracy over seconds of training on an idle machine, for dense nets, random tickets, and LT.

    LT's seconds begin when the dense network that it comes from is trained.

    Arguments: rows, of a ledger; speeds, {fraction removed: images/s}, 0 for dense; epochs, lengths of training.
    Returns: DataFrame, a line a point: ticket, sparsity, epochs, seconds, accuracy (percent), n (seeds).
    """
    frame, curves = ledger.frame(rows), {row["name"]: row for row in rows}
    frame = frame[frame.ticket.isin(CALLED) & (frame.arm == frame.ticket + "@" + frame.sparsity)]
    frame = frame[frame.sparsity.astype(float).isin(list(speeds)) & ~frame.diverged]
    engine, precision = (PROFILES[profile].training[what] for what in ("engine", "precision"))
    runs = pd.concat([pairs.select(frame, profile, epochs=length, engine=which, precision=precision)
                      for length in epochs for which in ("dense", engine)])  # fmt: skip
    runs = runs[(runs.ticket == "dense") == (runs.engine == "dense")]
    lines = []
    for line in runs.to_dict("records"):
        row, speed = curves[line["name"]], speeds[float(line["sparsity"])]
        before = curves[row["parent"]]["images"] / speeds[0.0] if "parent" in row else 0.0
        for done, accuracy, _ in row["curve"]:
            seconds = before + row["images"] * done / row["curve"][-1][0] / speed
            lines.append((line["ticket"], line["sparsity"], line["epochs"], done, seconds, accuracy))
    table = pd.DataFrame(lines, columns=["ticket", "sparsity", "epochs", "done", "seconds", "accuracy"])
    of_a_point = table.groupby(["ticket", "sparsity", "epochs", "done"])
    means = of_a_point.agg(seconds=("seconds", "mean"), accuracy=("accuracy", "mean"), n=("accuracy", "size"))
    return means.reset_index().drop(columns="done")


def draw_curves(ax, curves, sparsity):
    """Draw learning curves of one sparsity, with the dense network's, over seconds."""
    for (ticket, epochs), line in curves[curves.sparsity.isin(("0", sparsity))].groupby(["ticket", "epochs"]):
        look, label = plots.style(ticket), f"{CALLED[ticket]}, {epochs} epochs"
        style = dict(color=look.colour, marker=look.marker, markersize=4, linestyle="-" if epochs == 20 else ":")
        ax.plot(line.seconds, line.accuracy, label=label, **style)
    ax.set(title=words.removed(sparsity), xlabel="seconds of training", ylabel="accuracy, %")
    return ax


def engine_comparison(rows, profile):
    """Accuracies of the grid `engines`, one ticket in three arithmetics: a line a seed, columns SPARSE, FLOAT32, BF16.

    Seeds whose runs differ in device, threads or versions are left out.
    """
    plan = PROFILES[profile].pilot
    fields, frame = dict(epochs=plan["epochs"][0], held_out=plan["held_out"], recipe=0), ledger.frame(rows)
    runs = pd.concat([pairs.select(frame, profile, engine=engine, precision=precision, **fields)
                      for engine, precision in (SPARSE, FLOAT32, BF16)])  # fmt: skip
    runs = runs[(runs.arm == "smart@0.98") & runs.seed.isin(range(plan["seeds"][0], plan["seeds"][0] + 5))]
    alike = runs.groupby("seed")[list(SAME_IN_A_PAIR)].nunique().max(axis=1) == 1
    runs = runs[runs.seed.isin(alike.index[alike])]
    table = runs.pivot(index="seed", columns=["engine", "precision"], values="accuracy")
    return table.reindex(columns=pd.MultiIndex.from_tuples([SPARSE, FLOAT32, BF16])).dropna()


def draw_apart(ax, apart):
    """Draw paired differences in accuracy, a column of dots each, with their mean's 95 % interval."""
    for place, (label, values) in enumerate(apart.items()):
        mean = stats.t_interval(values.tolist())
        ax.plot(values, [place] * len(values), "o", color=plots.GREY, alpha=0.8)
        ax.errorbar(mean.point, place, xerr=[[mean.point - mean.low], [mean.high - mean.point]], fmt="D", capsize=4,
                    color=plots.BLACK, label=label)  # fmt: skip
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set(xlabel="difference in accuracy, points", ylim=(-0.6, len(apart.columns) - 0.4))
    ax.set_yticks(range(len(apart.columns)), apart.columns)
    return ax


def spread_ratio(a, b):
    """How many times as large the spread of a is as that of b, where both are measured on the same seeds.

    Both differences have the same run subtracted, so they are correlated, and an F test would not hold.

    Arguments: a, b: floats, paired, at least 3, neither constant.
    Returns: (ratio of standard deviations, lower and upper bound, each one-sided with a confidence of 95 %).
    Source: Pitman (1939), Morgan (1939), for a ratio q of variances: t^2 = (n - 2) (1 - q)^2 / (4 q (1 - r^2)).
    """
    ratio = np.std(a, ddof=1) / np.std(b, ddof=1)
    open_part = 1 - np.corrcoef(a, b)[0, 1] ** 2
    middle = 1 + 2 * open_part * t_distribution.ppf(0.95, len(a) - 2) ** 2 / (len(a) - 2)
    factor = np.sqrt(middle + np.sqrt(middle**2 - 1))
    return float(ratio), float(ratio / factor), float(ratio * factor)


def paces():
    """Images/s that one GPU trains with, all runs on it together: a line a network, a column a number of runs."""
    measured = pd.DataFrame(json.loads(places.GPU_PACES.read_text(encoding="utf-8"))["paces"])
    return measured.pivot(index="network", columns="at_once", values="images_per_second")


PASSES = 20  # of a batch norm's input through memory in one step, by layers that do not know of each other: about
PEAKS = {  # of NVIDIA's data sheets, without sparsity: operations a second by precision, bytes a second
    "H100 80GB HBM3": dict(float32=67e12, tf32=495e12, bf16=989e12, memory=3.35e12),
    "H200": dict(float32=67e12, tf32=495e12, bf16=989e12, memory=4.8e12),
}
OF_A_PACE = ["date", "device", "network", "precision", "share", "at_once", "images_per_second"]


def gpu_paces():
    """Every stored pace of a GPU beside what its arithmetic and its memory allow: a line a cell of `make gpu-bench`.

    Returns: DataFrame, images/s; a limit is missing where the device's peak is not known here.
    """
    lines = []
    for pace in campaign.gpu_paces():
        known = PAPER.networks.get(pace["network"])  # by its short name, in the first set
        named = {"network": words.title(known[0])} if known else {}
        lines.append(pace | gpu_limits(pace) | named)
    return pd.DataFrame(lines, columns=[*OF_A_PACE, "arithmetic allows", "memory allows"])


def gpu_limits(pace):
    """What a GPU's arithmetic and memory allow of a network's training, images/s: dict; empty for an unknown one."""
    peak = next((peak for name, peak in PEAKS.items() if pace["device"].endswith(name)), None)
    if peak is None:
        return {}
    operations, elements = training_work(*GPU_NETWORKS[pace["network"]])
    size = 2 if pace["precision"] == "bf16" else 4  # bytes
    return {"arithmetic allows": peak[pace["precision"]] / operations,
            "memory allows": peak["memory"] / (PASSES * size * elements)}  # fmt: skip


GPU_NETWORKS = {"resnet": ("paper", "resnet"), "vgg": ("paper", "vgg"), "ResNet-32": ("paper", "resnet"),
                "VGG-19": ("paper", "vgg"), "laptop ResNet-20": ("laptop", "resnet")}  # fmt: skip


@functools.cache
def training_work(profile, network):
    """What one image of training costs a network of a profile, 32 x 32 pixels, ten classes.

    Returns: (operations, of which a multiplication and an addition are two: forward once, backward twice as many;
        elements that come out of its batch norms).
    """
    name, width, stride = PROFILES[profile].networks[network]
    model, products, elements = models.build(name, 10, width=width, stem_stride=stride), [], []

    def note(_, module, given, output):
        if models.is_prunable(module):
            products.append(module.weight.numel() * output[0].numel() // len(module.weight))
        elif isinstance(module, nn.BatchNorm2d):
            elements.append(output[0].numel())

    with torch.no_grad(), models.hooked(model.eval(), left=note):
        model(torch.zeros(1, 3, 32, 32))
    return 6 * sum(products) - 2 * products[0], sum(elements)  # nobody asks for the gradient of the images


def claim_runs(claim_id, network="resnet"):
    """Every run that one claim needs at the paper's scale, those it starts from included, each once: {name: Config}."""
    claim = CLAIMS[claim_id]
    arms = [f"{arm}@{s}" for one in claim.comparisons for arm in (one.a, one.b) for s in claim.sparsities]
    configs = [grids.arm("paper", arm, seed, NO_IMAGES, network=network) for seed in range(PAPER.seeds) for arm in arms]
    return {one.name: one for config in configs for one in lineage(config)}


def gpu_hours():
    """What training all runs of a claim takes on one GPU: a line a claim and network; evaluation is left out.

    Columns: claim, network, runs, images (millions), and GPU-hours for each number of runs at once.
    """
    lines = []
    for network, of in paces().iterrows():
        claims = {claim: claim_runs(claim, network) for claim in CLAIMS}
        claims["all, shared runs once"] = {name: config for runs in claims.values() for name, config in runs.items()}
        for claim, runs in claims.items():
            images = sum(map(campaign.cost, runs.values())) * IMAGES
            hours = {f"GPU-hours, {n} at once": images / pace / 3600 for n, pace in of.items()}
            name = words.title(PAPER.networks[network][0])
            facts = {"claim": claim, "network": name, "runs": len(runs), "images, in millions": images / 1e6}
            lines.append(facts | hours)
    return pd.DataFrame(lines)


def substitutions():
    """Names that pages may write as {{ name }}: dict from name to Markdown."""
    stored, table, pace = json.loads(places.GPU_PACES.read_text(encoding="utf-8")), gpu_hours(), paces()
    every = table[table.claim.str.startswith("all")].set_index("network").filter(like="hours").min(axis=1)
    assert every.max() < 1.35 * every.min(), "machines.md says that both networks take about as long"
    gained = pace[8] / pace[1]
    assert gained["resnet"] > 1.5 and gained["vgg"] < 1.1, "machines.md says what sharing a GPU gains"
    named = {"gpu_hours_table": markdown(table, ",.0f"),
             "gpu_device": stored["machine"]["device"], "gpu_date": stored["date"],
             "gpu_torch": stored["machine"]["versions"]["torch"], "gpu_seeds": str(PAPER.seeds)}  # fmt: skip
    for network, of in pace.iterrows():
        hours = every[words.title(PAPER.networks[network][0])]
        named |= {f"gpu_pace_{network}_{n}": f"{speed:,.0f}" for n, speed in of.items()}
        named |= {f"gpu_hours_{network}": f"{hours:,.0f}", f"gpu_days_{network}": f"{hours / 24:.0f}"}
    return named
