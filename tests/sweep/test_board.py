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
    clock.seconds = 400
    for trial in ("b", "c"):
        board.on_finish(trial, 4.0)
    board.on_start("d")
    assert line_at(460).endswith("still running d (60 s); about 73 s left")
    assert line_at(600).endswith("still running d (200 s)")  # it may end at any moment
