"""When a sweep's name may be taken, and when it is continued."""

import dataclasses
import json
from pathlib import Path

import pytest

from genae_core.nets.base import ComputeConfig
from genae_core.sweep import sweep_folder
from genae_core.sweep.options import LaunchOptions
from genae_core.testing import tiny


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    folder = sweep_folder.folder_of("s", LaunchOptions(name="s"))
    folder.mkdir(parents=True)
    return folder


def open_store(folder: Path, **flags: str | bool | None) -> None:
    options = LaunchOptions(name="s", **flags)  # type: ignore[arg-type]
    sweep_folder.open_store("study", folder, {}, options)


def test_a_launch_that_was_killed_while_it_prepared_leaves_the_name_free(folder: Path) -> None:
    (folder / sweep_folder.LOCK).touch()
    open_store(folder)
    (folder / "table.txt").touch()
    with pytest.raises(ValueError, match="'s' exists; choose another --name"):
        open_store(folder)


def test_a_resume_asks_for_the_store_that_the_sweep_was_started_with(
    folder: Path, tmp_path: Path
) -> None:
    about = {"seeds": [0], "cells": {}, "tracking_uri": "http://team:5000"}
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    with pytest.raises(ValueError, match="started with --tracking-uri http://team:5000"):
        open_store(folder, resume=True)
    open_store(folder, resume=True, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (folder / sweep_folder.MANIFEST).write_text(json.dumps({"seeds": [0], "cells": {}}))
    open_store(folder, resume=True)  # of before the manifest named it


def test_cells_that_say_how_they_compute_are_those_of_before(folder: Path) -> None:
    """A sweep from before there were CUDA graphs, or any choice, is continued."""
    options = LaunchOptions(name="s", resume=True)
    cells = {
        "plain": tiny.experiment(),
        "last": dataclasses.replace(tiny.experiment(), compute=ComputeConfig(channels_last=True)),
    }
    about = json.loads(json.dumps(sweep_folder._what_decides(cells, options)))
    del about["cells"]["plain"]["compute"], about["cells"]["last"]["compute"]["cuda_graphs"]
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    sweep_folder._check_same(folder, cells, options)
    about["cells"]["last"]["compute"]["channels_last"] = False
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    with pytest.raises(ValueError, match="cell last is not what the sweep"):
        sweep_folder._check_same(folder, cells, options)
