"""A GENAE_HOME that was moved: nothing is written to the old place, and one job enters the new."""

import importlib
import json
from pathlib import Path

import pytest
from contracts.databases import new_store

from genae_core.config.home import default_store, home
from genae_core.config.places import sqlite_uri
from genae_core.sweep import sweep_folder
from genae_core.sweep.options import LaunchOptions
from genae_core.tracking.mlflow_store import Tracker
from genae_core.tracking.moved_home import artifacts_folder


@pytest.fixture(params=["plain", "a b?c#d%25é"])
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a sweep and a run that has a file."""
    folder = tmp_path / request.param
    folder.mkdir()
    monkeypatch.setenv("GENAE_HOME", str(folder))
    new_store(folder)
    tracker = Tracker.create(default_store(), "study", artifacts_folder())
    run = tracker.start("key", "name", {"sweep": "s"}, {}, 1000)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights").write_text("trained")
    tracker.log_files(run.run_id, tmp_path / "checkpoint", "checkpoint")
    sweep = folder / "sweeps" / "s"
    sweep.mkdir(parents=True)
    about = {"seeds": [0], "cells": {}, "tracking_uri": default_store()}
    (sweep / sweep_folder.MANIFEST).write_text(json.dumps(about))
    return folder


def open_study() -> Tracker:
    return Tracker.create(default_store(), "study", artifacts_folder())


def relocate(*flags: str) -> int:
    module = importlib.import_module("genae_core.commands.relocate")
    return int(module.main(module.Options(*map(Path, flags))))


def test_a_moved_home_is_refused_until_its_new_place_is_entered(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = open_study().find(key="key")[0].info.run_id
    new = tmp_path / "new home?%41"
    old.rename(new)
    monkeypatch.setenv("GENAE_HOME", str(new))
    reader = Tracker(default_store(), "")
    for refused in (open_study, lambda: reader.get_run(run_id)):
        with pytest.raises(ValueError, match=r"was moved or copied to [\s\S]* relocate \S+"):
            refused()
    options = LaunchOptions(name="s", resume=True)
    with pytest.raises(ValueError, match="was moved or copied"):
        sweep_folder.open_store("study", sweep_folder.folder_of("s", options), {}, options)
    assert not old.exists()
    assert relocate(str(old)) == 0
    assert "2 entries" in capsys.readouterr().out
    tracker = open_study()
    assert tracker.get_run(run_id).info.run_id == run_id
    fetched = tracker.fetch(run_id, "checkpoint", tmp_path / "fetched")
    assert (fetched / "weights").read_text() == "trained"
    sweep_folder.open_store("study", sweep_folder.folder_of("s", options), {}, options)
    run = tracker.start("other", "name", {}, {}, 1000)
    tracker.log_files(run.run_id, tmp_path / "checkpoint" / "weights")
    assert list((new / "mlartifacts" / run.run_id).rglob("weights"))
    assert not old.exists()
    with pytest.raises(ValueError, match=f"has files in {old.parent}/nothing.*they lie in"):
        relocate(str(old.parent / "nothing"))


def test_a_copied_home_does_not_write_into_the_first(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "copy"
    new.mkdir()
    (new / "mlflow.db").write_bytes((old / "mlflow.db").read_bytes())
    monkeypatch.setenv("GENAE_HOME", str(new))
    with pytest.raises(ValueError, match="was moved or copied"):
        open_study()


def test_a_link_at_the_old_place_lets_both_paths_work(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.rename(tmp_path / "new")
    old.symlink_to("new")
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "new"))
    open_study()
    monkeypatch.setenv("GENAE_HOME", str(old))
    open_study()


def test_a_link_to_the_home_is_the_same_home(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(old)
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "link"))
    open_study()
    options = LaunchOptions(name="s", resume=True)
    sweep_folder.open_store("study", sweep_folder.folder_of("s", options), {}, options)


def test_a_store_elsewhere_and_files_that_a_user_put_elsewhere_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a store keeps its files in the home of its first sweep, while that home exists."""
    for name in ("store", "one", "two"):
        (tmp_path / name).mkdir()
    uri = sqlite_uri(Path(new_store(tmp_path / "store").removeprefix("sqlite:///")))
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "one"))
    Tracker.create(uri, "study", artifacts_folder())
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "two"))
    Tracker.create(uri, "study", artifacts_folder())
    (tmp_path / "one").rename(tmp_path / "store" / "moved")
    with pytest.raises(ValueError, match=r" relocate \S+/one --tracking-uri sqlite:"):
        Tracker.create(uri, "study", artifacts_folder())
    new_store(home())
    location = (tmp_path / "large disk").as_uri()
    Tracker(default_store(), "").client.create_experiment("mine", location)
    Tracker.create(default_store(), "mine", artifacts_folder())
