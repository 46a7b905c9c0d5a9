"""The built site, made once for all tests that look at it."""

import os
import re
import shutil
from pathlib import Path

import pytest
import site_build
from filelock import FileLock


@pytest.fixture(scope="session")
def book(root):
    """A copy of the repository with the site built in it, by whichever process is the first to need it."""
    folder = Path(os.environ["TICKETLIB_BOOK"])
    with FileLock(folder / "building.lock"):
        if not (folder / "_config.yml").exists():
            build_in(folder, root)
    assert (folder / "_build" / "times.json").is_file(), "The book was not built: an earlier test says why."
    return folder


def build_in(folder, root):
    """Build the book as `make book` does in an empty folder."""
    site_build.copy_of(root, folder)
    for path in (root / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder / "notebooks")
    done = site_build.build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The book is built. Open" in done.stdout and re.search(r"^the site +\d+\.\d s$", done.stdout, re.M)


@pytest.fixture(scope="session")
def pages(book):
    """Every page of the site, parsed, by its path in the site."""
    site = book / "_build" / "html"
    found = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {str(path.relative_to(site)): site_build.Page(path) for path in found}
