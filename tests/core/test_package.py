"""The package as a whole: its map names what is there."""

import importlib
import re
from pathlib import Path

import pytest

import ticketlib

FOLDER = Path(ticketlib.__file__).parent


def test_the_map_of_the_package_names_every_module_and_folder_once():
    listed = re.findall(r"(?m)^- `(\w+)`", ticketlib.__doc__)
    there = [path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")]
    there += [path.name for path in FOLDER.iterdir() if (path / "__init__.py").is_file()]
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("name", sorted(ticketlib.MOVED))
def test_an_old_name_says_where_it_went_and_that_is_there(name):
    for ask in (lambda: importlib.import_module(f"ticketlib.{name}"), lambda: getattr(ticketlib, name)):
        with pytest.raises(ImportError, match=ticketlib.MOVED[name]):
            ask()
    importlib.import_module(ticketlib.MOVED[name])
    assert not (FOLDER / f"{name}.py").exists()
    assert re.search(rf"`(ticketlib\.)?{name}`", (FOLDER.parent / "CHANGELOG.md").read_text()) or "ticketbook" in (
        ticketlib.MOVED[name]) or ticketlib.MOVED[name] == "ticketlib.analysis"  # fmt: skip
