"""The ledger: rows are checked when read, never half-written, never overwritten."""

import json

import numpy as np
import pytest
from synthetic import make

from ticketlib.errors import TicketError
from ticketlib.experiments.ledger import LONGEST, Ledger, Row, name_of, pack_bits, read_row, unpack_bits


def row(config=None, **facts):
    config = config or make()
    return Row(kind="run", name=config.name, config=config.as_dict(), **{"accuracy": 50.0, "diverged": False, **facts})


def test_a_row_is_read_as_written(tmp_path):
    ledger = Ledger(tmp_path / "new")
    assert ledger.names() == []
    assert ledger.add(row())
    assert make().name in ledger
    assert ledger[make().name] == row()
    assert ledger[make().name].config == make()
    assert [p.name for p in (tmp_path / "new").iterdir()] == [f"{make().name}.json"]  # no temporary file is left


def test_the_first_row_stays(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add(row())
    assert not ledger.add(row(seconds=1))
    assert "seconds" not in ledger[make().name]


def test_a_probe_row(tmp_path):
    values = {"method": "snip", "seed": 0}
    Ledger(tmp_path).add(Row(kind="probe", name=name_of(values), config=values, counts={"a": 1}))
    assert Ledger(tmp_path).rows()[0]["counts"] == {"a": 1}


def test_an_unmeasured_value_is_never_written_as_nan(tmp_path):
    with pytest.raises(TicketError, match="holds nan or infinity"):
        Ledger(tmp_path).add(row(loss=float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(TicketError, match="images_per_second 0.0"):
        Ledger(tmp_path).add(row(images_per_second=0.0))
    assert list(tmp_path.iterdir()) == []


WHOLE = {"keep_counts": {"a": 0, "b": 1}, "sizes": {"a": 9, "b": 1}}  # a tenth, and a layer kept whole
SOUND = [
    {"accuracy": 0.0}, {"accuracy": 100.0}, {"images_per_second": 0.01}, {"threads": 0}, WHOLE,
    WHOLE | {"achieved_sparsity": 0.9, "effective_sparsity": 0.9}, {"effective_sparsity": 1},
    {"keep_counts": {"a": 0}, "achieved_sparsity": 1.0},  # of how many weights is not known
    {"correct": "AAA=", "num_test": 13, "accuracy": 0.0},
]  # fmt: skip
UNSOUND = [
    {"accuracy": -0.01}, {"accuracy": 100.01}, {"images_per_second": 0}, {"threads": -1},
    {"effective_sparsity": 1.01}, {"keep_counts": {"a": 10}, "achieved_sparsity": 0},
    WHOLE | {"keep_counts": {"a": 1, "b": 0}, "sizes": {"a": 0, "b": 10}},
    {"correct": "AAc=", "num_test": 13, "accuracy": 0.0},  # bits behind the last image
    {"correct": "A-A=", "num_test": 13, "accuracy": 0.0}, {"correct": "AAAA", "num_test": 13, "accuracy": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("facts", SOUND + UNSOUND, ids=str)
def test_what_a_row_may_say_ends_where_it_must(facts, tmp_path):
    if facts in SOUND:
        assert Ledger(tmp_path).add(row(**facts)) and len(Ledger(tmp_path).rows()) == 1
    else:
        with pytest.raises(TicketError, match=next(iter(facts))):
            Ledger(tmp_path).add(row(**facts))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda text: text[: len(text) // 2], "must be JSON"),
        (lambda text: "<<<<<<< ours\n" + text, "must be JSON"),
        (lambda text: "[]", "not a row"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "x": ' + "1" * LONGEST), "bytes at most"),
        (lambda text: text.replace('"diverged"', '"loss": 1e999,\n"diverged"'), "loss inf"),
        (lambda text: text.replace('"kind": "run"', '"kind": "walk"'), "not a row"),
        (lambda text: text.replace('"seed": 0', '"seed": 1'), "hash"),
        (lambda text: text.replace('"batch": 64', '"batches": 64'), "batches"),
        (lambda text: text.replace('"batch": 64', '"batch": null'), "batch None"),
    ],
)
def test_a_spoilt_row_is_refused_by_name(tmp_path, spoil, said):
    ledger = Ledger(tmp_path)
    ledger.add(row())
    path = ledger.path(make().name)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(TicketError) as error:
        ledger.rows()
    assert said in str(error.value) and path.name in str(error.value)


def test_rows_that_differ_in_the_seed_alone_are_named_and_read_one_by_one(tmp_path):
    configs = [make(seed=seed) for seed in (0, 7, 10**6)] + [make(order="order2"), make(drops=("0.25",), seed=7)]
    for config in configs:
        Ledger(tmp_path).add(row(config))
    found = {found["name"]: found.config for found in Ledger(tmp_path).rows()}
    assert found == {config.name: config for config in configs}
    assert {type(config.drops) for config in found.values()} == {tuple}
    path = Ledger(tmp_path).path(configs[1].name)
    path.write_text(path.read_text().replace('"seed": 7', '"seed": true'))
    with pytest.raises(TicketError, match="seed True"):
        Ledger(tmp_path).rows()


@pytest.mark.parametrize("text", ["a<b", "caf\u00e9", "a\\b", "[1]", "a\tb"])
def test_text_that_could_mean_something_to_a_page_is_refused(tmp_path, text):
    with pytest.raises(TicketError, match="in its text"):
        Ledger(tmp_path).add(row(arm=text))
    Ledger(tmp_path).add(row())
    path = Ledger(tmp_path).path(make().name)
    path.write_text(json.dumps(row(code=text), ensure_ascii=False))
    with pytest.raises(TicketError, match="in its text"):
        Ledger(tmp_path).rows()


def test_a_row_under_another_name_is_refused(tmp_path):
    Ledger(tmp_path).add(row())
    wrong = tmp_path / ("0" * 16 + ".json")
    wrong.write_text(json.dumps(row()))
    with pytest.raises(TicketError, match="hash"):
        read_row(wrong)


def test_a_name_cannot_leave_the_folder(tmp_path):
    with pytest.raises(TicketError, match="16 hexadecimal"):
        Ledger(tmp_path / "in")["../secret"]


def test_bits():
    bits = np.arange(13) % 3 == 0
    assert (unpack_bits(pack_bits(bits), 13) == bits).all()
