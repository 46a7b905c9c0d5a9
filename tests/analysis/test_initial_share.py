"""What weight decay leaves of the initial weights: by hand, beside SGD itself, and the figures that pages print."""

import pytest
import torch

from ticketlib.experiments.config import initial_share
from ticketlib.experiments.profiles import NO_IMAGES, config


def share(epochs=1, images=1, profile="laptop", **changes):
    return initial_share(config(profile, "dense", "0", 0, dataset=NO_IMAGES, epochs=epochs, **changes), images)


def test_the_share_by_hand():
    alone = dict(lr=0.5, weight_decay=0.2, drops=())
    assert share(**alone, momentum=0.0) == pytest.approx(0.9)  # one step takes .5 * .2
    # buffer .2, weight 1 - .1 = .9; buffer .5 * .2 + .2 * .9 = .28, weight .9 - .14 = .76
    assert share(2, **alone, momentum=0.5) == pytest.approx(0.76)
    assert share(1, 129, **alone, momentum=0.5) == pytest.approx(0.76)  # 129 images are two batches of 128
    assert share(2, lr=0.5, weight_decay=0.2, drops=("0.5",), momentum=0.0) == pytest.approx(0.9 * 0.99)


def test_the_share_is_what_sgd_leaves():
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in range(31):  # rates fall at steps 15 and 23
        weight.grad = torch.zeros(1, dtype=torch.float64)
        sgd.param_groups[0]["lr"] = 0.1 * 0.1 ** ((step >= 15) + (step >= 23))
        sgd.step()
    assert share(31, weight_decay=0.01) == pytest.approx(weight.item())


@pytest.mark.parametrize(("epochs", "left"), [(5, 0.60), (10, 0.36), (20, 0.13), (40, 0.016)])
def test_the_shares_that_pages_print(epochs, left):
    assert share(epochs, 50_000) == pytest.approx(left, rel=0.03)


def test_the_papers_recipe_leaves_a_tenth_of_a_percent():
    assert round(100 * share(160, 50_000, "paper"), 1) == 0.1
