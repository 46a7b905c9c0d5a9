"""Probe rows of masks at ImageNet's scale, for the book's page on it: those that are missing, one at a time.

    python benchmarks/imagenet.py [NETWORK ...] [--only METHOD ...] [--ledger FOLDER]

It needs no images, about 6 GiB of memory and, on one thread, most of an hour. Stopped, it goes on where it was.
"""

import argparse

import torch
from timing import busy_share

from ticketlib.errors import TicketError
from ticketlib.experiments import machine, probe
from ticketlib.experiments.ledger import Ledger, name_of
from ticketlib.experiments.places import book_ledger


def main():
    """Measure what is missing, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(probe.IMAGENET_NETWORKS))
    methods = dict(choices=probe.IMAGENET_METHODS, default=probe.IMAGENET_METHODS)
    parser.add_argument("--only", nargs="*", **methods, help="the methods to look at")
    parser.add_argument("--ledger", default=book_ledger("paper"), help="folder of rows (default: the book's own)")
    options = parser.parse_args()
    if not machine.is_commit():
        raise TicketError(f"code version {machine.code_version()} is not a commit's; commit first.")
    torch.set_num_threads(1)
    for network in options.networks:
        measure_missing(network, options.only, Ledger(options.ledger))


def measure_missing(network, methods, ledger):
    """Find the masks of a network that a ledger does not have, and add their rows."""
    names, keys = set(ledger.names()), probe.imagenet_wanted(network, methods)
    missing = [key for key in keys if name_of(probe.imagenet_configuration(*key)) not in names]
    model = probe.imagenet_network(network) if missing else None
    for key in missing:
        busy = busy_share(0.5)
        row = probe.measure_imagenet(network, model, *key[1:])
        ledger.add(row | ({} if busy is None else {"busy": round(busy, 2)}))
        print(*key, row["mask_seconds"], flush=True)


if __name__ == "__main__":
    main()
