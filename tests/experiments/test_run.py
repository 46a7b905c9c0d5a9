"""One run from configuration to row, on the digits."""

import dataclasses
import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_runs import rehearse
from scored_nets import ticket
from synthetic import CIFAR, make, without_varying

from ticketlib import data, train
from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, grids, probe, run
from ticketlib.experiments.ledger import Ledger, Row, name_of, pack_bits
from ticketlib.experiments.probe import Prober
from ticketlib.masks import Mask
from ticketlib.tickets import TICKETS


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def arm(key, digits, **changes):
    return grids.arm("smoke", key, 0, digits, **{"epochs": 1, **changes})


def execute(key, digits, cache, **changes):
    return run.execute(arm(key, digits, **changes), digits, cache=cache, progress=False)


def test_a_row_says_everything(digits, cache):
    row = execute("snip+both@0.9", digits, cache)
    assert row["name"] == row.config.name and row["arm"] == "snip+both@0.9"
    assert row["accuracy"] == round(100 * row.correct.mean(), 4) and len(row.correct) == row["num_test"] == 360
    assert sum(row["keep_counts"].values()) == 1946  # a tenth of 19,464, to nearest
    assert row["effective_sparsity"] >= row["achieved_sparsity"] >= 0.8999
    assert abs(row["control"]["label_agreement"] - 0.1) < 0.05 and abs(row["control"]["pixel_correlation"]) < 0.1
    assert row["curve"][-1][:2] == [1.0, round(row["accuracy"], 4)]
    assert re.fullmatch(r"[0-9a-f]{64}", row["mask_digest"])
    assert set(row["versions"]) == {"python", "torch", "numpy", "numba"} and row["device"].startswith("cpu: ")
    assert row["seconds"] > 0 and row["threads"] >= 1 and row["code"]
    assert "parent" not in row and "checkpoint" not in row


def test_what_training_measured_stands_in_the_row(digits):
    right = np.arange(360) % 4 > 0
    curve = [[1, 50.0, 0.7], [2, 80.0, 0.5], [3, 75.0, 0.4]]
    result = train.Result(curve, right, 0.4, images=1000, train_seconds=3.4567, eval_seconds=1.2345)
    assert run._measured(result, digits) == {
        "diverged": False, "curve": curve, "images": 1000, "num_test": 360, "num_classes": 10, "train_seconds": 3.46,
        "eval_seconds": 1.23, "images_per_second": 289.3, "accuracy": 75.0, "best_accuracy": 80.0, "loss": 0.4,
        "correct": pack_bits(right),
    }  # fmt: skip


def test_the_same_configuration_gives_the_same_row(digits, cache):
    first, second = (without_varying(execute("smart@0.9", digits, cache)) for _ in range(2))
    assert first == second


def test_a_rehearsal_never_leaves_a_net_among_trained_ones(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path))
    with pytest.raises(TicketError, match="a cache of its own"):
        run.execute(arm("lt@0.9", digits), digits, steps=2)
    assert len(list(rehearse([arm("lt@0.9", digits)], digits))) == 1 and list(tmp_path.iterdir()) == []


def test_arms_of_a_seed_share_the_pretrained_net(digits, cache):
    dense = execute("dense", digits, cache)
    lt, lrr = execute("lt@0.9", digits, cache), execute("lrr@0.9", digits, cache)
    assert lt["parent"] == lrr["parent"] == dense["name"]
    assert lt["parent_checkpoint"] == lrr["parent_checkpoint"] == dense["checkpoint"]
    assert lt["mask_digest"] == lrr["mask_digest"]
    assert lrr["images"] == (23 - 5) * 64  # from a quarter of 23 updates, rounded down


def test_a_lost_or_spoilt_parent_is_made_again(digits, tmp_path):
    first = execute("lt@0.9", digits, tmp_path)
    [path] = (tmp_path / "checkpoints").iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert checkpoints.load(path.stem, folder=tmp_path) is None
    assert execute("lt@0.9", digits, tmp_path)["parent_checkpoint"] == first["parent_checkpoint"]


def test_what_a_check_changed_is_a_share_of_the_kept_weights():
    model = torch.nn.Sequential(torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(1, 2, bias=False))
    before = {"0.weight": torch.tensor([[1.0, -2.0, 3.0, 4.0]]), "1.weight": torch.tensor([[5.0], [6.0]])}
    mask = Mask({"0.weight": torch.tensor([[True, True, True, False]]), "1.weight": torch.ones(2, 1).bool()})
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0, -3.0, 9.0]]))  # two of three that are kept, both turned round
        model[1].weight.copy_(before["1.weight"])
    assert run._moved("shuffled", mask, mask, before, model) == {"changed_share": 2 / 5}
    assert run._moved("random_signs", mask, mask, before, model) == {"changed_share": 2 / 5, "signs_kept": 3 / 5}
    assert run._moved("none", mask, mask, before, model) == {}


def test_controls_differ_from_the_ticket_as_found(digits, cache):
    found = execute("snip@0.9", digits, cache)
    rearranged = execute("snip+rearranged@0.9", digits, cache)
    assert rearranged["keep_counts"] == found["keep_counts"] and rearranged["mask_digest"] != found["mask_digest"]
    assert rearranged["control"]["moved_share"] > 0.5
    for check in ("shuffled", "reinitialised"):
        changed = execute(f"snip+{check}@0.9", digits, cache)
        assert changed["mask_digest"] == found["mask_digest"] and changed["control"]["changed_share"] > 0.9
        assert changed["loss"] != found["loss"]


def test_pretraining_on_half_the_data_makes_as_many_updates(digits, cache):
    half = execute("dense+half", digits, cache)
    assert half["curve"][-1][0] == 1.0 and half["control"]["images_kept"] == pytest.approx(0.5, abs=0.001)
    assert half["images"] == 718 + 11 * 64  # 23 updates, as on all 1,437: a pass of 12 over 718 images, and 11 more


def test_held_out_images_replace_the_test_set(digits, cache):
    assert execute("smart@0.9", digits, cache, held_out=100)["num_test"] == 100


def test_other_images_are_refused(digits):
    config = grids.arm("smoke", "smart@0.9", 0, CIFAR)
    with pytest.raises(TicketError, match="fingerprint"):
        run.execute(config, digits)


def test_the_sparse_engine_runs_on_the_cpu_only(digits, cache):
    with pytest.raises(TicketError, match="sparse engine"):
        run.execute(arm("smart@0.9", digits, engine="sparse"), digits, device="cuda", cache=cache)


@pytest.mark.parametrize("ticket", sorted(set(TICKETS) - {"dense", "table"}))
def test_every_ticket_runs(ticket, digits, cache):
    row = execute(f"{ticket}@0.36", digits, cache)
    assert not row["diverged"] and row["arm"] == f"{ticket}@0.36"


def test_a_probe_is_the_mask_of_the_run(digits, cache):
    config = arm("snip+both@0.9", digits)
    row, found = run.execute(config, digits, cache=cache), Prober(digits).measure(config)
    assert found["mask_digest"] == row["mask_digest"] and found["keep_counts"] == row["keep_counts"]
    assert found["chance"] < found["overlap"] <= 1 and found["chance"] < found["ceiling"] < 1
    clean = Prober(digits).measure(arm("snip@0.9", digits))
    assert clean["overlap"] == 1 and "second_keep_counts" not in found
    assert sum(clean["second_keep_counts"].values()) == sum(clean["keep_counts"].values())
    assert clean["second_keep_counts"] != clean["keep_counts"]
    assert 0.899 < clean["rearranged_effective_sparsity"] <= 1
    assert "rearranged_effective_sparsity" not in Prober(digits).measure(arm("smart@0.9", digits))


def test_kept_scores_change_no_probe(digits):
    prober = Prober(digits)
    keys = ("snip@0.9", "snip+both@0.9", "snip+both@0.5", "grasp@0.9", "synflow@0.9", "synflow@0.5", "smart@0.9")
    for config in [arm(key, digits) for key in keys]:
        assert without_varying(prober.measure(config)) == without_varying(Prober(digits).measure(config))


def test_probes_are_made_one_after_another_whatever_fails(tmp_path, monkeypatch):
    def measure(config):
        if config.seed == 1:
            raise TicketError("no such mask.")
        values = {"probe": config.seed}
        return Row(kind="probe", name=name_of(values), config=values, seconds=3.4)

    monkeypatch.setattr(probe.time, "monotonic", itertools.count(600, 60).__next__)  # a minute each
    configs, said = [make(seed=seed) for seed in range(4)], []
    failed = probe.measure_all(SimpleNamespace(measure=measure), configs, Ledger(tmp_path), said.append)
    assert {row["config"]["probe"] for row in Ledger(tmp_path).rows()} == {0, 2, 3}
    assert len(failed) == 1 and "seed 1" in failed[0] and "no such mask." in failed[0]
    assert [line.rpartition("about ")[2] for line in said] == ["3 min left", "2 min left", "60 s left", "0 s left"]


def test_an_iterative_ticket_has_no_probe(digits):
    with pytest.raises(TicketError, match="'imp' is not allowed in a probe"):
        Prober(digits).measure(arm("imp@0.36", digits))


def test_a_probe_of_trained_weights_needs_the_checkpoint(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path))
    with pytest.raises(TicketError, match="not in the cache"):
        Prober(digits).measure(arm("lt@0.9", digits))


def test_the_mask_of_a_net_trained_on_noise_lies_between_chance_and_a_second_order(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path))
    prober, config = Prober(digits), arm("lt+both@0.9", digits)
    for key in ("dense+both", "dense", "dense+order=order2"):
        assert not prober.ready(config)
        execute(key, digits, tmp_path)
    assert prober.ready(config) and prober.ready(arm("lrr+half@0.9", digits)) is False
    row = prober.measure(config)
    assert row["chance"] < row["overlap"] < 1 and row["chance"] < row["ceiling"] < 1
    second = row["second_keep_counts"]  # of the second data order: as many in all, in other layers
    assert sum(second.values()) == sum(row["keep_counts"].values()) and second != row["keep_counts"]
    assert "overlap" not in prober.measure(arm("lt@0.9", digits))


def test_a_rehearsal_is_for_no_ledger(digits, tmp_path):
    [row] = rehearse([arm("lrr@0.9", digits)], digits)
    assert row["kind"] == "rehearsal" and row["images"] == 2 * 64
    with pytest.raises(TicketError, match="rehearsal"):
        Ledger(tmp_path).add(row)


def small_cifar():
    """Noise in CIFAR's shape: enough to see that a run works, not that it learns."""
    draw = np.random.default_rng(0)
    split = data.Split(draw.integers(0, 256, (300, 3, 32, 32), np.uint8), np.arange(300) % 10)
    few = data.Split(split.images[:20], split.labels[:20])
    return dataclasses.replace(CIFAR, train=split, test=few)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet", "vgg"])
def test_every_arm_of_the_paper_profile_runs_two_steps(network):
    images = small_cifar()
    keys = [*grids.claim_arms(), "erk@0.98", "omp@0.98", "magnitude@0.98"] if network == "vgg" else QUICK
    configs = [grids.arm("paper", key, 0, images, network=network) for key in keys]
    rows = list(rehearse(configs, images))
    assert [row["arm"] for row in rows] == [config.arm for config in configs]
    assert all(row["images"] == 2 * 64 and not row["diverged"] for row in rows)


QUICK = ("snip+both@0.98", "grasp@0.98", "lrr+rearranged@0.9", "hybrid@0.98")


def test_the_papers_scoring_sorts_augments_and_draws_the_classifier_afresh(digits, monkeypatch):
    changes = dict(variant="authors", scoring="authors")
    plain, paper = (grids.arm("smoke", "grasp@0.9", 0, digits, **more) for more in ({}, changes))
    (as_given, labels), _ = run.scoring_batch(digits, plain, "batch")
    (seen, sorted_labels), _ = run.scoring_batch(digits, paper, "batch")
    order = labels.argsort(stable=True)
    assert seen.shape == as_given.shape and not torch.equal(seen, as_given[order])
    assert torch.equal(sorted_labels, labels[order]) and not torch.equal(sorted_labels, labels)
    theirs = grids.arm("paper", "snip@0.9", 0, CIFAR)
    assert (theirs.variant, theirs.scoring, theirs.arm) == ("authors", "authors", "snip@0.9")
    asked = []
    monkeypatch.setattr(run.tickets, "find_mask", lambda *_, **given: asked.append(given["redraw"]))
    for config in (plain, paper):
        run.ticket_mask(config, digits, None)
    assert asked == [False, True]


def test_a_dense_net_trains_in_the_precision_of_its_configuration():
    nets = [run.engine(make(precision=p), *ticket(), None, "cpu") for p in ("float32", "bf16")]
    assert [net.precision for net in nets] == ["float32", "bf16"]


def test_the_classifier_share_is_of_the_kept_weights(digits):
    net, mask = ticket()
    assert run._ticket_facts(net, mask, digits)["classifier_share"] == mask.counts["fc.weight"] / mask.kept < 0.1


def test_the_held_out_images_are_the_same_in_every_run_and_none_is_trained_on(digits):
    configs = [grids.arm("smoke", "smart@0.9", seed, digits, held_out=100) for seed in (0, 1)]
    first, second = (run.evaluated_on(digits, config) for config in configs)
    assert np.array_equal(first.test.images, second.test.images) and len(first.train.labels) == 1337
    assert first.test.labels[:10].tolist() == [5, 6, 1, 4, 7, 0, 4, 7, 8, 3]  # as in every row of a pilot
    seen = {image.tobytes() for image in first.train.images}
    assert not any(image.tobytes() in seen for image in first.test.images)


def test_a_scoring_batch_has_as_many_of_each_class_as_the_scorer_sees_them(digits):
    config = arm("snip+labels@0.9", digits)
    (images, labels), control = run.scoring_batch(digits, config, "batch")
    assert torch.bincount(labels).tolist() == [config.per_class] * 10 and control["label_agreement"] < 0.5
