"""The built site, made once for all tests that look at it."""

import os
import re
import shutil
from pathlib import Path

import pytest
import site_build


@pytest.fixture(scope="session")
def book(root, tmp_path_factory):
    """A copy of the repository with the site built in it; $TICKETLIB_BOOK names one that was built before."""
    if built := os.environ.get("TICKETLIB_BOOK"):
        return Path(built)
    folder = site_build.copy_of(root, tmp_path_factory.mktemp("book"))
    for path in (root / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder / "notebooks")
    done = site_build.build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The book is built. Open" in done.stdout and re.search(r"^the site +\d+\.\d s$", done.stdout, re.M)
    return folder


@pytest.fixture(scope="session")
def pages(book):
    """Every page of the site, parsed, by its path in the site."""
    site = book / "_build" / "html"
    found = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {str(path.relative_to(site)): site_build.Page(path) for path in found}
