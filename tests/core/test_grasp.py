"""GraSP: its sign by finite differences, its Hessian, and the paper's arithmetic step by step."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scored_nets import along, batch, seeded
from torch import nn

from ticketlib import masks, pruners
from ticketlib.errors import TicketError
from ticketlib.models import prunable


def gradient_norm(model, images, labels):
    """The squared gradient norm of the loss at temperature 200, over the prunable weights."""
    loss = F.cross_entropy(model(images) / 200, labels)
    grads = torch.autograd.grad(loss, list(prunable(model).values()))
    return sum((g**2).sum() for g in grads).item()


def test_low_scores_are_weights_whose_removal_raises_the_gradient_norm(toy):
    """d(g'g) as a weight shrinks is -2 w (H g), so bigger = its removal hurts more = keep."""
    model, images, labels = toy
    scores = pruners.score(model, "grasp", images, labels)
    for name, weight in prunable(model).items():
        for index in np.ndindex(*weight.shape):
            change = along(weight, index, lambda: gradient_norm(model, images, labels))
            assert change == pytest.approx(-2 * float(scores[name][index]), rel=1e-3, abs=1e-13)


def test_is_a_hessian_vector_product(toy):
    model, images, labels = toy
    weights, shapes = list(prunable(model).values()), [w.shape for w in prunable(model).values()]

    def loss(flat):
        parts = [p.view(s) for p, s in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)]
        hidden = torch.tanh(F.linear(images, parts[0], model[0].bias))
        return F.cross_entropy(F.linear(hidden, parts[1], model[2].bias) / 200, labels)

    flat = torch.cat([w.detach().flatten() for w in weights])
    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.autograd.functional.jacobian(loss, flat)
    scores = torch.cat([s.flatten() for s in pruners.score(model, "grasp", images, labels).values()])
    torch.testing.assert_close(scores, flat * (hessian @ gradient))


def test_authors_variant_halves_the_batch_in_order(net):
    images, labels = batch(11)
    scores = pruners.score(net, "grasp", images, labels, variant="authors")
    twin = copy.deepcopy(net).train()
    weights = list(prunable(twin).values())
    halves = [(images[:5], labels[:5]), (images[5:], labels[5:])]
    first = [torch.autograd.grad(F.cross_entropy(twin(x) / 200, y), weights) for x, y in halves]
    gradient = [a + b for a, b in zip(*first, strict=True)]
    products = [torch.zeros_like(w) for w in weights]
    for x, y in halves:
        grads = torch.autograd.grad(F.cross_entropy(twin(x) / 200, y), weights, create_graph=True)
        z = sum((g * h).sum() for g, h in zip(gradient, grads, strict=True))
        products = [p + q for p, q in zip(products, torch.autograd.grad(z, weights), strict=True)]
    theirs = torch.cat([(-w * p).detach().flatten() for w, p in zip(weights, products, strict=True)])
    theirs /= theirs.sum().abs() + 1e-10
    ours = torch.cat([s.flatten() for s in scores.values()])
    torch.testing.assert_close(ours, -theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))


def test_order_of_the_images_matters_to_the_authors_variant_alone(net):
    images, labels = batch()
    turned = torch.roll(torch.arange(12), 3)
    for variant, same in (("default", True), ("authors", False)):
        one = pruners.score(net, "grasp", images, labels, variant=variant)
        two = pruners.score(net, "grasp", images[turned], labels[turned], variant=variant)
        assert (masks.overlap(masks.global_mask(one, 0.5), masks.global_mask(two, 0.5)) > 0.999) == same


def test_linear_layers_are_redrawn_only_with_a_generator_and_as_the_authors(net):
    plain = pruners.score(net, "grasp", *batch(), variant="authors")
    drawn = pruners.score(net, "grasp", *batch(), variant="authors", generator=seeded(3))
    assert not torch.allclose(plain["fc.weight"], drawn["fc.weight"])
    default = pruners.score(net, "grasp", *batch())
    unmoved = pruners.score(net, "grasp", *batch(), generator=seeded(3))
    assert all(torch.equal(default[name], unmoved[name]) for name in default)
    twin = copy.deepcopy(net)
    nn.init.xavier_normal_(twin.fc.weight, generator=seeded(3))
    again = pruners.score(twin, "grasp", *batch(), variant="authors")
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)


def test_one_image_cannot_be_halved(net):
    with pytest.raises(TicketError, match="at least 2"):
        pruners.score(net, "grasp", *batch(1), variant="authors")
