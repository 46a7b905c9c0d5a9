"""Build the book: run every notebook with papermill, then jupyter-book, and say how long each part took.

Run by `make book`. Needs no GPU, no image data and no network.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIVE = ("00_quick_start", "10_bring_your_own")  # pages whose runs are made afresh at every build
PARAMETERS = {True: {"profile": "smoke", "source": "run"}, False: {"profile": "laptop", "source": "stored"}}
WORKERS = 2
CELL_SECONDS = 300
SPHINX = [str(Path(sys.executable).parent / "jupyter-book"), "build", "book/", "-W", "-n", "--keep-going"]
TIMES = Path("_build") / "times.json"  # seconds of each part of the last build


def call(arguments, **environment):
    """Run a Python program in the repository's root; returns (exit status, its output, seconds)."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "TQDM_DISABLE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout, time.perf_counter() - began


def execute(name, ledger):
    """Run one notebook into book/claims; paths are relative, since papermill writes them into the result."""
    given = [word for key, value in PARAMETERS[name in LIVE].items() for word in ("-p", key, value)]
    arguments = ["-m", "papermill", f"notebooks/{name}.ipynb", f"book/claims/{name}.ipynb", *given]
    options = ["-k", "python3", "--no-progress-bar", "--execution-timeout", str(CELL_SECONDS)]
    return call([*arguments, *options], TICKETLIB_LEDGER=ledger)


def execute_all(names):
    """Run the notebooks, two at a time, with an empty ledger for the live ones; returns {name: call's result}."""
    shutil.rmtree(ROOT / "book" / "claims", ignore_errors=True)
    (ROOT / "book" / "claims").mkdir()
    with tempfile.TemporaryDirectory() as ledger, ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(names, pool.map(lambda name: execute(name, ledger), names), strict=True))


def build_site():
    """Build the site afresh, warnings as errors."""
    shutil.rmtree(ROOT / "_build", ignore_errors=True)
    return call(SPHINX)


def main():
    """Build everything, print a line a part, return the exit status."""
    began = time.perf_counter()
    parts = execute_all(sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
    failed = [name for name, (status, _, _) in parts.items() if status]
    if not failed:
        parts["the site"] = build_site()
        failed = ["the site"] * bool(parts["the site"][0])
    for name in failed:
        print(f"--- {name} failed:", parts[name][1], sep="\n")
    times = {name: round(seconds, 1) for name, (_, _, seconds) in parts.items()}
    times["all"] = round(time.perf_counter() - began, 1)
    for name, seconds in times.items():
        print(f"{name:<24}{seconds:6.1f} s")
    if failed:
        print(f"The book was not built: {', '.join(failed)} failed, as shown above.")
        return 1
    (ROOT / TIMES).write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")
    print(f"The book is built. Open {ROOT / '_build' / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
