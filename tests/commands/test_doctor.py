"""The doctor's screen: what it shows, what it finds, and what it keeps to itself."""

import importlib.metadata
import sqlite3
from pathlib import Path

import pytest
import torch
from contracts.databases import new_store

from genae_core.cluster.batch_node import free_port
from genae_core.commands import diagnosis, doctor

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def screen(capsys: pytest.CaptureFixture[str], **flags: str) -> tuple[int, dict[str, str]]:
    """The exit status, and the text of each part."""
    status = doctor.main(doctor.Options(**flags))  # type: ignore[arg-type]
    parts: dict[str, str] = {}
    name = ""
    for line in capsys.readouterr().out.splitlines():
        name = line[:9].strip() or name
        parts[name] = f"{parts.get(name, '')} {line[10:]}".strip()
    return status, parts


def test_a_healthy_machine_is_one_screen(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    status, parts = screen(capsys)
    assert status == 0
    assert parts["genae"].startswith("0.1.0, commit ")
    assert f"torch {torch.__version__.partition('+')[0]}" in parts["packages"]
    assert f"ray {importlib.metadata.version('ray')}" in parts["packages"]
    assert "CPU, " in parts["devices"] and "fp32" in parts["devices"]
    assert " GiB free, " in parts["memory"] and parts["memory"].endswith("CPUs")
    assert f"free in {home} (GENAE_HOME)" in parts["disk"]
    assert parts["store"] == f"sqlite:///{home}/mlflow.db will be made by the first sweep"
    assert parts["cluster"] == "none is set: a sweep starts its own Ray"
    assert parts["node"] == "down"
    assert list(home.glob("*.db")) == []
    new_store(home)
    assert screen(capsys)[1]["store"] == f"sqlite:///{home}/mlflow.db answers"


def test_what_does_not_answer_is_named_and_the_rest_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    port = free_port()
    status, parts = screen(
        capsys,
        tracking_uri=f"http://me:{SECRET}@127.0.0.1:{port}",
        ray_address=f"127.0.0.1:{port}",
        storage=str(tmp_path / "file" / "below"),
    )
    assert status == 1
    assert parts["store"].startswith("NOT OK: ") and f"127.0.0.1:{port}" in parts["store"]
    assert parts["cluster"].startswith("NOT OK: no Ray cluster could be used at")
    assert "GiB free" in parts["memory"]
    assert SECRET not in "".join(parts.values())


def test_a_file_that_is_no_store_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("create table mine (a)")
    status, parts = screen(capsys, tracking_uri=f"sqlite:///{other}")
    assert status == 1 and "but not those of MLflow" in parts["store"]


def test_a_missing_package_is_named_and_the_rest_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = importlib.metadata.version

    def without_ray(name: str) -> str:
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(diagnosis.importlib.metadata, "version", without_ray)
    status, parts = screen(capsys)
    assert status == 1
    assert "ray missing" in parts["packages"] and "pip install 'genae[sweep]'" in parts["packages"]
    assert parts["devices"].startswith("CPU, ")
