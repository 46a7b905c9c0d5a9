"""What README, SECURITY and the pages for re-runners name is there: files, commands, targets of make."""

import re

import pytest

from ticketlib.__main__ import COMMANDS
from ticketlib.experiments.places import ROOT

NAMED = ["README.md", "SECURITY.md", "CITATION.cff", "LICENSE", "book/ledger/README.md"]
PAGES = "audit", "cite", "costs", "extend", "faults", "glossary", "grids", "machines", "more"
NAMED += [f"book/{page}.md" for page in PAGES]
PLACE = re.compile(r"`((?:tests|book|ticketlib|notebooks|benchmarks|requirements|constraints)[\w./-]*(?:/|\.\w+))`")
BELOW = (ROOT, ROOT / "book", ROOT / "tests", ROOT / "ticketlib")


@pytest.mark.parametrize("name", NAMED)
def test_what_a_text_names_is_there(name):
    text, make = (ROOT / name).read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    assert not [place for place in PLACE.findall(text) if not any((folder / place).exists() for folder in BELOW)]
    assert set(re.findall(r"-m ticketlib ([a-z][a-z-]*)", text)) <= COMMANDS.keys()
    [targets] = re.findall(r"^\.PHONY: (.*)", make, re.M)
    asked = re.findall(r"`make ([a-z][a-z-]*)`|^make ([a-z][a-z-]*)", text, re.M)
    assert {a or b for a, b in asked} <= set(targets.split())


def test_every_folder_that_readme_lists_is_there_and_no_other_is_left_out():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## What is where")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `(\w+)/`", table, re.M))
    assert listed == {"ticketlib", "notebooks", "book", "tests", "benchmarks"}
    assert all((ROOT / name).is_dir() for name in listed)
