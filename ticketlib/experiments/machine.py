"""The machine a run is made on: what a row says of it, and one switch that makes it faster."""

import contextlib
import ctypes
import functools
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
ONE_GIBIBYTE = 1 << 30
SAME_IN_A_PAIR = ("device", "threads", "versions")  # fields of a row that make a kind of machine


@functools.cache
def keep_memory():
    """Tell glibc to keep the memory it has been given back, once a process; elsewhere nothing happens.

    A training step frees and takes the same large blocks again and again. By default each goes back to the system and
    comes as fresh pages, cleared one by one. No result depends on it; `make bench` shows what it saves.

    Returns: whether the C library has the switch.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(M_MMAP_THRESHOLD, ONE_GIBIBYTE) and set_option(M_TRIM_THRESHOLD, ONE_GIBIBYTE))


def use_gpu(device):
    """Compute on a CUDA device from now on; let cuDNN repeat itself to the last digit, and float32 be float32.

    Without this it adds in another order each time, and rounds the factors of a convolution to ten bits (TF32).
    """
    if device.index is not None:
        torch.cuda.set_device(device)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


@contextlib.contextmanager
def threads(number):
    """Compute on so many threads; afterwards on as many as before."""
    found = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(found)


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
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return version("ticketlib")


def is_commit():
    """Whether the code is a commit's, to the letter: no changed file, and git at hand to say so."""
    return re.fullmatch(r"(.+-g)?[0-9a-f]{12,40}", code_version()) is not None
