"""Whatever the tracking server does, each run is logged once. `make test-faults`."""

import contextlib
import os
import shlex
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts import servers
from contracts.servers import ROOT, Server
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from genae_core.config.command_name import command_line

pytestmark = pytest.mark.faults

FLAGS = ("--families", "aae", "--latent-dims", "2", "--epochs", "20", "--checkpoint-seconds", "0")
LATER = b"Retry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
ANSWERS = {
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "503": b"HTTP/1.1 503 Service Unavailable\r\n" + LATER,
    "429": b"HTTP/1.1 429 Too Many Requests\r\n" + LATER,
    "{}": JSON + b"Content-Length: 2\r\n\r\n{}",
    "half": JSON + b'Content-Length: 1000\r\n\r\n{"run": {"info"',
}


class Proxy:
    """Stands before the server: passes a call on, gives another answer to it, or takes it and
    never answers."""

    def __init__(self, server: Server) -> None:
        self.mode, self.refused = "pass", 0
        self.open: set[socket.socket] = set()
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if proxy.mode != "pass":
                    proxy.refused += 1
                if proxy.mode in ANSWERS:
                    self.request.recv(65536)
                    self.request.sendall(ANSWERS[proxy.mode])
                elif proxy.mode == "silent":
                    while proxy.mode == "silent":
                        time.sleep(0.1)
                else:
                    proxy.open.add(self.request)
                    with socket.create_connection(("127.0.0.1", server.port)) as other:
                        back = threading.Thread(target=_copy, args=(other, self.request))
                        back.start()
                        _copy(self.request, other)
                        back.join()
                    proxy.open.discard(self.request)

        class Threads(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.listener = Threads(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.listener.server_address[1]}"

    def turn(self, mode: str) -> None:
        """From now on, also for clients that had kept their connection."""
        self.mode = mode
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.on_sqlite(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server)
    yield proxy
    proxy.turn("pass")
    proxy.listener.shutdown()
    proxy.listener.server_close()


def start(home: Path, name: str, uri: str, *flags: str, timeout: int = 30) -> Any:
    script = str(ROOT / "sweeps" / "latent_dim.py")
    about = ["--name", name, "--tracking-uri", uri]
    return subprocess.Popen(
        [sys.executable, script, *FLAGS, *about, *flags],
        env={
            **os.environ,
            "GENAE_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
        },
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path, pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not any(path.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} in {path} within two minutes"
        time.sleep(0.02)


def one_run(server: Server, name: str) -> Run:
    """The sweep's one run, finished, with everything in it once."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.sweep = '{name}'")
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "chain/fcd")
    assert sorted(m.step for m in history) == [0, 1, 2, 5, 10]
    images = client.list_artifacts(run.info.run_id, "images")
    assert len(images) == 10  # a picture a step, each also small
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"checkpoint", "curve.json", "experiment.json", "images", "strip.png"}
    return run


def ended(process: Any, code: int = 0) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return str(said)


@pytest.mark.parametrize("mode", [*ANSWERS, "silent"])
def test_a_server_that_fails_for_a_while(
    home: Path, server: Server, proxy: Proxy, mode: str
) -> None:
    name = f"while-{mode if mode != '{}' else 'empty'}"
    process = start(home, name, proxy.uri, timeout=3)
    wait_for(home / "sweeps" / name, "states/*/state-*")
    proxy.turn(mode)
    wait_for(home / "sweeps" / name, "journals/*/done.json")  # the trial has finished
    time.sleep(5)
    proxy.turn("pass")
    ended(process)
    assert proxy.refused > 0
    one_run(server, name)


def test_a_server_that_is_killed_and_started_again(home: Path, server: Server) -> None:
    process = start(home, "killed", server.uri)
    wait_for(home / "sweeps" / "killed", "states/*/state-*")
    server.kill()
    wait_for(home / "sweeps" / "killed", "journals/*/done.json")
    server.start()
    ended(process)
    one_run(server, "killed")


def test_postgres_that_is_down_for_a_while(home: Path) -> None:
    with servers.postgres() as database, servers.on_postgres(database) as team:
        process = start(home, "team", team.uri)
        wait_for(home / "sweeps" / "team", "states/*/state-*")
        assert database.run("down").returncode == 0
        wait_for(home / "sweeps" / "team", "journals/*/done.json")
        up = database.run("up")
        assert up.returncode == 0, up.stdout + up.stderr
        ended(process)
        one_run(team, "team")


def test_what_a_dead_server_missed_is_delivered_by_one_command(home: Path, server: Server) -> None:
    process = start(home, "dead", server.uri)
    folder = home / "sweeps" / "dead"
    wait_for(folder, "states/*/state-*")
    server.kill()
    said = ended(process, 1)
    command = command_line("replay", str(folder))
    assert f"to deliver it: {command}" in said
    assert "1 trials, 0 failed" in said
    server.start()
    for expected in ("1 runs have something", "0 runs have something"):
        replay = subprocess.run(
            shlex.split(command),
            env={**os.environ, "GENAE_HOME": str(home)},
            capture_output=True,
            text=True,
        )
        assert replay.returncode == 0, replay.stdout + replay.stderr
        assert expected in replay.stdout
    one_run(server, "dead")
    resumed = start(home, "dead", server.uri, "--resume")
    assert "1 finished runs" in ended(resumed)
    one_run(server, "dead")


def test_replaying_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    replay = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "replay_tracking.py"), str(tmp_path)],
        env={**os.environ, "GENAE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert replay.returncode == 2
    assert "is not the folder of a sweep" in replay.stderr
