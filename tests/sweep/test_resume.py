"""`--resume` and `--resume auto`: what is begun, what is continued, and with which seeds."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contracts.databases import new_store

from genae_core.config.cli import cli
from genae_core.data import sealed
from genae_core.sweep import sweep_folder
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.spent_time import FILE, SpentTime, spent_seconds
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import Tracker


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    new_store(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "resume"),
    [
        ([], False),
        (["--resume"], True),
        (["--resume", "auto"], "auto"),
        (["--resume=auto"], "auto"),
        (["--resume", "--seeds", "1", "2"], True),
    ],
)
def test_resume_is_a_switch_or_auto(
    monkeypatch: pytest.MonkeyPatch, words: list[str], resume: Any
) -> None:
    parsed: list[LaunchOptions] = []
    monkeypatch.setattr("sys.argv", ["script", "--name", "s", *words])
    assert cli(LaunchOptions, lambda options: parsed.append(options) or 0, "What.") == 0
    assert parsed[0].resume == resume and type(parsed[0].resume) is type(resume)


@pytest.mark.parametrize("words", [["--resume", "yes"], ["--resume="], ["--resume"]])
def test_another_word_or_no_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["script", *words])
    try:
        code: Any = cli(LaunchOptions, lambda _: 0, "What.")
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and "--resume" in capsys.readouterr().err


def test_auto_begins_a_sweep_that_is_not_there(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auto = LaunchOptions(name="s", resume="auto")
    assert sweep_folder.decide_resume("study", auto) == LaunchOptions(name="s")
    assert "--resume auto: the sweep s is new" in capsys.readouterr().out
    # A launch that was killed before its first trial leaves its lock, and half a manifest.
    folder = sweep_folder.folder_of("s", auto)
    folder.mkdir(parents=True)
    (folder / sweep_folder.LOCK).touch()
    (folder / f".{sweep_folder.MANIFEST}.123").touch()
    assert sweep_folder.decide_resume("study", auto).resume is False


@pytest.mark.parametrize("where", ["folder", "damaged manifest", "store"])
def test_auto_continues_a_sweep_that_has_begun(
    home: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    auto = LaunchOptions(name="s", resume="auto")
    folder = sweep_folder.folder_of("s", auto)
    if where == "store":
        tracker = Tracker.create(f"sqlite:///{home}/mlflow.db", "study", home / "mlartifacts")
        tracker.start("key", "a run", {"sweep": "s"}, {}, 0)
    else:
        folder.mkdir(parents=True)
        text = '{"seeds": [0], "cells": {}}' if where == "folder" else '{"seeds"'
        (folder / sweep_folder.MANIFEST).write_text(text)
        (folder / sweep_folder.STATES).mkdir()
    decided = sweep_folder.decide_resume("study", auto)
    assert decided == LaunchOptions(name="s", resume=True)
    assert "--resume auto: the sweep s is continued" in capsys.readouterr().out


@pytest.mark.parametrize("resume", [True, False])
def test_the_other_forms_are_decided_already(resume: bool) -> None:
    options = LaunchOptions(name="s", resume=resume)
    assert sweep_folder.decide_resume("study", options) is options


def test_print_opens_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    auto = LaunchOptions(name="s", resume="auto", print=True)
    assert sweep_folder.decide_resume("study", auto).resume is False
    assert not any(tmp_path.iterdir())


def test_how_to_continue_is_the_command_that_was_given(tmp_path: Path) -> None:
    nothing: Any = None
    place = SweepPlace("study", "s", tmp_path, nothing)
    assert place.again == "the same command with --name s --resume"
    assert place._replace(auto=True).again == "the same command"


def check_seeds(home: Path, before: list[int], now: tuple[int, ...], more: bool) -> None:
    options = LaunchOptions(name="s", resume=True, seeds=now)
    folder = sweep_folder.folder_of("s", options)
    folder.mkdir(parents=True)
    about = sweep_folder._what_decides({"cell": tiny.experiment()}, options) | {"seeds": before}
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    before = sweep_folder.check_flags(folder, {"cell": tiny.experiment()}, options, more)
    sweep_folder.open_store("study", folder, before, options)


@pytest.mark.parametrize("now", [(0,), (0, 1, 2), (2, 1, 0)])
def test_more_seeds_are_added_to_a_study(home: Path, now: tuple[int, ...]) -> None:
    check_seeds(home, [0], now, more=True)


@pytest.mark.parametrize(("before", "now"), [([0, 1], (0,)), ([0], (1,)), ([0, 1], (1, 2, 3))])
def test_a_seed_that_is_left_out_is_refused(
    home: Path, before: list[int], now: tuple[int, ...]
) -> None:
    text = " ".join(map(str, before))
    reason = f"started with --seeds {text}, got {' '.join(map(str, now))}: name all of these seeds"
    with pytest.raises(ValueError, match=f"{reason}, and more if you like"):
        check_seeds(home, before, now, more=True)


@pytest.mark.parametrize(
    ("before", "flags", "seeds"),
    [
        ([0, 1, 2, 3], {}, (0, 1, 2, 3)),  # a finished grid
        ([0], {}, (0,)),  # a sweep that chose its seeds
        ([5], {}, (5, 0, 1)),
        ([0, 1], {"seeds": (0, 1, 2, 3)}, (0, 1, 2, 3)),
    ],
)
def test_a_sweep_is_continued_until_it_is_settled_from_the_seeds_that_it_has(
    home: Path, before: list[int], flags: dict[str, Any], seeds: tuple[int, ...]
) -> None:
    options = LaunchOptions(name="s", resume=True, until_settled=True, **flags)
    folder = sweep_folder.folder_of("s", options)
    folder.mkdir(parents=True)
    cells = {"cell": tiny.experiment()}
    about = sweep_folder._what_decides(cells, options) | {"seeds": before}
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    decided = sweep_folder.decide_resume("study", options)
    assert decided.seeds == seeds
    assert sweep_folder.check_flags(folder, cells, decided, more_seeds=True)["seeds"] == before


def test_a_new_sweep_that_is_to_be_settled_begins_with_the_seeds_that_are_named() -> None:
    one = tuple(range(1))  # as --seeds 0 is parsed
    with pytest.raises(ValueError, match="name two --seeds or more to begin with, or leave out"):
        LaunchOptions(until_settled=True, seeds=one)
    assert LaunchOptions(until_settled=True).seeds == (0,)
    assert LaunchOptions(until_settled=True, seeds=(0, 1)).seeds == (0, 1)


def test_a_study_with_a_default_of_several_seeds_begins_with_them() -> None:
    """As mcmc_steps.py has it: nobody gave these seeds."""

    @dataclass(frozen=True, kw_only=True)
    class Options(LaunchOptions):
        seeds: tuple[int, ...] = (4, 2)

    assert Options(until_settled=True).seeds == (4, 2)
    assert Options(until_settled=True, seeds=(4, 2, 0)).seeds == (4, 2, 0)


def test_a_search_keeps_its_seeds(home: Path) -> None:
    check_seeds(home, [0, 1], (1, 0), more=False)


def test_more_seeds_in_a_search_are_refused_with_the_reason(home: Path) -> None:
    with pytest.raises(ValueError, match="compared by their mean over the same seeds; compare"):
        check_seeds(home, [0], (0, 1), more=False)


def test_the_time_of_a_search_is_counted_over_its_launches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert spent_seconds(tmp_path) == 0.0
    first = SpentTime(tmp_path)
    now = 109.0
    first.tick()
    assert spent_seconds(tmp_path) == 0.0  # it is not written all the time
    now = 111.0
    first.tick()
    assert spent_seconds(tmp_path) == 11.0
    now = 115.0  # and then the driver is killed
    second = SpentTime(tmp_path)
    now = 118.0
    second.tick(at_once=True)
    assert spent_seconds(tmp_path) == 14.0
    values = sealed.read(tmp_path / FILE)
    (tmp_path / FILE).write_text(sealed.to_text(values).replace("14.0", "99.0"))
    assert spent_seconds(tmp_path) == 0.0
    assert "the minutes of the search are counted anew" in capsys.readouterr().err
