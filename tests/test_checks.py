"""Chapters on claims A, B and D: differences cell by cell, controls, pretraining, budgets, on synthetic rows."""


import matplotlib.pyplot as plt
import numpy as np
import pytest
from synthetic import CIFAR, arms, row_of
from ticketbook import checks, overlaps

from ticketlib.experiments import campaign, grids, session
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.probe import PLAIN, Prober
from ticketlib.experiments.profiles import Images


def notebook(folder, found=(), **values):
    for one in found:
        Ledger(folder).add(one)
    given = dict(profile="laptop", source="stored", seeds=0, device="auto", data_root="") | values
    return session.NotebookRun(**given, ledger=folder)


def claim_b(**options):
    return arms({"snip": 80.0, "snip+rearranged": 80.5}, seeds=range(3), **options)


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


# masks found on spoilt data


def probe(seed, corruption, counts, **facts):
    values = {"network": "resnet32", "ticket": "snip", "sparsity": "0.9", "seed": seed, "corruption": corruption}
    values |= PLAIN | {"fingerprint": "f"}
    row = {"kind": "probe", "name": f"{seed}{corruption}", "config": values, "keep_counts": counts}
    return row | facts


SHARED = {"overlap": 0.4, "chance": 0.2, "ceiling": 0.6}


def test_masks_are_paired_by_seed_and_placed_between_chance_and_ceiling():
    found = overlaps.pairs_of([
        probe(0, "none", {"a": 6, "b": 4}, second_keep_counts={"a": 6, "b": 4}, sizes={"a": 20, "b": 20}),
        probe(0, "both", {"a": 5, "b": 5}, **SHARED),
        probe(1, "none", {"a": 8, "b": 2}), probe(1, "both", {"a": 8, "b": 2}, **SHARED), probe(2, "none", {"a": 10}),
    ])  # fmt: skip
    of = found["resnet32", "snip", "0.9"]
    assert sorted(of) == [0, 1] and overlaps.far(of[0]) == pytest.approx(0.1) and overlaps.far(of[1]) == 0
    assert overlaps.between_seeds(of) == pytest.approx(0.2)
    cells = " | ".join(["ResNet-32", "SNIP, 0.9", "0.050", "0.200", "0.400 (0.200)", "0.600 (0.260)", "59", "2"])
    assert overlaps.table(found).splitlines()[2] == f"| {cells} |"
    said = overlaps.reading(found)
    assert said.startswith("Over the 1 cells, corruption moves 5.0 % of the kept weights to other layers. It leaves 59")
    assert said.endswith(" LT is not in this table: its ceiling has not been run.") and "next to nothing" not in said
    assert "LT" not in overlaps.reading(found | {("resnet32", "lt", "0.9"): of})
    figure, ax = plt.subplots()
    assert len(overlaps.draw(ax, found, "resnet32").lines) == 2 and len(ax.patches) == 1
    plt.close(figure)


def test_each_overlap_is_taken_beyond_its_own_chance():
    clean = {"keep_counts": {"a": 6, "b": 4}, "sizes": {"a": 20, "b": 20}}
    spoilt = SHARED | {"keep_counts": {"a": 5, "b": 5}}
    spoilt |= {"second_keep_counts": {"a": 6, "b": 4}}  # LT's second clean counts stand with the spoilt mask
    assert overlaps.beyond_chance((clean, spoilt)) == pytest.approx((0.4 - 0.2, 0.6 - (36 + 16) / 20 / 10))
    assert overlaps.left([(clean, spoilt)]) == pytest.approx(0.2 / 0.34)
    assert overlaps.beyond_chance((clean, SHARED)) is None and np.isnan(overlaps.left([(clean, SHARED)]))
    near = {0: (clean, spoilt | {"ceiling": 0.3})}
    said = overlaps.reading({("resnet20", "lt", "0.9"): near})
    assert "With LT on ResNet-20 at 0.9, two clean masks agree by 0.05" in said


def test_masks_of_other_images_or_another_recipe_are_not_paired():
    clean, spoilt = probe(0, "none", {"a": 6, "b": 4}), probe(0, "both", {"a": 5, "b": 5}, **SHARED)
    assert overlaps.pairs_of([clean, spoilt])
    for what, value in (("fingerprint", "g"), ("recipe", 0)):
        assert not overlaps.pairs_of([clean, spoilt | {"config": spoilt["config"] | {what: value}}])


def test_masks_that_are_not_there_are_said():
    assert overlaps.table({}).startswith("**Not run.**") and overlaps.reading({}) == ""


def test_masks_are_probed_once(tmp_path, monkeypatch):
    live = notebook(tmp_path, profile="smoke", source="run", seeds=1)
    found = overlaps.measured(live)
    assert sorted(found) == [("resnet8", t, s) for t in ("grasp", "snip") for s in ("0.9", "0.95", "0.98")]
    monkeypatch.setattr(Prober, "measure", None)
    assert overlaps.measured(live).keys() == found.keys()


def test_the_book_shows_its_probes_of_the_papers_networks(tmp_path):
    found = overlaps.measured(notebook(tmp_path))
    assert {key[0] for key in found} == {"resnet32", "vgg19"}
    assert min(len(of) for of in found.values()) >= 3  # more may come, one by one
