"""A Ray of one node on this machine, for jobs that outlive the terminal they were sent from.

Everything it opens is on loopback and asks for a token; no other node can join it.
"""

import dataclasses
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

import tyro
from filelock import FileLock, Timeout

from genae_core import config
from genae_core.cluster import processes
from genae_core.config.home import private_folder, secret_file

UP_S = 180  # an answer of the dashboard, also on a busy machine
DOWN_S = 45  # Ray drains a node for up to 30 s
OURS = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN")  # would point elsewhere


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this script."""

    do: Annotated[Literal["up", "status", "down"], tyro.conf.Positional]
    """What to do."""
    num_cpus: int | None = None
    """CPUs that jobs may use (default: all)."""
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
    """pid: of the process that leads the node's POSIX session. started: when it did.
    scratch: Ray's own files, for this user alone."""

    address: str
    pid: int
    started: str
    scratch: str


def folder() -> Path:
    """GENAE_HOME/local, which only this user can open."""
    return private_folder("local")


def token_file() -> Path:
    """The file of the token, made at the first call; no one else can read it."""
    return secret_file(folder() / "token")


def running() -> Node | None:
    """The node that `up` started, None where there is none or it has died."""
    node = _recorded()
    return node if node and node.started == processes.started(node.pid) else None


def check_free(flag: str, port: int) -> None:
    """Raises ValueError where another program listens at the port that the flag gives."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ValueError(f"port {port} is in use: give another {flag}") from None


def up(options: Options) -> int:
    """Start the node and wait for its answer. Raises ValueError where it is up already, the port
    is taken or Ray does not start."""
    if found := running():
        raise ValueError(
            f"a node is up at {found.address} already; take it down with {_me()} down"
        )
    _down()  # what is left of one that died
    check_free("--dashboard-port", options.dashboard_port)
    scratch = Path(tempfile.mkdtemp(prefix="genae-", dir="/tmp"))  # Ray's sockets need short paths
    process = _start(options, scratch)
    address = f"http://127.0.0.1:{options.dashboard_port}"
    node = Node(address, process.pid, processes.started(process.pid), str(scratch))
    record = folder() / "node.json.new"
    record.write_text(json.dumps(dataclasses.asdict(node)))
    record.replace(folder() / "node.json")
    try:
        _wait(node, process)
    except BaseException:
        _down()
        raise
    print(f"up at {node.address}, on this machine alone; its token is in {token_file()}")
    print("submit:  python jobs/submit.py -- sweeps/latent_dim.py --smoke")
    print(f"stop it: {_me()} down")
    return 0


def status() -> int:
    """Say whether it is up; 1 where it is not."""
    node = running()
    print(f"up at {node.address}" if node else f"down; start it with {_me()} up")
    return 0 if node else 1


def down() -> int:
    """Stop what `up` started, and nothing else; the logs of its jobs are kept."""
    node, died = _recorded(), running() is None
    _down()
    if node is None:
        print("not up")
    else:
        what = "had died; what was left of it is ended" if died else "is stopped"
        print(f"{node.address} {what}; its jobs' logs: {folder() / 'logs'}")
    return 0


def _start(options: Options, scratch: Path) -> subprocess.Popen[bytes]:
    flags = ["--head", "--block", "--disable-usage-stats", f"--temp-dir={scratch}/ray"]
    flags += ["--port=0", "--min-worker-port=0", "--max-worker-port=0"]
    flags += ["--dashboard-agent-listen-port=0", f"--ray-client-server-port={_free_port()}"]
    flags += ["--dashboard-host=127.0.0.1", f"--dashboard-port={options.dashboard_port}"]
    flags += [f"--num-cpus={options.num_cpus}"] if options.num_cpus is not None else []
    flags += [f"--num-gpus={options.num_gpus}"] if options.num_gpus is not None else []
    environment = {k: v for k, v in os.environ.items() if k not in OURS}
    environment |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a node alone: Ray binds loopback only
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file()),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Else the same for every Ray on the machine, which would be told another's figures.
        "AUTOSCALER_METRIC_PORT": str(_free_port()),
        "DASHBOARD_METRIC_PORT": str(_free_port()),
        # A job says "python": the one that has genae's packages.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    with (scratch / "start.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *flags],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # by which `down` finds all that belongs to it
        )


def _wait(node: Node, process: subprocess.Popen[bytes]) -> None:
    headers = {"Authorization": f"Bearer {token_file().read_text()}"}
    request = urllib.request.Request(f"{node.address}/api/version", headers=headers)
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, never a proxy
    deadline = time.monotonic() + UP_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), local.open(request, timeout=5):
            return
        time.sleep(0.2)
    said = (Path(node.scratch) / "start.log").read_text(errors="replace").strip().splitlines()
    raise ValueError(f"Ray did not start: {said[-1] if said else 'it said nothing'}")


def _down() -> None:
    """End the recorded node's processes, keep its jobs' logs, remove its files."""
    node = _recorded()
    if node is None:
        return
    own = processes.of_node(node.pid, node.started, node.scratch)
    led = node.started == processes.started(node.pid)
    if led:
        with suppress(ProcessLookupError):
            os.kill(node.pid, signal.SIGTERM)
    processes.end(own, DOWN_S if led else 0)
    kept = folder() / "logs"
    kept.mkdir(exist_ok=True)
    for log in Path(node.scratch).glob("ray/session_2*/logs/job-driver-*.log"):
        shutil.copy(log, kept)
    shutil.rmtree(node.scratch, ignore_errors=True)
    (folder() / "node.json").unlink()


def _recorded() -> Node | None:
    try:
        return Node(**json.loads((folder() / "node.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder() / 'node.json'} cannot be read: {error}") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _me() -> str:
    return "python cluster/local/node.py"


def main(options: Options) -> int:
    """One `up` or `down` at a time."""
    if options.do == "status":
        return status()
    try:
        with FileLock(folder() / "lock", timeout=0):
            return up(options) if options.do == "up" else down()
    except Timeout:
        raise ValueError("another up or down is under way: wait for it") from None
