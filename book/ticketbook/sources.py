"""The sources of the published accuracies, with what to keep in mind of each."""

from typing import NamedTuple


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
