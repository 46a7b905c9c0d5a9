"""The package as a whole: its map names what is there."""

import re
from pathlib import Path

import ticketlib


def test_the_map_of_the_package_names_every_module_once():
    listed = re.findall(r"\b[a-z]\w*", " ".join(re.findall(r": (.*(?:\n  .*)?)", ticketlib.__doc__)))
    words = [word for word in listed if word not in ("and", "below", "it")]
    modules = [path.stem for path in Path(ticketlib.__file__).parent.glob("*.py") if not path.stem.startswith("_")]
    assert sorted(words) == sorted(modules)
