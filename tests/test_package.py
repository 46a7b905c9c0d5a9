"""The package as a whole: its map names what is there."""

import re
from pathlib import Path

import ticketlib

FOLDER = Path(ticketlib.__file__).parent


def test_the_map_of_the_package_names_every_module_and_folder_once():
    listed = re.findall(r"(?m)^- `(\w+)`", ticketlib.__doc__)
    there = [path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")]
    there += [path.name for path in FOLDER.iterdir() if (path / "__init__.py").is_file()]
    assert sorted(listed) == sorted(there)
