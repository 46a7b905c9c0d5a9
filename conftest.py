"""Settings of the whole test run: unit tests, notebooks (nbval), the site."""

import os
import tempfile

import pytest

# nbval: never compare what differs between machines (warnings) or library versions (HTML tables).
NOT_COMPARED = ("stderr", "text/html")


def pytest_configure(config):
    """Name the marker, and keep the rows and trained nets of tests and notebooks away from the user's own."""
    config.addinivalue_line("markers", "slow: long; left out by `make test`, run by `make test-all`")
    for what in ("LEDGER", "CACHE"):
        folder = tempfile.TemporaryDirectory(prefix=f"ticketlib-{what.lower()}-")
        os.environ[f"TICKETLIB_{what}"] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collectstart(collector):
    """Tell nbval what to leave out of its comparisons."""
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare += NOT_COMPARED


@pytest.fixture(scope="session")
def root(pytestconfig):
    """The repository's root folder."""
    return pytestconfig.rootpath
