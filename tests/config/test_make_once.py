"""What a first launch makes in GENAE_HOME, by several processes at once and after kills."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from contracts import first_use

from genae_core.config import make_once
from genae_core.config.home import secret_file
from genae_core.config.make_once import make_alone


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [pytest.param(1), pytest.param(20, marks=pytest.mark.faults)])
def test_launches_that_begin_together_share_the_home(tmp_path: Path, rounds: int) -> None:
    answers = first_use.run("race", "fill_home", tmp_path, 8, rounds)
    assert len(answers) == rounds
    for number, round_ in enumerate(answers):
        assert len(round_) == 8 and round_ == [round_[0]] * 8
        assert len(round_[0]) == 3, round_  # digests, not the text of an error
        # One process trained the classifier for all.
        assert (tmp_path / str(number) / "trainings").read_text() == "x"
    assert len({tuple(round_[0][1:]) for round_ in answers}) == 1


@pytest.mark.faults
def test_a_kill_while_the_home_is_filled_leaves_one_that_works(tmp_path: Path) -> None:
    answers = first_use.run("kill", "fill_home", tmp_path, 30, 1)
    assert len(answers) == 30
    assert len({tuple(digests[1:]) for (digests,) in answers}) == 1


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_others_wait_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_once, "PATIENCE_S", 0.01)
    path = tmp_path / "thing"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".thing.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        threading.Timer(0.3, other.stdin.close).start()
        with make_alone(path):
            assert other.wait(timeout=10) == 0
    assert f"waiting for another process, which makes {path}" in capsys.readouterr().out


def test_what_a_killed_process_left_is_deleted(tmp_path: Path) -> None:
    (tmp_path / ".thing.partial-1").mkdir()
    (tmp_path / ".thing.partial-1" / "file").touch()
    (tmp_path / ".thing.partial-2").touch()
    others = {".thing-else.lock", ".thing-else.partial-1", "thing", ".other.partial-1"}
    for name in others:
        (tmp_path / name).touch()
    with make_alone(tmp_path / "thing"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*others, ".thing.lock"}


def test_an_empty_secret_is_not_taken_for_one(tmp_path: Path) -> None:
    """A process of an earlier version may have been killed before it wrote the secret."""
    path = tmp_path / "token"
    path.touch()
    text = secret_file(path).read_text()
    assert len(text) == 64 and secret_file(path).read_text() == text
    assert os.stat(path).st_mode & 0o777 == 0o600
