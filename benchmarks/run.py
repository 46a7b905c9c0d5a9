"""All benchmarks in one run: prints one table, keeps it in results.json, from which pages and README are made.

Run on an idle machine, by `make bench`, or `python benchmarks/run.py dense sparse` for some of the groups.
"""

import datetime
import importlib
import json
import sys
from pathlib import Path

from ticketlib import machine

RESULTS = Path(__file__).parent / "results.json"
GROUPS = ("dense", "scores", "upkeep", "sparse")


def main(groups):
    """Measure the named groups; the others keep the figures they have."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for group in groups:
        figures = []
        for figure in importlib.import_module(group).measure():
            row = figure.row()
            figures.append(row)
            print(line(row), flush=True)
        kept[group] = {"date": datetime.date.today().isoformat(), "machine": machine.facts("cpu"), "figures": figures}
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def line(row):
    """One figure in words."""
    ratio = f", {row['ratio']:.2f} times {row['yardstick']} ({row['against']:.4g})" if row["ratio"] else ""
    goal = f"; goal {row['reach']}: {'reached' if row['reached'] else 'missed'}" if row["reach"] else ""
    return f"{row['group']}: {row['what']}: {row['value']:.4g} {row['unit']}{ratio}{goal}"


if __name__ == "__main__":
    main(sys.argv[1:] or GROUPS)
