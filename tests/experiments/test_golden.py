"""A few steps of every kind of run against stored figures: a change here raises the recipe version.

`python tests/experiments/test_golden.py` stores them afresh; do that only together with a new recipe version.
"""

import json
from pathlib import Path

import pytest
from made_runs import rehearse

from ticketlib import data
from ticketlib.experiments import grids

STORED = Path(__file__).parents[1] / "golden" / "steps.json"
ARMS = {
    "dense": {},
    "smart@0.9": {},
    "smart@0.9, sparse": {"engine": "sparse"},
    "snip@0.9": {},
    "snip+both@0.9": {},
    "grasp@0.9": {},
    "synflow@0.9": {},
    "lt@0.9": {},
    "lrr+shuffled@0.9": {},
    "hybrid@0.9, sparse": {"engine": "sparse"},
}


def measure(key, digits):
    """The loss of five updates, the mask and its keep counts."""
    arm, changes = key.removesuffix(", sparse"), ARMS[key]
    [row] = rehearse([grids.arm("smoke", arm, 0, digits, **changes)], digits, steps=5)
    return {what: row[what] for what in ("name", "loss", "mask_digest", "keep_counts")}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.mark.parametrize("key", ARMS)
def test_a_few_steps_give_the_stored_figures(key, digits):
    stored, found = json.loads(STORED.read_text(encoding="utf-8"))[key], measure(key, digits)
    assert found["name"] == stored["name"]
    assert found["loss"] == pytest.approx(stored["loss"], rel=1e-3)  # other processors round otherwise
    if "smart" in key or key == "dense":  # nothing computed decides these masks
        assert found["mask_digest"] == stored["mask_digest"]
    moved = sum(abs(found["keep_counts"][name] - count) for name, count in stored["keep_counts"].items())
    assert moved <= 0.01 * sum(stored["keep_counts"].values())


if __name__ == "__main__":
    images = data.load("digits")
    STORED.write_text(json.dumps({key: measure(key, images) for key in ARMS}, indent=1, sort_keys=True) + "\n")
