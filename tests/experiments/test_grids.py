"""The grids: their size is frozen, and every arm that a verdict reads is in them."""

import hashlib

import pytest
from synthetic import CIFAR

from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.experiments.profiles import PROFILES, Images

FROZEN = {  # grid: how many runs, their cost in units of a full one, a hash of their names in order
    "pilot": (63, 36.75, "bdde251db2495a6f"), "engines": (15, 3.75, "7630aeca0623cebf"),
    "step1": (410, 405, "2e9aff40fcbfb7b0"), "step2": (57, 57, "a42d48d5cd8176e8"),
    "step3": (30, 27.75, "494ff1efc8b0e9c6"), "step4": (50, 47.5, "a7df0e58104ec560"),
    "step5": (12, 24, "09c971f5c53c6aff"), "step6": (54, 131.25, "f8a1f1589682549f"),
    "step7": (30, 37.5, "4ad3dd37d1ce526e"), "v2": (328, 616, "8e62ad82265878c5"),
    "league": (140, 140, "68be3d2b99b412e0"), "order": (64, 64, "852fd6a6ac94d53e"),
    "imp": (48, 45, "7fa3b4d03c0f0fcf"), "signs": (65, 57.5, "83b8aa3141b66032"),
    "rates": (70, 70, "0c21c018d3539f34"), "fair": (30, 23.75, "cae937d7f3dc3431"),
    "fair100": (20, 40.625, "1e34c91ef00aaac0"),
}  # fmt: skip
PROBES = {
    "masks": (360, "a479aff4c6d3848b"), "sparse": (1550, "86190c346c95cda9"), "shapes": (240, "7d7d6920158c8505"),
}  # fmt: skip


def hash_of(configs):
    assert len({c.name for c in configs}) == len(configs)  # none stands twice
    return hashlib.sha256(" ".join(c.name for c in configs).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", grids.GRIDS)
def test_grids_are_frozen_to_the_name_of_each_run(name):
    configs = grids.grid(name, "laptop", Images(grids.data_of(name, "laptop"), CIFAR.fingerprint))
    assert (len(configs), grids.units(configs, "laptop"), hash_of(configs)) == FROZEN[name]


@pytest.mark.parametrize("name", grids.PROBES)
def test_probes_are_frozen_to_the_name_of_each(name):
    configs = grids.PROBES[name]("laptop", CIFAR)
    assert (len(configs), hash_of(configs)) == PROBES[name]


def test_step_one_is_one_seed_after_the_other_and_has_every_arm_of_the_claims():
    configs = grids.grid("step1", "laptop", CIFAR)
    assert [c.seed for c in configs] == sorted(c.seed for c in configs)
    for seed in range(PROFILES["laptop"].seeds):
        there = {c.arm for c in configs if c.seed == seed and c.epochs == PROFILES["laptop"].training["epochs"]}
        assert there >= {arm if "@" in arm else f"{arm}@0" for arm in grids.claim_arms()}


def test_other_data_make_as_many_updates_in_the_dense_engine():
    configs = grids.grid("step6", "laptop", Images("cifar100"))
    usual = PROFILES["laptop"].training["epochs"]
    assert {(c.engine, c.epochs, c.sparsity, c.dataset) for c in configs if c.ticket != "dense"} == {
        ("dense", 50, "0.9", "cifar100")
    }
    assert usual * 50_000 == 50 * 20_000 and {c.seed for c in configs} == {0, 1, 2}
    assert [grids.data_of(name, "laptop") for name in ("step1", "step6")] == ["cifar10", "cifar100"]
    assert grids.data_of("step6", "smoke") == "digits"
    with pytest.raises(TicketError, match="step9"):
        grids.data_of("step9", "laptop")


def test_the_pilot_shares_nothing_with_the_runs_that_count():
    before = ("pilot", "engines")
    tuning = [c for name in before for c in grids.grid(name, "laptop", CIFAR)]
    assert {(c.recipe, c.held_out) for c in tuning} == {(0, 5000)} and min(c.seed for c in tuning) == 1000
    counting = [c for name in grids.GRIDS if name not in before for c in grids.grid(name, "laptop", CIFAR)]
    assert {c.held_out for c in counting} == {0} and 0 not in {c.recipe for c in counting}


NAMED = ("dense@0", "snip+both@0.9", "lt+linear=global@0.98", "lt+linear=0.5@0.98", "grasp+variant=authors@0.98",
         "ascending+min_per_layer=1@0.98", "dense+order=order2@0")  # fmt: skip
UNKNOWN = ("snip+rearange@0.9", "snop@0.9", "snip+width=3@0.9", "snip+variant=mine@0.9", "snip@9")


@pytest.mark.parametrize("key", NAMED)
def test_an_arm_is_named_as_its_configuration_names_it(key):
    assert grids.arm("laptop", key, 0, CIFAR).arm == key


@pytest.mark.parametrize("key", UNKNOWN)
def test_arms_that_are_not_known(key):
    with pytest.raises(TicketError):
        grids.arm("laptop", key, 0, CIFAR)


@pytest.mark.parametrize(("profile", "frozen"), [
    ("smoke", "0d398a3687282fd4"), ("laptop", "e6120d043c153cf0"), ("paper", "ed19088798292374"),
])  # fmt: skip
def test_every_profile_has_every_grid_and_is_frozen_to_the_name_of_each_run(profile, frozen):
    seen = {name: Images(grids.data_of(name, profile), CIFAR.fingerprint) for name in grids.GRIDS}
    made = {name: grids.grid(name, profile, images) for name, images in seen.items()}
    assert all(made.values()) and hash_of(dict.fromkeys(sum(made.values(), []))) == frozen


def test_a_grid_that_is_not_known():
    with pytest.raises(TicketError, match="step9"):
        grids.grid("step9", "laptop", CIFAR)


def test_probes_of_the_sparse_end_leave_out_what_is_not_defined():
    configs = grids.sparse_probes("paper", CIFAR, 1)
    assert len({c.name for c in configs}) == len(configs) and {c.seed for c in configs} == {0}
    there = {(c.network, c.arm) for c in configs}
    assert ("vgg19", "smart@0.999") in there and ("resnet32", "synflow@0.995") in there
    assert ("resnet32", "snip@0.9") not in there  # the other probes have it
    assert {c.variant for c in configs} == {"default"} and len(grids.sparse_probes("paper", CIFAR)) == 10 * len(configs)


def test_probes_of_other_shapes():
    configs = grids.shape_probes("paper", CIFAR, 2)
    shapes = {("vgg16_equal", 0.5, 1), ("vgg16_reversed", 0.25, 1)}
    assert {(c.network, c.width, c.stem_stride) for c in configs} == shapes
    assert len({c.name for c in configs}) == 2 * 2 * 4 * 3


def test_what_others_start_from_or_are_compared_with_comes_first():
    assert grids.claim_arms()[:7] == [
        "dense", "dense+both", "dense+half", "snip@0.9", "snip@0.98", "snip+both@0.9", "snip+both@0.98",
    ]  # fmt: skip


def test_layers_are_those_of_the_profiles_network():
    assert sum(layer.size for layer in grids.layers("laptop", "resnet")) == 270_896
