"""A browser for the tests of the site, and every page opened in it once, from disk and with no network."""

import axe_script
import browser as chrome
import pytest
import visits


@pytest.fixture(scope="module")  # while it is open, no other test could use asyncio
def chromium():
    """One browser for the tests of a module."""
    problem = chrome.missing() or axe_script.missing()
    assert not problem, problem
    with chrome.chromium() as found:
        yield found


@pytest.fixture(scope="session")
def site(book):
    """The folder of the built site."""
    return book / "_build" / "html"


@pytest.fixture(scope="module")
def visit_all(chromium, site):
    """A function (size, theme) that opens every page: dict from path to Visit. Each combination is opened once."""
    seen = {}

    def visit_all(size, theme):
        if (size, theme) not in seen:
            context = chrome.view(chromium, size, theme)
            seen[size, theme] = {str(p.relative_to(site)): visits.opened(context, p) for p in chrome.html_pages(site)}
            context.close()
        return seen[size, theme]

    return visit_all
