"""Names of what one adds: one meaning each, and one that an arm can be written with."""

import pytest

from ticketlib import corrupt, pruners, ratios, tickets
from ticketlib.errors import TicketError
from ticketlib.registers import REGISTERS

BY = {"pruner": pruners.pruner, "rule": ratios.rule, "check": tickets.check}


@pytest.fixture
def registers():
    before = {kind: dict(names) for kind, names in REGISTERS.items()}
    yield
    for kind, names in REGISTERS.items():
        names.clear()
        names.update(before[kind])


@pytest.mark.parametrize(("kind", "name", "taken"), [
    ("rule", "snip", "pruner"), ("pruner", "lt", "ticket"), ("pruner", "smart", "rule"),
    ("check", "labels", "corruption"), ("rule", "smart", "rule"), ("check", "none", "check"),
    ("rule", "half", "corruption"), ("pruner", "table", "ticket"),
])  # fmt: skip
def test_a_name_that_is_taken_is_refused_and_stays_what_it_was(kind, name, taken, registers):
    before = {of: dict(names) for of, names in REGISTERS.items()}
    with pytest.raises(TicketError, match=f"{kind} '{name}' .* {taken}"):
        BY[kind](name)(lambda *_: None)
    assert before == REGISTERS and name not in ratios.FIXES_LINEAR - {"smart"}


@pytest.mark.parametrize("kind", BY)
def test_a_decorator_without_a_name_is_refused_at_once(kind):
    with pytest.raises(TicketError, match=f"{kind} <function"):
        BY[kind](lambda *_: None)


@pytest.mark.parametrize("kind", BY)
@pytest.mark.parametrize("name", ["a+b@c", "", "own-0123", "a=b", "größe", 3])
def test_a_name_that_no_arm_can_be_written_with_is_refused(kind, name):
    with pytest.raises(TicketError, match=rf"{kind} {name!r}".replace("+", r"\+")):
        BY[kind](name)(lambda *_: None)


@pytest.mark.parametrize("kind", BY)
def test_a_cell_may_run_twice_and_another_function_may_not_take_its_name(kind, registers):
    def mine(*_):
        return 1

    first = BY[kind]("mine_9")(mine)

    def other(*_):
        return 2

    with pytest.raises(TicketError, match="mine_9"):
        BY[kind]("mine_9")(other)
    assert REGISTERS[kind]["mine_9"] is first

    def mine(*_):  # the same cell again
        return 3

    assert REGISTERS[kind]["mine_9"] is first and BY[kind]("mine_9")(mine) is REGISTERS[kind]["mine_9"] is mine


def test_every_word_of_an_arm_has_one_meaning():
    words = [name for names in REGISTERS.values() for name in names]
    assert len(words) == len(set(words)) == len(tickets.TICKETS) + len(tickets.CHECKS) + len(corrupt.KINDS) - 1
