"""What a row says of the machine."""

import re
from importlib.metadata import version

import pytest

from ticketlib.experiments import machine


def test_a_row_names_processor_threads_versions_and_commit():
    facts = machine.facts("cpu")
    assert re.fullmatch(r"cpu: .+, .+", facts["device"]) and facts["threads"] >= 1
    assert set(facts["versions"]) == {"python", "torch", "numpy", "numba"}
    assert re.search(r"g?[0-9a-f]{12}(-dirty)?$|^\d+\.\d+", facts["code"])
    assert "/" not in facts["device"] + facts["code"]


def test_an_installed_library_names_no_repository_around_it(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: pytest.fail("git was asked"))
    assert machine.code_version.__wrapped__() == version("ticketlib")
