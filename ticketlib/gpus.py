"""What the claims cost at the paper's own scale: operations counted on the networks, hours at a stated pace."""

import functools

import torch
from torch.utils.flop_counter import FlopCounterMode

from ticketlib import campaign, grids, models
from ticketlib.claims import CLAIMS
from ticketlib.nb import ROOT
from ticketlib.runs import PROFILES, lineage
from ticketlib.sources import title

PACES = ROOT / "book" / "reference" / "gpu.json"  # written by `make gpu-bench`
PEAK = 19.5e12  # float32 operations a second of an NVIDIA A100 without its tensor cores, from its data sheet
UTILISATION = (0.1, 0.3)  # shares of the peak: one small network alone on a GPU, several that share it; assumed
IMAGES, SIDE, CLASSES = 50_000, 32, 10  # of CIFAR-10


@functools.cache
def training_flops(network, width, stem_stride):
    """Floating-point operations of one training step, forward and backward, for one image: counted, not estimated.

    Source: torch.utils.flop_counter, which counts a multiplication and an addition as two.
    """
    net = models.build(network, CLASSES, width=width, stem_stride=stem_stride)
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(2, 3, SIDE, SIDE)).sum().backward()
    return counter.get_total_flops() / 2


def claim_runs(claim_id, profile, dataset, network="resnet"):
    """Every run that one claim needs, trained nets that others start from included, each once: list of Config."""
    claim, found = CLAIMS[claim_id], {}
    for seed in range(PROFILES[profile].seeds):
        for comparison in claim.comparisons:
            for key in (f"{arm}@{s}" for arm in (comparison.a, comparison.b) for s in claim.sparsities):
                config = grids.arm(profile, key, seed, dataset, network=network)
                found |= {one.name: one for one in lineage(config)}
    return list(found.values())


def flops(configs):
    """Floating-point operations that runs train with; evaluation and scoring are left out."""
    return sum(campaign.cost(c) * IMAGES * training_flops(c.network, c.width, c.stem_stride) for c in configs)


def hours(operations, utilisation, count=1):
    """Hours that `count` GPUs need at a share of the peak."""
    return operations / (PEAK * utilisation * count) / 3600


def hours_lines(dataset, profile="paper"):
    """(column titles, lines) of a table: runs, operations and GPU-hours of each claim and of all, for each network."""
    titles = ["claim", "network", "runs", "operations, in 10¹⁸"]
    titles += [f"GPU-hours at {100 * share:g} %" for share in UTILISATION]
    lines = []
    for network, (name, _, _) in PROFILES[profile].networks.items():
        of_claims = {claim: claim_runs(claim, profile, dataset, network) for claim in CLAIMS}
        together = {config.name: config for configs in of_claims.values() for config in configs}
        for claim, configs in [*of_claims.items(), ("all, shared runs once", list(together.values()))]:
            total = flops(configs)
            figures = [f"{hours(total, share):.0f}" for share in UTILISATION]
            lines.append([claim, title(name), len(configs), f"{total / 1e18:.1f}", *figures])
    return titles, lines


def wall_lines(dataset, profile="paper", counts=(1, 8, 32)):
    """(column titles, lines): days until all claims' runs of a network are made, on some numbers of GPUs."""
    lines = []
    for network, (name, _, _) in PROFILES[profile].networks.items():
        runs = {c.name: c for claim in CLAIMS for c in claim_runs(claim, profile, dataset, network)}
        total = flops(runs.values())
        spans = (" to ".join(f"{hours(total, share, n) / 24:.1f}" for share in reversed(UTILISATION)) for n in counts)
        lines.append([title(name), *spans])
    return ["network", *(f"days on {n} GPU{'s' * (n > 1)}" for n in counts)], lines
