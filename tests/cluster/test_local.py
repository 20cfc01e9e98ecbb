"""The local node: what it stops, what it leaves alone, and what is left of one that was killed."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("genae_core.cluster.local_node")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session of its own and has nothing to do with Ray."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def record(node: ModuleType, pid: int, started: str, scratch: str = "/tmp/genae-none") -> Path:
    path: Path = node.folder() / "node.json"
    about = {"address": "http://127.0.0.1:1", "pid": pid, "started": started, "scratch": scratch}
    path.write_text(json.dumps(about))
    return path


def test_a_number_that_is_another_process_by_now_is_left_alone(
    node: ModuleType, stranger: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(node, stranger.pid, "Thu Jan  1 00:00:00 1970")
    assert node.running_node() is None
    assert node.status() == 1 and "down" in capsys.readouterr().out
    assert node.down() == 0
    assert stranger.poll() is None and not path.exists()


@pytest.mark.slow
def test_the_recorded_process_is_ended(
    node: ModuleType, stranger: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """And with it what descends from it, in whatever session."""
    code = "import subprocess, time; subprocess.Popen(['sleep', '601'], start_new_session=True)"
    code += "; print(flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE
    ) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()
        child = next(p for p in node.processes._list_processes() if p.parent == leader.pid)
        record(node, leader.pid, node.processes.start_time(leader.pid))
        assert node.running_node() is not None
        node.STOP_TIMEOUT_S, before = 2, node.STOP_TIMEOUT_S
        try:
            assert node.down() == 0
        finally:
            node.STOP_TIMEOUT_S = before
        assert leader.wait(10) == -signal.SIGTERM
    assert node.processes.start_time(child.pid) != child.started
    assert stranger.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say who writes where")
def test_who_writes_to_the_nodes_folder_is_its_own_and_who_reads_is_not(
    node: ModuleType, tmp_path: Path
) -> None:
    log = tmp_path / "scratch" / "log"
    log.parent.mkdir()
    log.touch()
    with (
        subprocess.Popen(["tail", "-f", log], stdout=subprocess.DEVNULL) as reader,
        log.open("a") as file,
        subprocess.Popen(["sleep", "604"], stdout=file, start_new_session=True) as writer,
    ):
        file.close()  # or this test would write there too
        record(node, 2**22 + 1, "never", str(log.parent))
        try:
            assert node.down() == 0
            assert writer.wait(10) == -signal.SIGKILL and reader.poll() is None
        finally:
            reader.kill()
            writer.kill()


def test_a_record_that_cannot_be_read_is_said(node: ModuleType) -> None:
    (node.folder() / "node.json").write_text("{")
    with pytest.raises(ValueError, match="node.json cannot be read"):
        node.running_node()


def test_a_port_in_use_is_refused(node: ModuleType) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} is in use"):
            node.up(node.Options(do="up", dashboard_port=port))
    with pytest.raises(ValueError, match="--dashboard-port must be"):
        node.Options(do="up", dashboard_port=80)


def test_a_start_that_fails_says_why_and_leaves_nothing(
    node: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(options: object, scratch: Path) -> subprocess.Popen[bytes]:
        with (scratch / "start.log").open("wb") as log:
            words = [sys.executable, "-c", "raise SystemExit('no memory for it')"]
            return subprocess.Popen(words, stderr=log, start_new_session=True)

    monkeypatch.setattr(node, "_start", start)
    with pytest.raises(ValueError, match="Ray did not start: no memory for it"):
        node.up(node.Options(do="up", dashboard_port=node.free_port("127.0.0.1")))
    assert not (node.folder() / "node.json").exists()


def test_another_program_that_took_the_port_is_named(
    node: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of the port and the moment at which Ray listens at it."""
    port = node.free_port("127.0.0.1")
    answers = f"""
import socket
with socket.create_server(("127.0.0.1", {port})) as server:
    while True:
        connection, _ = server.accept()
        connection.recv(4096)
        connection.sendall(bytes(40))
        connection.close()
"""

    started = []

    def start(options: object, scratch: Path) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", answers], start_new_session=True))
        return started[0]

    monkeypatch.setattr(node, "_start", start)
    message = f"another program took port {port} while Ray started; give another --dashboard-port"
    with pytest.raises(ValueError, match=message):
        node.up(node.Options(do="up", dashboard_port=port))
    assert started[0].wait(10) == -signal.SIGTERM
    assert not (node.folder() / "node.json").exists()


def test_a_free_port_is_none_that_the_kernel_gives_to_other_programs(node: ModuleType) -> None:
    ports = {node.free_port("127.0.0.1") for _ in range(50)}
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert ports.isdisjoint(range(int(first), int(last) + 1)) and len(ports) > 45


def test_the_token_is_made_once_and_is_the_users_alone(node: ModuleType) -> None:
    before = os.umask(0)
    try:
        path = node.token_file()
    finally:
        os.umask(before)
    token = path.read_text()
    assert len(token) == 64 and node.token_file().read_text() == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.faults
def test_what_is_left_of_a_killed_node_is_ended_by_the_next(
    node: ModuleType, tmp_path: Path
) -> None:
    """Ray's own processes, and a job, which has a session of its own."""
    port = str(node.free_port("127.0.0.1"))

    def run(*words: str) -> None:
        script = str(ROOT / "cluster" / "local" / "node.py")
        done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    try:
        run("up", "--num-cpus", "1", "--dashboard-port", port)
        first = node.running_node()
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(node.token_file())}
        words = ["-m", "ray.scripts.scripts", "job", "submit", "--no-wait"]
        words += ["--address", first.address, "--", "sleep", "602"]
        subprocess.run(
            [sys.executable, *words], env=os.environ | token, check=True, capture_output=True
        )
        deadline = time.monotonic() + 60
        while not (
            job := [p for p in node.processes._list_processes() if p.command == "sleep 602"]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        own = node.processes.node_processes(first.pid, first.started, first.scratch)
        assert len(own) > 10 and set(job) <= set(own)
        assert node.processes._session(job[0].pid) != first.pid
        os.kill(first.pid, signal.SIGKILL)
        while node.running_node() is not None:
            time.sleep(0.05)
        run("up", "--num-cpus", "1", "--dashboard-port", port)
        assert node.processes._alive(own) == []
        assert node.running_node().pid != first.pid and not Path(first.scratch).exists()
    finally:
        run("down")
    assert node.running_node() is None
