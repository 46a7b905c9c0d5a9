"""Configurations: frozen names, parents, streams, and bad input."""

import dataclasses
import hashlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import CIFAR, make

from ticketlib import data
from ticketlib.errors import TicketError
from ticketlib.experiments import grids, profiles
from ticketlib.experiments.config import Config, cost_alone, parent, streams
from ticketlib.experiments.profiles import config


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_names_are_frozen():
    """A change here orphans every row of the ledger."""
    assert make().name == "ee6269e43ddd264f"
    assert make("dense", "0").name == "aceb594df388c9fc"
    assert make(check="rearranged").name == "5a3d2c3df508c04e"
    assert make("lt", "0.98", 3, corruption="both").name == "23ceb139b35a5a68"


def test_a_default_stays_out_of_the_name_and_every_other_value_is_in_it():
    assert make(check="none", linear="own", held_out=0).name == make().name
    others = [make(seed=1), make(sparsity="0.98"), make(lr=0.05), make(drops=("0.5",)), make(held_out=10)]
    assert len({c.name for c in [make(), *others]}) == 6


def test_round_trip_through_json():
    for c in (make(), make("dense", "0"), make(check="rearranged", width=None)):
        assert Config.from_dict(c.as_dict()) == c


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(ticket="snipp"), "snipp"),
        (dict(sparsity="1"), "'1'"),
        (dict(sparsity="-0.1"), "'-0.1'"),
        (dict(sparsity="0.90"), "shortest form"),
        (dict(sparsity="abc"), "'abc'"),
        (dict(sparsity="nan"), "'nan'"),
        (dict(sparsity="0"), "only dense"),
        (dict(ticket="dense"), "only dense"),
        (dict(check="rearange"), "rearange"),
        (dict(corruption="label"), "label"),
        (dict(engine="fast"), "fast"),
        (dict(precision="fp8"), "fp8"),
        (dict(dataset="mnist"), "mnist"),
        (dict(seed=-1), "-1"),
        (dict(seed=True), "True"),
        (dict(epochs=0), "0"),
        (dict(batch=0), "batch 0"),
        (dict(eval_every=0), "eval_every 0"),
        (dict(per_class=0), "per_class 0"),
        (dict(lr=float("inf")), "lr inf"),
        (dict(momentum=-0.1), "momentum -0.1"),
        (dict(linear="1.5"), "'1.5'"),
        (dict(epochs="20"), "'20'"),
        (dict(drops=("0.5", "1.5")), "1.5"),
        (dict(drops=["0.5"]), "['0.5']"),
    ],
)
def test_bad_values_are_named(changes, said):
    with pytest.raises(TicketError) as error:
        make(**changes)
    assert said in str(error.value)


@pytest.mark.parametrize("changes", [
    dict(epochs=1, batch=1, per_class=1), dict(recipe=0, padding=0, lr=0.0, momentum=0.0, weight_decay=0.0),
    dict(linear="0.3", sparsity="0.999"),
])  # fmt: skip
def test_values_at_their_ends_are_allowed(changes):
    assert Config.from_dict(make(**changes).as_dict()) == make(**changes)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # machines are shared
@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Config)]), st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=5), st.booleans(), st.lists(st.text(max_size=3)))))
def test_any_value_gives_a_config_or_one_sentence(changes):
    try:
        c = Config.from_dict({**make().as_dict(), **changes})
    except TicketError:
        return
    assert Config.from_dict(c.as_dict()) == c


def test_unknown_and_missing_fields():
    with pytest.raises(TicketError, match="colour"):
        Config.from_dict({**make().as_dict(), "colour": 1})
    with pytest.raises(TicketError, match="batch"):
        Config.from_dict({k: v for k, v in make().as_dict().items() if k != "batch"})


def test_parents():
    assert parent(make("snip")) is None
    assert parent(make("dense", "0")) is None
    lt, lrr, shuffled = make("lt"), make("lrr", "0.98"), make("lrr", check="shuffled", linear="global", engine="sparse")
    assert parent(lt) == parent(lrr) == parent(shuffled) == make("dense", "0")  # one dense net serves them all
    assert parent(make("lt", corruption="both")) == make("dense", "0", corruption="both")
    assert parent(make("imp", "0.36")) == make("imp", "0.2")
    assert parent(make("imp", "0.2")) == make("dense", "0")
    assert parent(make("imp", "0.3", check="rearranged")) == make("imp", "0.2")
    assert parent(make("lt", min_per_layer=1)) == parent(make("hybrid", min_per_layer=2)) == make("dense", "0")
    assert parent(make("lt", order="order2")) == make("dense", "0", order="order2")


def test_iterative_tickets_are_not_found_on_spoilt_data():
    with pytest.raises(TicketError, match="corruption 'both' is not allowed with 'imp'"):
        make("imp", "0.36", corruption="both")


@pytest.mark.parametrize(("ticket", "corruption"), [
    ("snip", "half"), ("grasp", "half"), ("magnitude", "labels"), ("smart", "both"), ("synflow", "pixels"),
])  # fmt: skip
def test_a_corruption_that_cannot_act_on_the_ticket_is_refused(ticket, corruption):
    with pytest.raises(TicketError, match=f"corruption '{corruption}' is not allowed with '{ticket}'"):
        make(ticket, corruption=corruption)
    for fine in ("snip", "grasp", "lt", "omp", "hybrid", "own-0123456789abcdef"):
        assert make(fine, corruption="both").corruption == "both"
    assert make("dense", "0", corruption="half").corruption == make("lrr", corruption="half").corruption == "half"


def test_streams_depend_on_seed_and_name_alone():
    draw = lambda c, name: torch.randint(1 << 30, (4,), generator=streams(c)(name)).tolist()  # noqa: E731
    assert draw(make(), "init") == draw(make("lt", check="rearranged"), "init")  # arms of a seed are paired
    assert draw(make(), "init") != draw(make(), "order")
    assert draw(make(), "init") != draw(make(seed=1), "init")
    assert streams(make())("init").initial_seed() == int(hashlib.sha256(b"0/init").hexdigest()[:14], 16)


def test_profiles_give_configurations(digits):
    c = config("smoke", "smart", 0.90, 0, dataset=digits)
    assert (c.network, c.sparsity, c.engine) == ("resnet8", "0.9", "dense")
    assert config("smoke", "smart", "0.9", 0, dataset=digits, network="vgg").network == "vgg11"
    with pytest.raises(TicketError, match="lapptop"):
        config("lapptop", "smart", "0.9", 0, dataset=digits)
    with pytest.raises(TicketError, match="sparsity '-1'"):
        config("smoke", "smart", "-1", 0, dataset=digits)


def test_shortest():
    assert [profiles.shortest(s) for s in (0.9, "0.90", "0.995", ".5", 0)] == ["0.9", "0.9", "0.995", "0.5", "0"]


def test_the_recipe_of_the_profile_paper_is_that_of_the_papers_code():
    assert profiles.PROFILES["paper"].training == dict(
        epochs=160, batch=64, lr=0.1, momentum=0.9, weight_decay=1e-4, drops=("0.5", "0.75"), padding=4, flip=True,
        eval_every=1, precision="float32", engine="dense", recipe=1,
    )  # fmt: skip
    tiny = profiles.Images("tiny_imagenet")
    assert [profiles.config(p, "smart", "0.9", 0, dataset=tiny).epochs for p in ("paper", "laptop")] == [300, 20]


@pytest.mark.parametrize(("ticket", "epochs"), [
    ("dense", 20), ("smart@0.9", 20), ("lt@0.9", 40), ("lrr@0.9", 35), ("hybrid@0.9", 35), ("omp@0.9", 35),
])  # fmt: skip
def test_epochs_in_all_count_the_dense_net(ticket, epochs):
    assert cost_alone(grids.arm("laptop", ticket, 0, CIFAR)) == epochs
