"""The lines that a sweep prints while it runs, by a clock that the test moves."""

import pytest

from genae_core.sweep.progress import Board


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_time_left_falls_while_trials_run_as_the_others_did(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Four trials of 100 s in turn: 300 s are left after the first, and fewer while others run."""
    clock = Clock()
    board = Board(4, clock)

    def line_at(seconds: float) -> str:
        clock.seconds = seconds
        board.tick()
        return capsys.readouterr().out.strip()

    board.on_start("a")
    assert line_at(60) == "[0/4] running a\n[0/4] still running a (60 s)"
    clock.seconds = 100
    board.on_finish("a", 4.0)
    board.on_start("b")
    assert line_at(101) == "[1/4] a: done, best FCD on validation 4.00, 100 s; about 5 min left"
    assert line_at(140) == "[1/4] still running b (40 s); about 4 min left"
    assert line_at(190) == "[1/4] still running b (90 s); about 4 min left"
    assert line_at(230) == "[1/4] still running b (130 s); about 3 min left"  # b is slow
    board.on_finish("b", 4.0)
    board.on_start("c")
    clock.seconds = 400
    board.on_finish("c", 4.0)
    board.on_start("d")
    capsys.readouterr()
    assert line_at(460).endswith("still running d (60 s); about 73 s left")
    assert line_at(600).endswith("still running d (200 s)")  # it may end at any moment


def test_trials_that_run_at_the_same_time_take_their_time_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Six trials of 100 s, two at a time: 200 s are left after the first two."""
    clock = Clock()
    board = Board(6, clock)
    for trial in ("a", "b"):
        board.on_start(trial)
    clock.seconds = 100
    board.on_finish("a", 4.0)
    assert capsys.readouterr().out.endswith("4.00, 100 s; about 3 min left\n")
    board.on_finish("b", 4.0)
    for trial in ("c", "d"):
        board.on_start(trial)
    clock.seconds = 140
    board.tick()
    assert capsys.readouterr().out.endswith("c (40 s), d (40 s); about 3 min left\n")
    clock.seconds = 200
    for trial in ("c", "d"):
        board.on_finish(trial, 4.0)
    board.on_start("e")
    board.on_start("f")
    clock.seconds = 240
    board.tick()
    assert capsys.readouterr().out.endswith("e (40 s), f (40 s); about 60 s left\n")


def test_a_trial_that_waited_has_done_a_part_already(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    board = Board(3, clock)
    board.on_start("a")
    clock.seconds = 60
    board.on_pause("a", 60, 4.0)
    board.on_start("b")
    clock.seconds = 160
    board.on_finish("b", 4.0)
    assert capsys.readouterr().out.endswith("100 s; about 2 min left\n")  # 40 s of a, and c
    board.on_start("a")
    clock.seconds = 200
    board.on_finish("a", 4.0)
    assert capsys.readouterr().out.endswith("4.00, 100 s; about 2 min left\n")
