"""Bring your own pruner: every check of the book on any function that scores weights, on any network and images."""

import math
import os
import tempfile
import time
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import pandas as pd

from ticketlib.analysis import own, pairs, plots, verdicts
from ticketlib.analysis.arms import ARMS, RATIO_SEEDS, OwnPlan
from ticketlib.analysis.scorer import scorer
from ticketlib.analysis.words import decimal, signed
from ticketlib.data import Split
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments import ledger, places, session
from ticketlib.experiments.claims import BETTER, FAR_BETTER, FAR_WORSE, NOT_WORSE, SAME, WORSE, Claim, Comparison
from ticketlib.experiments.journal import Stop, check_writable, conduct, duration
from ticketlib.experiments.profiles import PROFILES, shortest
from ticketlib.experiments.workers import InProcess

MARGIN = 1.0  # points
STEPS, TESTED = 3, 500  # updates and test images of a rehearsal
AS_GOOD = (SAME, NOT_WORSE, BETTER, FAR_BETTER)


def _against(other, *demand):
    key = other.partition("+")[2] or ("own" if other == "mean" else other)
    return Comparison(key, f"{ARMS[other]} − {ARMS['own']}", other, "own", demand)


COMPARISONS = (
    *(_against(f"own+{check}", SAME) for check in (
        "both", "rearranged", "shuffled", "reinitialised", "random_signs", "fresh_magnitudes",
    )),
    *(_against(other, *AS_GOOD) for other in ("mean", "synflow", "smart", "erk")),
    _against("uniform", WORSE, FAR_WORSE),
    Comparison("control", f"{ARMS['smart']} − uniform", "smart", "uniform"),
)


@dataclass(frozen=True, repr=False)
class SanityCheck:
    """What the checks found on one pruner; shows itself in a notebook, and as text."""

    plan: OwnPlan
    rows: dict  # (arm, sparsity, seed) -> ledger.Row
    readings: pd.DataFrame  # a line a comparison and sparsity: the fields of verdicts.Reading, and `_line`

    @property
    def scope(self):
        """Where it applies: lines of text."""
        plan, said = self.plan, self.plan.label("own")
        config = plan.example
        n = ", ".join(dict.fromkeys(str(max(plan.seeds(s), verdicts.FEWEST)) for s in plan.sparsities))
        lines = [f"**{said['score']}** on {said['network']}, {said['data']}, {config.epochs} epochs",
                 f"margin ±{MARGIN:g} point, {n} seeds for a word"]  # fmt: skip
        return [*lines, plan.prunable, *self._collapsed(), *self._emptied()]

    def _collapsed(self):
        """How many runs have learnt nothing, so that their differences say nothing."""
        lost = pairs.collapsed(ledger.frame(self.rows.values()))
        said = f"{lost.sum()} of {len(lost)} runs collapsed: diverged, without a path, or below twice guessing"
        return [said] if lost.any() else []

    def _emptied(self):
        """Which layers the masks as found leave empty."""
        rows = [row for (arm, *_), row in self.rows.items() if arm == "own"]
        layers = sorted({name for row in rows for name in row["empty_layers"]})
        runs = sum(bool(row["empty_layers"]) for row in rows)
        return [f"nothing is kept of {', '.join(layers)} in {runs} of {len(rows)} runs as found"] if layers else []

    @property
    def table(self):
        """Every comparison with its word and numbers: DataFrame."""
        lines = self.readings
        return pd.DataFrame({
            "sparsity": lines.sparsity,
            "difference": lines.label,
            "word": lines.said,
            "points": [_points(line) for line in lines.itertuples()],
            "beside it": lines.beside,
        })  # fmt: skip

    @property
    def accuracies(self):
        """Every mask with the accuracy of each seed: DataFrame."""
        runs = self.frame()
        kept = runs.groupby(["sparsity", "mask"], sort=False)
        lines = kept.agg(
            accuracies=("accuracy", lambda of: ", ".join(f"{a:.2f}" for a in of)), mean=("accuracy", "mean"),
            last_layer=("classifier_share", "mean"), empty_layers=("empty_layers", "max"),
        )  # fmt: skip
        return lines.reset_index()

    def frame(self):
        """Every run, a line each: the columns of ledger.frame, and mask, what the arm is called, first."""
        return frame(self.rows.values())

    def figure(self):
        """Draw every difference, a panel a sparsity: each seed a dot, the mean with its interval, the margin a band."""
        sparsities = self.plan.sparsities
        size = (4.5 + 2.5 * len(sparsities), 0.5 * len(COMPARISONS) + 1)
        figure, panels = plt.subplots(1, len(sparsities), sharey=True, sharex=True, squeeze=False, figsize=size)
        for ax, sparsity in zip(panels[0], sparsities, strict=True):
            _draw(ax, self.readings[self.readings.sparsity == sparsity])
            ax.set_title(f"sparsity {sparsity}")
        widest = max([2 * MARGIN, *(abs(points).max() for points in self.readings.points if len(points))])
        panels[0][0].set(xlim=(-1.2 * widest, 1.2 * widest))  # wider intervals leave the picture
        return figure

    def __repr__(self):
        return f"SanityCheck({self.plan.scorer.name!r}, {len(self.rows)} runs)"

    def __str__(self):
        shown = (self.table, self.accuracies.round({"mean": 2, "last_layer": 3}))
        tables = (of.to_markdown(index=False, disable_numparse=True) for of in shown)
        return "\n\n".join(["\n".join(self.scope), *tables])

    def _repr_markdown_(self):
        return str(self).replace("\n", "  \n", len(self.scope) - 1)


def frame(rows):
    """Runs of sanity checks as one table; no function, network or image is needed at hand.

    Arguments: rows, of a ledger's folder `own`.
    Returns: DataFrame, the columns of ledger.frame after mask, score and drawn (the network): what they are called.
    """
    rows = [row for row in rows if row["kind"] == "run"]
    told = {row["name"]: row["own"] for row in rows}
    runs = ledger.frame(rows)
    for place, (column, what) in enumerate((("mask", "mask"), ("score", "score"), ("drawn", "network"))):
        runs.insert(place, column, [told[name].get(what, "") for name in runs.name])
    order = {mask: place for place, mask in enumerate(ARMS.values())}
    return runs.sort_values(["sparsity", "mask", "seed"], key=lambda of: of.map(order) if of.name == "mask" else of,
                            ignore_index=True)  # fmt: skip


def _points(line):
    """A mean difference, with the interval that its word was read from."""
    if not line.n:
        return ""
    low, high = line.narrow or (None, None)
    return signed(line.mean) + ("" if line.word in verdicts.UNREAD else f" ({signed(low)} to {signed(high)})")


def _draw(ax, lines):
    """Draw the differences of one sparsity, from top to bottom."""
    plots.margin_band(ax, MARGIN, horizontal=False)
    for place, line in enumerate(lines.itertuples()):
        look = plots.style("smart" if line.key == "control" else line.key)
        ax.plot(line.points, [place + 0.25] * line.n, ".", color=look.colour, markersize=4, zorder=3)
        if line.narrow:
            ax.plot(line.narrow, [place] * 2, color=look.colour, linewidth=1.5)
        if line.n:
            ax.plot([line.mean], [place], look.marker, color=look.colour)
    ax.set_yticks(range(len(lines)), [label.replace(" − ", "\n− ") for label in lines.label], fontsize=9)
    ax.set(ylim=(len(lines) - 0.4, -0.6), xlabel="difference in accuracy, points")


def sanity_check(
    score_function, *, model=None, data=None, training=None, family=None, per_class=10, sparsities=("0.9",), seeds=0,
    device="cpu", ledger=None, source="run", name=None, profile="smoke", network="resnet", data_root=None,
    progress=True,
):  # fmt: skip
    """Put a pruner through the checks of the book, beside random tickets and SynFlow, and read the differences.

    The function gets a copy of the network with its initial weights (batch norm on the batch's statistics), images
    and labels of the scoring batch. Rows are named by what decides them: the function, the network, the images, the
    recipe. A run that is in the ledger is not made again; a change of any of these starts afresh.

    Arguments:
        score_function: (model, images (B, C, H, W) float32, labels (B,) int64) -> dict from the name of each prunable
            weight to scores of its shape, bigger = keep.
        model: a function without arguments that makes a network with fresh weights, which torch's seed decides; its
            output is logits (B, classes), a tuple that begins with them, or has them as `.logits`. None: the profile's.
        data: (x_train, y_train, x_test, y_test), or two torch Datasets, as own.dataset takes them. None: the profile's.
        training: fields of the run's configuration, such as epochs, batch, lr; the rest is the profile's recipe. A
            network or images of your own train in the dense engine, without crops and flips unless asked for.
        family: "resnet" or "vgg", the form of the smart ratio for `model`; None leaves it out.
        per_class: images a class in the scoring batch.
        sparsities: fractions removed, decimal texts; each is judged on its own.
        seeds: how many runs an arm, 0 for the profile's own number. Words are read at the number of the first call,
            and take at least 6.
        device, ledger, source, profile, data_root: as the parameters of every notebook; ledger None is one folder a
            profile outside the repository. Rows lie in its folder `own`; source "stored" reads only.
        name: what the function is called; None for its own name.
        network: short name in the profile, where `model` is None. progress: whether to say how far it is.
    Returns: SanityCheck.
    Raises: TicketError for a bad argument, or a function that raises, returns anything but one finite score for each
        weight, changes the model, or differs between two equal calls; before anything is trained.
    """
    folders = {what: os.fspath(folder) if isinstance(folder, os.PathLike) else folder or ""
               for what, folder in (("ledger", ledger), ("data_root", data_root))}  # fmt: skip
    asked = session.check(dict(profile=profile, source=source, seeds=seeds, device=device) | folders)
    if ledger is None:  # what is read stored was written there
        asked = replace(asked, ledger=places.run_ledger(profile).resolve())
    dataset = session.images(asked) if data is None else own.dataset(data)
    plan = OwnPlan(asked, scorer(score_function, name), dataset, _network(model, family, network), network,
                _changes(training, per_class, profile, model is not None or data is not None),
                _sparsities(sparsities))  # fmt: skip
    plan.check()
    if source == "run":
        _make(plan, progress)
    return _read(plan)


def _network(make, family, short_name):
    """The network from outside, None for the profile's."""
    if make is not None:
        return own.network(make, family)
    if not isinstance(short_name, str):
        raise TicketError(f"network is a {type(short_name).__name__}; it must be a short name in the profile. A "
                          "network of your own: model=, a function that makes it.")  # fmt: skip
    if family is not None:
        raise TicketError(f"family {family!r} is not allowed without model; the profile's networks have their own.")


def _changes(training, per_class, profile, outside):
    """Fields of Config that differ from the profile's."""
    known = [what for what in PROFILES[profile].training if what not in ("engine", "recipe")]
    for what in training or {}:
        one_of("field of training", what, known)
    changes = dict(engine="dense", padding=0, flip=False) if outside else {}
    return changes | {what: tuple(v) if isinstance(v, list) else v for what, v in (training or {}).items()} | dict(
        per_class=per_class)  # fmt: skip


def _sparsities(given):
    """Decimal texts, each once, of one sparsity or several. Raises: TicketError for none, and for 0."""
    try:
        asked = [given] if isinstance(given, str) else list(given)
    except TypeError:
        asked = [given]
    asked = tuple(dict.fromkeys(map(shortest, asked)))
    if not asked or "0" in asked:
        raise TicketError(f"sparsities {given!r} are not allowed; at least one is needed, and each more than 0.")
    return asked


def _make(plan, progress):
    """Carry out the runs that are missing, as campaigns do, after a rehearsal and an estimate of the time."""
    arms = {config.name: (arm, config) for (arm, *_), config in plan.configs(session.seeds(plan.asked)).items()}
    to_do = [(arm, config) for name, (arm, config) in arms.items() if name not in plan.ledger]
    if not to_do:
        return
    check_writable(plan.ledger)
    device = session.device_of(plan.asked, [config for _, config in to_do])

    def work(config):
        row = plan.carry_out(config, device=device)
        row["own"] = plan.label(arms[config.name][0])
        return row

    with session.one_thread(device):
        speaker = session.Speaker if progress else lambda text: lambda text: None
        say = speaker(f"{len(to_do)} runs to carry out. {session.REHEARSAL}")
        expected = duration(_expected(plan, to_do, device))
        seeds = f"A word takes {verdicts.FEWEST} seeds or more; {session.seeds(plan.asked)} are asked for."
        first = min(map(plan.seeds, plan.sparsities))
        if (read := max(first, verdicts.FEWEST)) < session.seeds(plan.asked):
            seeds += (f" As the first call asked for {first}, words are read at {read}, and seeds beyond are only "
                      "shown; another ledger begins anew.")  # fmt: skip
        say(f"{len(to_do)} runs to carry out. Time expected: about {expected}. {seeds} {plan.prunable}.")
        end = conduct(plan.ledger, work, [config for _, config in to_do], InProcess(), Stop(),
                      lambda text: say(plan.readable(text)))  # fmt: skip
    if end.failed:
        raise TicketError(f"{len(end.failed)} of {len(to_do)} runs were not made; the first: {end.failed[0]}")


def _rehearse(plan, device):
    """Carry out three runs for a few steps, on few test images: tuple of rows. What would fail fails now."""
    few = Split(*(part[:TESTED] for part in (plan.dataset.test.images, plan.dataset.test.labels)))
    sparsity, small = plan.sparsities[0], replace(plan.dataset, test=few)
    with tempfile.TemporaryDirectory() as cache:
        rows = [plan.carry_out(plan.config(arm, sparsity, 0), small, device=device, cache=cache, steps=STEPS)
                for arm in ("own", "own", "own+both")]  # fmt: skip
    if rows[0]["mask_digest"] != rows[1]["mask_digest"]:
        raise TicketError(
            f"Pruner {plan.scorer.name!r} gave other scores on a second, equal call; it may draw at random from "
            "torch's global generator only, which is seeded before each call."
        )
    return rows


def _expected(plan, to_do, device):
    """Seconds that runs will take, from those of a rehearsal."""
    row = _rehearse(plan, device)[1]  # the first one warmed up
    training, testing = row["train_seconds"] / row["images"], row["eval_seconds"] / row["num_test"]
    scoring = row["seconds"] - row["train_seconds"] - row["eval_seconds"]
    config = plan.example
    began = time.perf_counter()
    if any(arm == "synflow" for arm, _ in to_do):
        plan.synflow(plan.draw(config), config.sparsity, rounds=1)
    times = {"own": scoring, "mean": scoring, "synflow": 100 * (time.perf_counter() - began)}
    tests = math.ceil(config.epochs / config.eval_every)
    each = config.epochs * len(plan.dataset.train) * training + tests * len(plan.dataset.test) * testing
    return sum(each + times.get(arm.partition("+")[0], 0) for arm, _ in to_do) + len(RATIO_SEEDS) * scoring


def _read(plan):
    """Read what is in the ledger."""
    rows = plan.rows()
    runs = ledger.frame(rows.values())
    runs = runs.assign(collapsed=pairs.collapsed(runs))
    claim, lines = Claim("own", "What a score function finds", "10_bring_your_own", COMPARISONS, plan.sparsities), []
    for sparsity in plan.sparsities:
        differences = [_difference(plan, runs, one, sparsity) for one in COMPARISONS]
        readings = verdicts.readings_of(claim, differences, MARGIN, plan.seeds(sparsity))
        lines += [_line(sparsity, *facts) for facts in zip(COMPARISONS, differences, readings, strict=True)]
    return SanityCheck(plan, rows, pd.DataFrame(lines))


def _difference(plan, runs, comparison, sparsity):
    arms = comparison.a, comparison.b
    seeds = range(max(plan.seeds(sparsity), verdicts.FEWEST))
    undefined = next((plan.undefined[arm, sparsity] for arm in arms if (arm, sparsity) in plan.undefined), "")
    keys = [plan.config(arm, sparsity, 0).arm for arm in arms]
    return pairs.difference(runs, *keys, seeds=seeds, undefined=undefined)


def _line(sparsity, comparison, difference, reading):
    facts = dict(sparsity=sparsity, key=comparison.key, label=comparison.label, points=difference.points)
    return facts | vars(reading) | dict(beside=_beside(comparison, difference))


def _beside(comparison, difference):
    """Why there is no word; else what the manipulation checks measured, means over the seeds."""
    ours, theirs = difference.a, difference.b
    if comparison.key == "both" and len(ours) and (ours.mask_digest == theirs.mask_digest).all():
        return "the same masks: this score makes no use of its batch"
    measured = {}
    if "+" in comparison.a and len(ours):
        checks = pairs.measurements(ours.reset_index(), ours.arm.iloc[0])
        measured = checks.groupby("measures", sort=False).value.mean()
    equal = "every difference is exactly 0" if len(ours) and not difference.points.any() else ""
    return "; ".join([*difference.untested[:1], *filter(None, [difference.undefined, equal]),
                      *(f"{what}: {decimal(value)}" for what, value in dict(measured).items())])  # fmt: skip
