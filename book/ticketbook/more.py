"""Tables of the page on the grids beside the protocol's: what they take and can tell, a trial, and what came out."""

import pandas as pd

from ticketbook import board, claim_page
from ticketbook.book_rows import grid_lineage, grid_runs, ledger_frame, ledger_rows
from ticketbook.notebook import markdown
from ticketlib.analysis import pairs, verdicts
from ticketlib.analysis.stats import half_width
from ticketlib.experiments import campaign, claims, grids
from ticketlib.experiments.config import cost
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import KNOWN, PROFILES

CEILING = "snip+rearranged"
COMPARED = {  # grid -> its comparisons (a, b), a minus b, as the page fixes them
    "league": tuple((arm, CEILING) for arm in ("snip", "synflow+rearranged", f"table+count_table={grids.MEAN_SNIP}",
                                               *grids.LEAGUE)),
    "order": (("lt+parent_order=order2", "lt"), ("lt+rearranged", "lt+parent_order=order2")),
    "imp": (("imp+rearranged", "imp"), ("imp+reinitialised", "imp"),
            *((arm, "imp") for arm in ("smart", "lt", "lrr", "hybrid"))),
    "signs": tuple((f"{arm}+{check}", arm) for arm in ("lt", "lrr") for check in ("random_signs", "fresh_magnitudes")),
    "rates": (("smart", "snip"), ("smart", "lt")),
    "fair": (("hybrid", "lrr"), ("hybrid", "lrr+linear=0.3"), ("hybrid", "lrr+min_per_layer=1"),
             ("lrr+reinitialised", "lrr")),
    "fair100": (("hybrid", "lrr"), ("hybrid", "lrr+linear=0.3")),
}  # fmt: skip
TRIAL = ROOT / "book" / "reference" / "trials_league.csv"  # two seeds, thrown away before the grids were fixed
SPREADS = (0.5, 1.0)  # of paired differences over seeds, in points


def core_hours(configs, speeds):
    """Hours of one core that runs take at measured speeds; those of the dense engine are as fast at any sparsity.

    Arguments: configs, list of Config; speeds, as campaign.speeds gives. Returns: float; None where one is not known.
    """
    seconds = 0
    for config in configs:
        kind = campaign.pace_key(config)
        speed = speeds.get(kind) or (speeds.get((*kind[:2], "0")) if config.engine == "dense" else None)
        if not speed:
            return None
        seconds += cost(config) * KNOWN[config.dataset][1] / speed
    return seconds / 3600


def table():
    """What each grid takes and can tell: seeds, runs, units, core-hours, half-widths of intervals; and in all."""
    speeds, full = campaign.speeds(ledger_rows()), PROFILES["laptop"].training["epochs"]
    lines, total = [], {}
    for name in grids.MORE:
        configs = grid_lineage(name)
        seeds = sorted({config.seed for config in configs})
        hours, units = core_hours(configs, speeds), sum(map(cost, configs)) / full
        total |= {config.name: config for config in configs}
        lines.append([grids.titled(name), f"{seeds[0]} to {seeds[-1]}", len(configs), f"{units:g}",
                      "not measured" if hours is None else f"{hours:.1f}",
                      *(f"±{half_width(len(seeds), spread, 0.9):.2f}" for spread in SPREADS)])  # fmt: skip
    hours = core_hours(total.values(), speeds)
    lines.append(["all", "", len(total), f"{sum(map(cost, total.values())) / full:g}",
                  "not measured" if hours is None else f"{hours:.1f}", "", ""])  # fmt: skip
    spreads = [f"90 % interval at a spread of {spread:g}" for spread in SPREADS]
    return markdown(pd.DataFrame(lines, columns=["grid", "seeds", "runs", "units", "core-hours", *spreads]))


def trial():
    """What the trial of the league's arms gave, at 98 %, in percent."""
    return markdown(pd.read_csv(TRIAL, dtype=str))


class More:
    """What the page calls `more`."""

    def compared(self, name):
        """The comparisons of a grid, as Markdown; while seeds are missing nobody reads their numbers."""
        found = comparisons(name, ledger_frame())
        if not found.n.any():
            return "*No run of this grid is made yet.*"
        table = board.read_table(found)
        table.insert(2, "first rate", found.lr.map("{:g}".format))
        return markdown(table if found.lr.nunique() > 1 else table.drop(columns="first rate"))


def comparisons(name, frame):
    """The comparisons of a grid, by its own runs alone, each read at 5 % as the page fixes it.

    Arguments: name, one of grids.MORE; frame, as ledger.frame gives.
    Returns: DataFrame, a line a comparison at each first rate and sparsity: a, b (arms without sparsity), label,
        sparsity, lr, and what verdicts.line_of gives.
    """
    configs = grid_runs(name)
    own = frame[frame.name.isin([config.name for config in grid_lineage(name)])]
    seeds, first = len({config.seed for config in configs}), configs[0]
    lines = []
    for lr in sorted({config.lr for config in configs}):
        runs = pairs.select(own, "laptop", lr=lr, epochs=first.epochs, dataset=first.dataset)
        for a, b in COMPARED[name]:
            lines += [_compared(runs, a, b, s, seeds) | {"lr": lr} for s in _sparsities(configs, a)]
    return pd.DataFrame(lines)


def _sparsities(configs, arm):
    """The sparsities at which a grid has an arm, mildest first."""
    return sorted({one.sparsity for one in configs if one.arm == f"{arm}@{one.sparsity}"}, key=float)


def _compared(runs, a, b, sparsity, seeds):
    difference = pairs.difference_at(runs, a, b, sparsity)
    reading = verdicts.read(difference, claims.protocol().margin, seeds, fewest=seeds)
    label = f"{claim_page.said(a)} − {claim_page.said(b)}"
    return dict(a=a, b=b, label=label, sparsity=sparsity) | verdicts.line_of(difference, reading)
