"""The profiles, which scale every run: data, networks, recipe; and a run's configuration made from one."""

from dataclasses import dataclass
from typing import NamedTuple

from ticketlib.errors import one_of
from ticketlib.experiments.config import RECIPE, Config, composition_of, shortest


@dataclass(frozen=True)
class Profile:
    """A named set of values that scales every page: data, networks, and training recipe."""

    dataset: str
    networks: dict  # short name -> (models.build name, width, stem_stride)
    seeds: int  # how many a page uses unless told otherwise
    training: dict  # fields of Config
    pilot: dict  # of the pilot: epochs, seeds, images held out


PROFILES = {
    "smoke": Profile(
        "digits",
        {"resnet": ("resnet8", 8, 1), "vgg": ("vgg11", 0.125, 1)},
        2,
        dict(epochs=6, batch=64, lr=0.1, momentum=0.9, weight_decay=5e-4, drops=("0.5", "0.75"), padding=1, flip=False,
             eval_every=1, precision="float32", engine="dense", recipe=RECIPE),
        dict(epochs=(2, 6), seeds=(1000, 1001), held_out=200),
    ),
    "laptop": Profile(
        "cifar10",
        {"resnet": ("resnet20", 16, 2), "vgg": ("vgg16", 0.25, 1)},
        10,
        dict(epochs=20, batch=128, lr=0.1, momentum=0.9, weight_decay=5e-4, drops=("0.5", "0.75"), padding=4, flip=True,
             eval_every=2, precision="bf16", engine="sparse", recipe=RECIPE),
        dict(epochs=(5, 10, 20), seeds=(1000, 1001, 1002), held_out=5000),
    ),
    "paper": Profile(
        "cifar10",
        {"resnet": ("resnet32", 32, 1), "vgg": ("vgg19", 1, 1)},
        5,
        dict(epochs=160, batch=64, lr=0.1, momentum=0.9, weight_decay=1e-4, drops=("0.5", "0.75"), padding=4, flip=True,
             eval_every=1, precision="float32", engine="dense", recipe=RECIPE),
        dict(epochs=(40, 80, 160), seeds=(1000, 1001, 1002), held_out=5000),
    ),
}  # fmt: skip


def fields(profile, network="resnet", but=()):
    """What a profile fixes of its runs: dict from field of Config to value.

    Arguments: profile, a name of PROFILES; network, short name in it; but, fields of its training to leave out.
    """
    chosen = PROFILES[profile]
    name, width, stem_stride = chosen.networks[network]
    place = dict(dataset=chosen.dataset, network=name, width=width, stem_stride=stem_stride)
    return place | {what: value for what, value in chosen.training.items() if what not in but}


class Images(NamedTuple):
    """A data set by its name and fingerprint, where a configuration is wanted and no image is looked at."""

    name: str
    fingerprint: str = "0" * 16  # of none in particular


KNOWN = {  # the images of the book's rows, and how many an epoch has; CIFAR-100's are those of its first file
    "cifar10": (Images("cifar10", "d43cb635810985f2"), 50_000),
    "cifar100": (Images("cifar100", "ef30da3cc644e1aa"), 20_000),
}
NO_IMAGES = Images("cifar10")  # how large a grid is does not depend on the images


def config(profile, ticket, sparsity, seed, *, dataset, network="resnet", **changes):
    """A run's configuration from a profile.

    Arguments:
        profile: a name of PROFILES. ticket: a name of tickets.TICKETS. sparsity: fraction removed, decimal text.
        seed: int, at least 0. dataset: data.Dataset, or Images. network: short name in the profile.
        changes: fields of Config that differ from the profile's.
    Returns: Config. A dense net trains in the dense engine, unless `changes` says otherwise.
    """
    one_of("network", network, PROFILES[one_of("profile", profile, PROFILES)].networks)
    values = fields(profile, network)
    if dataset.name == "tiny_imagenet" and profile == "paper":
        values["epochs"] = 300
    if ticket == "dense":
        values["engine"] = "dense"
    if profile == "paper" and composition_of(ticket).needs_batch:
        values |= {"variant": "authors", "scoring": "authors"}
    values |= dict(ticket=ticket, sparsity=shortest(sparsity), seed=seed)
    values |= dict(dataset=dataset.name, fingerprint=dataset.fingerprint)
    return Config(**(values | changes))
