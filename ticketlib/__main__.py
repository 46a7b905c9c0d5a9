"""Command line: python -m ticketlib data | plan | run | watch | probe | audit | show | commit-rows | readme."""

import argparse
import os
import signal
import sys
from pathlib import Path

from ticketlib import commands
from ticketlib.errors import TicketError
from ticketlib.experiments import grids, profiles


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
        lost = ", runs that were on are lost" if options.command is commands.run else ""
        print(f"ticketlib: ended at once; rows made so far are safe{lost}.", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="python -m ticketlib", description=__doc__)
    found = parser.add_subparsers(required=True, metavar="command")

    def add(name, command, *groups):
        sub = found.add_parser(name, help=command.__doc__.split("\n")[0])
        for group in groups:
            group(sub)
        sub.set_defaults(command=command)

    add("data", commands.show_data, _data_options)
    add("plan", commands.plan, _data_options, _grid_options)
    add("run", commands.run, _data_options, _grid_options, _run_options, _backend_options)
    add("watch", commands.watch, _ledger_options, _watch_options)
    add("probe", commands.probe, _data_options, _grid_options, _probe_options)
    add("audit", commands.audit, _data_options, _ledger_options, _audit_options)
    add("show", commands.show, _folder_option, lambda sub: sub.add_argument("name", help="16 hexadecimal digits"))
    add("commit-rows", commands.commit_rows, lambda sub: sub.add_argument("source", type=Path, help="a ledger folder"))
    add("readme", commands.readme)
    return parser


def _data_options(sub):
    sub.add_argument("--data-root", help="folder with image files (default: $TICKETLIB_DATA, then ./data)")


def _folder_option(sub):
    sub.add_argument("--ledger", type=Path, help="folder of rows (default: the book's own)")


def _ledger_options(sub):
    _folder_option(sub)
    sub.add_argument("--profile", default="laptop", help=", ".join(profiles.PROFILES))


def _grid_options(sub):
    _ledger_options(sub)
    sub.add_argument("--grid", default="pilot", help=", ".join(grids.GRIDS))
    sub.add_argument("--only", default="", help="only arms whose name contains this text")
    sub.add_argument("--allow-dirty", action="store_true", help="files of the code may differ from its commit")


def _run_options(sub):
    sub.add_argument("--hours", type=float, help="start no further run after this long; those that are on end")
    sub.add_argument("--until", help="the same at a time of day, such as 02:30")
    sub.add_argument("--retry-failed", action="store_true", help=f"also runs that failed {commands.TRIES} times")


def _backend_options(sub):
    sub.add_argument("--workers", type=int, help="runs at once (default: one a core, or all that fit the GPUs)")
    sub.add_argument("--device", default="cpu", help="cpu or cuda")
    sub.add_argument("--per-gpu", type=int, default=1, help="runs that share one GPU")
    sub.add_argument("--backend", default="pool", help=", ".join(commands.BACKENDS))
    sub.add_argument("--address", default="local", help="of a Ray cluster, such as 10.0.0.1:6379; local starts one")


def _watch_options(sub):
    sub.add_argument("--every", type=float, help="again after so many seconds, until the campaign is over")


def _probe_options(sub):
    sub.add_argument("--seeds", type=int, default=10, help="seeds from 0 of the probe grid")
    sub.add_argument("--masks", default="masks", help=f"which masks: {', '.join(grids.PROBES)}")


def _audit_options(sub):
    sub.add_argument("--others", type=int, default=1, help="how many rows beside one LT and one LRR")
    sub.add_argument("--runs", type=int, help="so many rows of any kind instead")
    sub.add_argument("--grid", help="only rows of this grid, made on this kind of machine")
    sub.add_argument("--dataset", help="rows of these images (default: the profile's own)")
    instead = sub.add_mutually_exclusive_group()
    instead.add_argument("--spread", action="store_true", help="short runs with other threads and precision instead")
    instead.add_argument("--dense", action="store_true", help="a few tickets in the dense engine instead")
    sub.add_argument("--device", default="cpu", help="cpu or cuda")
    sub.add_argument("--allow-dirty", action="store_true", help="files of the code may differ from its commit")


if __name__ == "__main__":
    sys.exit(main())
