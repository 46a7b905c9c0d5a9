"""The grids beside the protocol's: arms and seeds as their page fixes them, a second parent's order, given counts."""

import dataclasses

import numpy as np
import pytest
from synthetic import CIFAR
from ticketbook import probes

from ticketlib import data
from ticketlib.analysis import layerwise
from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, config, grids
from ticketlib.experiments.config import Config, given_counts, parent
from ticketlib.experiments.profiles import Images
from ticketlib.experiments.run import execute

RULES = {"smart", "linear", "cubic", "uniform", "uniform_plus", "er", "erk", "igq", "balanced", "pyramidal"}
LT = {"lt", "lt+rearranged", "lt+parent_order=order2"}
SIGNS = {f"{ticket}{check}" for ticket in ("lt", "lrr") for check in ("", "+random_signs", "+fresh_magnitudes")}
BOTH = ("0.9", "0.98")
ARMS = {  # grid -> (arms of a seed but for the dense nets, their sparsities, seeds)
    "league": (RULES | {"snip", "snip+rearranged", "synflow+rearranged", f"table+count_table={grids.MEAN_SNIP}"}, BOTH,
               range(30, 35)),
    "order": (LT, BOTH, range(40, 48)),
    "imp": ({"smart", "lt", "lrr", "hybrid", "imp", "imp+rearranged", "imp+reinitialised"}, ("0.9",), range(50, 56)),
    "signs": (SIGNS, BOTH, range(60, 65)),
    "rates": ({"smart", "snip", "lt"}, BOTH, range(70, 75)),
    "fair": ({"lrr", "lrr+linear=0.3", "lrr+min_per_layer=1", "lrr+reinitialised", "hybrid"}, ("0.98",), range(80, 85)),
    "fair100": ({"lrr", "lrr+linear=0.3", "hybrid"}, ("0.9",), range(80, 85)),
}  # fmt: skip


def grid(name):
    return grids.grid(name, "laptop", Images(grids.data_of(name, "laptop"), CIFAR.fingerprint))


@pytest.mark.parametrize("name", grids.MORE)
def test_arms_and_seeds_are_those_of_the_page(name):
    arms, sparsities, seeds = ARMS[name]
    configs = grid(name)
    assert [c.seed for c in configs] == sorted(c.seed for c in configs) and {c.seed for c in configs} == set(seeds)
    for seed in seeds:
        there = {c.arm for c in configs if c.seed == seed and c.ticket != "dense"}
        assert there == {f"{arm}@{s}" for arm in arms for s in sparsities}
    made = {c.name for c in configs}
    before = [parent(c) for c in configs if parent(c) and c.ticket != "imp"]
    assert {c.name for c in before} <= made and len({c.recipe for c in configs}) == 1
    assert {c.epochs for c in configs} == {50 if name == "fair100" else 20}


def test_no_seed_is_that_of_another_grid():
    fresh = [set(seeds) for name, (_, _, seeds) in ARMS.items() if name != "fair100"]
    assert len(set().union(*fresh)) == sum(map(len, fresh)) and min(map(min, fresh)) == 30


def test_what_differs_within_a_grid():
    assert {(c.lr, c.seed) for c in grid("rates")} == {(lr, seed) for lr in (0.03, 0.3) for seed in range(70, 75)}
    assert {c.engine for c in grid("imp")} == {c.engine for c in grid("fair100")} == {"dense"}
    assert {c.dataset for c in grid("fair100")} == {"cifar100"} and set(grids.MORE) < set(grids.ONE_KIND_A_SEED)


def test_another_order_of_the_parent_moves_the_parent_alone():
    usual, other = (grids.arm("laptop", f"lt{o}@0.9", 0, CIFAR) for o in ("", "+parent_order=order2"))
    assert usual.name == dataclasses.replace(usual, parent_order="").name != other.name
    assert (other.order, parent(other).order, parent(other).parent_order) == ("order", "order2", "")
    assert parent(other) == grids.arm("laptop", "dense+order=order2", 0, CIFAR)
    assert other.arm == "lt+parent_order=order2@0.9"
    assert parent(dataclasses.replace(usual, order="order3")).order == "order3"
    with pytest.raises(TicketError, match="parent_order 'order2' is not allowed with 'snip'"):
        grids.arm("laptop", "snip+parent_order=order2@0.9", 0, CIFAR)


def test_the_committed_table_is_the_mean_of_the_books_probes():
    book = probes.clean(probes.book())
    for sparsity in BOTH:
        cell = book[(book.network == "ResNet-20") & (book.method == "snip") & (book.sparsity == sparsity)]
        cell = cell[cell.seed < 10]
        given = given_counts(grids.arm("laptop", f"table+count_table={grids.MEAN_SNIP}@{sparsity}", 30, CIFAR))
        assert given == layerwise.mean_counts(list(cell.counts), cell.sizes.iloc[0])
        means = {name: np.mean([counts[name] for counts in cell.counts]) for name in given}
        assert max(abs(given[name] - mean) for name, mean in means.items()) < 1 and len(cell) == 10


def test_a_table_goes_with_its_network_its_sparsities_and_its_ticket():
    key = f"table+count_table={grids.MEAN_SNIP}"
    assert grids.arm("laptop", f"{key}@0.9", 30, CIFAR).arm == f"{key}@0.9"
    for profile, arm, said in (
        ("paper", f"{key}@0.9", "not of resnet32 at 0.9"), ("laptop", f"{key}@0.95", "not of resnet20 at 0.95"),
        ("laptop", "table@0.9", "count_table '' does not fit 'table'"), ("laptop", "table+count_table=abc@0.9", "abc"),
        ("laptop", f"smart+count_table={grids.MEAN_SNIP}@0.9", "does not fit 'smart'"),
    ):  # fmt: skip
        with pytest.raises(TicketError, match=said):
            grids.arm(profile, arm, 30, CIFAR)
    with pytest.raises(TicketError, match="count_table"):
        Config.from_dict(grids.arm("laptop", f"{key}@0.9", 30, CIFAR).as_dict() | {"count_table": "0" * 16})


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def one(key, digits, cache):
    return execute(grids.arm("smoke", key, 0, digits, epochs=1), digits, cache=cache, progress=False)


def test_a_run_keeps_the_counts_of_its_table(digits, tmp_path, monkeypatch):
    smart = one("smart@0.9", digits, tmp_path)
    counts = smart["keep_counts"] | {"conv.weight": 1, "fc.weight": smart["keep_counts"]["fc.weight"] - 1}
    counts["fc.weight"] += sum(smart["keep_counts"].values()) - sum(counts.values())
    table = {"network": "resnet8", "width": 8, "stem_stride": 1, "counts": {"0.9": counts}}
    monkeypatch.setattr(config, "count_tables", lambda: {"digest": table})
    row = one("table+count_table=digest@0.9", digits, tmp_path)
    assert row["keep_counts"] == counts and row["mask_digest"] != smart["mask_digest"]
    table["counts"]["0.9"] = counts | {"conv.weight": 2}
    with pytest.raises(TicketError, match="1947 weights; 1946 are needed"):
        one("table+count_table=digest@0.9", digits, tmp_path)


def test_lt_of_another_order_takes_the_mask_of_the_other_net(digits, tmp_path):
    usual, other = (one(f"lt{o}@0.9", digits, tmp_path) for o in ("", "+parent_order=order2"))
    assert usual["mask_digest"] != other["mask_digest"]
    trained = checkpoints.load(grids.arm("smoke", "dense+order=order2", 0, digits, epochs=1).name, folder=tmp_path)[0]
    name, classifier = "blocks.0.conv1.weight", "fc.weight"
    assert other["parent"] == grids.arm("smoke", "dense+order=order2", 0, digits, epochs=1).name
    kept = trained[name].abs().flatten().sort(descending=True).values[: other["keep_counts"][name]]
    rest = [trained[n].abs().flatten().sort(descending=True).values[c] for n, c in other["keep_counts"].items()
            if n != classifier and c < trained[n].numel()]  # fmt: skip
    assert kept.min() >= max(rest)  # one threshold over the convolutions of the other order's net


@pytest.mark.parametrize("check, stayed", [("random_signs", pytest.approx(0.5, abs=0.1)), ("fresh_magnitudes", 1)])
@pytest.mark.parametrize("ticket", ["lt", "lrr"])
def test_checks_of_signs_say_what_they_did(check, stayed, ticket, digits, tmp_path):
    found, changed = one(f"{ticket}@0.9", digits, tmp_path), one(f"{ticket}+{check}@0.9", digits, tmp_path)
    assert changed["mask_digest"] == found["mask_digest"] and changed["loss"] != found["loss"]
    assert changed["control"]["signs_kept"] == stayed and "signs_kept" not in found.get("control", {})
    assert changed["control"]["changed_share"] >= (0.4 if check == "random_signs" else 0.99)


def test_mean_counts_are_exact():
    sizes = {"a": 10, "b": 10, "c": 10}
    found = layerwise.mean_counts([{"c": 1, "a": 1, "b": 3}, {"a": 2, "b": 2, "c": 1}], sizes)
    assert found == {"a": 2, "b": 2, "c": 1} and list(found) == ["a", "b", "c"]  # 1.5, 2.5, 1: the tie by order
    assert isinstance(found["a"], int)
