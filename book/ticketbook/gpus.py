"""What the claims cost at the paper's own scale: the images their runs see, and how fast a GPU takes them."""

import json

from ticketbook.claims_1 import CLAIMS
from ticketlib.analysis.words import title
from ticketlib.experiments import campaign, grids
from ticketlib.experiments.config import lineage
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import PROFILES

PACES = ROOT / "book" / "reference" / "gpu.json"  # written by `make gpu-bench`
IMAGES = 50_000  # of CIFAR-10's training set
PAPER = PROFILES["paper"]


def measured():
    """What the benchmark stored: dict of date, machine and paces, as benchmarks/gpu.py writes it."""
    return json.loads(PACES.read_text(encoding="utf-8"))


def paces():
    """Images a second that one GPU trains with, all runs on it together: dict network -> {runs at once: images/s}."""
    found = {}
    for one in measured()["paces"]:
        found.setdefault(one["network"], {})[one["at_once"]] = one["images_per_second"]
    return found


def claim_runs(claim_id, dataset, network="resnet"):
    """Every run that one claim needs, trained nets that others start from included, each once: list of Config."""
    claim, found = CLAIMS[claim_id], {}
    for seed in range(PAPER.seeds):
        for comparison in claim.comparisons:
            for key in (f"{arm}@{s}" for arm in (comparison.a, comparison.b) for s in claim.sparsities):
                config = grids.arm("paper", key, seed, dataset, network=network)
                found |= {one.name: one for one in lineage(config)}
    return list(found.values())


def images(configs):
    """Images that runs train with; evaluation and scoring are left out."""
    return sum(map(campaign.cost, configs)) * IMAGES


def hours_lines(dataset):
    """(column titles, lines) of a table: runs, images and GPU-hours of each claim and of all, for each network."""
    lines = []
    for network, at_once in paces().items():
        of_claims = {claim: claim_runs(claim, dataset, network) for claim in CLAIMS}
        for claim, configs in [*of_claims.items(), ("all, shared runs once", _together(of_claims))]:
            total = images(configs)
            spans = [f"{total / pace / 3600:.0f}" for pace in at_once.values()]
            lines.append([claim, _network(network), len(configs), f"{total / 1e6:,.0f}", *spans])
    numbers = next(iter(paces().values()))
    titles = [f"GPU-hours, {number} run{'s' * (number > 1)} at once" for number in numbers]
    return ["claim", "network", "runs", "images, in millions", *titles], lines


def wall_lines(dataset):
    """(column titles, lines): days until all claims' runs of a network are made at its best pace, on some GPUs."""
    found, counts = _hours(dataset), (1, 8)
    lines = [[network, *(f"{hours / n / 24:.1f}" for n in counts)] for network, hours in found.items()]
    return ["network", *(f"days on {n} GPU{'s' * (n > 1)}" for n in counts)], lines


def pace_sentence():
    """Where, when and how fast the paces were measured, in words."""
    facts = measured()
    said = [
        f"{_network(network)} at " + " and ".join(
            f"{pace:,.0f} images/s with {number} run{'s' * (number > 1)} at once" for number, pace in at_once.items()
        ) for network, at_once in paces().items()
    ]  # fmt: skip
    made = facts["machine"]
    return f"one {made['device']} (torch {made['versions']['torch']}, {facts['date']}) trained {'; '.join(said)}"


def total_sentence(dataset):
    """GPU-hours of training all claims' runs, for each network at its best pace, in words."""
    said = [f"{hours:.0f} hours for {network}" for network, hours in _hours(dataset).items()]
    where = measured()["machine"]["device"]
    return f"about {' and '.join(said)} on one {where}, with {PAPER.seeds} seeds and on one data set"


def _hours(dataset):
    """GPU-hours of training all claims' runs, shared ones once, at the best pace: dict network -> hours."""
    found = {}
    for network, at_once in paces().items():
        total = images(_together({claim: claim_runs(claim, dataset, network) for claim in CLAIMS}))
        found[_network(network)] = total / max(at_once.values()) / 3600
    return found


def _together(of_claims):
    return list({config.name: config for configs in of_claims.values() for config in configs}.values())


def _network(network):
    return title(PAPER.networks[network][0])
