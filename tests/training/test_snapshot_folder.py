"""Snapshots on disk: the newest complete one counts, whatever happens to the others."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.store import s3
from safetensors import SafetensorError

from genae_core.data.storage import Folder
from genae_core.training import checkpoint
from genae_core.training.snapshot_folder import Preempted, SaveSchedule, SnapshotFolder
from genae_core.training.snapshots import COUNTERS, STREAMS, Snapshot


def snapshot(number: int) -> Snapshot:
    """A snapshot with everything that each has, and one tensor of weights."""
    streams = {name: torch.zeros(8, dtype=torch.uint8) for name in STREAMS}
    counters = {**dict.fromkeys(COUNTERS, 0), "step": number}
    values = {**counters, "since": 0, "decays": {}, "history": [[1, {"loss": 0.5}]]}
    return Snapshot({"weight": torch.full((1000,), float(number)), **streams}, values)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def filled(tmp_path: Path, warnings: list[str]) -> SnapshotFolder:
    store = SnapshotFolder(tmp_path / "run", warn=warnings.append)
    for number in (1, 2, 3):
        store.save(snapshot(number))
    return store


def latest_step(store: SnapshotFolder) -> float | None:
    """The step of the latest snapshot, read by another store of the same folder."""
    latest = SnapshotFolder(store.folder, warn=store.warn).load_latest()
    if latest is None:
        return None
    assert float(latest.tensors["weight"][0]) == latest.values["step"]
    return float(latest.values["step"])


def test_the_newest_two_snapshots_stay(filled: SnapshotFolder, warnings: list[str]) -> None:
    assert sorted(p.name for p in filled.folder.iterdir()) == ["state-000002", "state-000003"]
    assert latest_step(filled) == 3 and warnings == []


def test_an_empty_folder_has_no_snapshot(tmp_path: Path) -> None:
    assert (
        SnapshotFolder(tmp_path / "run").load_latest() is None and not (tmp_path / "run").exists()
    )


@pytest.mark.parametrize("file", ["weights.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_broken_newest_snapshot_gives_a_warning_and_the_one_before(
    filled: SnapshotFolder, warnings: list[str], file: str, harm: str
) -> None:
    path = filled.folder / "state-000003" / file
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + (b"" if harm == "cut" else b"\x00" + content[middle:]))
    assert latest_step(filled) == 2
    assert len(warnings) == 1 and "state-000003 cannot be used, going back" in warnings[0]
    again = SnapshotFolder(filled.folder, warn=warnings.append)
    again.save(snapshot(9))
    assert latest_step(filled) == 9


def test_broken_snapshots_give_warnings_and_a_new_training(
    filled: SnapshotFolder, warnings: list[str]
) -> None:
    for path in filled.folder.rglob("*.safetensors"):
        path.write_bytes(b"")
    assert latest_step(filled) is None and len(warnings) == 2


def test_a_full_disk_gives_a_warning_and_the_training_goes_on(
    filled: SnapshotFolder, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoint.save_file

    def full(tensors: Any, path: Path) -> None:
        whole(tensors, path)
        path.write_bytes(path.read_bytes()[:100])
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    filled.save(snapshot(4))
    assert "No space left on device" in warnings[0] and "goes on without it" in warnings[0]
    assert sorted(p.name for p in filled.folder.iterdir()) == ["state-000002", "state-000003"]
    monkeypatch.undo()
    filled.save(snapshot(5))
    assert latest_step(filled) == 5


def test_a_snapshot_is_due_after_the_interval_or_before_a_stop(tmp_path: Path) -> None:
    now, must_stop = [100.0], [False]
    store = SnapshotFolder(
        tmp_path / "run", SaveSchedule(60.0, lambda: must_stop[0], lambda: now[0])
    )
    assert not store.is_due()
    now[0] = 159.0
    assert not store.is_due()
    must_stop[0] = True
    assert store.is_due()
    must_stop[0] = False
    now[0] = 160.0
    assert store.is_due()
    store.save(snapshot(1))
    assert not store.is_due()


def test_deleting_leaves_the_snapshots_of_other_trainings(filled: SnapshotFolder) -> None:
    other = SnapshotFolder(filled.folder.parent / "other")
    other.save(snapshot(1))
    filled.delete()
    assert not filled.folder.exists() and latest_step(other) == 1
    other.delete()
    assert not other.folder.parent.exists()


def test_other_files_in_the_folder_stay(filled: SnapshotFolder) -> None:
    (filled.folder / "state-notes").mkdir()
    shutil.copytree(filled.folder / "state-000003", filled.folder / ".state-000004-half")
    filled.save(snapshot(4))
    assert (filled.folder / "state-notes").exists() and latest_step(filled) == 4


def test_a_negative_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="interval"):
        SaveSchedule(interval=-1)


def test_a_process_that_is_to_end_saves_whatever_the_interval(tmp_path: Path) -> None:
    requests: list[bool] = []
    schedule = SaveSchedule(3600, lambda: bool(requests))
    store = SnapshotFolder(tmp_path / "run", schedule)
    assert not store.is_due()
    requests.append(True)
    assert store.is_due()
    with pytest.raises(Preempted):
        store.save(snapshot(4))
    assert latest_step(store) == 4


def test_attempts_without_progress_wait_longer_and_longer(tmp_path: Path) -> None:
    waits: list[float] = []
    for _ in range(9):
        SnapshotFolder(tmp_path / "run").back_off(waits.append)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    store = SnapshotFolder(tmp_path / "run")
    store.save(snapshot(1))  # progress
    store.back_off(waits.append)
    assert len(waits) == 8
    (tmp_path / "run" / "lives").write_text("three")
    store.back_off(waits.append)
    assert len(waits) == 8


def test_the_wall_clock_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SnapshotFolder(tmp_path / "run", SaveSchedule(60))
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 3600)
    assert not store.is_due()
    store.save(snapshot(1))
    store.save(snapshot(2))
    assert latest_step(store) == 2


@pytest.fixture(scope="module")
def bucket() -> Iterator[Folder]:
    """A folder on an object store that speaks S3, in this process."""
    with s3("sweeps"):
        yield Folder("s3://sweeps/mine/states")


def test_another_machine_continues_from_the_mirror(
    bucket: Folder, tmp_path: Path, warnings: list[str]
) -> None:
    mirror = bucket / "moved"
    here = SnapshotFolder(tmp_path / "here", warn=warnings.append, mirror=mirror)
    for number in (1, 2, 3):
        here.save(snapshot(number))
    assert sorted({file.name.split("/")[0] for file in mirror.files()}) == [
        "state-000002",
        "state-000003",
    ]
    there = SnapshotFolder(tmp_path / "there", warn=warnings.append, mirror=mirror)
    latest = there.load_latest()
    assert latest is not None and latest.values["step"] == 3
    there.save(snapshot(4))
    back = SnapshotFolder(tmp_path / "here", warn=warnings.append, mirror=mirror).load_latest()
    assert back is not None and back.values["step"] == 4  # not the older one on this disk
    there.delete()
    assert not mirror.exists() and warnings == []


def test_an_incomplete_snapshot_in_the_mirror_is_skipped(
    bucket: Folder, tmp_path: Path, warnings: list[str]
) -> None:
    mirror = bucket / "cut"
    store = SnapshotFolder(tmp_path / "here", warn=warnings.append, mirror=mirror)
    store.save(snapshot(1))
    store.save(snapshot(2))
    mirror.delete("state-000002/checkpoint.json")
    other = SnapshotFolder(tmp_path / "there", warn=warnings.append, mirror=mirror).load_latest()
    assert other is not None and other.values["step"] == 1


def test_an_unreachable_mirror_gives_warnings_and_the_training_goes_on(
    tmp_path: Path, warnings: list[str]
) -> None:
    class Away(Folder):
        def files(self, *endings: str) -> list[Any]:
            raise OSError("no route to the store")

        def write(self, name: str, content: bytes) -> None:
            raise OSError("no route to the store")

    away = Away("s3://sweeps/away")
    store = SnapshotFolder(tmp_path / "run", warn=warnings.append, mirror=away)
    store.save(snapshot(1))
    latest = SnapshotFolder(tmp_path / "run", warn=warnings.append, mirror=away).load_latest()
    assert latest is not None and latest.values["step"] == 1
    assert warnings and all("no route to the store" in text for text in warnings)
    store.delete()
