"""Chapters on claims A, B and D: differences cell by cell, controls, pretraining, budgets, on synthetic rows."""


import pytest
from synthetic import CIFAR, row_of
from ticketbook import checks

from ticketlib.experiments import campaign, grids
from ticketlib.experiments.ledger import Row
from ticketlib.experiments.profiles import Images


def test_pairs_are_named_after_their_arms():
    longer = checks.Comparison("lrr", "", "lrr", "smart+epochs=35")
    assert [pair.label for pair in checks.minus([longer])] == ["LRR − smart ratio, 35 epochs"]
    assert checks.label("dense+order=order2") == "dense, a second data order"


def on_other_data(arm, seed, accuracy, **changes):
    config = grids.arm("laptop", arm, seed, Images("cifar100"), **grids.other_recipe("laptop") | changes)
    return row_of(config, accuracy, num_classes=100, device="a GPU")


def test_a_dense_net_that_diverged_on_other_data_takes_its_tickets_with_it():
    diverged = on_other_data("dense", 0, 1.0)
    rows = [Row(diverged | {"diverged": True}), on_other_data("snip@0.9", 0, 37.0)]
    arms_there = checks.by_place(rows, "laptop")["resnet20 on cifar100"]
    assert arms_there["lt@0.9"][0]["not_made"] and "not_made" not in arms_there["snip@0.9"][0]
    assert arms_there["lt@0.9"][0].config == grids.arm("laptop", "lt@0.9", 0, Images("cifar100"),
                                                       **grids.other_recipe("laptop"))  # fmt: skip


@pytest.mark.parametrize(("ticket", "epochs"), [
    ("dense", 20), ("smart", 20), ("lt", 40), ("lrr", 35), ("hybrid", 35), ("omp", 35)
])  # fmt: skip
def test_epochs_in_all_count_the_dense_net(ticket, epochs):
    config = grids.arm("laptop", ticket if ticket == "dense" else f"{ticket}@0.9", 0, CIFAR)
    assert campaign.cost_alone(config) == epochs
