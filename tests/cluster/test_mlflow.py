"""MLflow for a team: a real PostgreSQL and a real server where there are some, and the files."""

import copy
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from contracts import servers
from contracts.servers import FOLDER, ROOT


@pytest.fixture(scope="module")
def database() -> Iterator[servers.Database]:
    with servers.postgres() as made:
        yield made


@pytest.mark.faults
def test_runs_outlive_a_killed_server_and_files_go_to_the_bucket(
    database: servers.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto.server")
    import boto3  # noqa: PLC0415
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    from genae_core.tracking.mlflow_store import Tracker  # noqa: PLC0415

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with ExitStack() as stack:
        cloud = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        cloud.start()
        stack.callback(cloud.stop)
        host, port = cloud.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        bucket = boto3.client("s3", endpoint_url=endpoint)
        stack.callback(bucket.close)
        bucket.create_bucket(Bucket="genae")
        more = {"ARTIFACTS": "s3://genae/mlflow", "MLFLOW_S3_ENDPOINT_URL": endpoint}
        server = stack.enter_context(servers.on_postgres(database, **more))
        listening = subprocess.run(["ss", "-tlnH"], capture_output=True, text=True, check=True)
        for used in (server.port, database.port):
            places = [row.split()[3] for row in listening.stdout.splitlines()]
            assert {p for p in places if p.endswith(f":{used}")} == {f"127.0.0.1:{used}"}
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        passwords = [
            (database.home / "postgres" / f"{role}.pgpass").read_text().strip().split(":")[4]
            for role in ("mlflow", "postgres")
        ]
        tracker = Tracker.create(server.uri, "chains", tmp_path)
        run = tracker.client.create_run(tracker.experiment_id)
        for step in range(3):
            tracker.client.log_metric(run.info.run_id, "chain/fcd", 10.0 - step, step=step)
        (tmp_path / "grid.txt").write_text("samples")
        tracker.client.log_artifact(run.info.run_id, str(tmp_path / "grid.txt"))
        kept = bucket.list_objects_v2(Bucket="genae")["Contents"]
        assert [entry["Key"].rsplit("/", 1)[1] for entry in kept] == ["grid.txt"]
        server.kill()
        server.start()
        client = MlflowClient(server.uri)
        history = client.get_metric_history(run.info.run_id, "chain/fcd")
        assert [(entry.step, entry.value) for entry in history] == [(0, 10), (1, 9), (2, 8)]
        read = client.download_artifacts(run.info.run_id, "grid.txt", str(tmp_path))
        assert Path(read).read_text() == "samples"
        said = [database.said, shown.stdout, server.log.read_text()]
        said += [(database.home / "postgres" / "log").read_text()]
        assert all(len(password) == 48 for password in passwords)
        assert not [text for text in said for password in passwords if password in text]


@pytest.mark.faults
def test_postgres_is_the_users_alone_and_starts_once(database: servers.Database) -> None:
    again = database.run("up")
    assert again.returncode == 2 and "it is up already" in again.stderr
    assert database.run("status").stdout == "up\n"
    for name in ("postgres", "postgres/mlflow.pgpass", "postgres/postgres.pgpass"):
        assert (database.home / name).stat().st_mode & 0o077 == 0, name
    import psycopg  # noqa: PLC0415

    where = {"host": "127.0.0.1", "port": database.port, "dbname": "mlflow"}
    for role, secret in (("mlflow", "wrong"), ("postgres", "")):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(user=role, password=secret, passfile="/dev/null", **where).close()
    passfile = str(database.home / "postgres" / "mlflow.pgpass")
    with psycopg.connect(user="mlflow", passfile=passfile, **where) as connection:
        row = connection.execute(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        assert row == (False,)
    assert database.run("down").returncode == 0
    assert database.run("status").returncode == 1
    assert database.run("up").returncode == 0  # its data and passwords are those of before
    with psycopg.connect(user="mlflow", passfile=passfile, **where):
        pass


def test_a_password_on_the_command_line_is_refused() -> None:
    done = subprocess.run(
        ["bash", str(FOLDER / "server.sh")],
        env=os.environ | {"STORE": "postgresql://me:hunter2@host/db"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "STORE holds a password" in done.stderr
    assert "hunter2" not in done.stderr


def test_both_starts_are_the_same_light_server() -> None:
    """One worker, no job runner, loopback unless told otherwise."""
    text = (FOLDER / "server.sh").read_text()
    assert "--workers 1" in text and "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in text
    assert '--host "${HOST:-127.0.0.1}"' in text
    dockerfile = (ROOT / "cluster" / "Dockerfile").read_text()
    assert "COPY cluster/mlflow/server.sh" in dockerfile and 'CMD ["server.sh"]' in dockerfile


def faults(compose: dict[str, Any]) -> list[str]:
    """What is open, unpinned or written down in the compose file."""
    found = []
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                found.append(f"{name}: port {port} is open")
        image = service.get("image", ":built-here")
        if not re.search(r":[\w.-]+\}?$", image) or image.rstrip("}").endswith(":latest"):
            found.append(f"{name}: image {image} is not pinned")
        for key, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|KEY", key) and not key.endswith("_FILE")
            if value is not None and (secret or re.search(r"://[^/@]*:[^/@]*@", str(value))):
                found.append(f"{name}: {key} is written here")
        for secret in service.get("secrets", []):
            if secret not in compose.get("secrets", {}):
                found.append(f"{name}: no secret {secret}")
        if service.get("privileged") or service.get("network_mode") == "host":
            found.append(f"{name}: is the host's own")
    if compose["services"]["postgres"]["networks"] != ["store"]:
        found.append("postgres: reached by others than MLflow")
    if compose["networks"]["store"] != {"internal": True}:
        found.append("store: reaches the outside")
    return found


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return found


def test_the_compose_file_has_no_fault() -> None:
    assert faults(compose()) == []
    assert compose()["services"]["mlflow"]["build"]["target"] == "mlflow"


@pytest.mark.parametrize(
    ("service", "key", "value", "fault"),
    [
        ("mlflow", "ports", ["5000:5000"], "port 5000:5000 is open"),
        ("postgres", "ports", ["0.0.0.0:5432:5432"], "is open"),
        ("postgres", "image", "postgres", "is not pinned"),
        ("postgres", "image", "${IMAGE:-postgres:latest}", "is not pinned"),
        ("postgres", "environment", {"POSTGRES_PASSWORD": "x"}, "POSTGRES_PASSWORD is written"),
        ("mlflow", "environment", {"STORE": "postgresql://me:pw@host/db"}, "STORE is written"),
        ("mlflow", "secrets", ["other"], "no secret other"),
        ("mlflow", "network_mode", "host", "is the host's own"),
        ("postgres", "networks", ["store", "front"], "reached by others"),
    ],
)
def test_each_check_can_fail(service: str, key: str, value: Any, fault: str) -> None:
    changed = copy.deepcopy(compose())
    changed["services"][service][key] = value
    assert any(fault in each for each in faults(changed)), faults(changed)
