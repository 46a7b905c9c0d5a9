"""What SECURITY.md promises and no other test holds."""

import ast
import getpass
import importlib.util
import inspect
import json
import os
import re
import socket
import sys
import types
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from ticketbook import front
from workshop import smoke_configs

from ticketlib import data
from ticketlib.errors import TicketError
from ticketlib.experiments import checkpoints, workers
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.run import execute

SOURCES = [*sorted((ROOT / "ticketlib").rglob("*.py")), *sorted((ROOT / "book").glob("*/*.py"))]
UNSAFE_MODULES = {"cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
READERS = {f"{module}.{name}" for module in ("pickle", "_pickle") for name in ("load", "loads", "Unpickler")}
UNSAFE_CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load"} | READERS


def calls(path):
    """Every call in a source file: (its name, ast.Call)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    imported = {alias.name.split(".")[0] for node in imports for alias in node.names}
    renamed = {alias.name for node in imports for alias in node.names if alias.asname}
    drawn = {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not (imported | drawn) & UNSAFE_MODULES and "pickle" not in renamed | drawn
    for name, call in calls(path):
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert name not in UNSAFE_CALLS and options.get("shell") is None
        if name == "torch.load":
            assert options["weights_only"] == "True"
        if name in ("np.load", "numpy.load"):
            assert options["allow_pickle"] == "False"


def test_a_checkpoint_cannot_leave_its_folder(tmp_path):
    for name in ("../secret", "/etc/passwd", "a" * 15, "A" * 16, "a" * 16 + "\n", ""):
        with pytest.raises(TicketError, match="16 hexadecimal"):
            checkpoints.load(name, folder=tmp_path)


def test_the_build_takes_no_path(monkeypatch):
    spec = importlib.util.spec_from_file_location("make_book", ROOT / "book" / "_ext" / "make_book.py")
    make_book = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_book)
    assert not inspect.signature(make_book.main).parameters and make_book.ROOT == ROOT
    assert "argv" not in inspect.getsource(make_book)


def machine_words():
    """What would give the machine away: its name, the user's, and folders."""
    words = {socket.gethostname(), getpass.getuser(), str(Path.home()), str(ROOT), os.getcwd(), "/tmp", "/home"}
    return {word for word in words if len(word) > 3}


def test_a_row_does_not_give_the_machine_away(cache, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "a-host-of-no-other-name")  # a real one may be a plain word
    monkeypatch.setattr(getpass, "getuser", lambda: "a-user-of-no-other-name")
    digits = data.load("digits")
    for config in smoke_configs(digits)[:2]:
        row = execute(config, digits, progress=False)
        text = json.dumps({key: value for key, value in row.items() if key != "correct"})
        assert not [word for word in machine_words() if word in text]
        Ledger(cache / "rows").add(Row(row))


def test_committed_rows_hold_no_path():
    for path in [path for kind in ("json", "jsonl", "csv") for path in (ROOT / "book" / "ledger").rglob(f"*.{kind}")]:
        text = re.sub(r'"correct": "[^"]*"', "", path.read_text(encoding="utf-8"))
        assert not re.search(r"/\w+/|\\\\|://", text), path.name


def test_pages_and_notebooks_do_not_give_the_machine_away():
    folders = [(ROOT, "*.md"), (ROOT / "book", "*.md"), (ROOT / "notebooks", "*.ipynb"), (ROOT / "book/reference", "*")]
    for path in [path for folder, names in folders for path in folder.glob(names)]:
        text = path.read_text(encoding="utf-8")
        words = {str(ROOT), f"{Path.home()}/"}  # no host's name: that may be a plain word
        assert not [word for word in words if len(word) > 3 and word in text], path.name


class FakeRay(types.ModuleType):
    """Remembers how Ray would have been started."""

    started, resources, over = None, {"CPU": 2.0, "GPU": 1.0}, False

    def cluster_resources(self):
        return self.resources

    def shutdown(self):
        self.over = True

    def init(self, **options):
        self.started = options, dict(os.environ)

    def remote(self, **options):
        return lambda function: types.SimpleNamespace(options=options)


@pytest.fixture
def fake_ray(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    fake = FakeRay("ray")
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_ray_starts_on_loopback_with_a_token_and_reports_nothing(fake_ray):
    cluster = workers.Cluster(per_gpu=4)
    options, environment = fake_ray.started
    assert options["address"] == "local" and options["_node_ip_address"] == "127.0.0.1"
    assert not options["include_dashboard"]
    assert environment["RAY_AUTH_MODE"] == "token" and re.fullmatch(r"[0-9a-f]{64}", environment["RAY_AUTH_TOKEN"])
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert cluster.task.options["num_gpus"] == 0.25 and cluster.task.options["max_calls"] == 1


def test_a_cluster_without_a_gpu_is_not_waited_for(fake_ray):
    fake_ray.resources = {"CPU": 2.0}
    with pytest.raises(TicketError, match="has no GPU"):
        workers.Cluster(per_gpu=4)
    assert fake_ray.over and workers.Cluster().free


def test_a_token_is_never_made_up_for_a_cluster_that_is_there(fake_ray):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        workers.Cluster(f"127.0.0.1:{listening.getsockname()[1]}")
    assert "RAY_AUTH_TOKEN" not in fake_ray.started[1] and fake_ray.started[1]["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "", "x:y", "127.0.0.1:99999", "a" * 300 + ":1"])
def test_a_cluster_that_is_not_there_is_one_sentence(address, fake_ray):
    with pytest.raises(TicketError, match="cannot be reached"):
        workers.Cluster(address)
    assert fake_ray.started is None


def test_without_ray_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TicketError, match=r"requirements-ray\.txt"):
        workers.Cluster()


def test_every_dependency_is_pinned_and_states_its_licence():
    pinned = front.requirements()
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(pinned) == len(lines) > 20
    assert all(front.licence(name) for name in pinned)
    assert list(front.requirements("requirements-ray.txt")) == ["ray"]


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(name):
    """Names of what an installed package needs here, without its options; None if it is not installed."""
    try:
        needed = distribution(name).requires or ()
    except PackageNotFoundError:  # for other systems
        return None
    return {plain(re.match(r"[\w.-]+", line)[0]) for line in needed if "extra" not in line}


def test_constraints_pin_all_that_is_installed_with_the_pinned_packages():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.strip().startswith("#")]
    found = [re.fullmatch(r"([\w.-]+)==([\w.+]+)( ; .+)?", line) for line in lines]
    assert all(found)  # no place, no option
    pinned = {plain(one[1]): one[2] for one in found}
    files = [front.requirements(path.name) for path in ROOT.glob("requirements*.txt")]
    direct = {plain(name): version for file in files for name, version in file.items()}
    assert direct.items() <= pinned.items()
    needs, left = {}, set(map(plain, front.requirements()))
    while left - needs.keys():
        name = min(left - needs.keys())
        needs[name] = installed(name)
        left |= needs[name] or set()
    assert {name for name in needs if needs[name] is not None} <= pinned.keys() and len(needs) > 100


def imported(path):
    """Names of the top modules that a Python file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    found += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in found}


def test_every_package_that_is_imported_is_pinned():
    packages, pinned = packages_distributions(), set()
    for path in ROOT.glob("requirements*.txt"):
        pinned |= {name.lower() for name in front.requirements(path.name)}
    folders = ("ticketlib", "book", "tests", "benchmarks")
    names = set().union(*(imported(path) for folder in folders for path in (ROOT / folder).rglob("*.py")))
    assert {packages[name][0].lower() for name in names & packages.keys()} <= pinned | {"ticketlib", "ticketbook"}


def test_every_promise_names_a_test_that_is_there():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert len(named) >= 10 and all((ROOT / path).exists() for path in named)
