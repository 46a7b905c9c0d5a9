"""GPU-hours: images of runs, runs of a claim counted once, and paces as they are stored."""

import json

import pytest
from synthetic import CIFAR
from ticketbook import gpus
from ticketbook.claims_1 import CLAIMS

from ticketlib.experiments import grids
from ticketlib.experiments.config import parent


def test_a_claim_brings_its_parents_and_counts_each_run_once():
    for claim in CLAIMS:
        runs = gpus.claim_runs(claim, CIFAR)
        names = {config.name for config in runs}
        assert len(names) == len(runs)
        assert all(parent(config) is None or parent(config).name in names for config in runs)
        planned = {config.name for config in grids.grid("step1", "paper", CIFAR)}
        assert names <= planned


def test_images_are_those_of_all_epochs():
    dense, ticket, rewound = (grids.arm("paper", key, 0, CIFAR) for key in ("dense", "snip@0.9", "lrr@0.9"))
    assert gpus.images([dense, ticket]) == 2 * 160 * 50_000 and gpus.images([rewound]) == 120 * 50_000


def test_hours_and_days_follow_from_the_stored_paces(tmp_path, monkeypatch):
    paces = [dict(network="resnet", at_once=n, images_per_second=pace) for n, pace in ((1, 1000.0), (8, 4000.0))]
    stored = dict(date="2026-01-02", machine=dict(device="a GPU", versions=dict(torch="2")), paces=paces)
    monkeypatch.setattr(gpus, "PACES", tmp_path / "gpu.json")
    gpus.PACES.write_text(json.dumps(stored))
    titles, lines = gpus.hours_lines(CIFAR)
    assert titles[-2:] == ["GPU-hours, 1 run at once", "GPU-hours, 8 runs at once"] and len(lines) == len(CLAIMS) + 1
    name, network, count, images, alone, shared = lines[0]
    assert (name, network, count > 1) == ("A", "ResNet-32", True)
    assert float(images.replace(",", "")) * 1e6 / 1000 / 3600 == pytest.approx(int(alone), abs=1)
    assert int(alone) / int(shared) == pytest.approx(4, rel=0.05)
    _, ((_, one, eight),) = gpus.wall_lines(CIFAR)
    assert float(one) / float(eight) == pytest.approx(8, rel=0.1)
    hours = float(lines[-1][3].replace(",", "")) * 1e6 / 4000 / 3600
    said = f"about {hours:.0f} hours for ResNet-32 on one a GPU, with 5 seeds and on one data set"
    assert gpus.total_sentence(CIFAR) == said
    assert "one a GPU (torch 2, 2026-01-02) trained ResNet-32 at 1,000 images/s with 1 run" in gpus.pace_sentence()