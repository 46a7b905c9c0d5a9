"""Two Ray nodes on loopback, one of which is removed in mid-grid. Needs requirements-ray.txt: `make test-ray`."""

import json
import os
import secrets
import shutil
import sys
import time
from pathlib import Path

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
HERE = Path(__file__).resolve()
FOLDERS = [*map(str, HERE.parents[:3]), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ["PYTHONPATH"] = os.pathsep.join(FOLDERS)  # for the nodes' processes
sys.path[:0] = FOLDERS[:2]

import ray  # noqa: E402
from ray.cluster_utils import Cluster as Loopback  # noqa: E402
from workshop import Toy, bytes_of, toy_configs, untimed, without_varying  # noqa: E402

from ticketlib.experiments import (  # noqa: E402
    campaign,
    journal,
    workers,  # noqa: E402
)
from ticketlib.experiments.ledger import Ledger  # noqa: E402

BUSY = 5  # seconds of a run


class Where(Toy):
    """A toy run that says on which node it begins and on which it was made."""

    def __call__(self, config):
        node = ray.get_runtime_context().get_node_id()
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{config.name} {node}\n")
        time.sleep(self.seconds)
        return Toy(0)(config) | {"node": node}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def patiently(start, **options):
    """A node, started again if this machine is too busy: Ray gives one 30 seconds."""
    for _ in range(4):
        try:
            return start(**options)
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    raise AssertionError("this machine is too busy to start a Ray node within 30 seconds")


def test_a_node_removed_in_mid_grid(cache):
    configs, ledger, log = toy_configs(4), Ledger(cache / "rows"), cache / "log"
    wanted = {config.name: without_varying(Toy(0)(config)) for config in configs}  # uninterrupted, in this process
    shutil.rmtree(cache / "cache")
    log.touch()
    nodes = patiently(Loopback, initialize_head=True, head_node_args={"num_cpus": 1})
    second = patiently(nodes.add_node, num_cpus=1)
    nodes.wait_for_nodes()
    began, seen = time.monotonic(), {}

    class Watched(workers.Cluster):
        """Takes the second node away while it is at a run, when a third of the grid is done."""

        def finished(self, timeout):
            begun = dict(line.split() for line in log.read_text().splitlines())
            on = [name for name, node in begun.items() if node == second.node_id and name not in ledger]
            fresh = time.time() - log.stat().st_mtime < BUSY / 2
            if len(ledger.names()) >= len(configs) // 3 and on and fresh and not seen:
                seen.update(removed_after=len(ledger.names()), on=on, before=bytes_of(ledger))
                nodes.remove_node(second, allow_graceful=False)
            return super().finished(timeout)

    try:
        work = Where(BUSY, log)
        end = journal.conduct(ledger, work, configs, Watched(nodes.address, workers=2), journal.Stop())
    finally:
        nodes.shutdown()
    seconds, rows = time.monotonic() - began, untimed(ledger)
    made = [row.pop("node") for row in rows.values()]
    assert end.failed == [] and end.left == {} and rows == wanted
    assert seen["before"].items() <= bytes_of(ledger).items() and len(set(made)) == 2, "both nodes took part"
    begun = [line.split()[0] for line in log.read_text().splitlines()]
    again = sorted(name for name in wanted if begun.count(name) > 1)
    assert set(seen["on"]) <= {*again, *seen["before"]} and again, "what the lost node was at was made again"
    if path := os.environ.get("TICKETLIB_RAY_LOG"):
        facts = dict(runs=len(configs), on_each=sorted(made.count(node) for node in set(made)), seconds=round(seconds),
                     removed_after=seen["removed_after"], again=len(again), failed=len(end.failed),
                     ray=ray.__version__)  # fmt: skip
        Path(path).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def test_a_cluster_of_its_own_gives_the_same_rows_as_the_pool(cache):
    configs = toy_configs(1)
    pool, cluster = Ledger(cache / "pool"), Ledger(cache / "ray")
    journal.conduct(pool, Toy(), configs, workers.Pool(1), journal.Stop())
    journal.conduct(cluster, Toy(), configs, patiently(workers.Cluster, workers=2), journal.Stop())
    assert untimed(pool) == untimed(cluster) and len(bytes_of(cluster)) == len(configs)
    assert not ray.is_initialized()


def test_a_run_that_fails_or_kills_its_process_is_an_outcome(cache):
    queue, cluster = campaign.Queue(toy_configs(1)), patiently(workers.Cluster, workers=1)
    found = {o.config.arm: o for o in campaign.carry_out(dies, queue, cluster)}
    assert found["dense@0"].reason == "ValueError: no luck"
    assert "killed" in found["smart@0.9"].reason and found["lt@0.9"].state == "failed"


def dies(config):
    """Dense nets fail; others end their process."""
    if config.ticket == "dense":
        raise ValueError("no luck")
    os._exit(9)
