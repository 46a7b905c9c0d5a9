"""The arms of a sanity check: what is run for a score function from outside, and how each mask is found."""

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch

from ticketlib import data, feed, masks, models, pruners, ratios
from ticketlib.analysis import layerwise, own
from ticketlib.analysis.scorer import Scorer, digest
from ticketlib.errors import TicketError
from ticketlib.experiments import grids, run, session
from ticketlib.experiments.config import streams
from ticketlib.experiments.ledger import Ledger

RATIO_SEEDS = range(10_000, 10_005)  # the other seeds, over which keep-counts are averaged; they train nothing
FOLDER = "own"  # rows lie in this folder of the ledger, apart from those of pages
ARMS = {  # every ticket of a check, and what it is called
    "own": "as found",
    "own+both": "found on random labels and pixels",
    "own+rearranged": "rearranged",
    "own+shuffled": "weights shuffled",
    "own+reinitialised": "re-initialised",
    "own+random_signs": "signs drawn anew",
    "own+fresh_magnitudes": "magnitudes drawn anew",
    "mean": "random, its average keep-counts",
    "synflow": "SynFlow",
    "smart": "random, smart ratio",
    "erk": "random, ERK",
    "uniform": "random, uniform",
}
RULES_BESIDE = ("smart", "erk", "uniform")


@dataclass(frozen=True)
class OwnPlan:
    """What is to be run: a function, a network, images, and the arms of ARMS by sparsity and seed."""

    asked: session.NotebookRun
    scorer: Scorer
    dataset: data.Dataset
    network: own.Network | None  # None: the profile's
    place: str  # the network's short name in the profile
    changes: dict  # fields of Config that differ from the profile's
    sparsities: tuple[str, ...]

    @property
    def ledger(self):
        """Where its rows lie."""
        return Ledger(self.asked.ledger / FOLDER)

    @functools.cached_property
    def tickets(self):
        """The ticket of each of its masks, as rows have it: dict from the first part of an arm's name."""
        named = {name: name for name in ("synflow", *RULES_BESIDE)}
        if self.network and self.network.family:
            names = [layer.name for layer in self.by_depth]
            order = [] if names == list(models.prunable(self.network(torch.Generator().manual_seed(0)))) else names
            named["smart"] = f"own-{digest('smart', self.network.family, *order)}"
        return named | {"own": f"own-{self.scorer.digest}", "mean": f"own-{digest(self.scorer.digest, [*RATIO_SEEDS])}"}

    @property
    def example(self):
        """The configuration of one of its runs, as found."""
        return self.config("own", self.sparsities[0], 0)

    def config(self, arm, sparsity, seed):
        """The configuration of one run."""
        ticket, *options = arm.split("+")
        key = "+".join([self.tickets[ticket], *options]) + f"@{sparsity}"
        config = grids.arm(self.asked.profile, key, seed, self.dataset, network=self.place, **self.changes)
        return replace(config, network=self.network.key, width=None, stem_stride=1) if self.network else config

    def draw(self, config):
        """The network of a run with its initial weights."""
        return self.network(streams(config)("init")) if self.network else run.build(config, self.dataset)

    def configs(self, seeds):
        """All runs of the first seeds that can be made, seed by seed: dict (arm, sparsity, seed) -> Config."""
        return {
            (arm, sparsity, seed): self.config(arm, sparsity, seed)
            for seed in range(seeds)
            for sparsity in self.sparsities
            for arm in ARMS
            if (arm, sparsity) not in self.undefined
        }

    def seeds(self, sparsity):
        """How many seeds a word is read at: what was asked for when the first run was made, whatever was seen since."""
        first = self.config("own", sparsity, 0).name
        return self.ledger[first]["own"]["seeds"] if first in self.ledger else session.seeds(self.asked)

    @functools.cached_property
    def by_depth(self):
        """The layers of the network from outside in the order of a forward pass: list of ratios.Layer."""
        model = self.network(torch.Generator().manual_seed(0))
        layers = {layer.name: layer for layer in ratios.layers(model)}
        return [layers[name] for name in models.calls(model, self.images(1))]

    @functools.cached_property
    def undefined(self):
        """Why an arm cannot be made here: dict (arm, sparsity) -> words."""
        model = self.draw(self.example)
        reasons = {}
        for sparsity in self.sparsities:
            for rule in RULES_BESIDE:
                reasons[rule, sparsity] = self._why_no_rule(model, rule, sparsity)
            reasons["synflow", sparsity] = self._why_no_synflow(model, sparsity)
            reasons["own+fresh_magnitudes", sparsity] = _why_no_magnitudes(model)
        return {arm: why for arm, why in reasons.items() if why}

    def _why_no_rule(self, model, rule, sparsity):
        if rule == "smart" and self.network and not self.network.family:
            return "no family was named"
        return ratios.why_not(model, rule, sparsity, family=self.network.family if self.network else None)

    def _why_no_synflow(self, model, sparsity):
        try:
            self.synflow(model, sparsity, rounds=1)
        except TicketError as error:
            return str(error)
        return ""

    def synflow(self, model, sparsity, rounds=100):
        """SynFlow's scores of a network, for an input of the images' shape."""
        return pruners.score(model, "synflow", self.images(1), sparsity=sparsity, rounds=rounds)

    def images(self, count):
        """The first test images as a network sees them: float32 (count, C, H, W)."""
        return feed.plain(np.array(self.dataset.test.images[:count]), self.dataset).tensor()

    def scores(self, config, model):
        """The function's scores of a network, and how far its images were corrupted."""
        batch, control = run.scoring_batch(self.dataset, config, "batch")
        return self.scorer(model, *batch), control

    def find(self, config, dataset, model, trained=None):
        """The mask of a run before any check, as run.ticket_mask."""
        name = {ticket: name for name, ticket in self.tickets.items()}[config.ticket]
        if name == "own":
            scores, control = self.scores(config, model)
            return masks.global_mask(scores, config.sparsity), control
        if name == "synflow" and self.network:
            return masks.global_mask(self.synflow(model, config.sparsity), config.sparsity), {}
        counts = self.average_counts[config.sparsity] if name == "mean" else None
        if name == "smart" and self.network:
            counts = ratios.keep_counts(self.by_depth, "smart", config.sparsity, family=self.network.family)
        if counts is None:
            return run.ticket_mask(config, dataset, model)
        return masks.random_mask(models.prunable(model), counts, generator=streams(config)("mask")), {}

    @functools.cached_property
    def average_counts(self):
        """The function's keep-counts averaged over other seeds: dict from sparsity to counts."""
        counts = {sparsity: [] for sparsity in self.sparsities}
        for seed in RATIO_SEEDS:
            config = self.config("own", self.sparsities[0], seed)
            scores, _ = self.scores(config, self.draw(config))
            for sparsity in self.sparsities:
                counts[sparsity].append(masks.global_mask(scores, sparsity).counts)
        sizes = {name: score.numel() for name, score in scores.items()}
        return {sparsity: layerwise.mean_counts(of, sizes) for sparsity, of in counts.items()}

    def check(self):
        """Refuse, before any training, a network that does not fit the images, and sparsities that keep nothing."""
        if self.network:
            self.network.check(self.images(2), len(self.dataset.classes))
        size = masks.Mask.dense(self.draw(self.example)).size
        for sparsity in self.sparsities:
            if not masks.asked_total(size, sparsity):
                raise TicketError(f"sparsity {sparsity} keeps none of {size} weights; at least one must stay.")

    def carry_out(self, config, dataset=None, **options):
        """One run, its row labelled; torch's own streams, which dropout draws from, are seeded as well."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(streams(config)("torch").initial_seed())
            return run.execute(config, dataset or self.dataset, progress=False, find=self.find, network=self.network,
                               **options)  # fmt: skip

    def label(self, arm):
        """What a row says of itself beside its configuration."""
        network = self.network.name if self.network else self.example.network
        label = {"mask": ARMS[arm], "network": network, "data": self.dataset.source}
        if arm.partition("+")[0] in ("own", "mean"):  # the others serve every score
            label |= {"score": self.scorer.name, "seeds": session.seeds(self.asked)}
        return label

    @functools.cached_property
    def prunable(self):
        """How many of its network's parameters a sparsity speaks of, in words."""
        table = models.report(self.draw(self.example))
        size = table["size"][table.prunable].sum()
        return f"{size:,} of {table['size'].sum():,} parameters can be pruned (see models.report)"

    def readable(self, text):
        """A text with what its tickets are called in place of their digests."""
        for name, ticket in self.tickets.items():
            if ticket.startswith("own-"):
                text = text.replace(ticket, self.scorer.name if name == "own" else ARMS[name])
        return text

    def rows(self):
        """Its rows in the ledger: dict (arm, sparsity, seed) -> Row."""
        seeds = max(session.seeds(self.asked), *map(self.seeds, self.sparsities))
        return {key: self.ledger[c.name] for key, c in self.configs(seeds).items() if c.name in self.ledger}


def _why_no_magnitudes(model):
    zeros = [name for name, weight in models.prunable(model).items() if not weight.any()]
    return f"{', '.join(zeros)} are drawn as zeros" if zeros else ""
