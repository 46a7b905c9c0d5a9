"""What the command line does: data, plan, run, watch, probe, audit, show, commit-rows, readme."""

import json
import subprocess
import sys
import time
from dataclasses import replace

from ticketlib import data
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments import audit as audits
from ticketlib.experiments import campaign, grids, journal, machine, places, profiles, workers
from ticketlib.experiments import probe as probes
from ticketlib.experiments import run as experiment
from ticketlib.experiments.campaign import TRIES
from ticketlib.experiments.ledger import Ledger, read_row
from ticketlib.tickets import TICKETS

BACKENDS = ("pool", "ray")
DEVICES = ("cpu", "cuda")
MOST = 4096  # runs at once, and runs that share a GPU


def show_data(options):
    """Say what image data is found where."""
    for name in data.NAMES:
        print(data.describe(name, options.data_root))


def _ledger(options):
    one_of("profile", options.profile, profiles.PROFILES)
    if options.ledger and options.ledger.exists() and not options.ledger.is_dir():
        raise TicketError(f"ledger {str(options.ledger)!r} is a file; it must be a folder, which may still be missing.")
    return Ledger(options.ledger or places.book_ledger() / options.profile)


def _grid(options):
    ledger = _ledger(options)
    dataset = data.load(grids.data_of(options.grid, options.profile), options.data_root)
    configs = grids.grid(options.grid, options.profile, dataset)
    chosen = [config for config in configs if options.only in config.arm]
    if not chosen:
        arms = ", ".join(dict.fromkeys(config.arm for config in configs))
        raise TicketError(f"no arm of grid {options.grid!r} contains {options.only!r}; its arms are {arms}.")
    return dataset, ledger, chosen


def plan(options):
    """Show runs done, runs missing, and the time they will take at the speeds measured so far."""
    dataset, ledger, configs = _grid(options)
    for line in planned(configs, ledger, options.grid, len(dataset.train)):
        print(line)


def planned(configs, ledger, grid, epoch_size):
    """What `plan` says: a generator of lines. What has to be carried out may be more than the grid's own runs."""
    rows, to_do = ledger.rows(), campaign.missing(configs, ledger)
    lost = campaign.blocked(configs, ledger)
    by_name = {row["name"]: row for row in rows}  # read once
    done = sum(config.name in by_name for config in configs)
    yield f"{len(configs)} runs in grid {grid!r}, {done} done, {len(to_do)} to carry out"
    once, alone = campaign.epochs(configs)
    yield f"{once:g} epochs in all, each trained net made once; {alone:g} with a script a cell that trains its own"
    for outcome in lost:
        yield f"cannot be made: {outcome.config.arm} (seed {outcome.config.seed}): {outcome.reason}"
    for row in rows:
        if row["kind"] == "run" and (said := campaign.differing_checkpoint(row, by_name)):
            yield f"fails the audit: {row['name']}: {said}"
    speeds = campaign.speeds(rows)
    seconds = [campaign.estimate(c, speeds, epoch_size) for c in to_do]
    known = [s for s in seconds if s is not None]
    if len(known) < len(to_do):
        yield f"{len(to_do) - len(known)} of them are of a kind that no row has measured yet: no estimate"
    if known:
        yield f"{sum(known) / 3600:.1f} core-hours for {len(known)} runs, from the images/s of rows made so far"


def run(options):
    """Carry out the missing runs of a grid, resuming where the last call stopped."""
    backend = _backend(options)
    stop = journal.Stop(journal.stop_time(options.until, options.hours))
    _refuse_dirty(options)
    dataset, ledger, configs = _grid(options)
    journal.check_writable(ledger)
    ledger.sweep()
    ledger.rows()  # an unsound one is named now, not when the book is built
    if options.grid in grids.ONE_KIND_A_SEED:
        configs = _of_this_kind(options, ledger, configs)
    to_do, lost = _to_do(options, ledger, configs)
    experiment.check_device(options.device, to_do, options.profile, "cpu")
    print(f"{len(to_do)} runs to carry out; rows go to {ledger.folder}", flush=True)
    for config in [config for config in to_do if config.name in ledger]:
        print(f"made again: {config.arm} (seed {config.seed}): its trained net is lost or damaged", flush=True)
    for config, said in lost.items():
        where = f"seed {config.seed}, {config.epochs} epochs"
        print(f"not tried: {config.arm} ({where}): {said}", flush=True)
    if not to_do:
        return 1 if lost else 0
    work = experiment.Work(dataset.name, options.data_root, options.device)
    running = backend()
    with stop:  # after the back end: Ray puts in signal handlers of its own
        end = journal.conduct(ledger, work, to_do, running, stop)
    for what, said in (("diverged", end.diverged), ("warning", end.warnings), ("failed", end.failed)):
        for line in said:
            print(f"{what}: {line}", file=sys.stderr)
    if end.left:
        print(f"stopped, as {stop.reason}: {len(end.left)} runs are left; the same command goes on with them")
    return 1 if end.failed or lost else 0


def _of_this_kind(options, ledger, configs):
    """The runs of a grid that this kind of machine may make now; the seeds begun on another are named."""
    here = _kind_here(options)
    chosen, elsewhere = campaign.one_kind_a_seed(configs, ledger.rows(), here)
    print(f"this kind of machine: {here}")
    for seed, kind in elsewhere.items():
        print(f"left alone: seed {seed}, begun on another kind ({kind})")
    if chosen:
        print(f"seeds {', '.join(map(str, sorted({c.seed for c in chosen})))}; the next begins with the same command")
    return chosen


def _kind_here(options):
    """The kind of machine that rows made here would name: runs are single-threaded."""
    with machine.threads(1):
        return machine.kind(machine.facts(options.device))


def _to_do(options, ledger, configs):
    """The runs to carry out; and those that are not tried, dict from Config to the reason."""
    lost = {o.config: o.reason for o in campaign.blocked(configs, ledger)}
    given_up = {} if options.retry_failed else journal.Journal(ledger).given_up()
    queue = campaign.Queue(campaign.missing(configs, ledger))
    for config in list(queue.waiting):
        if config.name in given_up and config in queue.waiting:
            queue.waiting.remove(config)
            reason = f"failed {TRIES} times with this code ({given_up[config.name]}); --retry-failed tries again"
            lost |= {config: reason} | {o.config: o.reason for o in queue.lost_with(config, "failed")}
    return queue.waiting, lost


def _backend(options):
    """A function that starts the back end asked for; what is asked for is checked at once."""
    one_of("backend", options.backend, BACKENDS)
    one_of("device", options.device, DEVICES)
    for what, value in (("workers", options.workers), ("per-gpu", options.per_gpu)):
        if value is not None and not 1 <= value <= MOST:
            raise TicketError(f"{what} {value} is not allowed; it must be at least 1 and at most {MOST}.")
    if options.backend == "ray":
        return lambda: workers.Cluster(options.address, options.workers, options.device == "cuda" and options.per_gpu)
    devices = workers.gpu_slots(options.per_gpu) if options.device == "cuda" else ("",) * workers.cores()
    return lambda: workers.Pool(options.workers or len(devices), devices)


def _refuse_dirty(options):
    """Rows that count say which commit made them; a row of the smoke profile may come from code under change."""
    if options.profile != "smoke" and not options.allow_dirty and not machine.is_commit():
        raise TicketError(
            f"code version {machine.code_version()} is not a commit's; commit first, run from a git worktree at a tag, "
            "or say --allow-dirty, which every row will show."
        )


def watch(options):
    """Say how far the campaigns on a ledger are, from any terminal."""
    ledger = _ledger(options)
    if not ledger.folder.is_dir():
        raise TicketError(f"ledger {str(ledger.folder)!r} is not there; name the folder that `run` was given.")
    if options.every is not None and not 0 < options.every <= 86400:
        raise TicketError(f"--every {options.every:g} is not allowed; it must be above 0 and at most 86400 seconds.")
    while True:
        found = journal.campaigns(ledger)
        print(f"{len(ledger.names())} rows in {ledger.folder}; campaigns: {len(found)}")
        for facts in found:
            print("\n".join(journal.summary(facts)), flush=True)
        if options.every is None or all(map(journal.ended, found)):
            return
        time.sleep(options.every)


def probe(options):
    """Find the masks of the probe grid, and of the grid's own tickets where the cache has their trained nets."""
    _refuse_dirty(options)
    if options.seeds < 1:
        raise TicketError(f"seeds {options.seeds} is not allowed; it must be at least 1.")
    dataset, ledger, configs = _grid(options)
    prober = probes.Prober(dataset)
    found = grids.PROBES[one_of("kind of probes", options.masks, grids.PROBES)](options.profile, dataset, options.seeds)
    trained = [c for c in configs if TICKETS[c.ticket].needs_trained and c.check == "none"]
    trained += [replace(c, sparsity=s) for c in trained if c.arm in ("lt@0.9", "lt+both@0.9") for s in grids.PROBED]
    to_do = {probes.name(c): c for c in found + [c for c in trained if prober.ready(c)] if probes.name(c) not in ledger}
    to_do = list(to_do.values())
    print(f"{len(to_do)} probes to make; rows go to {ledger.folder}", flush=True)
    return 1 if probes.measure_all(prober, to_do, ledger, print) else 0


def audit(options):
    """Carry out some rows again, drawn by lot, and compare to the last digit."""
    if one_of("device", options.device, DEVICES) == "cuda":
        workers.gpu_slots(1)  # refused now if there is none
    _refuse_dirty(options)
    ledger = _ledger(options)
    dataset = data.load(options.dataset or profiles.PROFILES[options.profile].dataset, options.data_root)
    rows = [row for row in ledger.rows() if row["config"].get("fingerprint") == dataset.fingerprint]
    if options.grid:
        rows = _of_grid(options, dataset, rows)
    found, jobs = _audit_jobs(options, ledger, rows)
    again, speeds = audits.Again(ledger, dataset, found, options.device), campaign.speeds(rows)
    seconds = [campaign.estimate(replace(c, engine=changes.get("engine", c.engine)), speeds, len(dataset.train))
               for c, changes in jobs]  # fmt: skip
    known = options.device == "cpu" and None not in seconds
    expected = f", about {sum(seconds) / 60:.0f} min of one core" if known else ""
    print(f"{len(jobs)} runs to carry out again{expected}", flush=True)
    outcomes = []
    for done, (config, changes) in enumerate(jobs, 1):
        row = again.row(config, changes)
        outcomes.append(row["outcome"])
        print(f"[{done}/{len(jobs)}] {config.arm} (seed {config.seed}): {audits.sentence(row)}", flush=True)
    audits.end(ledger, found)
    return 1 if audits.DIFFERS in outcomes else 0


def _of_grid(options, dataset, rows):
    """The rows of a grid that were made on this kind of machine."""
    names = {config.name for config in grids.grid(options.grid, options.profile, dataset)}
    return [row for row in rows if row["name"] in names and machine.kind(row) == _kind_here(options)]


def _audit_jobs(options, ledger, rows):
    """The draw in whose name runs are carried out again; and the runs with what is changed: list of (Config, dict)."""
    unchosen = audits.Draw(machine.code_version(), audits.today(), ())
    if options.spread:
        return unchosen, audits.spread_jobs(ledger, rows)
    if options.dense:
        return unchosen, audits.dense_jobs(ledger, rows, options.profile, options.device)
    if options.runs is not None:
        found = audits.draw_any(rows, machine.code_version(), audits.today(), options.runs)
    else:
        found = audits.begin(ledger, rows, machine.code_version(), options.others)
    return found, [(config, {}) for config in audits.jobs(ledger, found)]


def show(options):
    """Print one row of the ledger."""
    folders = [options.ledger] if options.ledger else sorted(p for p in places.book_ledger().iterdir() if p.is_dir())
    for ledger in map(Ledger, folders):
        if options.name in ledger:
            print(json.dumps(ledger[options.name], indent=1, sort_keys=True))
            return 0
    raise TicketError(f"row {options.name!r} is not in {', '.join(str(f) for f in folders)}.")


def commit_rows(options):
    """Copy finished rows into the book's ledger, refresh README's table, and commit both."""
    root, found = places.book_ledger().parent.parent, {}
    if not options.source.is_dir():
        raise TicketError(f"folder {str(options.source)!r} is not there; it holds a folder of rows for each profile.")
    for path in sorted([*options.source.glob("*/*.json"), *options.source.glob("*/audits/*.json")]):
        place = path.relative_to(options.source).parent
        one_of("profile (the folder's name)", place.parts[0], profiles.PROFILES)
        found[path] = place, read_row(path)  # an unsound one is refused before anything is copied
    for place, row in found.values():
        _add(Ledger(places.book_ledger() / place), row)
    rows = f"{places.book_ledger().relative_to(root)}/*.json"  # git's own star, which crosses folders
    status = ["git", "status", "--porcelain", "--untracked-files=all", "--", rows]  # those of a call cut short as well
    added = len(subprocess.run(status, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines())
    if not added:
        print("no new rows")
        return
    readme(options)
    from ticketbook import board_1 as board

    paths = [rows, "README.md"] + [str(board.history().relative_to(root))] * board.history().is_file()
    subprocess.run(["git", "add", *paths], cwd=root, check=True)
    subprocess.run(["git", "commit", "-q", "-m", f"Ledger: {added} rows", "--", *paths], cwd=root, check=True)
    print(f"{added} new rows committed")


def _add(ledger, row):
    """Add a row; say where one of the same name is there already, with another result."""
    if not ledger.add(row) and ledger[row["name"]] != row:
        print(f"not copied: {row['name']} ({row['arm']}): the book has this row with other results", file=sys.stderr)


def readme(options):
    """Refresh the verdict table and the benchmarks in README.md, and note verdicts that have changed."""
    from ticketbook import board_1 as board
    from ticketbook import speed

    from ticketlib.analysis import words as prose

    rows, page = Ledger(places.book_ledger("laptop")).rows(), places.book_ledger().parent.parent / "README.md"
    board.record(rows, audits.today())
    prose.write_between(page, "board", board.table(rows))
    prose.write_between(page, "bench", speed.in_short(speed.load()))
