"""A Ray cluster of one node on this machine, for jobs that outlive the terminal of their user.

All its ports are on loopback and ask for a token, so no other machine can join it.
"""

import dataclasses
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import tyro
from filelock import FileLock, Timeout

from genae_core import config
from genae_core.cluster import processes
from genae_core.cluster.batch_node import free_port, resource_flags
from genae_core.config.command_name import command_line
from genae_core.config.home import private_folder, secret_file

START_TIMEOUT_S = 180  # The dashboard of a busy machine answers within this time.
STOP_TIMEOUT_S = 45  # Ray drains a node for up to 30 s.
# Variables that would connect the node to another cluster.
OTHER_CLUSTER = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN")
NODE = command_line("node")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    do: Annotated[Literal["up", "status", "down"], tyro.conf.Positional]
    """What to do."""
    num_cpus: int | None = None
    """CPUs that jobs may use (default: all that this process may use)."""
    num_gpus: int | None = None
    """GPUs that jobs may use (default: all)."""
    dashboard_port: int = 8265
    """Port of the dashboard and of jobs, on 127.0.0.1."""

    def __post_init__(self) -> None:
        if self.num_cpus is not None:
            config.require_positive_int(num_cpus=self.num_cpus)
        port = self.dashboard_port
        config.require(1024 <= port < 65536, "--dashboard-port must be 1024 to 65535", port=port)


@dataclass(frozen=True)
class Node:
    """The running node, as node.json records it.

    Attributes:
        address: The URL of the dashboard and of jobs.
        pid: The process that leads the node's POSIX session.
        started: The start time of that process.
        scratch: The folder of Ray's own files, which only this user can open.
    """

    address: str
    pid: int
    started: str
    scratch: str


def folder() -> Path:
    """GENAE_HOME/local, which only this user can open."""
    return private_folder("local")


def token_file() -> Path:
    """The file that holds the token. The first call creates it; no other user can read it."""
    return secret_file(folder() / "token")


def running_node() -> Node | None:
    """The node that `up` started; None if there is none, or if it has died."""
    node = _read_record()
    return node if node and node.started == processes.start_time(node.pid) else None


def check_port(flag: str, port: int) -> None:
    """Raise ValueError if another program listens at the port.

    Args:
        flag: The flag that sets the port, for the message.
        port: The port on 127.0.0.1.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ValueError(f"port {port} is in use: give another {flag}") from None


def up(options: Options) -> int:
    """Start the node and wait until it answers.

    Raises ValueError if a node is already up, if the port is in use, or if Ray does not start.
    """
    if node := running_node():
        raise ValueError(f"a node is up at {node.address} already; stop it with {NODE} down")
    _remove()  # A node that died may have left processes and files.
    check_port("--dashboard-port", options.dashboard_port)
    # Ray's sockets need short paths.
    scratch = Path(tempfile.mkdtemp(prefix="genae-", dir="/tmp"))
    process = _start(options, scratch)
    address = f"http://127.0.0.1:{options.dashboard_port}"
    node = Node(address, process.pid, processes.start_time(process.pid), str(scratch))
    record = folder() / "node.json.new"
    record.write_text(json.dumps(dataclasses.asdict(node)))
    record.replace(folder() / "node.json")
    try:
        _wait_until_up(node, process)
    except BaseException:
        _remove()
        raise
    print(f"up at {node.address}, for this machine only; its token is in {token_file()}")
    print(f"submit:  {command_line('submit')} -- SCRIPT ...")
    print(f"stop it: {NODE} down")
    return 0


def status() -> int:
    """Print whether the node is up; the exit status is 1 if it is not."""
    node = running_node()
    print(f"up at {node.address}" if node else f"down; start it with {NODE} up")
    return 0 if node else 1


def down() -> int:
    """Stop the processes that `up` started, and no others, but keep the logs of the jobs."""
    node, has_died = _read_record(), running_node() is None
    _remove()
    if node is None:
        print("not up")
    else:
        what = "had died; its remaining processes are ended" if has_died else "is stopped"
        print(f"{node.address} {what}; the logs of its jobs: {folder() / 'logs'}")
    return 0


def _start(options: Options, scratch: Path) -> subprocess.Popen[bytes]:
    """Start Ray's head node. The process leads a POSIX session of its own."""
    flags = ["--head", "--block", "--disable-usage-stats", f"--temp-dir={scratch}/ray"]
    flags += ["--port=0", "--min-worker-port=0", "--max-worker-port=0"]
    flags += [
        "--dashboard-agent-listen-port=0",
        f"--ray-client-server-port={free_port('127.0.0.1')}",
    ]
    flags += ["--dashboard-host=127.0.0.1", f"--dashboard-port={options.dashboard_port}"]
    flags += resource_flags(options.num_cpus)
    flags += [f"--num-gpus={options.num_gpus}"] if options.num_gpus is not None else []
    environment = {k: v for k, v in os.environ.items() if k not in OTHER_CLUSTER}
    environment |= {
        # Without other nodes Ray binds to loopback only.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file()),
        "RAY_USAGE_STATS_ENABLED": "0",
        # The default ports are the same for every Ray node on the machine, so this node would
        # report the metrics of another one.
        "AUTOSCALER_METRIC_PORT": str(free_port("127.0.0.1")),
        "DASHBOARD_METRIC_PORT": str(free_port("127.0.0.1")),
        # A job runs "python", which must be the Python that has genae's packages.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    with (scratch / "start.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *flags],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # `down` finds the processes by this session.
        )


def _wait_until_up(node: Node, process: subprocess.Popen[bytes]) -> None:
    """Wait until the dashboard answers.

    Raises ValueError if Ray ends, if it takes too long, or if something else answers.
    """
    headers = {"Authorization": f"Bearer {token_file().read_text()}"}
    request = urllib.request.Request(f"{node.address}/api/version", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without a proxy
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with suppress(OSError), opener.open(request, timeout=5):
                return
        except http.client.HTTPException:
            port = urlsplit(node.address).port
            raise ValueError(
                f"another program took port {port} while Ray started; "
                "give another --dashboard-port"
            ) from None
        time.sleep(0.2)
    log = (Path(node.scratch) / "start.log").read_text(errors="replace").strip().splitlines()
    raise ValueError(f"Ray did not start: {log[-1] if log else 'it printed nothing'}")


def _remove() -> None:
    """End the processes of the recorded node, keep the logs of its jobs and delete its files."""
    node = _read_record()
    if node is None:
        return
    own = processes.node_processes(node.pid, node.started, node.scratch)
    alive = node.started == processes.start_time(node.pid)
    if alive:
        with suppress(ProcessLookupError):
            os.kill(node.pid, signal.SIGTERM)
    processes.end_processes(own, STOP_TIMEOUT_S if alive else 0)
    logs = folder() / "logs"
    logs.mkdir(exist_ok=True)
    for log in Path(node.scratch).glob("ray/session_2*/logs/job-driver-*.log"):
        shutil.copy(log, logs)
    shutil.rmtree(node.scratch, ignore_errors=True)
    (folder() / "node.json").unlink()


def _read_record() -> Node | None:
    """The node in node.json; None if there is no such file."""
    try:
        return Node(**json.loads((folder() / "node.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder() / 'node.json'} cannot be read: {error}") from None


def main(options: Options) -> int:
    """Run the command; only one `up` or `down` runs at a time."""
    if options.do == "status":
        return status()
    try:
        with FileLock(folder() / "lock", timeout=0):
            return up(options) if options.do == "up" else down()
    except Timeout:
        raise ValueError("another up or down is running: wait until it ends") from None
