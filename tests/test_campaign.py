"""Many runs: order, parents first, resuming, failures listed, killed workers."""

import os
import signal
import time

import pytest
from synthetic import CIFAR
from synthetic import row as synthetic_row

from ticketlib import campaign, grids
from ticketlib.ledger import Ledger


def arm(key, seed=0, **changes):
    return grids.arm("smoke", key, seed, CIFAR, **changes)


def quick(config):
    """A stand-in for a run: dies, fails or returns, as the seed says."""
    if config.seed == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    if config.seed == 13:
        raise ValueError("no luck")
    return {"name": config.name, "arm": config.arm}


def slow_parent(config):
    """A run whose pretraining takes a while; a child that overlaps it would see no file."""
    mark = os.path.join(os.environ["MARKS"], "dense")
    if config.ticket == "dense":
        time.sleep(0.5)
        open(mark, "w").close()
    return {"parent_done": os.path.exists(mark)}


def test_missing_brings_parents_first_and_once(tmp_path):
    ledger = Ledger(tmp_path)
    wanted = [arm("lt@0.9"), arm("smart@0.9"), arm("lrr@0.9")]
    names = [c.arm for c in campaign.missing(wanted, ledger, tmp_path)]
    assert names == ["dense@0", "lt@0.9", "smart@0.9", "lrr@0.9"]


def test_rows_that_exist_are_not_carried_out_again(tmp_path):
    ledger = Ledger(tmp_path)
    done = synthetic_row("smart@0.9", 0, 80.0, "smoke")
    ledger.add(done)
    wanted = [arm("smart@0.9"), arm("uniform@0.9")]
    assert [c.arm for c in campaign.missing(wanted, ledger, tmp_path)] == ["uniform@0.9"]


def test_a_parent_is_made_again_only_if_its_checkpoint_is_needed(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(synthetic_row("dense", 0, 80.0, "smoke"))
    assert campaign.missing([arm("dense")], ledger, tmp_path) == []
    assert [c.arm for c in campaign.missing([arm("lt@0.9")], ledger, tmp_path)] == ["dense@0", "lt@0.9"]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_run_has_an_outcome_and_failures_say_why(workers):
    configs = [arm("smart@0.9", seed) for seed in (1, 13, 2, 3)]
    outcomes = {o.config.seed: o for o in campaign.carry_out(quick, configs, workers=workers)}
    assert outcomes[13].reason == "ValueError: no luck" and outcomes[13].row is None
    assert {seed for seed, o in outcomes.items() if o.row} == {1, 2, 3}


def test_a_killed_worker_costs_no_other_run():
    configs = [arm("smart@0.9", seed) for seed in (1, 66, 2, 3)]
    outcomes = {o.config.seed: o for o in campaign.carry_out(quick, configs, workers=2)}
    assert "killed" in outcomes[66].reason
    assert {seed for seed, o in outcomes.items() if o.row} == {1, 2, 3}


def test_a_child_waits_for_its_parent(tmp_path, monkeypatch):
    monkeypatch.setenv("MARKS", str(tmp_path))
    configs = [arm("dense"), arm("lt@0.9"), arm("lrr@0.9")]
    assert all(o.row["parent_done"] for o in campaign.carry_out(slow_parent, configs, workers=2))


def test_nothing_starts_after_the_stop():
    assert list(campaign.carry_out(quick, [arm("smart@0.9", 1)], stop_at=time.time() - 1)) == []


def test_time_is_estimated_from_measured_speeds_or_not_at_all():
    measured = [synthetic_row("smart@0.9", s, 80.0, images_per_second=v) for s, v in ((0, 900.0), (1, 1100.0))]
    speeds = campaign.speeds(measured)
    config = grids.arm("laptop", "smart@0.9", 5, CIFAR)
    assert campaign.estimate(config, speeds, 50_000) == pytest.approx(20 * 50_000 / 1000)
    rewound = grids.arm("laptop", "lrr@0.9", 5, CIFAR)
    assert campaign.estimate(rewound, speeds, 50_000) == pytest.approx(0.75 * 20 * 50_000 / 1000)
    assert campaign.estimate(grids.arm("laptop", "smart@0.98", 5, CIFAR), speeds) is None
