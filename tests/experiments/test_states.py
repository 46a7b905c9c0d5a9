"""A run goes on inside itself: states in the cache, theirs alone, sound or none."""

import dataclasses

import pytest
from synthetic import without_varying

from ticketlib import data
from ticketlib.experiments import checkpoints, grids, run


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def arm(key, digits, **changes):
    return grids.arm("smoke", key, 0, digits, epochs=2, **changes)


def stopped(config, digits, cache, monkeypatch, after):
    """Carry a run out until it has kept so many states, then end it as Ctrl-C does."""
    save, left = checkpoints.Keeper.save, [after]

    def save_and_stop(self, state):
        save(self, state)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.Keeper, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run.execute(config, digits, cache=cache, progress=False, save_every=0)
    return next((cache / "states").glob("*.safetensors"))


@pytest.mark.parametrize("key", ["smart@0.9", "lrr@0.9", "snip+both@0.9"])
@pytest.mark.parametrize("engine", ["dense", "sparse"])
def test_stopped_and_resumed_is_uninterrupted_to_the_last_digit(key, engine, digits, tmp_path, monkeypatch):
    config = arm(key, digits, engine=engine)
    whole = run.execute(config, digits, cache=tmp_path / "whole", progress=False)
    stopped(config, digits, tmp_path / "cut", monkeypatch, 5)
    row = run.execute(config, digits, cache=tmp_path / "cut", progress=False)
    own = row.pop("went_on", 0)
    assert without_varying(row) == without_varying(whole)
    assert own == (0 if key == "lrr@0.9" else 1)  # LRR's dense net was stopped
    assert not list((tmp_path / "cut" / "states").iterdir())


@pytest.mark.parametrize("spoilt", ["cut short", "flipped", "another run's", "another machine's"])
def test_a_damaged_or_foreign_state_is_none(spoilt, digits, tmp_path, monkeypatch):
    config = arm("smart@0.9", digits)
    path = stopped(config, digits, tmp_path, monkeypatch, 5)
    whole = run.execute(config, digits, cache=tmp_path / "whole", progress=False)
    octets = bytearray(path.read_bytes())
    if spoilt == "cut short":
        path.write_bytes(octets[: len(octets) // 2])
    elif spoilt == "flipped":
        octets[-100] ^= 1
        path.write_bytes(octets)
    elif spoilt == "another run's":
        config = dataclasses.replace(config, seed=1)
        whole = run.execute(config, digits, cache=tmp_path / "whole", progress=False)
        path.rename(path.with_name(f"{config.name}.safetensors"))
    else:
        facts = run.machine.facts
        monkeypatch.setattr(run.machine, "facts", lambda device: facts(device) | {"threads": 99})
    row = run.execute(config, digits, cache=tmp_path, progress=False)
    assert "went_on" not in row and row["accuracy"] == whole["accuracy"] and row["correct"] == whole["correct"]


def test_a_row_counts_how_often_it_went_on(digits, tmp_path, monkeypatch):
    config = arm("smart@0.9", digits)
    for _ in range(3):
        stopped(config, digits, tmp_path, monkeypatch, 2)
    assert run.execute(config, digits, cache=tmp_path, progress=False)["went_on"] == 3


def test_a_rehearsal_keeps_no_state(digits, tmp_path):
    run.execute(arm("smart@0.9", digits), digits, cache=tmp_path, progress=False, steps=2, save_every=0)
    assert not (tmp_path / "states").exists()
