"""Many runs: order, parents first, resuming, failures listed, killed workers."""

import dataclasses
import json
import os
import signal
import time

import pytest
from synthetic import CIFAR
from synthetic import row as synthetic_row

from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, grids, journal, machine, places, profiles
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.workers import Finished, InProcess, Pool


@pytest.fixture(autouse=True)
def no_trained_nets(tmp_path, monkeypatch):
    """A cache that is empty."""
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))


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
    names = [c.arm for c in campaign.missing(wanted, ledger)]
    assert names == ["dense@0", "lt@0.9", "smart@0.9", "lrr@0.9"]


def test_rows_that_exist_are_not_carried_out_again(tmp_path):
    ledger = Ledger(tmp_path)
    done = synthetic_row("smart@0.9", 0, 80.0, "smoke")
    ledger.add(done)
    wanted = [arm("smart@0.9"), arm("uniform@0.9")]
    assert [c.arm for c in campaign.missing(wanted, ledger)] == ["uniform@0.9"]


def test_a_parent_is_made_again_only_if_its_checkpoint_is_needed(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(synthetic_row("dense", 0, 80.0, "smoke"))
    assert campaign.missing([arm("dense")], ledger) == []
    assert [c.arm for c in campaign.missing([arm("lt@0.9")], ledger)] == ["dense@0", "lt@0.9"]


def outcomes(work, configs, workers=1, **options):
    return list(campaign.carry_out(work, campaign.Queue(configs), Pool(workers), **options))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_run_has_an_outcome_and_failures_say_why(workers):
    found = {o.config.seed: o for o in outcomes(quick, [arm("smart@0.9", seed) for seed in (1, 13, 2, 3)], workers)}
    assert found[13].reason == "ValueError: no luck" and found[13].row is None
    assert {seed for seed, o in found.items() if o.row} == {1, 2, 3}


def test_a_killed_worker_costs_no_other_run():
    found = {o.config.seed: o for o in outcomes(quick, [arm("smart@0.9", seed) for seed in (1, 66, 2, 3)], 2)}
    assert "killed" in found[66].reason and found[66].state == "failed"
    assert {seed for seed, o in found.items() if o.row} == {1, 2, 3}


class Losing(InProcess):
    """Loses every run that it starts."""

    starts = 0

    def finished(self, timeout):
        (_, config), self.job = self.job, None
        self.starts += 1
        assert self.starts < 9
        return [Finished(config, reason="killed", lost=True)]


def test_a_run_that_is_lost_is_started_twice():
    losing, queue = Losing(), campaign.Queue([arm("smart@0.9")])
    assert [o.state for o in campaign.carry_out(quick, queue, losing)] == ["failed"] and losing.starts == 2


def test_a_child_waits_for_its_parent(tmp_path, monkeypatch):
    monkeypatch.setenv("MARKS", str(tmp_path))
    assert all(o.row["parent_done"] for o in outcomes(slow_parent, [arm("dense"), arm("lt@0.9"), arm("lrr@0.9")], 2))


def test_children_of_a_parent_that_diverged_or_failed_are_not_tried():
    for spoilt, word in ((diverging, "diverged"), (failing, "failed")):
        found = outcomes(spoilt, [arm("dense"), arm("lt@0.9"), arm("smart@0.9"), arm("imp@0.2"), arm("imp@0.36")])
        by_arm = {o.config.arm: o for o in found}
        assert [o.state for o in found].count("done") == 1 and len(found) == 5
        for child in ("lt@0.9", "imp@0.2", "imp@0.36"):
            assert by_arm[child].reason == f"dense@0 ({arm('dense').name}), from which {child} starts, {word}"


def diverging(config):
    """Dense nets diverge."""
    return {"name": config.name, "diverged": config.ticket == "dense"}


def failing(config):
    """Dense nets fail."""
    if config.ticket == "dense":
        raise ValueError("no luck")
    return {"name": config.name}


def test_a_parent_that_diverged_is_not_made_again(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(synthetic_row("dense", 0, 80.0, "smoke", diverged=True))
    wanted = [arm("dense"), arm("lt@0.9"), arm("imp@0.36"), arm("smart@0.9")]
    assert [c.arm for c in campaign.missing(wanted, ledger)] == ["smart@0.9"]
    assert [o.config.arm for o in campaign.blocked(wanted, ledger)] == ["lt@0.9", "imp@0.36"]


def test_nothing_starts_after_the_stop():
    assert outcomes(quick, [arm("smart@0.9", 1)], stop=lambda: True) == []


def test_runs_that_are_on_end_after_the_stop():
    asked = []
    configs = [arm("smart@0.9", seed) for seed in (1, 2, 3)]
    found = outcomes(quick, configs, stop=lambda: asked.append(1) or len(asked) > 1)
    assert [o.config.seed for o in found] == [1]


def slow(config):
    """A run that is never over by itself."""
    time.sleep(600)


def test_an_interrupted_campaign_ends_its_processes():
    pool, seen = Pool(1), []

    def interrupt(running):
        seen.extend(process for process, *_ in pool.busy.values())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(campaign.carry_out(slow, campaign.Queue([arm("smart@0.9", 1)]), pool, tick=interrupt))
    assert pool.free and pool.running == [] and [process.is_alive() for process in seen] == [False]


def test_a_run_is_carried_out_by_one_desk_at_a_time(tmp_path):
    config, ledger = arm("smart@0.9"), Ledger(tmp_path)
    with journal.Desk(ledger) as first, journal.Desk(ledger) as second:
        assert first.take(config) and first.take(config) and not second.take(config)
        assert second.take(arm("smart@0.9", 1))
        first.release(config)
        assert second.take(config) and not first.take(config)
    with journal.Desk(ledger) as third:
        assert third.take(config) and third.take(arm("smart@0.9", 1))


def test_a_row_made_meanwhile_is_taken_as_it_is(tmp_path):
    ledger, config = Ledger(tmp_path), arm("smart@0.9")
    with journal.Desk(ledger) as desk:
        assert desk.made(config) is None
        ledger.add(made := synthetic_row("smart@0.9", 0, 80.0, "smoke"))
        assert desk.made(config) == made
    with journal.Desk(ledger) as desk:  # an old row: the run is wanted for its trained net, which is lost
        assert desk.made(config) is None


def test_a_net_made_meanwhile_with_another_cache_is_made_here_as_well(tmp_path):
    ledger, config = Ledger(tmp_path), arm("dense@0")
    with journal.Desk(ledger) as desk:
        ledger.add(synthetic_row("dense@0", 0, 80.0, "smoke", checkpoint="0" * 64))
        assert desk.made(config) is None


def test_a_trained_net_that_comes_out_otherwise_is_said(tmp_path):
    ledger = Ledger(tmp_path)
    dense = synthetic_row("dense", 0, 80.0, "smoke", checkpoint="a" * 64)
    ledger.add(dense)
    same = synthetic_row("lt@0.9", 0, 80.0, "smoke", parent=dense["name"], parent_checkpoint="a" * 64)
    other = synthetic_row("lrr@0.9", 0, 80.0, "smoke", parent=dense["name"], parent_checkpoint="b" * 64)
    again = Row(dense | {"checkpoint": "b" * 64})
    said = [campaign.record(campaign.Outcome(row.config, row), ledger).warning for row in (same, other, again)]
    assert said[0] is None and f"{dense['name']} was made again and differs" in said[1] and said[2] == said[1]


def test_a_row_is_there_even_if_that_of_its_parent_is_unsound(tmp_path):
    ledger, dense = Ledger(tmp_path), synthetic_row("dense", 0, 80.0, "smoke", checkpoint="a" * 64)
    ledger.add(dense)
    ledger.path(dense["name"]).write_text("{")
    child = synthetic_row("lt@0.9", 0, 80.0, "smoke", parent=dense["name"], parent_checkpoint="a" * 64)
    outcome = campaign.record(campaign.Outcome(child.config, child), ledger)
    assert outcome.state == "done" and child["name"] in ledger and dense["name"] in outcome.warning


def test_a_seed_is_made_on_one_kind_of_machine():
    configs = [arm(key, seed) for seed in range(4) for key in ("snip@0.9", "smart@0.9")]
    ours, theirs = ({"device": f"cpu: {name}", "threads": 1, "versions": {"torch": "2"}} for name in ("a", "b"))
    here = machine.kind(ours)
    assert here == "cpu: a, 1 thread, torch 2"

    def rows(*made):
        return [{"name": arm(key, seed).name, **of} for key, seed, of in made]

    chosen, elsewhere = campaign.one_kind_a_seed(configs, [], here)
    assert chosen == configs[:2] and elsewhere == {}
    begun = rows(("snip@0.9", 0, theirs), ("snip@0.9", 2, ours))
    chosen, elsewhere = campaign.one_kind_a_seed(configs, begun, here)
    assert chosen == configs[4:6] and elsewhere == {0: machine.kind(theirs)}  # what was begun here comes first
    whole = begun + rows(("smart@0.9", 2, ours))
    assert campaign.one_kind_a_seed(configs, whole, here) == (configs[2:4], {0: machine.kind(theirs)})
    with pytest.raises(TicketError, match="seed 0 has rows of several kinds .*cpu: a.*cpu: b"):
        campaign.one_kind_a_seed(configs, rows(("snip@0.9", 0, theirs), ("smart@0.9", 0, ours)), here)


def test_time_is_estimated_from_measured_speeds_or_not_at_all():
    measured = [synthetic_row("smart@0.9", s, 80.0, images_per_second=v) for s, v in ((0, 900.0), (1, 1100.0))]
    speeds = campaign.speeds(measured)
    config = grids.arm("laptop", "smart@0.9", 5, CIFAR)
    assert campaign.estimate(config, speeds, 50_000) == pytest.approx(20 * 50_000 / 1000)
    rewound = grids.arm("laptop", "lrr@0.9", 5, CIFAR)
    assert campaign.estimate(rewound, speeds, 50_000) == pytest.approx(0.75 * 20 * 50_000 / 1000)
    assert campaign.estimate(grids.arm("laptop", "smart@0.98", 5, CIFAR), speeds) is None
    held_out = grids.arm("laptop", "smart@0.9", 5, CIFAR, held_out=5000)
    assert campaign.estimate(held_out, speeds, 50_000) == pytest.approx(20 * 45_000 / 1000)


def test_speeds_are_those_of_what_made_most_rows_and_never_of_both():
    cpu = [synthetic_row("smart@0.9", s, 80.0, images_per_second=900.0) for s in (0, 1)]
    gpu = [synthetic_row("smart@0.9", s, 80.0, images_per_second=9e4, device="NVIDIA H200") for s in (2, 3, 4)]
    assert set(campaign.speeds([*cpu, gpu[0]]).values()) == {900.0} == set(campaign.speeds([*cpu, *gpu[:2]]).values())
    assert set(campaign.speeds([*cpu, *gpu]).values()) == {9e4} and campaign.speeds([]) == {}


def test_epochs_are_counted_with_pretraining_shared_and_with_a_script_a_cell():
    configs = [grids.arm("laptop", key, 0, CIFAR) for key in ("lt@0.9", "lt@0.98", "lrr@0.98", "smart@0.9")]
    assert campaign.epochs(configs) == (20 + 20 + 20 + 15 + 20, 40 + 40 + 35 + 20)  # one dense net of 20 serves three
    assert campaign.epochs([grids.arm("laptop", "dense", 0, CIFAR)] + configs)[0] == 95
    assert campaign.epochs([]) == (0, 0)


def test_hours_on_a_gpu_follow_from_the_pace_that_is_stored_for_the_network(tmp_path, monkeypatch):
    pace = lambda network, number, **more: dict(network=network, at_once=1, images_per_second=number) | more  # noqa: E731
    of = lambda device, *paces: dict(date="2026-01-02", machine=dict(device=device), paces=paces)  # noqa: E731
    stored = of("old", pace("resnet", 1000), pace("resnet", 2000), pace("vgg", 4000)) | {"sets": [
        of("new", pace("ResNet-32", 5000, precision="float32"), pace("ResNet-32", 9000, precision="bf16"),
           pace("VGG-19", 3000, precision="float32"), pace("laptop ResNet-20", 8000, precision="bf16"))
    ]}  # fmt: skip
    monkeypatch.setattr(places, "GPU_PACES", tmp_path / "gpu.json")
    configs = [grids.arm("paper", key, 0, profiles.NO_IMAGES, network=network)
               for network in ("resnet", "vgg") for key in ("dense", "lrr@0.9")]  # fmt: skip
    assert campaign.gpu_estimate(configs) == {}
    places.GPU_PACES.write_text(json.dumps(stored))
    hours = 50_000 * (160 + 120) / 3600
    assert campaign.gpu_estimate(configs) == {
        ("new", "2026-01-02"): (pytest.approx(hours / 5000), 2), ("old", "2026-01-02"): (pytest.approx(hours / 4000), 2)
    }  # fmt: skip
    bf16 = [dataclasses.replace(config, precision="bf16", held_out=5000) for config in configs]
    assert campaign.gpu_estimate(bf16) == {("new", "2026-01-02"): (pytest.approx(0.9 * hours / 9000), 2)}
    laptop = grids.arm("laptop", "snip@0.9", 0, profiles.NO_IMAGES)
    assert campaign.gpu_estimate([laptop]) == {}  # of the sparse engine
    assert set(campaign.gpu_estimate([dataclasses.replace(laptop, engine="dense")])) == {("new", "2026-01-02")}
