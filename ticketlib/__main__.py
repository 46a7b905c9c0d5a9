"""Command line: python -m ticketlib data | plan | run | probe | show | commit-rows | readme."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ticketlib import campaign, data, experiment, grids, nb, probes, runs
from ticketlib.errors import TicketError
from ticketlib.ledger import Ledger, read_row
from ticketlib.tickets import TICKETS


def main(arguments=None):
    """Run one command; bad input ends with one sentence on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except TicketError as error:
        print(f"ticketlib: {error}", file=sys.stderr)
        return 2


def _parser():
    parser = argparse.ArgumentParser(prog="python -m ticketlib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name, command, *groups):
        sub = commands.add_parser(name, help=command.__doc__.split("\n")[0])
        for group in groups:
            group(sub)
        sub.set_defaults(command=command)

    add("data", show_data, _data_options)
    add("plan", plan, _data_options, _grid_options)
    add("run", run, _data_options, _grid_options, _run_options)
    add("probe", probe, _data_options, _grid_options, _probe_options)
    add("show", show, _ledger_options, lambda sub: sub.add_argument("name", help="16 hexadecimal digits"))
    add("commit-rows", commit_rows, lambda sub: sub.add_argument("source", type=Path, help="a ledger folder"))
    add("readme", readme)
    return parser


def _data_options(sub):
    sub.add_argument("--data-root", help="folder with image files (default: $TICKETLIB_DATA, then ./data)")


def _ledger_options(sub):
    sub.add_argument("--ledger", type=Path, help="folder of rows (default: the book's own)")


def _grid_options(sub):
    _ledger_options(sub)
    sub.add_argument("--profile", default="laptop", help=", ".join(runs.PROFILES))
    sub.add_argument("--grid", default="pilot", help=", ".join(grids.GRIDS))


def _run_options(sub):
    sub.add_argument("--workers", type=int, default=1, help="single-thread processes")
    sub.add_argument("--device", default="cpu", help="cpu or cuda")
    sub.add_argument("--hours", type=float, help="start no further run after this long")
    sub.add_argument("--only", default="", help="only arms whose name contains this text")


def _probe_options(sub):
    sub.add_argument("--seeds", type=int, default=10, help="seeds from 0 of the probe grid")


def show_data(options):
    """Say what image data is found where."""
    for name in data.NAMES:
        print(data.describe(name, options.data_root))


def _grid(options):
    profile = runs.PROFILES.get(options.profile)
    if profile is None:
        runs.one_of("profile", options.profile, runs.PROFILES)
    dataset = data.load(profile.dataset, options.data_root)
    ledger = Ledger(options.ledger or nb.book_ledger() / options.profile)
    configs = grids.grid(options.grid, options.profile, dataset)
    only = getattr(options, "only", "")
    return dataset, ledger, [c for c in configs if only in c.arm]


def plan(options):
    """Show runs done, runs missing, and the time they will take at the speeds measured so far."""
    _, ledger, configs = _grid(options)
    to_do = campaign.missing(configs, ledger)
    print(f"{len(configs)} runs in grid {options.grid!r}, {len(configs) - len(to_do)} done, {len(to_do)} to carry out")
    speeds = campaign.speeds(ledger.rows())
    seconds = [campaign.estimate(c, speeds) for c in to_do]
    known = [s for s in seconds if s is not None]
    if len(known) < len(to_do):
        print(f"{len(to_do) - len(known)} of them are of a kind that no row has measured yet: no estimate")
    if known:
        print(f"{sum(known) / 3600:.1f} core-hours for {len(known)} runs, from the images/s of rows made so far")


def run(options):
    """Carry out the missing runs of a grid, resuming where the last call stopped."""
    dataset, ledger, configs = _grid(options)
    to_do = campaign.missing(configs, ledger)
    if options.workers < 1:
        raise TicketError(f"workers {options.workers} is not allowed; it must be at least 1.")
    stop_at = time.time() + 3600 * options.hours if options.hours else None
    print(f"{len(to_do)} runs to carry out with {options.workers} workers; rows go to {ledger.folder}", flush=True)
    work = experiment.Work(dataset.name, options.data_root, options.device)
    failed, began = [], time.time()
    for done, outcome in enumerate(campaign.carry_out(work, to_do, workers=options.workers, stop_at=stop_at), 1):
        if outcome.reason:
            failed.append(outcome)
        else:
            ledger.add(outcome.row)
        said = outcome.reason or _said(outcome.row)
        left = (time.time() - began) / done * (len(to_do) - done)
        where = f"seed {outcome.config.seed}, {outcome.config.epochs} epochs"
        arm = f"{outcome.config.arm} ({where})"
        print(f"[{done}/{len(to_do)}] {arm}: {said}; about {left / 60:.0f} min left", flush=True)
    for outcome in failed:
        print(f"failed: {outcome.config.name} {outcome.config.arm}: {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


def probe(options):
    """Find the masks of the probe grid, and of the grid's own tickets where the cache has their trained nets."""
    dataset, ledger, configs = _grid(options)
    prober, began = probes.Prober(dataset), time.time()
    found = grids.probes(options.profile, dataset, options.seeds)
    trained = [c for c in configs if TICKETS[c.ticket].needs_trained and c.check == "none" and prober.trained(c)]
    to_do = [c for c in found + trained if probes.name(c) not in ledger]
    print(f"{len(to_do)} probes to make; rows go to {ledger.folder}", flush=True)
    for done, config in enumerate(to_do, 1):
        row = prober.measure(config)
        ledger.add(row)
        left = (time.time() - began) / done * (len(to_do) - done)
        where = f"{config.network}, seed {config.seed}"
        print(f"[{done}/{len(to_do)}] {config.arm} ({where}): {row['seconds']:.0f} s; about {left / 60:.0f} min left")


def _said(row):
    result = "diverged" if row["diverged"] else f"{row['accuracy']:.2f} %"
    return f"{result} in {row['seconds']:.0f} s"


def show(options):
    """Print one row of the ledger."""
    folders = [options.ledger] if options.ledger else sorted(p for p in nb.book_ledger().iterdir() if p.is_dir())
    for ledger in map(Ledger, folders):
        if options.name in ledger:
            print(json.dumps(ledger[options.name], indent=1, sort_keys=True))
            return 0
    raise TicketError(f"row {options.name!r} is not in {', '.join(str(f) for f in folders)}.")


def commit_rows(options):
    """Copy finished rows into the book's ledger, refresh README's table, and commit both."""
    root, added = nb.book_ledger().parent.parent, 0
    for path in sorted(options.source.glob("*/*.json")):
        read_row(path)  # refused if unsound, before anything is copied
        target = nb.book_ledger() / path.parent.name / path.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            added += 1
    if not added:
        print("no new rows")
        return
    readme(options)
    paths = [str(nb.book_ledger().relative_to(root)), "README.md"]
    subprocess.run(["git", "add", *paths], cwd=root, check=True)
    subprocess.run(["git", "commit", "-q", "-m", f"Ledger: {added} rows", "--", *paths], cwd=root, check=True)
    print(f"{added} new rows committed")


def readme(options):
    """Refresh the verdict table in README.md."""
    from ticketlib import board

    board.refresh(nb.book_ledger().parent.parent / "README.md")


if __name__ == "__main__":
    sys.exit(main())
