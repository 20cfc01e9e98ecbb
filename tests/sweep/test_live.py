"""What a terminal shows of a sweep, and what a file gets instead."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from genae_core.sweep.live import LiveBoard, open_board
from genae_core.sweep.progress import Board, read_progress, write_progress


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_bars_the_best_and_the_lines() -> None:
    console, fractions = terminal(), {"vae latent_dim=2": 0.25}
    with open_board(3, lambda: fractions, console) as board:
        assert isinstance(board, LiveBoard)
        board.on_start("vae latent_dim=2")
        board.progress.refresh()
        assert "25%" in written(console)
        fractions["vae latent_dim=2"] = 1.0
        board.tick()
        board.progress.refresh()
        assert "chains, metrics" in written(console)
        board.on_finish("vae latent_dim=2", 43.21)
        board.on_start("aae [bold]")  # no markup
        board.on_failure("aae [bold]")
        board.progress.refresh()
    text = written(console)
    assert "[1/3] vae latent_dim=2: done, best FCD on validation 43.2" in text
    assert "[2/3] aae [bold]: FAILED (reason below)" in text
    last = text.rsplit("trials", 1)[1]
    assert "2 of 3; 1 failed; best FCD on validation 43.2, vae latent_dim=2" in last


def test_a_trial_that_waits_has_no_bar() -> None:
    console = terminal()
    with open_board(None, dict, console) as board:
        assert isinstance(board, LiveBoard)
        board.on_start("vae")
        board.on_pause("vae", 33, 50.0)
        assert board.bars == {} and [task.description for task in board.progress.tasks] == [
            "trials"
        ]


def test_what_is_no_terminal_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with open_board(1, dict, Console(file=io.StringIO())) as board:
        assert type(board) is Board
        board.on_start("vae")
        board.on_finish("vae", 1.0)
    assert capsys.readouterr().out.splitlines()[0] == "[0/1] running vae"


def test_fractions_are_read_back_and_what_is_broken_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "progress"
    assert read_progress(folder) == {}
    write_progress(folder, "vae latent_dim=2", 0.5)
    write_progress(folder, "vae latent_dim=2", 0.75)
    write_progress(folder, "β", 0.1)
    (folder / "cut").write_text('{"aae": 0.')
    assert read_progress(folder) == {"vae latent_dim=2": 0.75, "β": 0.1}
