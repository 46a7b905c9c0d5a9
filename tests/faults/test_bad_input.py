"""Generated input: a right answer or one clear sentence, never an error from the depths."""

import contextlib
import copy
import dataclasses
import json
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papermill.translators import PythonTranslator
from synthetic import CIFAR, row

from ticketlib import __main__ as command_line
from ticketlib.analysis import pairs
from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, grids, places, session
from ticketlib.experiments.config import Config, cost, parent
from ticketlib.experiments.ledger import frame, pack_bits, read_row

FEW, MANY = 30, 1000
PROMISE = "a right answer or one clear sentence"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
SPARSITIES = st.sampled_from(["0", "0.9", "0.98", "0.99999999999999999", ".5", "1", "-1", "1e-3", "nan", "0.90"])
GOOD = row("lt@0.9", 3, 70.0).config.as_dict()


def generated(what):
    """Two tests of one property: a quick one, and a slow one with many cases."""

    def wrap(strategies):
        def make(times):
            @pytest.mark.fault(f"generated {what}", PROMISE)
            def test(tried):
                cases = []

                def case(drawn):
                    with no_hang():
                        strategies[-1](*drawn)
                    cases.append(drawn)

                relaxed = settings(max_examples=times, deadline=None, suppress_health_check=list(HealthCheck))
                relaxed(given(st.tuples(*strategies[:-1]))(case))()
                assert len(cases) >= times
                tried(len(cases))

            return test

        return make(FEW), pytest.mark.slow(make(MANY))

    return wrap


class HangError(BaseException):
    """Nothing that is tested catches this."""


@contextlib.contextmanager
def no_hang(seconds=60):
    """Fail a case that does not come to its end."""

    def ring(*_):
        raise HangError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def one_sentence(error):
    assert str(error) and "\n" not in str(error) and len(str(error)) < 3000
    return None


def configuration(changes, sparsity, dropped):
    """Any change to a configuration."""
    values = {key: value for key, value in {**GOOD, **changes, "sparsity": sparsity}.items() if key not in dropped}
    try:
        config = Config.from_dict(values)
    except TicketError as error:
        return one_sentence(error)
    assert Config.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    before = parent(config)
    assert config.arm and cost(config) > 0 and (before is None or before.name != config.name)


FIELDS = st.sampled_from([field.name for field in dataclasses.fields(Config)])
test_configurations, test_many_configurations = generated("configurations")(
    (st.dictionaries(FIELDS, JSON, max_size=2), SPARSITIES, st.sets(FIELDS, max_size=1), configuration)
)

KEYS = st.from_regex(r"\A(dense|lt|snip|imp|x)(\+(rearranged|both|linear=(0\.\d|kept|x)|\w{0,3}))*(@[\d.]{0,5})?\Z")


def arm(key, seed):
    """Any name of an arm."""
    try:
        made = grids.arm("smoke", key, seed, CIFAR)
    except TicketError as error:
        return one_sentence(error)
    assert grids.arm("smoke", made.arm, seed, CIFAR) == made


test_arms, test_many_arms = generated("names of arms")((KEYS, st.integers() | st.booleans(), arm))

PARAMETERS = {"profile": "smoke", "source": "run", "ledger": "", "seeds": 0, "device": "cpu", "data_root": ""}
NAMES = st.sampled_from([*PARAMETERS, "seed", "Profile", "sparsity", "n"])
VALUES = JSON | st.sampled_from(["laptop", "stored", "cuda:9", "..", "../../book/ledger", "~", "\0", "~nobody/x"])


def parameters(given_values, dropped):
    """Any parameters of a notebook, by way of the source code that papermill makes of them."""
    namespace = {key: value for key, value in PARAMETERS.items() if key not in dropped}
    exec(PythonTranslator.codify(given_values), namespace)
    del namespace["__builtins__"]
    assert all(repr(namespace[name]) == repr(value) for name, value in given_values.items())
    try:
        found = session.check(namespace)
    except TicketError as error:
        return one_sentence(error)
    book = places.book_ledger().resolve()
    assert found.source == "stored" or book not in (found.ledger, *found.ledger.parents)
    assert {name: namespace[name] for name in ("profile", "seeds")} == {"profile": found.profile, "seeds": found.seeds}


test_parameters, test_many_parameters = generated("parameters of notebooks")(
    (st.dictionaries(NAMES, VALUES, max_size=2), st.sets(NAMES, max_size=1), parameters)
)

LT = row("lt@0.9", 3, 70.0)
BITS = pack_bits([True] * 7000 + [False] * 3000)
WHOLE = row("lt@0.9", 3, 70.0, parent=parent(LT.config).name, parent_checkpoint="b" * 64, correct=BITS)


def ledger_row(changes, dropped, inside, cut):
    """Any change to a row's file."""
    values = copy.deepcopy(dict(WHOLE))
    values |= changes
    values = {key: value for key, value in values.items() if key not in dropped}
    if isinstance(values.get("config"), dict):
        values["config"] |= inside
    text = json.dumps(values)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{WHOLE['name']}.json"
        path.write_text(text[: len(text) - cut] if cut else text)
        try:
            read = read_row(path)
            campaign.speeds([read])
            campaign.differing_checkpoint(read, {})
            assert len(pairs.select(frame([read]), "laptop")) <= 1 and len(read.correct) == read["num_test"]
        except TicketError as error:
            return one_sentence(error)
    assert read.config.name == read["name"]


ROW_FIELDS = st.sampled_from(sorted(WHOLE))
test_rows, test_many_rows = generated("ledger rows")(
    (
        st.dictionaries(ROW_FIELDS | st.text(max_size=5), JSON, max_size=2),
        st.sets(ROW_FIELDS, max_size=1),
        st.dictionaries(FIELDS, JSON, max_size=1),
        st.integers(0, 3),
        ledger_row,
    )
)

WORDS = st.sampled_from(["", "0", "-1", "nan", "2", "02:30", "24:00", "pool", "cuda", "x", "1e99", "../x", "９"])
OPTIONS = st.sampled_from(
    ["--workers", "--hours", "--until", "--device", "--per-gpu", "--backend", "--grid", "--profile"]
)


def words(options):
    """Any options of `run`, on a folder that no run can be started from."""
    arguments = ["run", "--only", "no such arm", "--profile", "smoke"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            status = command_line.main([*arguments, *(w for pair in options for w in pair), "--ledger", folder])
        except SystemExit as error:  # argparse's own sentence
            status = error.code
    assert status in (0, 2)


test_commands, test_many_commands = generated("options of the command line")(
    (st.lists(st.tuples(OPTIONS, WORDS), max_size=3), words)
)
