"""What counts as done is on the disk before anything that it replaces is deleted."""

import ast
import os
from pathlib import Path
from typing import Any

import pytest
from contracts.databases import new_store
from contracts.disk_rules import DiskRules
from contracts.sweeps import make_sweep

from genae_core.data import durable, sealed
from genae_core.data.digits import DigitsConfig
from genae_core.data.load import load_splits
from genae_core.data.preparation import REJECTED, prepare
from genae_core.data.shards import MANIFEST
from genae_core.data.storage import Folder
from genae_core.evaluation.chain_parts import read_portable_chain
from genae_core.evaluation.generate import draw_samples, sampling_job
from genae_core.experiment.experiment import resolve
from genae_core.metrics.classifier_cache import cached_classifier
from genae_core.sweep.cells import cell_key
from genae_core.sweep.sweep_folder import note_stopped, stopped_cells
from genae_core.sweep.worker import run_cell
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import Tracker
from genae_core.training.checkpoint import save_model

ROOT = Path(__file__).resolve().parents[1]
PARAMS = {"family": "vae", "latent_dim": 2}
# Modules that rename or move without the door, each with the reason.
EXCEPTIONS = {
    "data/durable.py": "it is the door",
    "data/preparation.py": "shards move to another folder, which is synced before the first goes",
    "config/home.py": "it lies below the door, and syncs the file",
    "tracking/store_creation.py": "a database with its companions, which it syncs",
    "cluster/local_node.py": "a record of a running process, which a power cut ends",
    "sweep/progress.py": "what a running sweep shows, which nothing reads afterwards",
    "tracking/delivery.py": "a name for what is deleted next, after a sync",
}


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> DiskRules:
    return DiskRules(monkeypatch)


def test_the_rules_see_what_they_forbid(rules: DiskRules, tmp_path: Path) -> None:
    (tmp_path / ".half").write_text("content")
    (tmp_path / ".half").rename(tmp_path / "whole")
    (tmp_path / "old").write_text("")
    (tmp_path / "old").unlink()
    assert [text.split(" ", 1)[1] for text in rules.broken] == [
        "was not synced before it had its name",
        f"was deleted before [{str(tmp_path)!r}] were synced",
    ]


def test_a_written_file_is_on_the_disk(rules: DiskRules, tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b")
    durable.write(tmp_path / "a" / "b" / "file", "text")
    sealed.write(tmp_path / "a" / "sealed.json", {"value": 1})
    assert rules.is_synced(tmp_path / "a")
    assert rules.published == [f"{tmp_path}/a/b/file", f"{tmp_path}/a/sealed.json"]
    assert not rules.broken and not rules.pending


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    durable.write(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        durable.write(path, "new")
    assert str(tmp_path) in str(caught.value)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_cannot_sync_folders_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def files_only(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr("os.fsync", files_only)
    durable.write(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.slow
def test_a_trial_forgets_nothing_before_what_replaces_it_is_on_the_disk(
    rules: DiskRules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshots, events, the record of the end, and the artifacts of a local store."""
    artifacts = tmp_path / "artifacts"
    tracker = Tracker.create(new_store(tmp_path), "study", artifacts)
    real = Tracker.finish
    ends: list[bool] = []

    def finish(self: Tracker, *values: Any, **options: Any) -> None:
        ends.append(rules.is_synced(artifacts))
        real(self, *values, **options)

    monkeypatch.setattr(Tracker, "finish", finish)
    splits = tiny.splits()
    cells = {cell_key(PARAMS): resolve(tiny.experiment(), splits)}
    tags = {"study": "study", "dataset": "digits"}
    sweep = make_sweep(
        tracker, tmp_path / "sweep", cells, "one", tags, seeds=(0,), checkpoint_seconds=0
    )
    run_cell(PARAMS, sweep, splits, tiny.classifier(splits), lambda _: None)
    assert not rules.broken and not rules.pending
    kinds = {Path(path).name.split("-")[0] for path in rules.published}
    assert kinds >= {"state", "000001", "done.json", "checkpoint"}
    assert ends == [True, True]  # of each chain's run


def test_prepared_files_are_on_the_disk_when_they_have_their_names(
    rules: DiskRules, tmp_path: Path
) -> None:
    """Shards, their copy, a classifier, samples, and the cells that a scheduler stopped."""
    load_splits(DigitsConfig(), tmp_path, say=lambda _: None)
    recipe = tiny.experiment().classifier
    cached_classifier(recipe, DigitsConfig(), tiny.splits(), tmp_path / "classifiers")
    small = tiny.run()
    model = tmp_path / "model"
    save_model(model, small.model, tiny.experiment().model, DigitsConfig().shape, small.draw)
    chain = tiny.experiment().chains[0]
    draw_samples(sampling_job(read_portable_chain(model, chain), 1, Folder(tmp_path / "out")), 40)
    note_stopped(tmp_path, PARAMS)
    assert stopped_cells(tmp_path) == {cell_key(PARAMS)}
    assert not rules.broken and not rules.pending
    names = {Path(path).name for path in rules.published}
    assert {"train", "val", "test", "part-00000.parquet", MANIFEST} <= names
    assert rules.is_synced(model) and rules.is_synced(tmp_path / "out")


@pytest.mark.parametrize("deletions", [0, 2, 4])
def test_shards_that_were_being_published_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    """A kill comes after the manifest and so many deletions of what it replaces."""
    left = [deletions]
    real = Folder.delete

    def delete(self: Folder, name: str = "") -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, name)

    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(Folder, "delete", delete)
        prepare(DigitsConfig(), Folder(tmp_path / "out"))
    assert (tmp_path / "out" / MANIFEST).exists()
    monkeypatch.setattr("genae_core.data.preparation.write_shard", None)
    manifest = prepare(DigitsConfig(), Folder(tmp_path / "out"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {shard.file for shard in manifest.shards} | {MANIFEST, REJECTED}


def _renames(path: Path) -> list[str]:
    """The calls in a module that give a file another name."""
    calls = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, ast.unparse(node.func.value)
            module = owner in ("os", "shutil") and name in ("rename", "replace", "move", "renames")
            # str.replace takes two arguments, Path.replace one.
            method = name == "rename" or (name == "replace" and len(node.args) == 1)
            if (module or method) and not node.keywords:
                calls.append(ast.unparse(node))
    return calls


def test_only_the_door_renames() -> None:
    package = ROOT / "genae_core"
    modules = {
        path.relative_to(package).as_posix(): _renames(path) for path in package.rglob("*.py")
    }
    assert {name for name, calls in modules.items() if calls} == EXCEPTIONS.keys()
