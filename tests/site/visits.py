"""Open a page of the site and note what goes wrong."""

from dataclasses import dataclass, field

import axe_script
import browser as chrome

LOOK = """() => ({
    broken: [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src),
    formulas: document.querySelectorAll("span.math, div.math").length,
    typeset: document.querySelectorAll("mjx-container").length,
    width: document.documentElement.scrollWidth,
})"""


@dataclass
class Visit:
    """What one page did when it was opened, and how it looks."""

    errors: list = field(default_factory=list)  # of its scripts, and on its console
    failed: list = field(default_factory=list)  # addresses that gave nothing
    foreign: list = field(default_factory=list)  # addresses that are no files of the site
    look: dict = field(default_factory=dict)  # what LOOK and other scripts return
    faults: list = field(default_factory=list)  # serious and critical ones that axe finds


def listen(page):
    """Note what goes wrong in a page from now on; returns the Visit that is filled."""
    visit = Visit()
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("console", lambda message: visit.errors.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: visit.failed.append(request.url))
    page.on("request", lambda request: visit.foreign.append(request.url) if is_foreign(request.url) else None)
    return visit


def is_foreign(address):
    """Whether an address leads anywhere but to files and to what a page made itself."""
    return not address.startswith(("file:", "data:", "blob:"))


def opened(context, path, **scripts):
    """Open a page, look at it, and have axe look for faults.

    Arguments: scripts, more to look at: what a script of this name finds is in `look`.
    """
    page = context.new_page()
    visit = listen(page)
    page.goto(path.as_uri(), wait_until="load")
    chrome.settle(page)
    visit.look = page.evaluate(LOOK) | {name: page.evaluate(script) for name, script in scripts.items()}
    visit.faults = axe_script.faults(page)
    page.close()
    return visit
