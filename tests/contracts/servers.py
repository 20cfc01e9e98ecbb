"""Real servers for the tests: MLflow on SQLite, and a team's, on PostgreSQL."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from contracts.databases import new_store
from genae_core.cluster.batch_node import free_port

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster" / "mlflow"


class Server:
    """An MLflow server, which can be killed and started again at the same place."""

    def __init__(self, command: Sequence[str], port: int, log: Path, **more: str) -> None:
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.command, self.log, self.environment = command, log, {**os.environ, **quiet, **more}
        self.port, self.uri = port, f"http://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            time.sleep(0.2)
        self.kill()
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def on_sqlite(folder: Path) -> Iterator[Server]:
    """MLflow on a database file in the folder."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    if not (folder / "mlflow.db").exists():
        new_store(folder)
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    server = Server(command, port, folder / "log")
    try:
        yield server
    finally:
        server.kill()


class Database(NamedTuple):
    """home: GENAE_HOME. run: what runs postgres.sh there, as a user who may."""

    home: Path
    port: int
    run: Callable[[str], "subprocess.CompletedProcess[str]"]
    said: str


@contextlib.contextmanager
def postgres() -> Iterator[Database]:
    """A PostgreSQL that postgres.sh has made. Skips where there is none to run."""
    if shutil.which("initdb") is None and not list(Path("/usr/lib/postgresql").glob("*/bin")):
        pytest.skip("no PostgreSQL server")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("no psycopg")
    home, port = Path(tempfile.mkdtemp(prefix="genae-", dir="/tmp")), free_port()
    before: list[str] = []
    if os.getuid() == 0:  # PostgreSQL does not run as root
        if shutil.which("runuser") is None:
            pytest.skip("root without runuser")
        users = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in users else "nobody"
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)
        before = ["runuser", "-u", user, "--"]

    def run(what: str) -> "subprocess.CompletedProcess[str]":
        # What is run is read by that user, who may have no way to this repository.
        script = (FOLDER / "postgres.sh").read_text()
        return subprocess.run(
            [*before, "env", f"GENAE_HOME={home}", f"PGPORT={port}", "bash", "-s", what],
            input=script,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
        )

    try:
        done = run("up")
        assert done.returncode == 0, done.stdout + done.stderr
        yield Database(home, port, run, done.stdout + done.stderr)
    finally:
        down = run("down")
        shutil.rmtree(home, ignore_errors=True)
    assert down.returncode == 0, down.stderr


@contextlib.contextmanager
def on_postgres(database: Database, **more: str) -> Iterator[Server]:
    """MLflow on PostgreSQL, as server.sh starts it."""
    port = free_port()
    environment = {
        "GENAE_HOME": str(database.home),
        "PGPORT": str(database.port),
        "PORT": str(port),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    log = database.home / f"server-{port}.log"
    server = Server(["bash", str(FOLDER / "server.sh")], port, log, **environment, **more)
    try:
        yield server
    finally:
        server.kill()
