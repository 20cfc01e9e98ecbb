"""A cluster that grows: a head without CPUs on this host, and the nodes that Ray's own autoscaler
(v2, as `ray up` uses it) asks for. The nodes are processes; whatever joins needs the token."""

import json
import math
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from genae_core.cluster.batch_node import free_port

HERE = Path(__file__).resolve().parent
WATCH = HERE / "watch.py"
sys.path.insert(0, str(HERE))

import process_nodes  # noqa: E402
from process_nodes import HEAD  # noqa: E402

NODES = 2  # at most, of one CPU each
IDLE_S = 6.0  # after which a node is given back
STORE = 80 * 2**20  # bytes of a node's object store
WAIT_S = 600.0  # for what takes seconds where nothing else runs
QUICK = {
    # The autoscaler looks every second, and a dead node is noticed after a few.
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}
OTHERS = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN")  # would point elsewhere


class Seen(NamedTuple):
    """What the autoscaler saw at a time, in seconds since 1970: the nodes that are alive, without
    the head, and how many bundles of resources wait for one. A node that has died is listed until
    the head has noticed."""

    at: float
    alive: frozenset[str]
    pending: int


class Network(NamedTuple):
    """inside: the words before a command that is to run in it. addresses: how a node's address
    follows from its number; None where all have this host's."""

    inside: tuple[str, ...]
    addresses: str | None


class Growing:
    """folder: the cluster's own, with one for each node. address: for --ray-address.
    environment: of who may use it. log: what was seen so far, oldest first."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder, self.network = folder, network
        self.host = network.addresses and network.addresses.format(1)
        self.address = f"{self.host or '127.0.0.1'}:{free_port()}"
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.stranger = {name: value for name, value in os.environ.items() if name not in OTHERS}
        told = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.environment = {**self.stranger, **told}
        self.log: list[Seen] = []

    def command(self, *words: str) -> list[str]:
        """The Python command, to run where the cluster is reached."""
        return [*self.network.inside, sys.executable, *words]

    def start_head(self) -> None:
        (self.folder / "autoscaling.json").write_text(json.dumps(self._config()))
        flags = ["--head", "--num-cpus=0", "--num-gpus=0", f"--object-store-memory={STORE}"]
        flags += [f"--port={self.address.rsplit(':', 1)[1]}", "--include-dashboard=false"]
        flags += [f"--ray-client-server-port={free_port()}"]
        flags += [f"--autoscaling-config={self.folder}/autoscaling.json"]
        path = os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        told = {**QUICK, "RAY_enable_autoscaler_v2": "1", "PYTHONPATH": path.rstrip(os.pathsep)}
        environment = {**self.environment, **told}
        where = (self.folder, HEAD, HEAD, self.host)
        self.head = process_nodes.start(*where, flags, environment, self.network.inside)

    def _config(self) -> dict[str, object]:
        provider = {
            "type": "external",
            "module": "process_nodes.ProcessNodes",
            "disable_node_updaters": True,  # a node starts Ray by itself
            "gcs_address": self.address,
            "head_node_type": HEAD,
            "folder": str(self.folder),
            "addresses": self.network.addresses,
            "object_store_memory": STORE,
        }
        worker = {"resources": {"CPU": 1}, "min_workers": 0, "max_workers": NODES}
        # Of a provider that is external, Ray wants these to be there, and empty.
        kinds = ("", "head_", "worker_")
        commands = [f"{kind}setup_commands" for kind in kinds] + ["initialization_commands"]
        commands += [f"{kind}start_ray_commands" for kind in kinds if kind]
        return {
            **dict.fromkeys([*commands, "cluster_synced_files"], []),
            **dict.fromkeys(("auth", "docker", "file_mounts"), {}),
            "cluster_name": "growing",
            "max_workers": NODES,
            "idle_timeout_minutes": IDLE_S / 60,
            "provider": provider,
            "head_node_type": HEAD,
            "available_node_types": {
                HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "worker": {**worker, "node_config": {}},
            },
        }

    def watch(self, stack: ExitStack) -> None:
        """Follow what the autoscaler sees, from the moment that it answers."""
        watch = stack.enter_context(
            subprocess.Popen(
                self.command(str(WATCH), self.address),
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=stack.enter_context((self.folder / "watch.log").open("wb")),
            )
        )
        stack.callback(watch.kill)

        def read() -> None:
            assert watch.stdout is not None
            for line in watch.stdout:
                about = json.loads(line)
                if HEAD in about["alive"]:
                    alive = frozenset(about["alive"]) - {HEAD}
                    self.log.append(Seen(about["at"], alive, about["pending"]))

        threading.Thread(target=read, daemon=True).start()

    def when(self, what: str, holds: Callable[[Seen], bool], since: float = 0.0) -> float:
        """The first time, not before `since`, at which this held; waits for it."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            log = list(self.log)
            for number, seen in enumerate(log):
                until = log[number + 1].at if number + 1 < len(log) else math.inf
                if until > since and holds(seen):
                    return max(seen.at, since)
            time.sleep(0.1)
        raise AssertionError(f"not seen: {what}; {self.log[-5:]}\n{self.said()}")

    def said(self) -> str:
        """What the autoscaler and each node have to say, its end."""
        found = [*self.folder.glob("*/session_*/logs/monitor.*"), *self.folder.glob("*/start.log")]
        texts = [f"{path}\n{path.read_text(errors='replace')[-3000:]}" for path in found]
        return "\n\n".join(texts)

    def end(self) -> None:
        """The head first, so that no node is started anew."""
        for name in sorted(process_nodes.started(self.folder), key=lambda name: name != HEAD):
            process_nodes.kill(self.folder, name)
        self.head.wait()


@contextmanager
def growing() -> Iterator[Growing]:
    """The cluster, up and without nodes."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="genae-", dir="/tmp"))  # sockets need short paths
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        made = Growing(folder, stack.enter_context(network()))
        made.start_head()
        stack.callback(made.end)
        made.watch(stack)
        made.when("the head", lambda seen: not seen.alive)
        yield made


@contextmanager
def network() -> Iterator[Network]:
    """A network namespace, in which each node has an address of its own and no one else listens;
    where the system allows none, this host's."""
    for how, then in (((), ()), (("--map-root-user",), ("--user", "--preserve-credentials"))):
        up = "ip link set lo up && ip address add 10.0.0.0/24 dev lo && echo up && exec cat"
        with subprocess.Popen(
            ["unshare", "--net", *how, "sh", "-c", up],
            stdin=subprocess.PIPE,  # with whose end the namespace's holder ends
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as holder:
            assert holder.stdout is not None
            if holder.stdout.readline() == b"up\n":
                inside = ("nsenter", f"--target={holder.pid}", "--net", *then)
                yield Network(inside, "10.0.0.{}")
                return
    yield Network((), None)
