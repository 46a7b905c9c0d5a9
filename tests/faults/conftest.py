"""Fault tests: each says which fault it tries and what must come of it, and the outcomes can be written down.

`TICKETLIB_FAULTS=book/reference/faults.json pytest tests/faults` writes what was tried into the table that the book
shows. A fault that was not tried in that run keeps the line it had.
"""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

SEEN = {}  # (fault, promise) -> [outcomes of its tests, how often it was tried]


def pytest_configure(config):
    """Name the marker."""
    config.addinivalue_line("markers", "fault(what, promise): a fault that is tried, and what must come of it")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for every test."""
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return tmp_path / "cache"


@pytest.fixture
def tried(request):
    """A function that counts how often a fault was tried; once, for a test that does not say."""

    def count(times):
        request.node.user_properties.append(("times", times))

    return count


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember the outcome of a fault's tests."""
    result = yield
    marker, report = item.get_closest_marker("fault"), result.get_result()
    if marker and (call.when == "call" or report.failed):
        outcomes, times = SEEN.setdefault(marker.args, ([], []))
        outcomes.append(report.outcome)
        times.append(dict(item.user_properties).get("times", 1))


def pytest_sessionfinish(session):
    """Write down what was tried, beside what earlier runs tried."""
    path = os.environ.get("TICKETLIB_FAULTS")
    if not path or not SEEN:
        return
    file = Path(path)
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    lines = {(line["fault"], line["promise"]): line for line in known}
    for (fault, promise), (outcomes, times) in SEEN.items():
        held = all(outcome == "passed" for outcome in outcomes)
        lines[fault, promise] = dict(fault=fault, promise=promise, tried=sum(times), held=held)
    found = sorted(lines.values(), key=lambda line: line["fault"])
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
