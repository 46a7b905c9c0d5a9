"""What a row says of the machine."""

import re

from ticketlib.experiments import machine


def test_a_row_names_processor_threads_versions_and_commit():
    facts = machine.facts("cpu")
    assert re.fullmatch(r"cpu: .+, .+", facts["device"]) and facts["threads"] >= 1
    assert set(facts["versions"]) == {"python", "torch", "numpy", "numba"}
    assert re.search(r"g?[0-9a-f]{12}(-dirty)?$|^\d+\.\d+", facts["code"])
    assert "/" not in facts["device"] + facts["code"]
