"""A training's state on disk: the newest whole one counts, whatever happens to the others."""

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
from genae_core.training.loop import State
from genae_core.training.snapshots import Generations, Preempted


def state(number: int) -> State:
    return State({"weight": torch.full((1000,), float(number))}, {"step": number})


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def kept(tmp_path: Path, said: list[str]) -> Generations:
    keeper = Generations(tmp_path / "run", warn=said.append)
    for number in (1, 2, 3):
        keeper.keep(state(number))
    return keeper


def found(keeper: Generations) -> float | None:
    """The step of what it finds, by another keeper of the same folder."""
    state = Generations(keeper.folder, warn=keeper.warn).found()
    if state is None:
        return None
    assert float(state.tensors["weight"][0]) == state.values["step"]
    return float(state.values["step"])


def test_the_newest_two_are_kept(kept: Generations, said: list[str]) -> None:
    assert sorted(p.name for p in kept.folder.iterdir()) == ["state-000002", "state-000003"]
    assert found(kept) == 3 and said == []


def test_nothing_is_found_where_nothing_was_kept(tmp_path: Path) -> None:
    assert Generations(tmp_path / "run").found() is None and not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", ["weights.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_broken_newest_falls_back_loudly(
    kept: Generations, said: list[str], file: str, harm: str
) -> None:
    path = kept.folder / "state-000003" / file
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + (b"" if harm == "cut" else b"\x00" + content[middle:]))
    assert found(kept) == 2
    assert len(said) == 1 and "state-000003 cannot be used, going back" in said[0]
    again = Generations(kept.folder, warn=said.append)
    again.keep(state(9))
    assert found(kept) == 9


def test_all_broken_begins_anew_and_says_so(kept: Generations, said: list[str]) -> None:
    for path in kept.folder.rglob("*.safetensors"):
        path.write_bytes(b"")
    assert found(kept) is None and len(said) == 2


def test_a_full_disk_is_said_and_costs_nothing_else(
    kept: Generations, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoint.save_file

    def full(tensors: Any, path: Path) -> None:
        whole(tensors, path)
        path.write_bytes(path.read_bytes()[:100])
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    kept.keep(state(4))
    assert "No space left on device" in said[0] and "goes on without it" in said[0]
    assert sorted(p.name for p in kept.folder.iterdir()) == ["state-000002", "state-000003"]
    monkeypatch.undo()
    kept.keep(state(5))
    assert found(kept) == 5


def test_it_is_due_by_the_interval_or_when_asked(tmp_path: Path) -> None:
    now, asked = [100.0], [False]
    keeper = Generations(tmp_path / "run", 60.0, lambda: asked[0], lambda: now[0])
    assert not keeper.due()
    now[0] = 159.0
    assert not keeper.due()
    asked[0] = True
    assert keeper.due()
    asked[0] = False
    now[0] = 160.0
    assert keeper.due()
    keeper.keep(state(1))
    assert not keeper.due()


def test_forgetting_leaves_the_others(kept: Generations) -> None:
    other = Generations(kept.folder.parent / "other")
    other.keep(state(1))
    kept.forget()
    assert not kept.folder.exists() and found(other) == 1
    other.forget()
    assert not other.folder.parent.exists()


def test_what_is_no_state_is_left_alone(kept: Generations) -> None:
    (kept.folder / "state-notes").mkdir()
    shutil.copytree(kept.folder / "state-000003", kept.folder / ".state-000004-half")
    kept.keep(state(4))
    assert (kept.folder / "state-notes").exists() and found(kept) == 4


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="interval"):
        Generations(tmp_path, interval=-1)


def test_a_process_that_is_to_end_keeps_its_state_whatever_the_interval(tmp_path: Path) -> None:
    asked: list[bool] = []
    keeper = Generations(tmp_path / "run", 3600, lambda: bool(asked))
    assert not keeper.due()
    asked.append(True)
    assert keeper.due()
    with pytest.raises(Preempted):
        keeper.keep(state(4))
    assert found(keeper) == 4


def test_lives_without_progress_wait_longer_and_longer(tmp_path: Path) -> None:
    waits: list[float] = []
    for _ in range(9):
        Generations(tmp_path / "run").back_off(waits.append)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    keeper = Generations(tmp_path / "run")
    keeper.keep(state(1))  # progress
    keeper.back_off(waits.append)
    assert len(waits) == 8
    (tmp_path / "run" / "lives").write_text("three")
    keeper.back_off(waits.append)
    assert len(waits) == 8


def test_the_clock_on_the_wall_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Generations(tmp_path / "run", 60)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 3600)
    assert not keeper.due()
    keeper.keep(state(1))
    keeper.keep(state(2))
    assert found(keeper) == 2


@pytest.fixture(scope="module")
def bucket() -> Iterator[Folder]:
    """A folder on an object store that speaks S3, in this process."""
    with s3("sweeps"):
        yield Folder("s3://sweeps/mine/states")


def test_another_machine_goes_on_from_the_mirror(
    bucket: Folder, tmp_path: Path, said: list[str]
) -> None:
    mirror = bucket / "moved"
    here = Generations(tmp_path / "here", warn=said.append, mirror=mirror)
    for number in (1, 2, 3):
        here.keep(state(number))
    assert sorted({file.name.split("/")[0] for file in mirror.files()}) == [
        "state-000002",
        "state-000003",
    ]
    there = Generations(tmp_path / "there", warn=said.append, mirror=mirror)
    found = there.found()
    assert found is not None and found.values["step"] == 3
    there.keep(state(4))
    back = Generations(tmp_path / "here", warn=said.append, mirror=mirror).found()
    assert back is not None and back.values["step"] == 4  # not the older one on this disk
    there.forget()
    assert not mirror.exists() and said == []


def test_a_generation_that_did_not_reach_the_mirror_whole_is_none(
    bucket: Folder, tmp_path: Path, said: list[str]
) -> None:
    mirror = bucket / "cut"
    keeper = Generations(tmp_path / "here", warn=said.append, mirror=mirror)
    keeper.keep(state(1))
    keeper.keep(state(2))
    mirror.delete("state-000002/checkpoint.json")
    other = Generations(tmp_path / "there", warn=said.append, mirror=mirror).found()
    assert other is not None and other.values["step"] == 1


def test_a_mirror_that_is_away_is_said_and_costs_nothing_else(
    tmp_path: Path, said: list[str]
) -> None:
    class Away(Folder):
        def files(self, *endings: str) -> list[Any]:
            raise OSError("no route to the store")

        def write(self, name: str, content: bytes) -> None:
            raise OSError("no route to the store")

    away = Away("s3://sweeps/away")
    keeper = Generations(tmp_path / "run", warn=said.append, mirror=away)
    keeper.keep(state(1))
    found = Generations(tmp_path / "run", warn=said.append, mirror=away).found()
    assert found is not None and found.values["step"] == 1
    assert said and all("no route to the store" in text for text in said)
    keeper.forget()
