"""What a CUDA GPU must show: the CPU's results, the same ones each time, and campaigns (`make gpu-test`)."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from made_runs import rehearse, ticket_rows
from synthetic import CIFAR

from ticketlib import data, feed, masks, models, ratios, train
from ticketlib.__main__ import main
from ticketlib.experiments import grids, run, session
from ticketlib.experiments.config import streams
from ticketlib.experiments.ledger import Ledger

TIMED = {"seconds", "train_seconds", "eval_seconds", "images_per_second"}
ARMS = ("snip+both@0.98", "grasp@0.98", "lrr+rearranged@0.9", "hybrid@0.98", "omp@0.98")


@pytest.fixture(autouse=True, scope="session")
def gpu():
    """Ends at once, in one sentence, where there is no GPU."""
    if not torch.cuda.is_available():
        pytest.exit("device 'cuda' is not on this machine; these tests need one.", 1)


def images():
    """Noise in CIFAR's shape: enough to see that a run works, not that it learns."""
    draw = np.random.default_rng(0)
    split = data.Split(draw.integers(0, 256, (300, 3, 32, 32), np.uint8), np.arange(300) % 10)
    return dataclasses.replace(CIFAR, train=split, test=data.Split(split.images[:20], split.labels[:20]))


def trained(device, precision, network, steps=3):
    """Losses of some updates of a ticket, and its weights after them."""
    net = models.build(network, 10, width=8 if network.startswith("resnet") else 0.125)
    counts = ratios.keep_counts(net, "uniform", "0.9")
    mask = masks.random_mask(models.prunable(net), counts, generator=torch.Generator().manual_seed(1))
    mask.apply(net)
    trainer, split, losses = train.DenseNet(net, mask, device=device, precision=precision), images().train, []
    for step in range(steps):
        chosen = slice(30 * step, 30 * step + 30)
        batch = feed.plain(split.images[chosen].copy(), CIFAR)
        losses.append(float(trainer.step(batch, torch.tensor(split.labels[chosen]))))
        trainer.update(0.1, 0.9, 5e-4)
    trainer.write_back(net)
    assert all(not weight[~mask[name]].any() for name, weight in models.prunable(net).items())
    return losses, copy.deepcopy(net.state_dict())


@pytest.mark.parametrize("network", ["resnet8", "vgg11"])
def test_it_learns_what_the_cpu_learns(network):
    on_cpu, on_gpu = (trained(device, "float32", network) for device in ("cpu", "cuda"))
    assert on_gpu[0] == pytest.approx(on_cpu[0], rel=1e-3)
    for name, value in on_cpu[1].items():
        torch.testing.assert_close(on_gpu[1][name], value, rtol=5e-2, atol=2e-3)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("network", ["resnet20", "vgg16"])
def test_it_repeats_itself_to_the_last_digit(network, precision):
    first, second = (trained("cuda", precision, network, steps=8) for _ in range(2))
    assert first[0] == second[0] and all(torch.equal(first[1][name], second[1][name]) for name in first[1])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("network", ["resnet32", "vgg11"])
def test_recorded_training_is_what_plain_training_is(network, precision, monkeypatch):
    """Five epochs of ten batches, the last of them smaller, with an evaluation after each."""
    recorded = fitted(network, precision)
    monkeypatch.setattr(train, "EAGER", 1000)
    plain = fitted(network, precision)
    assert recorded[0].curve == plain[0].curve and len({loss for *_, loss in plain[0].curve}) == 5
    assert all(torch.equal(recorded[1][name], plain[1][name]) for name in plain[1])


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_run_does_not_depend_on_its_neighbours(precision, monkeypatch):
    """Alone, among eight in one process, and as the steps come: the same digits."""
    alone = fitted("resnet20", precision)
    with ThreadPoolExecutor(8) as threads:
        among = list(threads.map(lambda _: fitted("resnet20", precision), range(8)))
    monkeypatch.setattr(train, "EAGER", 1000)
    for other in [*among, fitted("resnet20", precision)]:
        assert other[0].curve == alone[0].curve
        assert all(torch.equal(other[1][name], alone[1][name]) for name in alone[1])


def test_tf32_is_asked_for_by_name_and_is_another_arithmetic():
    exact, rounded = (fitted("resnet20", precision)[0].curve for precision in ("float32", "tf32"))
    assert exact != rounded and rounded[-1][2] == pytest.approx(exact[-1][2], rel=0.1)


def fitted(network, precision):
    """What training measured, and the weights after it."""
    some = images()
    shape = dict(network=network, width=8 if network.startswith("resnet") else 0.125, stem_stride=1)
    recipe = dict(epochs=5, batch=32, eval_every=1, engine="dense", precision=precision)
    config = dataclasses.replace(grids.arm("laptop", "uniform@0.9", 0, some), **shape, **recipe)
    model = run.build(config, some)
    mask, _ = run.ticket_mask(config, some, model)
    net = train.DenseNet(model, mask, device="cuda", precision=precision)
    result = train.fit(net, config, some, streams(config), progress=False)
    net.write_back(model)
    return result, copy.deepcopy(model.state_dict())


def test_a_run_repeats_itself_and_names_the_gpu(tmp_path):
    digits = data.load("digits")
    config = grids.arm("smoke", "lt@0.9", 0, digits, epochs=2)
    rows = [run.execute(config, digits, device="cuda", cache=tmp_path / str(i), progress=False) for i in (1, 2)]
    first, second = ({k: v for k, v in row.items() if k not in TIMED} for row in rows)
    assert first == second and first["device"] == torch.cuda.get_device_name() and first["accuracy"] > 30


@pytest.mark.parametrize("network", ["resnet", "vgg"])
def test_arms_of_the_paper_profile_run_two_steps(network):
    some = images()
    rows = list(
        rehearse([grids.arm("paper", arm, 0, some, network=network) for arm in ARMS], some, device="cuda")
    )
    assert [row["arm"] for row in rows] == list(ARMS) and not any(row["diverged"] for row in rows)


def test_a_campaign_shares_the_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    options = ["--profile", "smoke", "--grid", "step1", "--only", "lrr@0.9", "--ledger", str(tmp_path / "rows")]
    assert not main(["run", *options, "--device", "cuda", "--per-gpu", "4"])
    rows = Ledger(tmp_path / "rows").rows()
    assert {row["device"] for row in rows} == {torch.cuda.get_device_name()}
    assert {row["arm"] for row in rows} == {"dense@0", "lrr@0.9", "lrr@0.98"}


def test_a_chapter_takes_the_gpu_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    asked = session.check(
        dict(profile="smoke", source="run", seeds=1, device="auto", data_root="", ledger=str(tmp_path / "rows"))
    )
    found = ticket_rows(asked, ("dense@0", "smart@0.9"))
    assert found["smart@0.9"][0]["device"] == torch.cuda.get_device_name()
