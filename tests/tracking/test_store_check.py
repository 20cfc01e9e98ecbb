"""Stores in odd states are one clear line within seconds, and never a library's exception."""

import os
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import sqlalchemy.exc
from contracts.databases import new_store
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from genae_core.tracking import store_check, store_creation
from genae_core.tracking.mlflow_store import StartedRun, Tracker
from genae_core.tracking.store_errors import StoreError
from genae_core.tracking.store_uri import resolve_uri


def open_store(uri: str, folder: Path) -> Tracker:
    return Tracker.create(resolve_uri(uri), "study", folder / "artifacts")


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database, but long enough to be one" * 100)


def _cut(path: Path) -> None:
    new_store(path.parent)
    path.write_bytes(path.read_bytes()[:-5000])


def _cut_to_the_header(path: Path) -> None:
    new_store(path.parent)
    path.write_bytes(path.read_bytes()[:150])


def _newer(path: Path) -> None:
    new_store(path.parent)
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")


def _older(path: Path) -> None:
    new_store(path.parent)
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = 'cc1f77228345'")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _other_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table experiments (x int)")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_garbage, "is no SQLite database"),
        (_cut, "is cut off: it has [0-9,]+ of [0-9,]+ bytes|is damaged"),
        (_cut_to_the_header, "is damaged|is cut off"),
        (_newer, "another version of MLflow"),
        (_older, "another version of MLflow"),
        (_other_program, "holds tables, but not those of MLflow"),
        (Path.mkdir, "is a folder"),
    ],
)
def test_a_file_that_is_no_store(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "mlflow.db"
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(StoreError, match=message) as caught:
        open_store(f"sqlite:///{path}", tmp_path)
    assert len(str(caught.value).splitlines()) == 1 and str(path) in str(caught.value)
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("make", [os.mkfifo, _socket])
def test_what_is_no_file_is_neither_opened_nor_renamed(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "mlflow.db"
    make(path)
    before = path.stat()
    with pytest.raises(StoreError, match=f"{path} is a device, a pipe or a socket"):
        resolve_uri(f"sqlite:///{path}")
    assert store_creation.state_of(path) == "made"
    assert path.stat().st_ino == before.st_ino and path.stat().st_mode == before.st_mode
    assert list(tmp_path.iterdir()) == [path]


def test_a_good_store_an_empty_file_and_a_new_one_are_opened(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    assert open_store(uri, tmp_path).experiment_id
    (tmp_path / "empty.db").write_bytes(b"")
    for name in ("empty.db", "new.db"):
        assert resolve_uri(f"sqlite:///{tmp_path}/{name}") == f"sqlite:///{tmp_path}/{name}"
    assert not (tmp_path / "new.db").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="/proc/none.db"):
        resolve_uri("sqlite:////proc/none.db")


def test_a_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_check, "LOCK_S", 0.1)
    uri = new_store(tmp_path)
    lock = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    lock.execute("begin exclusive")
    with pytest.raises(StoreError, match="cannot be read: database is locked"):
        resolve_uri(uri)
    lock.close()
    resolve_uri(uri)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://me:hunter2@127.0.0.1:1", "the connection is refused"),
        ("http://me:hunter2@no-such-host.invalid:5000", "there is no host of this name"),
        ("http://me:hunter2@127.0.0.1:SILENT", "does not answer"),
        ("https://me:hunter2@127.0.0.1:SILENT", "does not answer"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/db", "nothing answers at 127.0.0.1:1"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:SILENT/db", "no answer within"),
        ("postgresql+psycopg://me:hunter2@no-such-host.invalid/db", "no host of this name"),
        ("mysql://me:hunter2@127.0.0.1:1/mlflow", "driver .* not installed.*install pymysql"),
        ("mssql://me:hunter2@127.0.0.1:1/db", "driver .* not installed.*install pyodbc"),
        ("htp://me:hunter2@127.0.0.1:5000", "'htp' is no kind of store"),
        ("sqlite://mlflow.db", "sqlite:///PATH"),
    ],
)
def test_an_address_at_which_there_is_no_store(
    uri: str, message: str, silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_check, "ANSWER_S", 0.5)
    monkeypatch.setattr("genae_core.config.network.ANSWER_S", 0.5)
    began = time.monotonic()
    with pytest.raises(StoreError, match=message) as caught:
        open_store(uri.replace("SILENT", str(silent)), tmp_path)
    assert time.monotonic() - began < 5
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and "hunter2" not in text


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hun#ter2@host",
        "http://me:hun/ter2@host",
        "http://me:1@hun/ter2@host:1",
        "postgresql+psycopg://me:1@hun/ter2@host:1/db",
        "http://me:hun ter2@host",
        "http://me:hunter2@host:99999",
        " http://me:hunter2@host",
        "http://",
    ],
)
def test_a_malformed_address_is_named_without_any_piece_of_its_password(uri: str) -> None:
    with pytest.raises(ValueError, match="--tracking-uri") as caught:
        resolve_uri(uri)
    assert "hun" not in str(caught.value) and "ter2" not in str(caught.value)


def test_a_dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://me:hunter2@127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreError, match="the proxy of HTTP_PROXY") as caught:
        resolve_uri("http://tracking.invalid:5000")
    assert "hunter2" not in str(caught.value)


ERRORS: list[Exception] = [
    sqlalchemy.exc.OperationalError("select 1", {}, Exception("the server\nis gone")),
    sqlalchemy.exc.ArgumentError("Could not parse"),
    sqlalchemy.exc.NoSuchModuleError("Can't load plugin: x"),
    MlflowException("API request to http://me:hunter2@host failed\nwith 500"),
    requests.exceptions.ConnectionError("http://me:hunter2@host: Connection refused"),
    requests.exceptions.ReadTimeout("read timed out"),
    requests.exceptions.ChunkedEncodingError("Response ended prematurely"),
    ModuleNotFoundError("No module named 'MySQLdb'"),
    OSError(28, "No space left on device"),
    KeyError("run"),
    TypeError("NoneType is not iterable"),
    RuntimeError(""),
]
RUN = StartedRun("0", 0)
CALLS: list[Callable[[Tracker, Path], Any]] = [
    lambda tracker, folder: tracker.find(key="k"),
    lambda tracker, folder: tracker.start("k", "n", {}, {}, 0),
    lambda tracker, folder: tracker.started("k"),
    lambda tracker, folder: tracker.restore("k"),
    lambda tracker, folder: tracker.log_metrics(RUN, [("m", 1.0, 0)]),
    lambda tracker, folder: tracker.set_tags("0", {"a": "b"}),
    lambda tracker, folder: tracker.log_scalars("0", {"a": 1.0}),
    lambda tracker, folder: tracker.log_files("0", folder),
    lambda tracker, folder: tracker.finish("0"),
    lambda tracker, folder: tracker.close_sweep("s"),
    lambda tracker, folder: tracker.finished_fcds("s"),
    lambda tracker, folder: tracker.read_runs("s"),
    lambda tracker, folder: tracker.get_run("0"),
    lambda tracker, folder: tracker.fetch("0", "a", folder),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_behind_every_call_is_a_store_error_of_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker("http://me:hunter2@host", "0")

    def fail(*_: object, **__: object) -> None:
        raise error

    for name, member in vars(MlflowClient).items():
        if callable(member) and not name.startswith("_"):
            monkeypatch.setattr(tracker.client._client, name, fail)
    monkeypatch.setattr("genae_core.tracking.mlflow_store.check_store", lambda uri: None)
    for call in CALLS:
        with pytest.raises(StoreError, match="the tracking store http://me:") as caught:
            call(tracker, tmp_path)
        text = str(caught.value)
        assert len(text.splitlines()) == 1 and "hunter2" not in text


def test_the_import_of_mlflow_is_no_part_of_the_time_in_which_a_server_must_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = SimpleNamespace(text="OK")
    monkeypatch.setattr("mlflow.utils.rest_utils.http_request", lambda *_, **__: answer)
    asked = []

    def within(seconds: float, ask: Callable[[], str]) -> str:
        monkeypatch.setitem(sys.modules, "mlflow.utils.rest_utils", None)  # it cannot be imported
        asked.append(ask())
        return asked[-1]

    monkeypatch.setattr(store_check, "within", within)
    store_check.check_store("http://127.0.0.1:1")
    assert asked == ["OK"]
