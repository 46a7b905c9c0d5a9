"""Bring your own pruner: every check of the book on any function that scores weights."""

import contextlib
import functools
import math
import os
import time
from dataclasses import dataclass
from fractions import Fraction

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Markdown, display

from ticketlib import data, pruners, ratios, tickets
from ticketlib.analysis import evidence, findings
from ticketlib.analysis import scorer as scorers
from ticketlib.analysis.findings import NAMES
from ticketlib.analysis.words import points
from ticketlib.errors import TicketError
from ticketlib.experiments import grids, profiles, session
from ticketlib.experiments import run as experiment
from ticketlib.experiments.journal import check_writable, duration
from ticketlib.experiments.ledger import Ledger
from ticketlib.masks import asked_total

LEAST_SEEDS = 6  # the fewest seeds from which the book gives a word
RATIO_SEEDS = range(10_000, 10_005)  # the other seeds, over which keep-counts are averaged; they train nothing
FOLDER = "own"  # rows lie in this folder of the ledger, so that pages never meet tickets they do not know


@dataclass(frozen=True)
class Plan:
    """What is to be run: a function, a network, and the arms of NAMES by sparsity and seed."""

    run: session.NotebookRun
    scorer: scorers.Scorer
    dataset: data.Dataset
    network: str
    sparsities: tuple[str, ...]

    @property
    def ledger(self):
        """Where its rows lie."""
        return Ledger(self.run.ledger / FOLDER)

    @property
    def needed(self):
        """How many seeds a verdict takes."""
        return max(LEAST_SEEDS, profiles.PROFILES[self.run.profile].seeds)

    def config(self, arm, sparsity, seed):
        """The configuration of one run."""
        ticket, *options = arm.split("+")
        ticket = {"own": self.scorer.key, "mean": f"{self.scorer.key}-mean"}.get(ticket, ticket)
        key = "+".join([ticket, *options]) + f"@{sparsity}"
        return grids.arm(self.run.profile, key, seed, self.dataset, network=self.network)

    def mask(self, arm, sparsity, seed):
        """The mask of a run, before any check."""
        config = self.config(arm, sparsity, seed)
        return experiment.ticket_mask(config, self.dataset, experiment.build(config, self.dataset))[0]

    @functools.cached_property
    def configs(self):
        """All runs that can be made, seed by seed: dict (arm with sparsity, seed) -> Config."""
        return {
            (f"{arm}@{sparsity}", seed): self.config(arm, sparsity, seed)
            for seed in range(session.seeds(self.run))
            for sparsity in self.sparsities
            for arm in NAMES
            if arm not in self.undefined
        }

    @functools.cached_property
    def undefined(self):
        """The rules that cannot be met here, or leave a layer empty."""
        model = experiment.build(self.config("magnitude", self.sparsities[0], 0), self.dataset)
        return {rule for rule in ("smart", "uniform") for s in self.sparsities
                if ratios.defined_counts(model, rule, s) is None}  # fmt: skip

    @functools.cached_property
    def average_counts(self):
        """The function's keep-counts averaged over other seeds: dict from the total to one Fraction a layer."""
        found = {}
        for sparsity in self.sparsities:
            masks = [self.mask("own", sparsity, seed) for seed in RATIO_SEEDS]
            found[masks[0].kept] = [Fraction(sum(m.counts[name] for m in masks), len(masks)) for name in masks[0]]
        return found

    @contextlib.contextmanager
    def registered(self):
        """Make the function a pruner, its average keep-counts a rule, and tickets of both, while this lasts."""
        key = self.scorer.key
        with contextlib.ExitStack() as stack:
            stack.callback(pruners.NEEDS_BATCH.discard, key)
            for table in (pruners.METHODS, ratios.RULES, tickets.TICKETS):
                stack.callback(table.pop, key, None)
            stack.callback(tickets.TICKETS.pop, f"{key}-mean", None)
            pruners.pruner(key, needs_batch=True)(lambda task: self.scorer(task.model, task.images, task.labels))
            ratios.rule(key)(lambda table, total, family: self.average_counts[total])
            tickets.TICKETS[key] = tickets.Recipe(key, "global")
            tickets.TICKETS[f"{key}-mean"] = tickets.Recipe("random", key)
            yield


def sanity_check(
    score_function, *, name=None, profile="smoke", sparsities=("0.9",), seeds=0, source="run", ledger=None,
    device="cpu", data_root=None, network="resnet", progress=True,
):  # fmt: skip
    """Put a pruner through the checks of the book, beside random tickets and SynFlow, and judge the differences.

    The function gets a copy of the network with its initial weights (batch norm on the batch's statistics), images
    and labels of the scoring batch. A run that is in the ledger is not made again; a changed function starts afresh.

    Arguments:
        score_function: (model, images (B, C, H, W) float32, labels (B,) int64) -> dict from the name of each prunable
            weight to scores of its shape, bigger = keep.
        name: what it is called; None for the function's own name.
        profile, source, seeds, device, ledger, data_root: as the parameters of every notebook; seeds 0 is the
            profile's own number, ledger None one folder a profile outside the repository.
        sparsities: fractions removed, decimal texts; differences are averaged over them within a seed.
        network: short name in the profile. progress: whether to say how far it is.
    Returns: SanityCheck.
    Raises: TicketError for a bad argument, or a function that raises, returns anything but one finite score for each
        weight, changes the model, or differs between two equal calls; before anything is trained.
    """
    folders = {what: folder if folder else "" for what, folder in (("ledger", ledger), ("data_root", data_root))}
    folders = {what: os.fspath(f) if isinstance(f, os.PathLike) else f for what, f in folders.items()}
    run = session.check(dict(profile=profile, source=source, seeds=seeds, device=device) | folders)
    sparsities = _sparsities(sparsities)
    plan = Plan(run, scorers.scorer(score_function, name), session.images(run), network, sparsities)
    with plan.registered():
        if run.source == "run":
            _make(plan, _speaker() if progress else lambda text: None)
        return _result(plan)


def _sparsities(given):
    """Decimal texts, each once, of one sparsity or several. Raises: TicketError for none, and for 0."""
    try:
        found = [given] if isinstance(given, str) else list(given)
    except TypeError:
        found = [given]
    found = tuple(dict.fromkeys(map(profiles.shortest, found)))
    if not found or "0" in found:
        raise TicketError(f"sparsities {given!r} are not allowed; at least one is needed, and each more than 0.")
    return found


def _make(plan, say):
    """Carry out the runs that are missing, after a rehearsal and an estimate of the time."""
    to_do = [config for config in plan.configs.values() if config.name not in plan.ledger]
    if not to_do:
        return
    check_writable(plan.ledger)  # refused now if it cannot be written to
    device = session.device_of(plan.run, to_do)
    with session.one_thread(device):
        expected = _expected(plan, to_do, _rehearse(plan), device)
        say(f"{len(to_do)} runs to carry out, expected to take {duration(expected)}.")
        began = time.perf_counter()
        for done, config in enumerate(to_do, 1):
            plan.ledger.add(experiment.execute(config, plan.dataset, device=device, progress=False))
            took = time.perf_counter() - began
            left = f"about {duration(took / done * (len(to_do) - done))} left" if done < len(to_do) else "all there"
            say(f"{done} of {len(to_do)} runs in {duration(took)} (expected in all: {duration(expected)}), {left}.")


def _rehearse(plan):
    """Call the function as the runs will, on clean and on corrupted data; returns seconds a call."""
    began, sparsity = time.perf_counter(), plan.sparsities[0]
    first, again, _ = (plan.mask(arm, sparsity, 0) for arm in ("own", "own", "own+both"))
    if first != again:
        raise TicketError(
            f"Pruner {plan.scorer.name!r} gave other scores on a second, equal call; it may draw at random from "
            "torch's global generator only, which is seeded before each call."
        )
    for sparsity in plan.sparsities:
        if not asked_total(first.size, sparsity):
            raise TicketError(f"sparsity {sparsity} keeps none of {first.size} weights; at least one must stay.")
    return (time.perf_counter() - began) / 3


def _expected(plan, to_do, scoring, device):
    """Seconds that the runs will take, from the speed of a few training steps and of one scoring."""
    config, (train, test) = plan.config("magnitude", plan.sparsities[0], 0), (plan.dataset.train, plan.dataset.test)
    took = session.timed(config, plan.dataset, device)
    tests = math.ceil(config.epochs / config.eval_every)
    images = config.epochs * len(train) * took.train_seconds + tests * len(test) * took.eval_seconds
    own = sum(c.ticket == plan.scorer.key for c in to_do)
    others = len(RATIO_SEEDS) * len(plan.sparsities) * any(c.ticket.endswith("-mean") for c in to_do)
    return len(to_do) * images / took.images + (own + others) * scoring


def _speaker():
    """A function that shows a text: in a notebook in place of the last one, else on a line of its own."""
    if not InteractiveShell.initialized():
        return functools.partial(print, flush=True)
    line = display(Markdown(""), display_id=True)
    return lambda text: line.update(Markdown(text))


def _result(plan):
    """Judge what is in the ledger."""
    arms = {key: {} for key, _ in plan.configs}
    for (key, seed), config in plan.configs.items():
        if config.name in plan.ledger:
            arms[key][seed] = plan.ledger[config.name]
    name, seeds = plan.scorer.name, min(map(len, arms.values()))
    scope = (
        f"**{name}** on {evidence.scope(plan.run.profile, plan.network)}; sparsity {', '.join(plan.sparsities)}; "
        f"margin ±{points(findings.MARGIN)}; {seeds} {'seed' if seeds == 1 else 'seeds'}, and a verdict takes "
        f"{plan.needed}."
    )
    if plan.run.profile == "smoke":
        scope += " A tiny network and tiny images: they show how the checks work and decide nothing."
    scope += findings.emptied(arms)
    found = findings.judge(arms, plan.sparsities, plan.needed, plan.undefined)
    return findings.SanityCheck(name, scope, found, arms)
