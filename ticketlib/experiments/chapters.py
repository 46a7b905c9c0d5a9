"""What chapters share: rows read, or made after an estimate of the time; tables of arms."""

import time
from dataclasses import replace
from functools import partial

import torch
from IPython.display import DisplayHandle, Markdown
from ticketbook import verdicts_1 as verdicts

from ticketlib import data, train
from ticketlib.analysis import evidence, plots
from ticketlib.analysis.words import duration
from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, grids, places, profiles
from ticketlib.experiments import config as runs
from ticketlib.experiments import probe as probes
from ticketlib.experiments import run as experiment
from ticketlib.experiments import session as nb
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.machine import facts, threads

TIMED_STEPS = 10  # a speed that no row has measured is taken from so many


def ticket_rows(run, arms):
    """The rows of some arms; with source "run" those that are missing are carried out first.

    Arguments: run, nb.NotebookRun; arms, names with sparsity, as Config.arm.
    Returns: dict arm -> {seed: Row}, an empty dict for an arm without rows.
    """
    if run.source == "run":
        dataset = images(run)
        configs = [
            grids.arm(run.profile, arm, seed, dataset) for seed in range(seeds(run)) for arm in arms
        ]
        make_runs(run, campaign.missing(configs, Ledger(run.ledger)), dataset)
    found = evidence.select(rows_of(run), run.profile)
    return {
        arm: {seed: row for seed, row in sorted(found.get(arm, {}).items()) if not run.seeds or seed < run.seeds}
        for arm in arms
    }


def rows_of(run):
    """The rows of a notebook's ledger; with source "run" those of its own images, as others may lie beside them."""
    rows = Ledger(run.ledger).rows()
    if run.source == "stored":
        return rows
    own = images(run).fingerprint
    return [row for row in rows if row["config"]["fingerprint"] == own]


def images(run):
    """The data set of a notebook's profile."""
    return data.load(profiles.PROFILES[run.profile].dataset, run.data_root or None)


def seeds(run):
    """How many seeds a notebook carries out: its parameter, or the profile's own number."""
    return run.seeds or profiles.PROFILES[run.profile].seeds


def book_rows(run):
    """The book's own rows of this profile, to show beside a reader's; none where those are the rows read anyway."""
    book = places.book_ledger(run.profile)
    return [] if run.ledger.resolve() == book.resolve() else Ledger(book).rows()


def make_runs(run, to_do, dataset):
    """Carry out runs one after another in this process, on one thread, with an estimate of the time first.

    A row is written as soon as its run ends: stopped and started again, this goes on where it was.

    Arguments: run, nb.NotebookRun; to_do, list of Config, parents first; dataset, the data.Dataset they name.
    Raises: TicketError for a device that the engine does not have, before anything is trained.
    """
    device = device_of(run, to_do)
    with one_thread(device):
        seconds = _estimate(run, to_do, dataset, device)
        work = partial(experiment.execute, dataset=dataset, device=device, progress=False)
        work_off(run, [(config, partial(work, config)) for config in to_do], "runs", seconds)


def device_of(run, to_do):
    """The device that a notebook's runs are made on; "auto" takes a GPU only where every engine can use it.

    Raises: TicketError for a device that the engine of a run does not have.
    """
    if run.device == "auto":
        sparse = any(config.engine == "sparse" for config in to_do)
        return "cuda" if torch.cuda.is_available() and not sparse else "cpu"
    experiment.check_device(run.device, to_do, run.profile, "auto, cpu")
    return run.device


def one_thread(device="cpu"):
    """Compute as the command line's workers do on a CPU, so that rows of both may be paired."""
    return threads(1 if device == "cpu" else torch.get_num_threads())


def _estimate(run, to_do, dataset, device):
    """Seconds of training, from the speeds of rows made before and, for kinds without a row, from a few steps now."""
    here = facts(device)["device"]
    speeds = campaign.speeds(row for row in Ledger(run.ledger).rows() if row["device"] == here)
    for config in to_do:
        if campaign.estimate(config, speeds) is None:
            speeds[campaign.kind(config)] = _speed(config, dataset, device)
    return sum(campaign.estimate(config, speeds, len(dataset.train)) for config in to_do)


def _speed(config, dataset, device):
    """Training images a second at a configuration's size and sparsity, measured on a few steps."""
    any_ticket = "dense" if config.sparsity == "0" else "uniform"
    result = timed(replace(config, ticket=any_ticket, check="none", corruption="none"), dataset, device)
    return result.images / result.train_seconds


def timed(config, dataset, device):
    """What one epoch of a few steps takes once it is warm, tested on the same images: train.Result."""
    few = slice(0, TIMED_STEPS * config.batch)
    part = data.Split(dataset.train.images[few], dataset.train.labels[few])
    tiny, short = replace(dataset, train=part, test=part), replace(config, epochs=1)
    model = experiment.build(short, tiny)
    mask, _ = experiment.ticket_mask(short, tiny, model)
    net = experiment.engine(short, model, mask, tiny, device)
    for _ in range(2):  # the first one warms up
        result = train.fit(net, short, tiny, runs.streams(short), progress=False)
    return result


def make_probes(run, configs, dataset, seconds=None):
    """Make the probes that the ledger lacks; arguments as `work_off` has them."""
    prober, there = probes.Prober(dataset), set(Ledger(run.ledger).names())
    jobs = [(config, partial(prober.measure, config)) for config in configs if probes.name(config) not in there]
    with one_thread():
        work_off(run, jobs, "masks", seconds)


def work_off(run, jobs, what, seconds=None):
    """Do jobs one by one, add their rows to the ledger, and keep one line that says how far it is.

    Arguments: run, nb.NotebookRun; jobs, list of (Config, function without arguments to a Row); what, their name in
        the plural; seconds, the estimate, None where nothing is known.
    """
    if not jobs:
        return
    ledger, began, failed, warned = Ledger(run.ledger), time.perf_counter(), [], []
    guess = "the first one will tell" if seconds is None else f"about {duration(seconds)}"
    line = DisplayHandle()
    line.display(Markdown(f"{len(jobs)} {what} to carry out. Time expected: {guess}."))
    for done, (config, job) in enumerate(jobs):
        if done:
            left = (time.perf_counter() - began) / done * (len(jobs) - done)
            said = f"{done} of {len(jobs)} {what} done, about {duration(left)} left (expected at the start: {guess})"
            line.update(Markdown(f"{said}. Now: {config.arm}, seed {config.seed}, {config.epochs} epochs."))
        said = _done(ledger, config, job)
        if said.reason:
            failed.append(f"- {config.arm}, seed {config.seed}: {said.reason}")
        if said.warning:
            warned.append(f"- {config.arm}, seed {config.seed}: {said.warning}")
    took = duration(time.perf_counter() - began)
    line.update(Markdown(f"{len(jobs) - len(failed)} {what} carried out in {took} (expected: {guess})."))
    for head, lines in (("Not made:\n", failed), ("Made, with a warning:\n", warned)):
        if lines:
            nb.show_markdown("\n".join([head, *lines]))


def _done(ledger, config, job):
    """Do one job and add its row, unless what it starts from is on record as diverged: campaign.Outcome."""
    for hopeless in campaign.blocked([config], ledger):
        return hopeless
    try:
        return campaign.record(campaign.Outcome(config, job()), ledger)
    except TicketError as error:
        return campaign.Outcome(config, reason=str(error))


def no_claim(run):
    """What a page that judges no claim can show, as Markdown: what it trains, how often, and how little that proves."""
    said = f"**No claim is judged on this page.** It trains {evidence.scope(run.profile)}, with {seeds(run)} seeds."
    if run.profile == "smoke":
        said += " Seconds of training on tiny images show how things work. They prove nothing about the paper."
    return said


def accuracy_table(rows, book=()):
    """Column titles and lines of a table of arms, one line each, every seed shown; missing arms say so.

    Arguments: rows, dict arm -> {seed: Row}; book, the book's own in the same form, for a column beside.
    """
    head = ["ticket", "weights kept", "accuracy of each seed, %", "mean, %", *(["the book's mean, %"] if book else [])]
    lines = [[plots.style(arm).label, *_arm(rows[arm]), *([_arm(book.get(arm))[2]] if book else [])] for arm in rows]
    return head, lines


def _arm(rows):
    if not rows:
        return ["", verdicts.NOT_RUN, verdicts.NOT_RUN]
    found = [evidence.accuracy(row) for row in rows.values()]
    kept = {sum(row["keep_counts"].values()) for row in rows.values() if "keep_counts" in row}
    mean = f"{sum(found) / len(found):.2f} (n = {len(found)})"
    return [" or ".join(f"{count:,}" for count in sorted(kept)), ", ".join(f"{a:.2f}" for a in found), mean]


def seeds_said(cells):
    """How many seeds the numbers rest on, as a sentence, and what rests on fewer; "" where there is no mask.

    Arguments: cells, dict (network, method, sparsity) -> limits.Cell, or None for what is not there.
    """
    counts = [(cell.n, *key) for key, cell in cells.items() if cell and cell.n]
    most = max((n for n, *_ in counts), default=0)
    few = "".join(f"; {n} for {plots.style(method).label} on {network} at {sparsity}"
                  for n, network, method, sparsity in counts if n < most)  # fmt: skip
    return f"Each number rests on {most} seed{'s' * (most > 1)}{few}." if most else ""
