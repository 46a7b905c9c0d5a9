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
    with pytest.raises(ImportError, match=ticketlib.MOVED[name]):
        importlib.import_module(f"ticketlib.{name}")
    importlib.import_module(ticketlib.MOVED[name])
    assert not (FOLDER / f"{name.replace('.', '/')}.py").exists()
    assert re.search(rf"`(ticketlib\.)?{name.split('.')[-1]}`", (FOLDER.parent / "CHANGELOG.md").read_text())


def test_an_old_name_answers_as_an_attribute_too():
    with pytest.raises(ImportError, match="ticketlib.synflow"):
        _ = ticketlib.flow
