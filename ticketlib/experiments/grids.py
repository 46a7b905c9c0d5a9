"""The book's grids of runs, in the order in which they are carried out: seed by seed, every arm of a seed together."""

import dataclasses
import functools
import re

from ticketlib import models, ratios
from ticketlib.corrupt import KINDS
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments.config import cost
from ticketlib.experiments.profiles import PROFILES, config
from ticketlib.tickets import CHECKS, REWIND_TO

PILOT_ARMS = ("dense", "lt@0.9", "lt+rearranged@0.9", "snip@0.9", "snip+rearranged@0.9", "smart@0.9", "uniform@0.9")
JUDGED = ("0.9", "0.98")  # sparsities of the grids beside the protocol's
PROBED, SPARSE_END = ("0.9", "0.95", "0.98"), ("0.99", "0.995", "0.999")  # sparsities of the probes
METHODS = ("snip", "grasp", "magnitude", "synflow")
PROBED_RULES = (
    "smart", "linear", "cubic", "ascending", "uniform", "uniform_plus", "er", "erk", "igq", "balanced", "pyramidal",
)  # fmt: skip
LEAGUE = tuple(rule for rule in PROBED_RULES if rule != "ascending")
OWN_SCORES = {"variant": "default", "scoring": "book"}  # for every profile; the runs of `paper` take the authors'
SHAPES = {"vgg16_equal": 0.5, "vgg16_reversed": 0.25}  # networks in which place and size part, with their widths
OPTION = re.compile(r"(linear|variant|order|parent_order|count_table)=(\w+(?:\.\d+)?)|(min_per_layer)=(\d+)")
MEAN_SNIP = "1f571d46ddaf683e"  # in config.count_tables: SNIP's keep-counts, mean over the probes of seeds 0 to 9


def arm(profile, key, seed, dataset, *, network="resnet", **changes):
    """Configuration of one arm, named as Config.arm names it; the sparsity of a dense net may be left out.

    Arguments: key, ticket[+check][+corruption][+option=value][@sparsity]; changes, further fields of Config.
    Raises: TicketError for a ticket or an option that is not known.
    """
    names, _, sparsity = key.partition("@")
    ticket, *options = names.split("+")
    for option in options:
        setting = OPTION.fullmatch(option)
        if setting:
            changes |= {setting[1]: setting[2]} if setting[1] else {setting[3]: int(setting[4])}
        else:
            named = [name for name in (*CHECKS, *KINDS) if name != "none"]
            one_of("option of an arm", option, [*named, "linear=...", "variant=...", "order=..."])
            changes["check" if option in CHECKS else "corruption"] = option
    return config(profile, ticket, sparsity or "0", seed, dataset=dataset, network=network, **changes)


def _seed_by_seed(profile, dataset, seeds, arms, **changes):
    return [arm(profile, key, seed, dataset, **changes) for seed in seeds for key in arms]


def pilot(profile, dataset):
    """The pilot: how much training do the claims need? Held-out training images, seeds of its own, recipe version 0."""
    plan = PROFILES[profile].pilot
    return [
        arm(profile, key, seed, dataset, epochs=epochs, held_out=plan["held_out"], recipe=0)
        for seed in plan["seeds"]
        for epochs in plan["epochs"]
        for key in PILOT_ARMS
    ]


def claim_arms():
    """The arms of version 1's claims at its two sparsities, each once, after the dense nets they start from."""
    pairs = [(m, f"{m}+{check}") for check in ("both", "rearranged") for m in ("snip", "grasp", "lt")]
    pairs += [(m, "smart") for m in ("snip", "grasp", "lt", "uniform")]
    pairs += [(f"lrr+{control}", "lrr") for control in ("half", "shuffled", "rearranged")] + [("lrr", "hybrid")]
    arms = [f"{name}@{s}" for pair in pairs for name in pair for s in ("0.9", "0.98")]
    return list(dict.fromkeys(["dense", "dense+both", "dense+half", *arms]))


def total_epochs(profile):
    """Epochs that went into a rewound ticket: the dense net's and three quarters of them again, a whole number."""
    return round(PROFILES[profile].training["epochs"] * (2 - float(REWIND_TO)))


def step1(profile, dataset):
    """What the verdicts read, and beside it ERK, OMP, magnitude at init, and random tickets at equal total training."""
    total = total_epochs(profile)
    beside, equal = ("erk@0.98", "omp@0.98", "magnitude@0.98"), ("smart@0.9", "smart@0.98", "uniform@0.98")
    return [
        run
        for seed in range(PROFILES[profile].seeds)
        for run in _seed_by_seed(profile, dataset, [seed], [*claim_arms(), *beside])
        + _seed_by_seed(profile, dataset, [seed], equal, epochs=total)
    ]


def step2(profile, dataset):
    """Further checks, ablations and options at 98 %."""
    arms = [f"{t}+{check}@0.98" for t in ("snip", "grasp", "lt") for check in ("shuffled", "reinitialised")]
    arms += ["linear@0.98", "cubic@0.98", "ascending@0.98", "ascending+min_per_layer=1@0.98"]
    for kind in ("labels", "pixels"):
        arms += [f"dense+{kind}", f"snip+{kind}@0.98", f"lt+{kind}@0.98"]
    arms += ["lt+linear=global@0.98", "grasp+variant=authors@0.98", "dense+order=order2"]
    return _seed_by_seed(profile, dataset, range(3), arms)


def step3(profile, dataset):
    """The sparse end: 99.5 %."""
    arms = [f"{t}{check}@0.995" for t in ("snip", "lt", "lrr") for check in ("", "+rearranged")]
    return _seed_by_seed(
        profile, dataset, range(3), [*arms, "smart@0.995", "uniform@0.995", "erk@0.995", "hybrid@0.995"]
    )


def step4(profile, dataset):
    """Another family of networks, a slim VGG, at 98 %."""
    arms = ["dense", "snip@0.98", "snip+rearranged@0.98", "snip+both@0.98", "lt@0.98", "lt+rearranged@0.98"]
    arms += ["smart@0.98", "uniform@0.98", "lrr@0.98", "hybrid@0.98"]
    return _seed_by_seed(profile, dataset, range(5), arms, network="vgg")


def step5(profile, dataset):
    """Twice the epochs, at 90 %."""
    arms = ("dense", "lt@0.9", "lt+rearranged@0.9", "smart@0.9")
    return _seed_by_seed(profile, dataset, range(3), arms, epochs=2 * PROFILES[profile].training["epochs"])


def step6(profile, dataset):
    """Other data, at 90 %: the checks, smart and hybrid tickets, then iterative pruning, which takes most of the time.

    In the dense engine, so that a GPU can make it. CIFAR-100's first file holds 20,000 images: with two and a half
    times the epochs a run makes as many updates as one on CIFAR-10.
    """
    arms = [f"{t}{check}@0.9" for t in ("snip", "grasp", "lt") for check in ("", "+both", "+rearranged")]
    arms = ["dense", "dense+both", *arms, "smart@0.9", "uniform@0.9", "lrr@0.9", "hybrid@0.9"]
    rounds = ["imp@0.9", "imp+rearranged@0.9", "imp+reinitialised@0.9"]
    own = other_recipe(profile)
    return [run for of in (arms, rounds) for run in _seed_by_seed(profile, dataset, range(3), of, **own)]


def step7(profile, dataset):
    """What reviewer 2 asked beside the claims: the hybrid between their sparsities, and noise for twice the epochs."""
    arms = [f"{ticket}@{sparsity}" for sparsity in ("0.95", "0.99") for ticket in ("lrr", "hybrid")]
    arms += ["hybrid@0.995", "lrr+min_per_layer=1@0.995"]
    longer = ["dense", "dense+both", "lt@0.9", "lt+both@0.9"]
    twice = dict(epochs=2 * PROFILES[profile].training["epochs"])
    return [
        *_seed_by_seed(profile, dataset, range(3), arms),
        *_seed_by_seed(profile, dataset, range(3), longer, **twice),
    ]


def v2(profile, dataset):
    """What version 2 of the protocol judges: fresh seeds, twice the epochs, three sparsities, every one on its own."""
    methods = [f"{t}{check}" for t in ("snip", "grasp") for check in ("", "+both", "+rearranged")]
    everywhere = [*methods, "lt", "lt+rearranged", "smart", "uniform"]
    trained = ["lrr", "lrr+rearranged", "lrr+shuffled", "lrr+linear=0.3", "hybrid"]
    arms = ["dense", *(f"{name}@{s}" for s in ("0.8", "0.9", "0.98") for name in everywhere)]
    arms += [f"{name}@{s}" for s in ("0.9", "0.98") for name in trained]
    twice = dict(epochs=2 * PROFILES[profile].training["epochs"])
    return _seed_by_seed(profile, dataset, range(10, 18), arms, **twice)


def league(profile, dataset):
    """Random places under the rules' keep-counts, and under those that SNIP and SynFlow find: which are best?"""
    arms = ["snip", "snip+rearranged", "synflow+rearranged", *LEAGUE]
    if PROFILES[profile].networks["resnet"] == PROFILES["laptop"].networks["resnet"]:  # that the table is of
        arms.append(f"table+count_table={MEAN_SNIP}")
    return _seed_by_seed(profile, dataset, range(30, 35), [f"{name}@{s}" for s in JUDGED for name in arms])


def order(profile, dataset):
    """LT's mask from a net trained in another data order than the ticket, beside the same order and no order."""
    arms = ["dense", "dense+order=order2"]
    arms += [f"lt{option}@{s}" for s in JUDGED for option in ("", "+rearranged", "+parent_order=order2")]
    return _seed_by_seed(profile, dataset, range(40, 48), arms)


def imp(profile, dataset):
    """Iterative pruning on the profile's own data at 90 %, as found, rearranged and re-initialised, beside others.

    In the dense engine, which all arms share, so that a GPU can make it.
    """
    arms = ["smart", "lt", "lrr", "hybrid", "imp", "imp+rearranged", "imp+reinitialised"]
    arms = ["dense", *(f"{name}@0.9" for name in arms)]
    return _seed_by_seed(profile, dataset, range(50, 56), arms, engine="dense")


def signs(profile, dataset):
    """What of a ticket is in its signs, and what in its absolute values?"""
    checks = ("", "+random_signs", "+fresh_magnitudes")
    arms = ["dense", *(f"{ticket}{check}@{s}" for s in JUDGED for ticket in ("lt", "lrr") for check in checks)]
    return _seed_by_seed(profile, dataset, range(60, 65), arms)


def rates(profile, dataset):
    """Claim C at a third and at three times the learning rate."""
    arms = ["dense", *(f"{ticket}@{s}" for s in JUDGED for ticket in ("smart", "snip", "lt"))]
    return [arm(profile, key, seed, dataset, lr=lr) for seed in range(70, 75) for lr in (0.03, 0.3) for key in arms]


def fair(profile, dataset):
    """The hybrid and LRR with equal guards, equal classifiers, and from fresh weights, at 98 %."""
    arms = ["lrr", "lrr+linear=0.3", "lrr+min_per_layer=1", "lrr+reinitialised", "hybrid"]
    return _seed_by_seed(profile, dataset, range(80, 85), ["dense", *(f"{name}@0.98" for name in arms)])


def fair100(profile, dataset):
    """The hybrid and LRR with equal classifiers on other data, at 90 %."""
    arms = ["dense", "lrr@0.9", "lrr+linear=0.3@0.9", "hybrid@0.9"]
    return _seed_by_seed(profile, dataset, range(80, 85), arms, **other_recipe(profile))


def other_recipe(profile):
    """Fields of Config in which the runs on other data differ from a profile, but for the data: dict."""
    return dict(engine="dense", epochs=PROFILES[profile].training["epochs"] * 5 // 2)


def probes(profile, dataset, seeds=10):
    """Masks of every method that looks at data or weights, on both networks: clean, and found on corrupted data.

    They use the book's own scores in every profile.
    """
    methods = ("snip", "snip+both", "grasp", "grasp+both", "magnitude", "synflow")
    return [
        arm(profile, f"{method}@{sparsity}", seed, dataset, network=network, **OWN_SCORES)
        for seed in range(seeds)
        for network in PROFILES[profile].networks
        for method in methods
        for sparsity in PROBED
    ]


def sparse_probes(profile, dataset, seeds=10):
    """The sparse end without training: clean masks of every method, and random ones of every rule, to 99.9 %.

    A cell in which a rule is not defined has no probe.
    """
    keys = [f"{method}@{sparsity}" for method in METHODS for sparsity in SPARSE_END]
    return [
        arm(profile, key, seed, dataset, network=network, **OWN_SCORES)
        for seed in range(seeds)
        for network in PROFILES[profile].networks
        for key in [*keys, *_defined(profile, network)]
    ]


def _defined(profile, network):
    """Arms of the rules that can be met on a network of a profile, at all sparsities of the probes."""
    for rule in PROBED_RULES:
        for sparsity in (*PROBED, *SPARSE_END):
            if not why_not(profile, network, rule, sparsity):
                yield f"{rule}@{sparsity}"


def why_not(profile, network, rule, sparsity):
    """Why a rule cannot be met on a network of a profile, in words; "" where it can. Arguments: network, short name."""
    table, family = _layers_and_family(profile, network)
    return ratios.why_not(table, rule, sparsity, family=family)


def layers(profile, network):
    """The prunable layers of a network of a profile, for ten classes: list of ratios.Layer."""
    return _layers_and_family(profile, network)[0]


@functools.cache
def _layers_and_family(profile, network):
    """Layers of a network of a profile, and its family, which its short name need not be."""
    name, width, stem_stride = PROFILES[profile].networks[network]
    model = models.build(name, 10, width=width, stem_stride=stem_stride)
    return ratios.layers(model), models.family(model)


def shape_probes(profile, dataset, seeds=10, shapes=SHAPES):
    """Clean masks on networks in which a layer's place and its size part: layers of one size, and shrinking ones.

    Arguments: shapes, their widths; those of SHAPES are as large as a probe needs, digits take smaller ones.
    """
    return [
        dataclasses.replace(
            arm(profile, f"{method}@{sparsity}", seed, dataset, network="vgg", **OWN_SCORES),
            network=network,
            width=width,
        )
        for seed in range(seeds)
        for network, width in shapes.items()
        for method in METHODS
        for sparsity in PROBED
    ]


PROBES = {"masks": probes, "sparse": sparse_probes, "shapes": shape_probes}  # what the command `probe` can make


def engines(profile, dataset):
    """Do the engines learn the same? One ticket in three arithmetics, scored as the pilot is, recipe version 0."""
    plan, kinds = PROFILES[profile].pilot, (("sparse", "bf16"), ("dense", "bf16"), ("dense", "float32"))
    fields = dict(epochs=plan["epochs"][0], held_out=plan["held_out"], recipe=0)
    return [
        arm(profile, "smart@0.98", seed, dataset, engine=engine, precision=precision, **fields)
        for seed in range(plan["seeds"][0], plan["seeds"][0] + 5)
        for engine, precision in kinds
    ]


GRIDS = {
    "pilot": pilot, "engines": engines, "step1": step1, "step2": step2, "step3": step3, "step4": step4, "step5": step5,
    "step6": step6, "step7": step7, "v2": v2, "league": league, "order": order, "imp": imp, "signs": signs,
    "rates": rates, "fair": fair, "fair100": fair100,
}  # fmt: skip
MORE = ("league", "order", "imp", "signs", "rates", "fair", "fair100")  # fixed by book/more.md before their first run
ONE_KIND_A_SEED = ("v2", *MORE)  # grids of which a seed's runs are all made on one kind of machine
OTHER_DATA = {("step6", "laptop"): "cifar100", ("fair100", "laptop"): "cifar100"}  # (grid, profile) -> not its own data
TITLES = {  # what pages call them
    "pilot": "the pilot", "engines": "engine comparison", "step1": "the claims", "step2": "more checks",
    "step3": "extreme sparsity", "step4": "second network", "step5": "twice the length",
    "step6": "other data", "step7": "what reviewer 2 asked",
    "v2": "version 2", "league": "a league of rules", "order": "another data order", "imp": "iterative pruning",
    "signs": "signs and magnitudes", "rates": "learning rates", "fair": "equal classifiers",
    "fair100": "equal classifiers, other data",
}  # fmt: skip


def titled(name):
    """What pages call a grid, and its name on the command line, as Markdown; what is no grid stays as it is."""
    return f"{TITLES[name]} (`{name}`)" if name in TITLES else name


def grid(name, profile, dataset):
    """All configurations of a named grid, in order. Raises: TicketError for a name that is not known."""
    return GRIDS[one_of("grid", name, GRIDS)](profile, dataset)


def data_of(name, profile):
    """Name of the data set that a grid looks at. Raises: TicketError for a grid that is not known."""
    return OTHER_DATA.get((one_of("grid", name, GRIDS), profile), PROFILES[profile].dataset)


def units(configs, profile):
    """Cost of runs in units of one full run of the profile; a rewound run costs three quarters of one.

    Returns: float.
    Raises: TicketError if there is no run.
    """
    if not configs:
        raise TicketError("an empty grid has no cost; it needs at least one run.")
    return sum(map(cost, configs)) / PROFILES[profile].training["epochs"]
