"""Runs for tests: a few steps of each, and a notebook's arms by seed."""

import tempfile

from ticketlib.experiments import campaign, grids, profiles, run, session
from ticketlib.experiments.ledger import Ledger


def rehearse(configs, dataset, *, device="cpu", steps=2):
    """Carry out runs for a few updates each, to see that every one of them would work; nothing is kept.

    Returns: a generator of rows of kind "rehearsal", which no ledger takes.
    """
    with tempfile.TemporaryDirectory() as cache:
        for config in configs:
            yield run.execute(config, dataset, device=device, cache=cache, progress=False, steps=steps)


def ticket_rows(asked, arms):
    """The rows of some arms; with source "run" those that are missing are carried out first.

    Arguments: asked, NotebookRun; arms, names with sparsity, as Config.arm.
    Returns: dict arm -> {seed: Row}, an empty dict for an arm without rows.
    """
    if asked.source == "run":
        dataset = session.images(asked)
        configs = [grids.arm(asked.profile, arm, seed, dataset) for seed in range(session.seeds(asked)) for arm in arms]
        session.make_runs(asked, campaign.missing(configs, Ledger(asked.ledger)), dataset)
    by_arm = {arm: {} for arm in arms}
    for row in session.rows_of(asked):
        if row["arm"] in arms and row["kind"] == "run" and not 0 < asked.seeds <= row.config.seed:
            seen = profiles.Images(row.config.dataset, row.config.fingerprint)
            if grids.arm(asked.profile, row["arm"], row.config.seed, seen).name == row["name"]:
                by_arm[row["arm"]][row.config.seed] = row
    return {arm: dict(sorted(by_seed.items())) for arm, by_seed in by_arm.items()}
