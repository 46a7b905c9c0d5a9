"""All benchmarks in one run: prints each figure and adds it to book/benchmarks.json, which the book and README read.

Run on an idle machine, by `make bench`, or `python benchmarks/run.py dense sparse` for some of the groups. What a group
measured becomes one more set of figures, with the processor's name; no set is replaced. Pages show the newest set of
each processor. TICKETLIB_BENCHMARKS in the environment names another file, to write here and to read in the page.
"""

import datetime
import importlib
import json
import sys
import time

from ticketbook import speed
from timing import busy_share, processor

from ticketlib.errors import one_of
from ticketlib.experiments import machine


def main(groups):
    """Measure the named groups, and add a set of figures for each."""
    for group in groups:
        one_of("benchmark group", group, speed.GROUPS)
    for group in groups:
        began = time.perf_counter()
        busy = [busy_share()]
        figures = []
        for figure in importlib.import_module(group).measure():
            figures.append(figure.row())
            print(json.dumps(figures[-1], ensure_ascii=False), flush=True)
        busy = [share for share in (*busy, busy_share()) if share is not None]  # before and after
        facts = {"group": group, "date": datetime.date.today().isoformat(), "busy": max(busy, default=None)}
        add(facts | {"processor": processor(), "machine": machine.facts("cpu"), "figures": figures})
        print(f"{group}: {time.perf_counter() - began:.0f} s", flush=True)


def add(measured):
    """Store what a group measured, as soon as it is complete, behind what is stored already."""
    text = json.dumps([*speed.sets(), measured], indent=1, sort_keys=True)
    speed.RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or speed.GROUPS)
