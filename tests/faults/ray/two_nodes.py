"""Two Ray nodes on loopback, one of which is removed in mid-grid. Needs requirements-ray.txt: `make test-ray`."""

import json
import os
import secrets
import sys
import time
from pathlib import Path

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
FOLDERS = [*map(str, HERE.parents[:4]), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ["PYTHONPATH"] = os.pathsep.join(FOLDERS)  # for the nodes' processes

import ray  # noqa: E402
from ray.cluster_utils import Cluster as Loopback  # noqa: E402
from workshop import Toy, bytes_of, toy_configs, untimed  # noqa: E402

from ticketlib import backends, campaign, progress  # noqa: E402
from ticketlib.ledger import Ledger  # noqa: E402


class Where(Toy):
    """A toy run that says on which node it was made."""

    def __call__(self, config):
        row = super().__call__(config)
        return row | {"node": ray.get_runtime_context().get_node_id()}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_node_removed_in_mid_grid(cache):
    configs, ledger = toy_configs(8), Ledger(cache / "rows")
    nodes = Loopback(initialize_head=True, head_node_args={"num_cpus": 1})
    second = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    began, removed_at = time.monotonic(), []

    class Watched(backends.Cluster):
        """Takes the second node away when a third of the grid is done."""

        def finished(self, timeout):
            if len(ledger.names()) >= len(configs) // 3 and not removed_at:
                removed_at.append(len(ledger.names()))
                nodes.remove_node(second, allow_graceful=False)
            return super().finished(timeout)

    try:
        end = progress.conduct(ledger, Where(seconds=0.5), configs, Watched(nodes.address, workers=2), progress.Stop())
    finally:
        nodes.shutdown()
    seconds = time.monotonic() - began
    made = [row.pop("node") for row in untimed(ledger).values()]
    assert end.failed == [] and end.left == {} and sorted(ledger.names()) == sorted(c.name for c in configs)
    assert len(set(made)) == 2, "both nodes took part"
    if path := os.environ.get("TICKETLIB_RAY_LOG"):
        facts = dict(runs=len(configs), on_each=sorted(made.count(node) for node in set(made)), seconds=round(seconds),
                     removed_after=removed_at[0], failed=len(end.failed), ray=ray.__version__)  # fmt: skip
        Path(path).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def test_a_cluster_of_its_own_gives_the_same_rows_as_the_pool(cache):
    configs = toy_configs(1)
    pool, cluster = Ledger(cache / "pool"), Ledger(cache / "ray")
    progress.conduct(pool, Toy(), configs, backends.Pool(1), progress.Stop())
    progress.conduct(cluster, Toy(), configs, backends.Cluster(workers=2), progress.Stop())
    assert untimed(pool) == untimed(cluster) and len(bytes_of(cluster)) == len(configs)
    assert not ray.is_initialized()


def test_a_run_that_fails_or_kills_its_process_is_an_outcome(cache):
    found = {o.config.arm: o for o in campaign.carry_out(dies, toy_configs(1), backends.Cluster(workers=1))}
    assert found["dense@0"].reason == "ValueError: no luck"
    assert "killed" in found["smart@0.9"].reason and found["lt@0.9"].state == "failed"


def dies(config):
    """Dense nets fail; others end their process."""
    if config.ticket == "dense":
        raise ValueError("no luck")
    os._exit(9)
