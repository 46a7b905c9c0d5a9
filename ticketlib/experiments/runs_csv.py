"""The runs of all ledgers as one tidy table, `book/ledger/runs.csv`, for whoever has one question and no time."""

import pandas as pd

from ticketlib.experiments import grids
from ticketlib.experiments.config import Config
from ticketlib.experiments.ledger import Ledger, frame
from ticketlib.experiments.places import PROFILES
from ticketlib.experiments.profiles import Images

FILE = "runs.csv"
MISSING = "NA"  # what was not measured, or is not defined; pandas reads it as missing
MEASURED = (
    "accuracy", "best_accuracy", "loss", "effective_sparsity", "empty_layers", "diverged", "images_per_second",
    "seconds",
)  # fmt: skip
COLUMNS = ("profile", "grid", "arm", *Config.__dataclass_fields__, "device", "threads", "code", "parent", *MEASURED)


def table(rows):
    """A line a run, plain columns.

    Arguments: rows, dict from a profile to the rows of its ledger.
    Returns: DataFrame with COLUMNS and `hash`, the run's name; sorted by profile, arm, epochs and seed. `grid` names
        every grid that has the run, with spaces between, `drops` all of its fractions. What was not measured is
        missing; `accuracy` is that of guessing where a run diverged.
    """
    parts = [_of_profile(profile, frame(rows[profile])) for profile in PROFILES if rows.get(profile)]
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["name", *COLUMNS])
    return whole.rename(columns={"name": "hash"})[[*COLUMNS, "hash"]]


def _of_profile(profile, runs):
    grids_of = _grids(profile, runs[["dataset", "fingerprint"]].drop_duplicates().itertuples(index=False))
    grid = [" ".join(grids_of.get(name, ())) or None for name in runs.name]
    return runs.assign(profile=profile, grid=grid, drops=runs.drops.map(" ".join))


def _grids(profile, images):
    """The grids that have a run: dict name of the run -> list of grids, in the order of grids.GRIDS."""
    grids_of = {}
    for dataset in (Images(*pair) for pair in images):
        for grid in grids.GRIDS:
            if grids.data_of(grid, profile) == dataset.name:
                for config in grids.grid(grid, profile, dataset):
                    grids_of.setdefault(config.name, []).append(grid)
    return grids_of


def text(folder):
    """What the file of a folder of ledgers must say: CSV, missing values as MISSING."""
    by_profile = {profile: Ledger(folder / profile).rows() for profile in PROFILES}
    return table(by_profile).to_csv(index=False, na_rep=MISSING, lineterminator="\n")


def write(folder):
    """Refresh the file in a folder of ledgers; returns its path."""
    path = folder / FILE
    path.write_text(text(folder), encoding="utf-8")
    return path
