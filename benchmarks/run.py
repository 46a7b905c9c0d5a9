"""All benchmarks in one run: prints one table and keeps it in book/benchmarks.json, which the book and README read.

Run on an idle machine, by `make bench`, or `python benchmarks/run.py dense sparse` for some of the groups.
TICKETLIB_BENCHMARKS in the environment names another file, to write here and to read in the page.
"""

import datetime
import importlib
import json
import sys
import time

from ticketbook import speed
from timing import busy_share

from ticketlib.errors import one_of
from ticketlib.experiments import machine

WIDTHS = (62, 18, 30, 7, 42, 8)


def main(groups):
    """Measure the named groups; the others keep the figures they have."""
    for group in groups:
        one_of("benchmark group", group, speed.GROUPS)
    print(line(speed.TITLES))
    for group in groups:
        began = time.perf_counter()
        busy = [busy_share()]
        figures = []
        for figure in importlib.import_module(group).measure():
            figures.append(figure.row())
            print(line(speed.cells(figures[-1])), flush=True)
        busy = [share for share in (*busy, busy_share()) if share is not None]  # before and after
        facts = {"date": datetime.date.today().isoformat(), "busy": max(busy, default=None)}
        keep(group, facts | {"machine": machine.facts("cpu"), "figures": figures})
        print(f"{group}: {time.perf_counter() - began:.0f} s", flush=True)


def keep(group, found):
    """Store what a group measured, as soon as it is complete."""
    kept = speed.load() | {group: found}
    speed.RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def line(cells):
    """One line of the printed table."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


if __name__ == "__main__":
    main(sys.argv[1:] or speed.GROUPS)
