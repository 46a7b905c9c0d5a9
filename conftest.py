"""Settings of the whole test run: unit tests, notebooks (nbval), the site; on two cores or one."""

import os
import tempfile

import pytest
from make_book import LIVE

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as runs are made; read by torch when it is imported

# nbval: never compare what differs between machines (warnings) or library versions (HTML tables).
NOT_COMPARED = ("stderr", "text/html")


def pytest_configure(config):
    """Name the marker, and keep the rows and trained nets of tests and notebooks away from the user's own."""
    config.addinivalue_line("markers", "slow: long; left out by `make test`, run by `make test-all`")
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the folders are those of the process that began this one: what one has trained or built, all read
    for what in ("LEDGER", "CACHE", "BOOK"):
        folder = tempfile.TemporaryDirectory(prefix=f"ticketlib-{what.lower()}-")
        config.add_cleanup(folder.cleanup)
        if what != "BOOK" or "TICKETLIB_BOOK" not in os.environ:  # one that was built before may be named
            os.environ[f"TICKETLIB_{what}"] = folder.name


@pytest.hookimpl(tryfirst=True)  # before items are chosen by their markers
def pytest_collection_modifyitems(items):
    """The longest first: what builds the book, then notebooks, then what opens the built book in a browser.

    Of the pages that each build runs afresh, with the parameters that nbval takes, the tests of the book compare the
    outputs; to run them again is slow.
    """
    for item in items:
        if item.path.suffix == ".ipynb" and item.path.stem in LIVE:
            item.add_marker("slow")
    items.sort(key=lambda item: (item.path.name != "test_book.py", item.path.suffix != ".ipynb",
                                 item.path.parent.name != "site"))  # fmt: skip


def pytest_collectstart(collector):
    """Tell nbval what to leave out of its comparisons."""
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare += NOT_COMPARED


@pytest.fixture(scope="session")
def root(pytestconfig):
    """The repository's root folder."""
    return pytestconfig.rootpath
