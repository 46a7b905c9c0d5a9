"""What the length of training changes: the pilot, the runs that count, and what weight decay leaves of the start."""

import dataclasses

import pandas as pd

from ticketbook import board
from ticketlib.analysis import pairs, stats
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import signed
from ticketlib.experiments import campaign, claims, grids, profiles, session
from ticketlib.experiments.config import initial_share
from ticketlib.experiments.ledger import Ledger, frame
from ticketlib.experiments.profiles import PROFILES

AT = "0.9"  # the sparsity of the pilot
PLACES = (("lt+rearranged", "lt"), ("snip+rearranged", "snip"))  # what claim B compares
COUNTS = (("smart", "lt"), ("smart", "snip"), ("smart", "uniform"))  # what claim C compares
FLAT = 1.0  # points: a smaller step to a longer training counts as flat; the margin from which the protocol started
PILOT, EXPLORATORY, FRESH, COUNTING = "pilot", "seeds 0 to 9", "version 2", "test images"
IMAGES = {"cifar10": 50_000, "digits": 1_437}  # training images of the profiles' data
WATTS = (5, 15)  # of one busy core of a server, its share of memory and power supply included; assumed, not measured
OVERHEAD = 1.5  # a computing centre's draw over that of its machines; assumed


def load(run):
    """The pilot's runs, and those that count at the profile's length and at twice it, at 90 %.

    Those of the protocol's plan are left out until all are there, so that nobody reads them before.
    With source "run" the pilot's missing runs are carried out first.
    Arguments: run, session.NotebookRun. Returns: DataFrame, as pairs.select gives, with the column `set`.
    """
    plan = PROFILES[run.profile].pilot
    if run.source == "run":
        dataset = session.images(run)
        missing = campaign.missing(_configs(run, dataset), Ledger(run.ledger))
        session.make_runs(run, missing, dataset)
    arms = [arm if "@" in arm else f"{arm}@0" for arm in grids.PILOT_ARMS]
    table, usual = frame(session.rows_of(run)), PROFILES[run.profile].training["epochs"]
    hidden = () if board.complete(table, claims.protocol()) else (FRESH,)
    table = table[table.arm.isin(arms)]
    pilot = [pairs.select(table, run.profile, recipe=0, held_out=plan["held_out"], epochs=e) for e in plan["epochs"]]
    counting = [pairs.select(table, run.profile, epochs=epochs) for epochs in (usual, 2 * usual)]
    pilot, counting = pd.concat(pilot), pd.concat(counting)
    pilot = pilot[pilot.seed.isin(_seeds(run))].assign(set=PILOT)
    planned = (*claims.EXPLORATORY.seeds, *claims.protocol().seeds)  # other grids have seeds of their own
    counting = counting[counting.seed.isin(planned)]
    counting = counting[counting.seed < run.seeds] if run.seeds else counting
    sets = [_set(run.profile, seed) for seed in counting.seed]
    counting = counting.assign(set=sets)
    return pd.concat([pilot, counting[~counting.set.isin(hidden)]], ignore_index=True)


def _set(profile, seed):
    if profile != "laptop":
        return COUNTING
    return EXPLORATORY if seed in claims.EXPLORATORY.seeds else FRESH


def _seeds(run):
    planned = PROFILES[run.profile].pilot["seeds"]
    return tuple(range(planned[0], planned[0] + run.seeds)) if run.seeds else planned


def _configs(run, dataset):
    """The pilot's configurations with a notebook's number of seeds, in order."""
    seeds, planned = _seeds(run), grids.pilot(run.profile, dataset)
    once = [config for config in planned if config.seed == seeds[0]]
    return [dataclasses.replace(config, seed=seed) for seed in seeds for config in once]


def differences(runs, couples=PLACES + COUNTS):
    """Paired differences by set and length: DataFrame with a, b, label, set, epochs, n, mean, sd, low, high (95 %).

    Pairs that may not be compared are left out.
    """
    lines = []
    for (kind, epochs), of in runs.groupby(["set", "epochs"], sort=False):
        for a, b in couples:
            found = pairs.difference(of, f"{a}@{AT}", f"{b}@{AT}")
            if len(found.points) and not found.refused and not found.untested:
                mean = stats.t_interval(found.points.tolist())
                label = f"{style(a).label} − {style(b).label}"
                lines.append([a, b, label, kind, epochs, mean.n, mean.point, mean.sd, mean.low, mean.high])
    columns = ["a", "b", "label", "set", "epochs", "n", "mean", "sd", "low", "high"]
    return pd.DataFrame(lines, columns=columns)


def points(runs, a, b, kind=PILOT):
    """One paired difference, a minus b: DataFrame with a line a seed and a column a length, in points."""
    of = runs[runs.set == kind].set_index(["epochs", "seed"])
    both = [of.accuracy[of.arm == f"{arm}@{AT}"] for arm in (a, b)]
    return (both[0] - both[1]).dropna().unstack("epochs")


def flat_from(by_length):
    """The shortest training from which on every step to the next longer one moves the mean by less than FLAT points.

    Steps are taken within seeds, and need two of them; the longest training cannot be vouched for.
    Arguments: by_length, as `points` gives. Returns: epochs, or None.
    """
    steps, found = by_length.diff(axis=1).iloc[:, 1:], None
    for longer, shorter in zip(reversed(by_length.columns[1:]), reversed(by_length.columns[:-1]), strict=True):
        if steps[longer].count() < 2 or abs(steps[longer].mean()) >= FLAT:
            break
        found = int(shorter)
    return found


def left_of_start(profile, epochs):
    """Share of an initial weight that weight decay alone has not yet erased after a training, 0 to 1."""
    config = profiles.config(profile, "dense", "0", 0, dataset=profiles.NO_IMAGES, epochs=int(epochs))
    return initial_share(config, IMAGES[PROFILES[profile].dataset])


def difference_table(found, profile):
    """Differences as text, a line a set and length: what stays of the start, then each difference with its interval."""
    lines = []
    for (kind, epochs), of in found.groupby(["set", "epochs"], sort=False):
        left = f"{100 * left_of_start(profile, epochs):.2g} %"
        lines.append({"runs": kind, "epochs": epochs, "left of the start": left, **dict(map(_cell, of.itertuples()))})
    return pd.DataFrame(lines).fillna("not run")


def _cell(line):
    ends = "" if pd.isna(line.low) else f"{signed(line.low)} to {signed(line.high)}, "
    return line.label, f"{signed(line.mean)} ({ends}n = {line.n})"


def accuracy_table(runs):
    """Mean accuracy of each arm at each set and length, with its standard deviation and seeds."""
    cells = {}
    for (kind, epochs, arm), of in runs.groupby(["set", "epochs", "arm"], sort=False):
        spread = f"SD {of.accuracy.std():.2f}, " if len(of) > 1 else ""
        cells[style(arm).label, f"{kind}, {epochs} epochs"] = f"{of.accuracy.mean():.2f} ({spread}n = {len(of)})"
    columns = list(dict.fromkeys(column for _, column in cells))
    table = pd.Series(cells, dtype=object).unstack().reindex(columns=columns) if cells else pd.DataFrame()
    return table.fillna("not run").reset_index(names="ticket")


def curves(runs, kind=PILOT):
    """Accuracy of each arm over the length of training, for `plots.curves`."""
    cells = {}
    for (arm, epochs), of in runs[runs.set == kind].groupby(["arm", "epochs"]):
        cells.setdefault(arm.partition("@")[0], {})[epochs] = stats.curve_cell(of.accuracy)
    return cells


def drawn(runs, couples):
    """The pilot's paired differences over the length of training, for `plots.curves`, named by each second ticket."""
    cells = {}
    for a, b in couples:
        by_length = points(runs, a, b)
        cells[b] = {epochs: stats.curve_cell(by_length[epochs].dropna()) for epochs in by_length}
    return cells


def cost_table(runs):
    """What the runs of each set and length took: how many, epochs and core-hours in all, a range of energy."""
    lines = []
    for (kind, epochs), of in runs.groupby(["set", "epochs"], sort=False):
        hours = (of.seconds * of.threads).sum() / 3600
        lines.append({"runs": kind, "length": f"{epochs} epochs", "how many": len(of),
                      "epochs in all": epochs * len(of), "a run, seconds": f"{of.seconds.median():.0f}",
                      "core-hours": f"{hours:.1f}", "kWh, estimated": energy(hours)})  # fmt: skip
    return pd.DataFrame(lines)


def energy(hours):
    """What core-hours take in kWh, a range: text."""
    return " to ".join(f"{hours * watts * OVERHEAD / 1000:.2g}" for watts in WATTS)
