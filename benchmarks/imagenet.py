"""Masks at ImageNet's scale, for the book's page on it: those that are not stored yet are found, one at a time.

    python benchmarks/imagenet.py [NETWORK ...] [--without METHOD ...]

It needs no images, about 6 GiB of memory and, on one thread, most of an hour. Stopped, it goes on where it was.
"""

import argparse
import json

import torch
from timing import busy_share

from ticketlib import imagenet, machine


def main():
    """Measure what is missing, cell by cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(imagenet.NETWORKS))
    parser.add_argument("--without", nargs="*", default=[], help="methods to leave for another time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for network in options.networks:
        missing = [key for key in wanted(network, options.without) if key not in imagenet.load()["cells"]]
        model = imagenet.build(network) if missing else None
        for key in missing:
            busy = busy_share(0.5)
            cell = imagenet.measure(network, model, *key[1:]) | ({} if busy is None else {"busy": round(busy, 2)})
            keep(cell)
            print(*key, cell.get("seconds", cell.get("reason")), flush=True)


def wanted(network, without):
    """The cells of a network, fast methods first."""
    methods = [m for m in reversed(imagenet.METHODS) if m not in without]
    return [(network, method, sparsity) for method in methods for sparsity in imagenet.SPARSITIES]


def keep(cell):
    """Store a cell beside those that are there."""
    cells = imagenet.load()["cells"] | {imagenet.key(cell): cell}
    lines = ",\n".join(json.dumps(cells[key], sort_keys=True) for key in sorted(cells))
    text = f'{{"machine": {json.dumps(machine.facts("cpu"), sort_keys=True)}, "cells": [\n{lines}\n]}}\n'
    imagenet.STORED.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
