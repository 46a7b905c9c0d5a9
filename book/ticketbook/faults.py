"""Faults that were tried and what came of them, and what the project stands on: tables for pages."""

import json
import re
import textwrap
from importlib.metadata import distribution

from ticketbook import gpus
from ticketlib.analysis import words as prose
from ticketlib.errors import TicketError
from ticketlib.experiments import profiles
from ticketlib.experiments.places import ROOT

FAULTS = ROOT / "book" / "reference" / "faults.json"  # written by `make faults`, from the tests' outcomes
TWO_NODES = ROOT / "book" / "reference" / "two_nodes.json"  # written by `make test-ray`
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)==(\S+)")


def fault_lines():
    """(column titles, lines) of a table: each fault, how often it was tried, what had to come of it, whether it did."""
    found = json.loads(FAULTS.read_text(encoding="utf-8"))
    lines = [[f["fault"], f"{f['tried']:,}", f["promise"], "yes" if f["held"] else "**no**"] for f in found]
    return ["fault", "times", "what must come of it", "held"], lines


def two_nodes():
    """The run on two Ray nodes, one of which was removed, in a sentence."""
    log = json.loads(TWO_NODES.read_text(encoding="utf-8"))
    fewer, more = log["on_each"]
    return (
        f"Ray {log['ray']}, two nodes of one core on loopback, {log['runs']} short runs. One node was removed when "
        f"{log['removed_after']} were done{_again(log)}, and {log['failed'] or 'none'} failed. One node made {fewer} "
        f"rows, the other {more}. The ledger had all {log['runs']} rows after {log['seconds']} s."
    )


def _again(log):
    if "again" not in log:
        return ""
    count = {0: "none was", 1: "one run was"}.get(log["again"], f"{log['again']} runs were")
    return f" and it was at work, so {count} begun twice"


def requirements(name="requirements.txt"):
    """Pinned packages of a requirements file: dict from name to version."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return {found[1]: found[2] for line in lines if (found := REQUIREMENT.fullmatch(line))}


def licence(name):
    """A package's licence as its metadata states it, in a few words. Raises: TicketError if it states none."""
    metadata = distribution(name).metadata
    stated = [metadata.get("License-Expression"), *_classifiers(metadata), metadata.get("License")]
    for text in stated:
        if text and text.strip() not in ("", "UNKNOWN"):
            return textwrap.shorten(text.strip().splitlines()[0], 60, placeholder=" ...")
    raise TicketError(f"package {name!r} states no licence; it must not be used until that is clear.")


def _classifiers(metadata):
    found = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return [", ".join(line.split(" :: ")[-1] for line in found)]


def licence_lines():
    """(column titles, lines) of a table: every direct dependency, its pinned version, its licence."""
    return ["package", "version", "licence"], [[name, pin, licence(name)] for name, pin in requirements().items()]


def substitutions():
    """Names that pages may write as {{ name }}: dict from name to Markdown."""
    dataset = profiles.NO_IMAGES
    return {
        "fault_table": prose.table(*fault_lines()),
        "two_nodes": two_nodes(),
        "licence_table": prose.table(*licence_lines()),
        "gpu_hours_table": prose.table(*gpus.hours_lines(dataset)),
        "gpu_days_table": prose.table(*gpus.wall_lines(dataset)),
        "gpu_pace": gpus.pace_sentence(),
        "gpu_total": gpus.total_sentence(dataset),
        "gpu_seeds": str(gpus.PAPER.seeds),
    }
