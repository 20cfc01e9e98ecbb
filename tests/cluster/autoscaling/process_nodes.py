"""Nodes that are processes of this host, which Ray's autoscaler starts and ends like machines.

An external node provider: `provider: {type: external, module: process_nodes.ProcessNodes, ...}`,
with this file's folder on the PYTHONPATH of the head. Written for autoscaler v2, which `ray up`
uses: it knows a node by the RAY_CLOUD_INSTANCE_ID that is set here.
"""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from genae_core.cluster import processes  # noqa: E402

HEAD = "head"
LEADER = "leader.json"  # in a node's folder: the process that leads its session
FLAGS = {"CPU": "--num-cpus", "GPU": "--num-gpus"}

logger = logging.getLogger(__name__)


class Node(NamedTuple):
    """leader: of its POSIX session; None of the head, which others have started."""

    tags: dict[str, str]
    leader: subprocess.Popen[bytes] | None

    @property
    def alive(self) -> bool:
        return self.leader is None or self.leader.poll() is None


class ProcessNodes(NodeProvider):
    """Each node is a `ray start --block` as `start` makes it; one that has died by itself is no
    longer listed, and what is left of it is ended, as by a cloud.

    provider_config: gcs_address, of the head; head_node_type; folder, that has one for each node;
    addresses, how a node's IP address follows from its number, e.g. "10.0.0.{}" (None: all have
    this host's); object_store_memory, of a node, in bytes.
    """

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self.folder = Path(provider_config["folder"])
        self.lock = threading.Lock()  # the autoscaler calls from several threads
        head = {
            TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
            TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
            TAG_RAY_USER_NODE_TYPE: provider_config["head_node_type"],
        }
        self.nodes = {HEAD: Node(head, None)}
        self.made = 0

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        about = self.provider_config
        others = {of: much for of, much in resources.items() if of not in FLAGS}
        flags = [f"{flag}={resources.get(of, 0):g}" for of, flag in FLAGS.items()]
        flags += [f"--resources={json.dumps(others)}", f"--address={about['gcs_address']}"]
        flags += [f"--object-store-memory={about['object_store_memory']}"]
        for _ in range(count):
            with self.lock:
                self.made += 1
                name = f"node-{self.made}"
                address = about["addresses"] and about["addresses"].format(self.made + 1)
                kind = tags[TAG_RAY_USER_NODE_TYPE]
                leader = start(self.folder, name, kind, address, flags, dict(os.environ))
                self.nodes[name] = Node(dict(tags), leader)
            logger.info("started %s", name)

    def terminate_node(self, node_id: str) -> None:
        with self.lock:
            node = self.nodes.pop(node_id, None)
        if node is not None:
            self._end(node_id, node)

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        with self.lock:
            dead = {name: node for name, node in self.nodes.items() if not node.alive}
            self.nodes = {name: node for name, node in self.nodes.items() if name not in dead}
            listed = [
                name
                for name, node in self.nodes.items()
                if all(node.tags.get(tag) == value for tag, value in tag_filters.items())
            ]
        for name, node in dead.items():
            self._end(name, node)
        return listed

    def _end(self, name: str, node: Node) -> None:
        assert node.leader is not None, "the head is not ours to end"
        kill(self.folder, name)
        node.leader.wait()
        logger.info("ended %s", name)

    def is_running(self, node_id: str) -> bool:
        node = self.nodes.get(node_id)
        return node is not None and node.alive

    def is_terminated(self, node_id: str) -> bool:
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        node = self.nodes.get(node_id)
        return {} if node is None else dict(node.tags)

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        with self.lock:
            self.nodes[node_id].tags.update(tags)


def start(
    folder: Path,
    name: str,
    kind: str,
    address: str | None,
    flags: list[str],
    environment: dict[str, str],
    inside: tuple[str, ...] = (),
) -> subprocess.Popen[bytes]:
    """`ray start --block`, in a session and a folder of its own.

    Nodes that shared a folder would unpack a job's files over each other's, and a session can be
    killed whole, as a machine is lost. kind: of the node, as the autoscaler's file names it.
    address: its IP address (None: this host's). inside: the words before the command.
    """
    own = folder / name
    own.mkdir()
    flags = [*flags, "--block", f"--temp-dir={own}", "--disable-usage-stats"]
    flags += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    flags += [f"--node-ip-address={address}"] if address else []
    told = {"RAY_CLOUD_INSTANCE_ID": name, "RAY_NODE_TYPE_NAME": kind}
    with (own / "start.log").open("wb") as log:
        leader = subprocess.Popen(
            [*inside, sys.executable, "-m", "ray.scripts.scripts", "start", *flags],
            env={**environment, **told},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    about = {"pid": leader.pid, "started": processes.start_time(leader.pid)}
    (own / LEADER).write_text(json.dumps(about))
    return leader


def processes_of(folder: Path, name: str) -> list[processes.Process]:
    """All that belong to the node."""
    about = json.loads((folder / name / LEADER).read_text())
    return processes.node_processes(about["pid"], about["started"], str(folder / name))


def kill(folder: Path, name: str) -> None:
    """End the whole node at once, as when a machine is lost."""
    processes.end_processes(processes_of(folder, name), 0)


def started(folder: Path) -> dict[str, float]:
    """When each node was started, the dead ones too, in seconds since 1970."""
    return {path.parent.name: path.stat().st_mtime for path in folder.glob(f"*/{LEADER}")}
