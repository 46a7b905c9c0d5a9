"""An exported ticket against the masked network in torch."""

from types import SimpleNamespace

import pytest
import torch
from masked_nets import CASES, case

from ticketlib import data, train
from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.experiments.run import execute
from ticketlib.models import prunable
from ticketlib.sparse.classify import FEW, SIZES, export


def logits(model, images):
    with torch.no_grad():
        return model.eval()(images)


@pytest.mark.parametrize("name", CASES)
def test_export_gives_the_logits_of_the_network(name):
    network, shape, options = CASES[name]
    model, mask, batch, _ = case(network, shape, **options)
    images = batch.tensor()
    classify = export(model, mask)
    expected = logits(model, images)
    for count in (len(images), FEW, FEW - 1, 1):
        difference = (classify(images[:count]) - expected[:count]).abs().max()
        assert difference <= 1e-4 * expected.abs().max() + 1e-6


def test_one_classifier_takes_images_of_any_size_and_keeps_few_layouts():
    model, mask, _, _ = case("resnet8", (6, 3, 16, 16))
    classify = export(model, mask, (3, 16, 16))
    for side in (8, 9, 16, 21, 8, *range(3, 4 + SIZES), 8):
        images = torch.randn(9, 3, side, side + 1, generator=torch.Generator().manual_seed(side))
        expected = logits(model, images)
        for count in (9, 1, 0):
            assert classify(images[:count]).shape == (count, 5)
            assert torch.allclose(classify(images[:count]), expected[:count], atol=1e-4 * float(expected.abs().max()))


def test_what_lies_outside_the_mask_counts_as_zero_and_later_changes_do_not_count():
    model, mask, batch, _ = case("resnet8", (20, 3, 8, 8))
    images, expected = batch.tensor(), logits(model, batch.tensor())
    with torch.no_grad():
        for name, weight in prunable(model).items():
            weight.add_(~mask[name])  # as after training without the mask
    classify = export(model.requires_grad_(False), mask)
    with torch.no_grad():
        model.conv.weight.zero_()
    mask["conv.weight"].zero_()
    for count in (20, 1):
        assert torch.allclose(classify(images[:count]), expected[:count], atol=1e-4 * float(expected.abs().max()))


def test_single_images_give_the_same_bits_in_any_order():
    model, mask, batch, _ = case("resnet8", (FEW - 1, 3, 16, 16))
    images = batch.tensor()
    classify = export(model, mask)
    together = classify(images)
    assert torch.equal(together, torch.cat([classify(image[None]) for image in images]))
    assert torch.equal(together.flip(0), classify(images.flip(0)))


@pytest.mark.parametrize("images", [
    torch.zeros(3, 1, 16, 16), torch.zeros(3, 16, 16), torch.zeros(3, 3, 16, 0), torch.zeros(3, 16, 16, 3),
    torch.zeros(3, 3, 16, 16, dtype=torch.float64), torch.zeros(3, 3, 16, 16, dtype=torch.uint8),
    torch.zeros(3, 3, 16, 16, device="meta"), torch.zeros(3, 3, 16, 16).numpy(), "images",
])  # fmt: skip
def test_images_that_do_not_fit_are_refused(images):
    model, mask, _, _ = case("resnet8", (6, 3, 16, 16))
    with pytest.raises(TicketError, match=r"images of .* \(any number, 3"):
        export(model, mask)(images)


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_not_classified(count, value):
    model, mask, _, _ = case("vgg11", (20, 3, 8, 8), width=0.06)
    images = torch.zeros(count, 3, 8, 8)
    images[-1, 1, 3, 3] = value
    with pytest.raises(TicketError, match="images"):
        export(model, mask)(images)
    for name, wrong in (("fc.bias", value), ("features.1.running_var", -1.0)):
        model, mask, _, _ = case("vgg11", (20, 3, 8, 8), width=0.06)
        model.state_dict()[name][0] = wrong
        with pytest.raises(TicketError, match=name):
            export(model, mask)


def test_a_mask_that_does_not_fit_is_refused():
    model, mask, _, _ = case("resnet8", (6, 3, 16, 16))
    with pytest.raises(TicketError, match="fc.weight"):
        export(model, {name: kept for name, kept in mask.items() if name != "fc.weight"})
    with pytest.raises(TicketError, match="conv.weight"):
        export(model, mask | {"conv.weight": mask["conv.weight"].float()})
    with pytest.raises(TicketError, match="3 channels"):
        export(model, mask, (1, 16, 16))


@pytest.mark.parametrize("key", ["smart@0.9", "lt@0.9"])
def test_the_ticket_of_a_run_classifies_as_its_row_measured(key, tmp_path):
    digits, kept = data.load("digits"), []
    config = grids.arm("smoke", key, 0, digits, engine="sparse", epochs=2)
    row = execute(config, digits, cache=tmp_path, progress=False, keep=lambda *ticket: kept.extend(ticket))
    hits = train.correct(SimpleNamespace(evaluate=export(*kept)), digits)
    assert (hits == row.correct).mean() > 0.99  # batch norm folded: an image between two classes may tip over
