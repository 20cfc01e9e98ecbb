"""Several processes that use a store first at the same time, and processes that are killed while
they make it."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from contracts import first_use
from contracts.databases import new_store
from contracts.servers import postgres
from sqlalchemy.engine import make_url

from genae_core.tracking import store_creation
from genae_core.tracking.mlflow_store import Tracker

pytestmark = pytest.mark.slow


def check(rounds: list[list[Any]], folder: Path, count: int, processes: int = 1) -> None:
    """Each process of each round has logged its run to the same experiment."""
    assert len(rounds) == count
    for number, answers in enumerate(rounds):
        artifacts = f"file://{folder}/{number}/artifacts"
        assert answers == [["study", artifacts, "FINISHED", {"chain/fcd": 1.0}]] * processes
        assert not list((folder / str(number)).glob(".*.partial*"))
        with closing(sqlite3.connect(folder / str(number) / "mlflow.db")) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
        assert runs == processes


def test_launches_that_begin_together_share_the_store(tmp_path: Path) -> None:
    check(first_use.run("race", "open_store", tmp_path, 8, 1), tmp_path, 1, 8)


@pytest.mark.faults
def test_twenty_times_eight_launches_share_the_store(tmp_path: Path) -> None:
    check(first_use.run("race", "open_store", tmp_path, 8, 20), tmp_path, 20, 8)


def test_a_kill_while_the_store_is_made_leaves_one_that_works(tmp_path: Path) -> None:
    check(first_use.run("kill", "open_store", tmp_path, 1, 1, "make_store"), tmp_path, 1)


@pytest.mark.faults
@pytest.mark.parametrize("maker", ["make_store", "make_store_in_its_place"])
def test_thirty_kills_while_the_store_is_made_leave_stores_that_work(
    tmp_path: Path, maker: str
) -> None:
    """Also if MLflow made the store in its place, as earlier versions let it do."""
    check(first_use.run("kill", "open_store", tmp_path, 30, 1, maker), tmp_path, 30)


def test_an_unfinished_store_is_kept_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store_creation, "QUIET_S", 0.0)
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE experiments (artifact_location TEXT)")
    tracker = Tracker.create(f"sqlite:///{path}", "study", tmp_path / "artifacts")
    assert tracker.find(sweep="none") == []
    (aside,) = tmp_path.glob("mlflow.db.unfinished-*")
    with closing(sqlite3.connect(aside)) as database:
        assert database.execute("SELECT count(*) FROM experiments").fetchone() == (0,)
    assert f"it is now {aside.name}, which you can delete" in capsys.readouterr().out


def test_a_store_that_another_program_is_making_is_awaited(tmp_path: Path) -> None:
    """A server of MLflow makes its database in its place, and takes no lock."""
    path = tmp_path / "mlflow.db"
    new_store(tmp_path)
    complete = path.read_bytes()
    path.write_bytes(b"")

    def finish() -> None:
        time.sleep(0.5)
        path.write_bytes(complete)

    server = threading.Thread(target=finish)
    server.start()
    store_creation.make_if_missing(f"sqlite:///{path}", lambda _: pytest.fail("made again"))
    server.join()
    assert path.read_bytes() == complete


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0 and no more"])
def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    store_creation.make_if_missing(f"sqlite:///{path}", lambda _: pytest.fail("made again"))
    assert path.read_bytes() == content


@pytest.mark.parametrize("table", ["customers", "experiments"])
def test_the_database_of_another_program_stays_as_it_is(tmp_path: Path, table: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"CREATE TABLE {table} (id INTEGER)")
    content = path.read_bytes()
    store_creation.make_if_missing(f"sqlite:///{path}", lambda _: pytest.fail("made again"))
    assert path.read_bytes() == content


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "http://127.0.0.1:9", "x"])
def test_a_store_that_is_no_file_is_left_alone(uri: str) -> None:
    store_creation.make_if_missing(uri, lambda _: pytest.fail("made"))


def test_a_store_at_an_unusual_path_is_made_there(tmp_path: Path) -> None:
    path = tmp_path / "a folder with 100% ä" / "mlflow.db"
    path.parent.mkdir()
    uri = f"sqlite:///{str(path).replace('%', '%25')}"
    made: list[str] = []

    def make(partial: str) -> None:
        made.append(partial)
        with closing(sqlite3.connect(make_url(partial).database)) as database:
            database.execute("CREATE TABLE experiments (artifact_location TEXT)")
            database.execute("INSERT INTO experiments VALUES ('')")
            database.commit()

    store_creation.make_if_missing(uri, make)
    store_creation.make_if_missing(uri, make)
    assert len(made) == 1 and path.exists()


@pytest.mark.faults
def test_launches_that_begin_together_share_a_database_of_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres() as database:
        secrets = database.home / "postgres" / "mlflow.pgpass"
        monkeypatch.setenv("PGPASSFILE", str(secrets))
        monkeypatch.setenv(
            "STORE", f"postgresql+psycopg://mlflow@127.0.0.1:{database.port}/mlflow"
        )
        rounds = first_use.run("race", "open_database", tmp_path, 8, 3)
    assert rounds == [[[f"study {number}"]] * 8 for number in range(3)]


def test_what_a_full_disk_has_left_is_removed_by_the_next_launch(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow[1].db"
    left = [tmp_path / f".mlflow[1].db.partial-7{end}" for end in ("", "-journal")]
    other = tmp_path / ".mlflow1.db.partial-7"
    for path in (*left, other):
        path.touch()
    Tracker.create(uri, "study", tmp_path / "artifacts")
    assert not any(path.exists() for path in left) and other.exists()
    assert store_creation.state_of(tmp_path / "mlflow[1].db") == "made"
