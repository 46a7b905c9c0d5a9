"""GPU-hours: operations counted by hand on a small network, runs of a claim counted once."""

import pytest
from synthetic import CIFAR

from ticketlib import faults, gpus, grids
from ticketlib.claims import CLAIMS
from ticketlib.runs import parent


def test_operations_of_a_training_step_against_the_layers_by_hand():
    """ResNet-8 of width 8 on 32 x 32: a multiply-add is two operations; the first layer needs no input gradient."""
    stem = 3 * 8 * 9 * 32**2
    blocks = (8 * 8 * 9 * 2) * 32**2 + (8 * 16 * 9 + 16 * 16 * 9 + 8 * 16) * 16**2
    blocks += (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32) * 8**2
    assert gpus.training_flops("resnet8", 8, 1) == 2 * (2 * stem + 3 * (blocks + 32 * 10))


def test_a_wider_net_costs_about_four_times_as_much():
    assert gpus.training_flops("resnet32", 32, 1) / gpus.training_flops("resnet32", 16, 1) == pytest.approx(4, rel=0.05)


def test_a_claim_brings_its_parents_and_counts_each_run_once():
    for claim in CLAIMS:
        runs = gpus.claim_runs(claim, "paper", CIFAR)
        names = {config.name for config in runs}
        assert len(names) == len(runs)
        assert all(parent(config) is None or parent(config).name in names for config in runs)
        planned = {config.name for config in grids.grid("step1", "paper", CIFAR)}
        assert names <= planned


def test_hours():
    assert gpus.hours(gpus.PEAK * 3600, 1) == 1
    assert gpus.hours(gpus.PEAK * 3600, 0.1, 5) == pytest.approx(2)


def test_the_pages_tables_are_whole():
    found = faults.substitutions()
    assert found["gpu_hours_table"].count("\n") == 1 + 2 * (len(CLAIMS) + 1)
    assert "GPU" in found["gpu_days_table"] and "A100" in found["gpu_pace"]
    assert "two nodes" in found["two_nodes"] and found["licence_table"].count("|") > 100
    assert found["fault_table"].startswith("| fault |")
