"""axe-core, which finds what keeps people with a screen reader, a keyboard or weak eyes from using a page."""

import importlib.util
from pathlib import Path

RUN = """async () => (await axe.run(document, {resultTypes: ["violations"], preload: false})).violations
    .filter((fault) => ["serious", "critical"].includes(fault.impact))
    .map((fault) => [fault.id, fault.nodes.length, fault.nodes.slice(0, 3).map((node) => node.html.slice(0, 160))])"""


def missing():
    """What keeps axe from running, in one sentence; an empty text if nothing does."""
    found = importlib.util.find_spec("axe_playwright_python")
    return "" if found else "axe is not installed; `make site-test` installs it."


def faults(page):
    """Serious and critical faults of an open page: list of (rule, how often, where it was seen first)."""
    folder = Path(importlib.util.find_spec("axe_playwright_python").origin).parent
    page.evaluate((folder / "axe.min.js").read_text(encoding="utf-8"))
    return [tuple(fault) for fault in page.evaluate(RUN)]
