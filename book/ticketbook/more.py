"""Tables of the page that fixes the grids beside the protocol's: what they take, what they can tell, a trial."""

import pandas as pd

from ticketbook.book_rows import ledger_rows
from ticketbook.notebook import markdown
from ticketlib.analysis.stats import half_width
from ticketlib.experiments import campaign, grids
from ticketlib.experiments.config import cost, lineage
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import PROFILES, Images

TRIAL = ROOT / "book" / "reference" / "trials_league.csv"  # two seeds, thrown away before the grids were fixed
IMAGES = {"cifar10": 50_000, "cifar100": 20_000}  # of an epoch
SPREADS = (0.5, 1.0)  # of paired differences over seeds, in points


def runs_of(name):
    """Every run that a grid of the laptop profile takes, those that others start from included: list of Config."""
    configs = grids.grid(name, "laptop", Images(grids.data_of(name, "laptop")))
    return list({one.name: one for config in configs for one in lineage(config)}.values())


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
        seconds += cost(config) * IMAGES[config.dataset] / speed
    return seconds / 3600


def table():
    """What each grid takes and can tell: seeds, runs, units, core-hours, half-widths of intervals; and in all."""
    speeds, full = campaign.speeds(ledger_rows()), PROFILES["laptop"].training["epochs"]
    lines, total = [], {}
    for name in grids.MORE:
        configs = runs_of(name)
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
