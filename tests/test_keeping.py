"""A training's state on disk: the newest whole one counts, whatever happens to the others."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from genae_core import checkpoint
from genae_core.keeping import Generations
from genae_core.training import State


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
