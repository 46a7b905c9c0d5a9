"""The sparse engine against the same masked network in torch, dense float32 or float64."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from masked_nets import CASES, assert_close, case, start_of

from ticketlib.errors import TicketError
from ticketlib.models import prunable
from ticketlib.sparse import SparseNet, plan, step


def dense_step(model, mask, images, labels):
    """Loss of a masked model in training mode; leaves masked gradients."""
    model.train().zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    for name, weight in prunable(model).items():
        weight.grad.mul_(mask[name])
    return loss.item()


LOOSE = {"empty stem": 1e-2}  # its norm's variance is 0, so the rounding of sums stands beside eps alone


@pytest.mark.parametrize("name", CASES)
def test_step_agrees_with_the_masked_dense_network(name):
    network, shape, options = CASES[name]
    model, mask, batch, labels = case(network, shape, **options)
    images = batch.tensor()
    net = SparseNet(model, mask, 48, shape[1:])
    exact = copy.deepcopy(model).double()
    loss = net.step(batch, labels)
    assert loss == pytest.approx(dense_step(exact, mask, images.double(), labels), rel=1e-5)
    assert_close(net.gradients(), {n: p.grad for n, p in exact.named_parameters()}, LOOSE.get(name, 2e-4))
    net.write_back(model)
    assert_close(model.state_dict(), exact.state_dict(), 1e-4)
    model.eval(), exact.eval()
    with torch.no_grad():
        logits = net.evaluate(images)
        assert_close({"logits": logits}, {"logits": exact(images.double())}, 1e-5)
        assert_close({"logits": logits}, {"logits": model(images)}, 1e-5)


def test_a_batch_cut_out_of_another_is_the_same_step_and_compiled_once():
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8))
    part = dataclasses.replace(batch, pixels=batch.pixels[::2], windows=batch.windows[:, ::2])
    copied = dataclasses.replace(part, pixels=part.pixels.contiguous(), windows=part.windows.contiguous())
    assert not part.windows.is_contiguous() and not labels[::2].is_contiguous()
    losses = [SparseNet(model, mask, 8, (3, 8, 8)).step(*given)
              for given in ((copied, labels[::2].contiguous()), (part, labels[::2]))]  # fmt: skip
    assert losses[0] == losses[1] and len(step.learn.signatures) == 1


def test_one_weight_moves_alone():
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8), density=0.0)
    mask["blocks.0.conv2.weight"][1, 2, 0, 1] = True
    with torch.no_grad():
        model.blocks[0].conv2.weight[1, 2, 0, 1] = 0.5
    net = SparseNet(model, mask, 16, (3, 8, 8))
    net.step(batch, labels)
    net.update(0.1, 0.9, 5e-4)
    dense_step(model, mask, batch.tensor(), labels)
    expected = 0.5 - 0.1 * (model.blocks[0].conv2.weight.grad[1, 2, 0, 1] + 5e-4 * 0.5)
    net.write_back(model)
    assert model.blocks[0].conv2.weight[1, 2, 0, 1].item() == pytest.approx(expected.item(), rel=1e-6)
    assert sum(int((w != 0).sum()) for w in prunable(model).values()) == 1


@pytest.mark.parametrize("network", ["resnet8", "vgg11"])
def test_steps_of_sgd_agree_with_torch(network):
    """Six steps, two of smaller batches; float64 stands for the exact result."""
    width = 4 if network == "resnet8" else 0.06
    model, mask, batch, labels = case(network, (40, 3, 12, 12), width=width, density=0.5)
    net = SparseNet(model, mask, 40, (3, 12, 12))
    exact = copy.deepcopy(model).double()
    optimiser = torch.optim.SGD(exact.parameters(), 0.02, momentum=0.9, weight_decay=5e-3)
    for count in (40, 40, 23, 40, 17, 40):
        dense_step(exact, mask, batch.tensor()[:count].double(), labels[:count])
        optimiser.step()
        net.step(start_of(batch, count), labels[:count])
        net.update(0.02, 0.9, 5e-3)
    net.write_back(model)
    assert_close(model.state_dict(), exact.state_dict(), 1e-3)
    assert int(next(b for n, b in model.named_buffers() if "tracked" in n)) == 6


def test_same_inputs_give_the_same_bits():
    model, mask, batch, labels = case("resnet8", (40, 3, 16, 16))
    nets = [SparseNet(model, mask, 40, (3, 16, 16)) for _ in range(2)]
    for net in nets:
        for count in (40, 21, 40):
            net.step(start_of(batch, count), labels[:count])
            net.update(0.1, 0.9, 5e-4)
    for name in ("w", "gradient", "velocity", "channels"):
        first, second = (getattr(net.net, name) for net in nets)
        assert first.tobytes() == second.tobytes(), name


@pytest.mark.parametrize("network, width", [("resnet8", 4), ("vgg11", 0.06)])
def test_groups_of_channels_change_no_bit(monkeypatch, network, width):
    model, mask, batch, labels = case(network, (20, 3, 16, 16), width=width, density=0.6)
    monkeypatch.setattr(plan, "SPAN", 1)
    found = {}
    for size in (1000, 3, 1):
        monkeypatch.setattr(plan, "GROUP", size)
        net = SparseNet(model, mask, 20, (3, 16, 16))
        assert (net.net.layers["groups"].max() > 1) == (net.net.layers["back_groups"].max() > 1) == (size < 1000)
        loss = net.step(batch, labels)
        found[size] = loss, net.net.gradient.tobytes(), net.evaluate(batch.tensor()).numpy().tobytes()
    assert found[1000] == found[3] == found[1]


def test_evaluation_takes_any_number_of_images_and_changes_nothing():
    model, mask, batch, labels = case("resnet8", (50, 3, 8, 8))
    images = batch.tensor()
    net = SparseNet(model, mask, 16, (3, 8, 8))
    with torch.no_grad():
        expected = model.eval()(images)
    assert_close({"logits": net.evaluate(images)}, {"logits": expected}, 1e-5)
    assert torch.equal(net.evaluate(images), net.evaluate(images))
    fresh = SparseNet(model, mask, 16, (3, 8, 8))
    assert net.step(start_of(batch, 16), labels[:16]) == fresh.step(start_of(batch, 16), labels[:16])


def test_training_leaves_pruned_weights_zero_and_the_model_alone():
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    net = SparseNet(model, mask, 16, (3, 8, 8))
    net.step(batch, labels)
    net.update(0.1, 0.9, 5e-4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    net.write_back(model)
    for name, weight in prunable(model).items():
        assert not weight[~mask[name]].any()
        assert not torch.equal(weight, before[name])


def test_bad_input_is_named():
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8))
    net = SparseNet(model, mask, 16, (3, 8, 8))
    with pytest.raises(TicketError, match="1 to 16"):
        net.step(case("resnet8", (17, 3, 8, 8))[2], labels)
    with pytest.raises(TicketError, match="float32"):
        net.evaluate(batch.pixels)
    with pytest.raises(TicketError, match="labels"):
        net.step(batch, labels[:3])
    with pytest.raises(TicketError, match="fc.weight"):
        SparseNet(model, {n: m for n, m in mask.items() if n != "fc.weight"}, 16, (3, 8, 8))
    with pytest.raises(TicketError, match="conv.weight"):
        SparseNet(model, {**mask, "conv.weight": mask["conv.weight"].float()}, 16, (3, 8, 8))
    for size, shape in ((16, (1, 8, 8)), (16, (3, 8)), (16, (3, 8, 0)), (0, (3, 8, 8)), (16, (3, 8.0, 8))):
        with pytest.raises(TicketError, match="3 channels"):
            SparseNet(model, mask, size, shape)


def test_labels_that_are_no_classes_are_named():
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8))
    net = SparseNet(model, mask, 16, (3, 8, 8))
    for wrong in (10, -100):
        with pytest.raises(TicketError, match=f"{wrong}.* between 0 and 4"):
            net.step(batch, torch.where(torch.arange(16) == 3, wrong, labels))


def test_a_loss_too_large_for_its_share_is_finite():
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8))
    with torch.no_grad():
        model.fc.bias[:] = torch.arange(5) * 450.0  # label 0 has a share of e^-1800, which is no number
    exact, labels = copy.deepcopy(model).double(), torch.zeros_like(labels)
    loss = SparseNet(model, mask, 16, (3, 8, 8)).step(batch, labels)
    assert loss == pytest.approx(dense_step(exact, mask, batch.tensor().double(), labels), rel=1e-5) and loss > 1700


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["conv.weight", "bn.weight"])
def test_what_is_no_number_reaches_the_loss(name, value):
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8))
    parameter = dict(model.named_parameters())[name]
    place = tuple(mask[name].nonzero()[0]) if name in mask else (0,)
    with torch.no_grad():
        parameter[place] = value
    net = SparseNet(model, mask, 16, (3, 8, 8))
    assert not math.isfinite(net.step(batch, labels))


def test_memory_does_not_grow():
    model, mask, batch, labels = case("resnet8", (16, 3, 8, 8))
    net = SparseNet(model, mask, 16, (3, 8, 8))
    before = {name: id(value) for name, value in net.net._asdict().items()}
    for _ in range(3):
        net.step(batch, labels)
        net.update(0.1, 0.9, 5e-4)
    assert {name: id(value) for name, value in net.net._asdict().items()} == before
    assert np.isfinite(net.net.w).all()
