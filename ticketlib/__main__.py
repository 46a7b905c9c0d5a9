"""Command line of the library: the runs of a grid planned, carried out, watched, audited, shown and committed.

A grid is a named list of runs that belong to one question: every arm (a ticket, a check, a sparsity) with every seed.
A profile says how large everything is. A ledger is a folder of rows, one small file a run; a run that has its row there
is not made again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from ticketlib.errors import TicketError, one_of
from ticketlib.experiments import places
from ticketlib.experiments.places import PROFILES

# What help needs stands here, and every command imports what it uses itself: torch alone takes seconds.
GRIDS = {
    "pilot": "how long must training be? on held-out images, with seeds of its own",
    "engines": "do the engines learn the same?",
    "step1": "version 1's claims, and the rules beside them",
    "step2": "further checks and ablations at 98 %",
    "step3": "the sparse end, 99.5 %",
    "step4": "another network, a slim VGG-16",
    "step5": "twice the epochs, at 90 %",
    "step6": "other images, at 90 %, with iterative pruning",
    "step7": "what reviewer 2 asked beside the claims",
    "v2": "what version 2 of the protocol judges",
    "league": "random places under every rule's keep-counts: which are best?",
    "order": "LT's mask from a net trained in another data order",
    "imp": "iterative pruning at 90 %, with the checks",
    "signs": "what of a ticket is in its signs, what in its magnitudes?",
    "rates": "claim C at a third and at three times the learning rate",
    "fair": "hybrid and LRR with equal guards and classifiers, at 98 %",
    "fair100": "the same classifiers on other images, at 90 %",
}
BACKENDS = ("pool", "ray")
DEVICES = ("cpu", "cuda")
MOST = 4096  # runs at once, and runs that share a GPU
COMMANDS = {}  # name -> (function, functions that declare its options)


def command(name, *declarations):
    """Make a function a command; each of `declarations` adds options to its parser."""

    def register(function):
        COMMANDS[name] = function, declarations
        return function

    return register


def main(arguments=None):
    """Run one command; bad input ends with one sentence on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options) or 0
        sys.stdout.flush()  # here, where a reader that has gone is noticed
        return code
    except TicketError as error:
        print(f"ticketlib: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `plan | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed at the end
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        on = ", and runs that were on go on from their last state" if options.command is run else ""
        print(f"ticketlib: ended at once; rows made so far are safe{on}.", file=sys.stderr)
        return 130


def _parser():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m ticketlib", description=__doc__, formatter_class=form)
    below = parser.add_subparsers(required=True, metavar="command")
    for name, (function, declarations) in COMMANDS.items():
        said = function.__doc__.split("\n")[0]
        sub = below.add_parser(name, help=said, description=said, formatter_class=form)
        for declare in declarations:
            declare(sub)
        sub.set_defaults(command=function)
    return parser


# options that several commands have


def _data_options(sub):
    sub.add_argument("--data-root", help="folder with image files (default: $TICKETLIB_DATA, then ./data)")


def _folder_option(sub):
    sub.add_argument("--ledger", type=Path, help="folder of rows (default: the book's own)")


def _ledger_options(sub):
    _folder_option(sub)
    sub.add_argument("--profile", default="laptop", help=", ".join(PROFILES))


def _dirty_option(sub):
    sub.add_argument("--allow-dirty", action="store_true", help="files of the code may differ from its commit")


def _grid_options(sub):
    _ledger_options(sub)
    sub.add_argument("--grid", default="pilot", help="a named list of runs, see below (default: pilot)")
    sub.add_argument("--only", default="", help="only arms whose name contains this text")
    lines = [f"  {name:8} {said}" for name, said in GRIDS.items()]
    sub.epilog = "\n".join(["grids, each the runs of one question, seed by seed:", *lines])


def _ledger(options):
    from ticketlib.experiments.ledger import Ledger

    one_of("profile", options.profile, PROFILES)
    folder = options.ledger or _books() / options.profile
    places.check_folder(folder)
    return Ledger(folder)


def _books():
    """The folder of the book's own ledgers, which an installed library lacks."""
    if not places.book_ledger().is_dir():
        raise TicketError(f"{str(places.ROOT)!r} is no checkout of the repository, whose own rows this is about; name "
                          "a folder of rows by --ledger where that is an option.")  # fmt: skip
    return places.book_ledger()


def _chosen(options, dataset):
    """The runs of a grid that were asked for: list of Config."""
    from ticketlib.experiments import grids

    configs = grids.grid(options.grid, options.profile, dataset)
    chosen = [config for config in configs if options.only in config.arm]
    if not chosen:
        arms = ", ".join(dict.fromkeys(config.arm for config in configs))
        raise TicketError(f"no arm of grid {options.grid!r} contains {options.only!r}; its arms are {arms}.")
    return chosen


def _grid(options):
    from ticketlib import data
    from ticketlib.experiments import grids

    ledger = _ledger(options)
    dataset = data.load(grids.data_of(options.grid, options.profile), options.data_root)
    return dataset, ledger, _chosen(options, dataset)


# commands


@command("data", _data_options)
def show_data(options):
    """Say what image data is found where."""
    from ticketlib import data

    for name in data.NAMES:
        print(data.describe(name, options.data_root))


@command("plan", _data_options, _grid_options)
def plan(options):
    """Show runs done, runs missing, and the time they will take at the speeds measured so far."""
    from ticketlib.experiments import grids

    ledger = _ledger(options)
    dataset, count = _planned_images(grids.data_of(options.grid, options.profile), options.data_root)
    for line in plan_lines(_chosen(options, dataset), ledger, options.grid, count):
        print(line)


def _planned_images(name, data_root):
    """The images of a plan and how many an epoch has: those that are there, else those of the book's rows."""
    from ticketlib import data
    from ticketlib.experiments.profiles import KNOWN

    try:
        dataset = data.load(name, data_root)
        return dataset, len(dataset.train)
    except TicketError as error:
        if name not in KNOWN:
            raise
        print(f"planned for the images of the book's rows, as none were read here: {error}")
        return KNOWN[name]


def plan_lines(configs, ledger, grid, epoch_size):
    """What `plan` says: a generator of lines. What has to be carried out may be more than the grid's own runs."""
    from ticketlib.experiments import campaign

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
    seconds = {config: campaign.estimate(config, speeds, epoch_size) for config in to_do}
    known = [one for one in seconds.values() if one is not None]
    unknown = [config for config, one in seconds.items() if one is None]
    if unknown:
        yield f"{len(unknown)} of them are of a kind that no row has measured yet: no estimate"
        for (device, date), (hours, count) in campaign.gpu_estimate(unknown, epoch_size).items():
            yield f"{hours:,.0f} hours of one {device} for the training of {count} of these, at the pace stored {date}"
    if known:
        yield f"{sum(known) / 3600:.1f} core-hours for {len(known)} runs, from the images/s of rows made so far"


def _run_options(sub):
    sub.add_argument("--hours", type=float, help="start no further run after this long; those that are on end")
    sub.add_argument("--until", help="the same at a time of day, such as 02:30")
    sub.add_argument("--retry-failed", action="store_true", help="also runs that failed twice with this code")
    sub.add_argument("--workers", type=int, help="runs at once (default: one a core, or all that fit the GPUs)")
    sub.add_argument("--device", default="cpu", help="cpu or cuda")
    sub.add_argument("--per-gpu", type=int, default=1, help="runs that share one GPU")
    sub.add_argument("--share", default="auto", help="how: mps, threads, processes or auto (mps, else threads)")
    sub.add_argument("--save-every", type=float, default=180, help="seconds between two states of a run on its way")
    sub.add_argument("--backend", default="pool", help=", ".join(BACKENDS))
    sub.add_argument("--address", default="local", help="of a Ray cluster, such as 10.0.0.1:6379; local starts one")


@command("run", _data_options, _grid_options, _run_options, _dirty_option)
def run(options):
    """Carry out the missing runs of a grid, resuming where the last call stopped."""
    from ticketlib.experiments import grids, journal
    from ticketlib.experiments.bundles import sweep
    from ticketlib.experiments.run import Work, check_device

    if not 0 <= options.save_every <= 86400:
        raise TicketError(f"save-every {options.save_every:g} is not allowed; it must be from 0 to 86400 seconds.")
    if options.backend == "ray" and options.grid in grids.ONE_KIND_A_SEED:
        raise TicketError(f"backend 'ray' is not allowed for grid {options.grid!r}: all runs of a seed must come "
                          "from one kind of machine, and Ray's may not; allowed: pool.")  # fmt: skip
    backend = _backend(options)
    stop = journal.Stop(journal.stop_time(options.until, options.hours))
    _refuse_dirty(options)
    dataset, ledger, configs = _grid(options)
    journal.check_writable(ledger)
    sweep(ledger.folder)
    ledger.rows()  # an unsound one is named now, not when the book is built
    if options.grid in grids.ONE_KIND_A_SEED:
        asked = {config.name for config in configs}
        every = grids.grid(options.grid, options.profile, dataset)  # other arms say where a seed was begun
        configs = [config for config in _of_this_kind(options, ledger, every) if config.name in asked]
    to_do, lost = _to_do(options, ledger, configs)
    check_device(options.device, to_do, options.profile, "cpu")
    print(f"{len(to_do)} runs to carry out; rows go to {ledger.folder}", flush=True)
    for config in [config for config in to_do if config.name in ledger]:
        print(f"made again: {config.arm} (seed {config.seed}): its trained net is lost or damaged", flush=True)
    for config, said in lost.items():
        where = f"seed {config.seed}, {config.epochs} epochs"
        print(f"not tried: {config.arm} ({where}): {said}", flush=True)
    if not to_do:
        return 1 if lost else 0
    work = Work(dataset.name, options.data_root, options.device, options.save_every)
    running = backend()
    if options.device == "cuda" and options.per_gpu > 1:
        print(f"runs share a GPU by {type(running).__name__.lower()}", flush=True)
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
    from ticketlib.experiments import campaign

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
    from ticketlib.experiments import machine

    with machine.threads(1):
        return machine.kind(machine.facts(options.device))


def _to_do(options, ledger, configs):
    """The runs to carry out; and those that are not tried, dict from Config to the reason."""
    from ticketlib.experiments import campaign, journal

    lost = {o.config: o.reason for o in campaign.blocked(configs, ledger)}
    given_up = {} if options.retry_failed else journal.Journal(ledger).given_up()
    queue = campaign.Queue(campaign.missing(configs, ledger))
    for config in list(queue.waiting):
        if config.name in given_up and config in queue.waiting:
            queue.waiting.remove(config)
            said = given_up[config.name]
            reason = f"failed {campaign.TRIES} times with this code ({said}); --retry-failed tries again"
            lost |= {config: reason} | {o.config: o.reason for o in queue.lost_with(config, "failed")}
    return queue.waiting, lost


def _backend(options):
    """A function that starts the back end asked for; what is asked for is checked at once."""
    from ticketlib.experiments import workers

    one_of("backend", options.backend, BACKENDS)
    one_of("device", options.device, DEVICES)
    for what, value in (("workers", options.workers), ("per-gpu", options.per_gpu)):
        if value is not None and not 1 <= value <= MOST:
            raise TicketError(f"{what} {value} is not allowed; it must be at least 1 and at most {MOST}.")
    one_of("share", options.share, ("auto", *workers.SHARES))
    if options.share == "mps" and options.device == "cpu":
        raise TicketError("share 'mps' is for GPUs; allowed with device 'cpu': auto, processes, threads.")
    if options.backend == "ray":
        if options.share != "auto":
            raise TicketError(f"share {options.share!r} is not for Ray, which gives each run a process; allowed: auto.")
        return lambda: workers.Cluster(options.address, options.workers, options.device == "cuda" and options.per_gpu)
    devices = workers.gpu_slots(options.per_gpu) if options.device == "cuda" else ("",) * workers.cores()
    return lambda: workers.share(options.share, options.workers or len(devices), devices)


def _refuse_dirty(options):
    """Rows that count say which commit made them; a row of the smoke profile may come from code under change."""
    from ticketlib.experiments import machine

    if options.profile != "smoke" and not options.allow_dirty and not machine.is_commit():
        raise TicketError(
            f"code version {machine.code_version()} is not a commit's; commit first, run from a git worktree at a tag, "
            "or say --allow-dirty, which every row will show."
        )


def _watch_options(sub):
    sub.add_argument("--every", type=float, help="again after so many seconds, until all is over")


@command("watch", _ledger_options, _watch_options)
def watch(options):
    """Say how far campaigns and notebooks are that make runs for a ledger, from any terminal."""
    from ticketlib.experiments import journal

    ledger = _ledger(options)
    if not ledger.folder.is_dir():
        raise TicketError(f"ledger {str(ledger.folder)!r} is not there; name the folder that `run` was given.")
    if options.every is not None and not 0 < options.every <= 86400:
        raise TicketError(f"--every {options.every:g} is not allowed; it must be above 0 and at most 86400 seconds.")
    while True:
        summaries = journal.campaigns(ledger)
        print(f"{len(ledger.names())} rows in {ledger.folder}; campaigns: {len(summaries)}")
        for facts in summaries:
            print("\n".join(journal.summary(facts)), flush=True)
        if options.every is None or all(map(journal.ended, summaries)):
            return
        time.sleep(options.every)


def _probe_options(sub):
    sub.add_argument("--seeds", type=int, default=10, help="seeds from 0 of the probe grid")
    sub.add_argument("--masks", default="masks", help="which masks: masks, sparse or shapes")


@command("probe", _data_options, _grid_options, _probe_options, _dirty_option)
def find_probes(options):
    """Find the masks of the probe grid, and of the grid's own tickets where the cache has their trained nets."""
    from ticketlib.experiments import grids, probe
    from ticketlib.tickets import TICKETS

    _refuse_dirty(options)
    if options.seeds < 1:
        raise TicketError(f"seeds {options.seeds} is not allowed; it must be at least 1.")
    dataset, ledger, configs = _grid(options)
    prober = probe.Prober(dataset)
    plain = grids.PROBES[one_of("kind of probes", options.masks, grids.PROBES)](options.profile, dataset, options.seeds)
    trained = [c for c in configs if TICKETS[c.ticket].needs_trained and c.check == "none"]
    trained += [replace(c, sparsity=s) for c in trained if c.arm in ("lt@0.9", "lt+both@0.9") for s in grids.PROBED]
    to_do = {probe.name(c): c for c in plain + [c for c in trained if prober.ready(c)] if probe.name(c) not in ledger}
    to_do = list(to_do.values())
    print(f"{len(to_do)} probes to make; rows go to {ledger.folder}", flush=True)
    return 1 if probe.measure_all(prober, to_do, ledger, print) else 0


def _audit_options(sub):
    sub.add_argument("--others", type=int, default=1, help="how many rows beside one LT and one LRR")
    sub.add_argument("--runs", type=int, help="so many rows of any kind instead")
    sub.add_argument("--grid", help="only rows of this grid, made on this kind of machine")
    sub.add_argument("--dataset", help="rows of these images (default: the profile's own)")
    instead = sub.add_mutually_exclusive_group()
    instead.add_argument("--spread", action="store_true", help="short runs with other threads and precision instead")
    instead.add_argument("--dense", action="store_true", help="a few tickets in the dense engine instead")
    sub.add_argument("--device", default="cpu", help="cpu or cuda")


@command("audit", _data_options, _ledger_options, _audit_options, _dirty_option)
def carry_out_again(options):
    """Carry out some rows again, drawn by lot, and compare to the last digit."""
    from ticketlib import data
    from ticketlib.experiments import audit, campaign, grids, profiles, workers

    if one_of("device", options.device, DEVICES) == "cuda":
        workers.gpu_slots(1)  # refused now if there is none
    _refuse_dirty(options)
    ledger = _ledger(options)
    usual = grids.data_of(options.grid, options.profile) if options.grid else profiles.PROFILES[options.profile].dataset
    dataset = data.load(options.dataset or usual, options.data_root)
    rows = [row for row in ledger.rows() if row["config"].get("fingerprint") == dataset.fingerprint]
    if options.grid:
        rows = _of_grid(options, dataset, rows)
    draw, jobs = _audit_jobs(options, ledger, rows)
    again, speeds = audit.Again(ledger, dataset, draw, options.device), campaign.speeds(rows)
    seconds = [campaign.estimate(replace(c, engine=changes.get("engine", c.engine)), speeds, len(dataset.train))
               for c, changes in jobs]  # fmt: skip
    known = options.device == "cpu" and None not in seconds
    expected = f", about {sum(seconds) / 60:.0f} min of one core" if known else ""
    print(f"{len(jobs)} runs to carry out again{expected}", flush=True)
    outcomes = []
    for done, (config, changes) in enumerate(jobs, 1):
        row = again.row(config, changes)
        outcomes.append(row["outcome"])
        print(f"[{done}/{len(jobs)}] {config.arm} (seed {config.seed}): {audit.sentence(row)}", flush=True)
    audit.end(ledger, draw)
    return 1 if audit.DIFFERS in outcomes else 0


def _of_grid(options, dataset, rows):
    """The rows of a grid that were made on this kind of machine."""
    from ticketlib.experiments import grids, machine

    names, here = {config.name for config in grids.grid(options.grid, options.profile, dataset)}, _kind_here(options)
    made = [row for row in rows if row["name"] in names]
    if found := [row for row in made if machine.kind(row) == here]:
        return found
    raise TicketError(f"grid {options.grid!r} has {len(made)} rows here and none of this kind of machine ({here}); an "
                      "audit needs one.")  # fmt: skip


def _audit_jobs(options, ledger, rows):
    """The draw in whose name runs are carried out again; and the runs with what is changed: list of (Config, dict)."""
    from ticketlib.experiments import audit, machine

    code = machine.code_version()
    unchosen = audit.Draw(code, audit.today(), ())
    if options.spread:
        return unchosen, audit.spread_jobs(ledger, rows)
    if options.dense:
        return unchosen, audit.dense_jobs(ledger, rows, options.profile, options.device)
    if options.runs is not None:
        draw = audit.draw_any(rows, code, audit.today(), options.runs)
    else:
        draw = audit.begin(ledger, rows, code, options.others)
    return draw, [(config, {}) for config in audit.jobs(ledger, draw)]


def _show_options(sub):
    sub.add_argument("name", help="16 hexadecimal digits")
    sub.add_argument("--json", action="store_true", help="every field, as its file has it")


@command("show", _folder_option, _show_options)
def show(options):
    """Print one row of the ledger: what it is, what came of it, on what it was made."""
    from ticketlib.experiments.ledger import Ledger

    folders = [options.ledger] if options.ledger else sorted(p for p in _books().iterdir() if p.is_dir())
    for ledger in map(Ledger, folders):
        if options.name in ledger:
            row = ledger[options.name]
            print(json.dumps(row, indent=1, sort_keys=True) if options.json else "\n".join(shown(row)))
            return 0
    raise TicketError(f"row {options.name!r} is not in {', '.join(str(f) for f in folders)}.")


def shown(row):
    """One row as a person reads it: list of lines. What is long (bits, layers) is counted or left to --json."""
    lists = {"empty_layers": lambda names: ", ".join(names) or "none",
             "curve": lambda curve: ", ".join(f"{point[0]:g}: {point[1]:.2f}" for point in curve)}  # fmt: skip
    facts = {"row": f"{row['kind']} {row['name']}", "arm": row.get("arm", "")}
    facts |= {what: value for what, value in row["config"].items() if value not in ("none", "default", "own")}
    counts, sizes = row.get("keep_counts"), row.get("sizes")
    if counts:
        facts["kept"] = f"{sum(counts.values()):,}" + (f" of {sum(sizes.values()):,}" if sizes else "") + " weights"
    for what, value in row.items():
        if what in lists:
            facts[what] = lists[what](value)
        elif what not in ("kind", "name", "config", "arm", "correct") and not what.endswith(("counts", "sizes")):
            plain = not isinstance(value, dict)
            facts[what] = value if plain else ", ".join(f"{key} {value[key]}" for key in sorted(value))
    return [f"{what.replace('_', ' '):21} {value}" for what, value in facts.items() if value not in ("", None)]


def _source_option(sub):
    sub.add_argument("source", type=Path, help="a folder that holds a folder of rows for each profile")


@command("commit-rows", _source_option)
def commit_rows(options):
    """Copy finished rows into the book's ledger, refresh runs.csv and README's table, and commit all."""
    from ticketlib.experiments import probe, runs_csv
    from ticketlib.experiments.ledger import Ledger

    root = _books().parent.parent
    if not options.source.is_dir():
        raise TicketError(f"folder {str(options.source)!r} is not there; it holds a folder of rows for each profile.")
    if Ledger(options.source).names():
        raise TicketError(f"folder {str(options.source)!r} holds rows itself; name the one above it, with a folder of "
                          "rows for each profile.")  # fmt: skip
    folders = [path for path in (*options.source.glob("*"), *options.source.glob("*/audits")) if Ledger(path).names()]
    made = {path.relative_to(options.source): Ledger(path).rows() for path in sorted(folders)}
    for place in made:  # what is unsound is refused before anything is copied
        one_of("profile (the folder's name)", place.parts[0], PROFILES)
    for place, rows in made.items():
        for row in rows:
            _add(Ledger(places.book_ledger() / place), row)
    probes = sum(Ledger(places.book_ledger(profile)).gather(probe.grid_of) for profile in PROFILES)
    table, rows = runs_csv.write(places.book_ledger()), places.book_ledger().relative_to(root)
    own = _changed(root, f"{rows}/*.json")  # git's own star, which crosses folders
    changed = [*own, *_changed(root, f"{rows}/*.jsonl"), *_changed(root, table.relative_to(root))]
    if not changed:
        print("no new rows")
        return
    readme(options)
    from ticketbook import board, first_screen

    paths = [*changed, "README.md"] + [first_screen.PICTURE] * (root / first_screen.PICTURE).is_file()
    paths += [str(board.history().relative_to(root))] * board.history().is_file()
    count = len(own) + probes
    said = f"{count} new row{'s' * (count != 1)}"
    for call in (["add"], ["commit", "-q", "-m", f"Ledger: {said}"]):
        subprocess.run(["git", *call, "--pathspec-from-file=-"], cwd=root, check=True, input="\n".join(paths).encode())
    print(f"{said} committed")


def _changed(root, paths):
    """Files that git sees as new or changed below `paths`, those of a call cut short as well: list of text."""
    status = ["git", "status", "--porcelain", "--untracked-files=all", "--", paths]
    text = subprocess.run(status, cwd=root, check=True, capture_output=True, text=True).stdout
    return [line[3:] for line in text.splitlines()]


def _add(ledger, row):
    """Add a row; say where another of the same name is there already, and whether with the same results."""
    from ticketlib.experiments.audit import differing

    if not ledger.add(row) and (there := ledger[row["name"]]) != row:
        how = "other" if differing(there, row) else "the same"
        print(f"not copied: {row['name']} ({row['arm']}): the book has this row with {how} results", file=sys.stderr)


@command("readme")
def readme(options):
    """Refresh the verdict table and the benchmarks in README.md, and note verdicts that have changed."""
    from ticketbook import board, first_screen, speed

    from ticketlib.experiments.audit import today
    from ticketlib.experiments.ledger import Ledger, frame

    rows, root = Ledger(_books() / "laptop").rows(), _books().parent.parent
    board.record(frame(rows), today())
    try:
        first_screen.write(root, frame(rows))
    except TicketError as error:  # a ledger of one's own, of which the book's sentences do not speak
        print(f"README's first screen is left as it was: {error}", file=sys.stderr)
    first_screen.write_between(root / "README.md", "bench", speed.in_short(speed.load()))


if __name__ == "__main__":
    sys.exit(main())
