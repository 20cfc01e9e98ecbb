"""A node or the head of a cluster dies under a sweep. `make test-faults`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from test_faults import ended, family, kill, outcome, start, wait_for_state, went_on

pytestmark = pytest.mark.faults

QUICK = {
    # A dead node is noticed after a few seconds instead of a quarter of a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs and two nodes of one CPU each, on this host."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        made = new_cluster()
        made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        yield made
        made.shutdown()  # type: ignore[no-untyped-call]


def new_cluster() -> Cluster:
    memory = 80 * 2**20
    head = {"num_cpus": 0, "object_store_memory": memory}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, object_store_memory=memory)
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    home = tmp_path_factory.mktemp("home")
    ended(start(home, "whole"))
    return home, outcome(home, "whole")


def joined(cluster: Cluster) -> tuple[str, ...]:
    """The flags of a sweep on the cluster, whose nodes share this disk."""
    return ("--ray-address", str(cluster.address), "--shared-storage")


def node_of_the_trial(cluster: Cluster) -> Any:
    """The node that a trial runs on."""
    for node in cluster.worker_nodes:
        for process in node.live_processes():
            for pid in family(process[1].pid):
                line = Path(f"/proc/{pid}/cmdline")
                if line.exists() and line.read_bytes().startswith(b"ray::ImplicitFunc"):
                    return node
    raise AssertionError("no node runs a trial")


def test_a_lost_node_costs_an_interval(cluster: Cluster, undisturbed: tuple[Path, Any]) -> None:
    home, expected = undisturbed
    process = start(home, "node", *joined(cluster))
    wait_for_state(home, "node", least=20)
    cluster.remove_node(node_of_the_trial(cluster), allow_graceful=False)
    said = ended(process)
    assert "1 trials, 0 failed; 1 finished runs" in said
    assert went_on(said) >= 20
    assert outcome(home, "node") == expected


def test_a_lost_head_is_continued_by_one_command(
    cluster: Cluster, undisturbed: tuple[Path, Any]
) -> None:
    home, expected = undisturbed
    process = start(home, "head", *joined(cluster))
    wait_for_state(home, "head", least=20)
    kill(process.pid, *family(process.pid))  # the driver runs on the head
    process.communicate()
    nodes = [cluster.head_node, *cluster.worker_nodes]
    kill(*(pid for node in nodes for _, p in node.live_processes() for pid in [p.pid]))
    time.sleep(1)
    other = new_cluster()
    assert went_on(ended(start(home, "head", *joined(other), "--resume"))) >= 20
    assert outcome(home, "head") == expected
    other.shutdown()  # type: ignore[no-untyped-call]


def test_several_nodes_without_a_store_that_all_reach_are_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    said = ended(start(tmp_path, "alone", "--ray-address", str(cluster.address)), 2)
    assert "--tracking-uri http://HOST:PORT" in said
