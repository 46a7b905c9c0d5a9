"""An exported ticket against the masked network in torch."""

from types import SimpleNamespace

import pytest
import torch
from test_sparse import case

from ticketlib import data, train
from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.sparse.classify import export, from_recipe

CASES = {
    "resnet": ("resnet8", (40, 3, 16, 16), {}),
    "odd sizes, stem of stride 2": ("resnet8", (9, 3, 15, 13), {"stem_stride": 2}),
    "stem of stride 3, one channel": ("resnet8", (9, 1, 19, 10), {"stem_stride": 3}),
    "wide": ("resnet8", (9, 3, 7, 40), {}),
    "density 1": ("resnet14", (9, 3, 9, 9), {"density": 2.0}),
    "empty layers": ("resnet8", (9, 3, 8, 8), {"empty": ("blocks.1.conv1.weight", "blocks.2.shortcut.weight")}),
    "nothing left": ("resnet8", (9, 3, 8, 8), {"density": 0.0}),
    "vgg": ("vgg11", (20, 3, 32, 32), {"width": 0.06}),
    "vgg, odd sizes": ("vgg11", (9, 1, 21, 13), {"width": 0.06}),
}


@pytest.mark.parametrize("name", CASES)
def test_export_gives_the_logits_of_the_network(name):
    network, shape, options = CASES[name]
    model, mask, batch, _ = case(network, shape, **options)
    images = batch.tensor()
    classify = export(model, mask, shape[1:])
    with torch.no_grad():
        expected = model.eval()(images)
    for count in (len(images), 5, 1):
        difference = (classify(images[:count]) - expected[:count]).abs().max()
        assert difference <= 1e-4 * expected.abs().max() + 1e-6


def test_single_images_give_the_same_bits_in_any_order():
    model, mask, batch, _ = case("resnet8", (6, 3, 16, 16))
    images = batch.tensor()
    classify = export(model, mask, (3, 16, 16))
    together = classify(images)
    assert torch.equal(together, torch.cat([classify(images[i : i + 1]) for i in range(6)]))
    assert torch.equal(together.flip(0), classify(images.flip(0)))


def test_images_of_another_shape_are_refused():
    model, mask, _, _ = case("resnet8", (6, 3, 16, 16))
    classify = export(model, mask, (3, 16, 16))
    for count in (1, 20):
        with pytest.raises(TicketError, match="16, 16"):
            classify(torch.zeros(count, 3, 8, 8))


@pytest.mark.parametrize("key", ["smart@0.9", "lt@0.9"])
def test_a_rows_recipe_exports_what_the_row_measured(key, tmp_path):
    digits = data.load("digits")
    config = grids.arm("smoke", key, 0, digits, engine="sparse", epochs=2)
    classify, row = from_recipe(config, digits, cache=tmp_path, progress=False)
    assert row["name"] == config.name
    found = train.correct(SimpleNamespace(evaluate=classify), digits)
    assert (found == row.correct).mean() > 0.99  # batch norm folded: an image between two classes may tip over
