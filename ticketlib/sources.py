"""How prose writes numbers and names, and the sources of the published accuracies with what to keep in mind."""

from typing import NamedTuple

NETWORKS = {"vgg11": "VGG-11", "vgg16": "VGG-16", "vgg19": "VGG-19", "resnet8": "ResNet-8",
            "resnet18": "ResNet-18", "resnet20": "ResNet-20", "resnet32": "ResNet-32", "resnet50": "ResNet-50",
            "resnet56": "ResNet-56"}  # fmt: skip
OURS = NETWORKS | {"vgg16": "slim VGG-16"}  # a quarter of the channels; that of others is in full
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "tiny-imagenet": "Tiny-ImageNet", "imagenet": "ImageNet"}



def title(name):
    """What prose calls a network of ours or a data set; a name that is not known stays as it is."""
    return OURS.get(name) or DATASETS.get(name, name)


def signed(value, digits=2, sign="+"):
    """A difference with its sign, "+0.12" or "−0.68", and "0.00" for what rounds to nothing."""
    text = f"{value:{sign}.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def decimal(value, digits=2):
    """A number that may be negative, without a plus."""
    return signed(value, digits, sign="-")


def span(values, digits=2, write=decimal):
    """The smallest and the largest of some numbers, "1.2 to 3.4"; one number where both are written alike."""
    values = list(values)
    return " to ".join(dict.fromkeys(write(value, digits) for value in (min(values), max(values))))


def points(value):
    """A number of points of accuracy with its unit."""
    return f"{value:g} point{'s' * (value != 1)}"


class Source(NamedTuple):
    """Where a block of rows comes from."""

    label: str
    epoch: str  # which epoch's test accuracy it gives
    caveat: str


STUDENTS = "EPFL reproduction"
SOURCES = {
    "su2020": Source(
        "the paper",
        "not known",
        "the reproduction's value minus the bracket printed beside it; that the bracket is reproduction minus paper is "
        "inferred",
    ),
    "epfl_random": Source(
        f"{STUDENTS}, random tickets",
        "not known",
        "no training log; weight decay, batch and the constants of the smart ratio differ from the paper's code",
    ),
    "epfl_snip": Source(
        f"{STUDENTS}, SNIP",
        "last",
        "scores come from one batch of 64, on a copy of the network drawn again; pixels are shuffled less than in the "
        "paper's code; VGG-19 at 0.98 is near collapse; one log is damaged half-way",
    ),
    "epfl_grasp": Source(
        f"{STUDENTS}, GraSP",
        "last",
        "read from printed notebook output; pixels are shuffled less than in the paper's code",
    ),
    "epfl_partial": Source(
        f"{STUDENTS}, LRR and hybrid",
        "last",
        "magnitudes are ranked over convolutions and classifier together; retraining takes 160 epochs",
    ),
    "grasp2020": Source(
        "Wang et al. 2020",
        "not known",
        "quoted by a third party, who may have mixed in cells of another paper's table",
    ),
    "granet2021": Source(
        "Liu et al. 2021", "not known", "quoted by a third party; CIFAR-10 trains on 45,000 images"
    ),
    "lottery_jackpots": Source(
        "Zhang et al. 2023", "not known", "searches a mask on a trained network whose weights stay as they are"
    ),
    "synflow2020": Source(
        "Tanaka et al. 2020",
        "best on test, which was seen for one of six sets and is assumed for the others",
        "*uniform random* draws random scores over the whole network; it is not the smart ratio",
    ),
    "renda2020": Source(
        "Renda et al. 2020",
        "best of ten retraining lengths, chosen on test",
        "medians, so slightly optimistic; some test images were held out; the two sides of a difference may have been "
        "trained for different lengths",
    ),
    "comp6258": Source(
        "COMP6258 student re-run",
        "not known",
        "80 epochs; most GraSP and magnitude cells have no stored output to check against",
    ),
}
LEFT_OUT = {  # source -> why some of its rows must not be printed, for readers; the file's notes say it to its editors
    "grasp2020": "quoted at second hand; the origin could not be found",
    "comp6258": "its code takes the number as the share to *keep*, so the labels are wrong",
}
