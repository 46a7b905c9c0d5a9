"""The machine a run is made on: what a row says of it."""

import contextlib
import functools
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from ticketlib.experiments.places import ROOT

SAME_IN_A_PAIR = ("device", "threads", "versions")  # fields of a row that make a kind of machine


@contextlib.contextmanager
def threads(number):
    """Compute on so many threads; afterwards on as many as before."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


def facts(device):
    """Where and with what a row is made: device, threads, versions of what computes, version of the code."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in ("torch", "numpy", "numba")}
    return {
        "device": torch.cuda.get_device_name(device) if str(device) != "cpu" else processor(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "code": code_version(),
    }


def kind(row):
    """The kind of machine that a row was made on, in words: device, threads, versions."""
    versions = ", ".join(f"{name} {number}" for name, number in sorted(row["versions"].items()))
    return f"{row['device']}, {row['threads']} thread{'s' * (row['threads'] != 1)}, {versions}"


@functools.cache
def processor():
    """The processor's model and vector instructions, such as "cpu: AMD EPYC, AVX512"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"cpu: {names[0] if names else platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def code_version():
    """The nearest tag and the commit of the code, with -dirty where files were changed; the version without git."""
    command = ["git", "describe", "--always", "--tags", "--long", "--dirty", "--abbrev=12"]
    if not (ROOT / ".git").exists():  # installed; a repository around it is another's
        return version("ticketlib")
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return version("ticketlib")


def is_commit():
    """Whether the code is a commit's, to the letter: no changed file, and git at hand to say so."""
    return re.fullmatch(r"(.+-g)?[0-9a-f]{12,40}", code_version()) is not None
