"""What shows that work goes on: bars on a terminal, lines elsewhere."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from genae_core.config import progress
from genae_core.config.progress import ProgressDisplay, duration_words, track

WORK = """
import time
from genae_core.config import progress
progress.SIGN_OF_LIFE_S = progress.REFRESH_S = 0.1
progress.DELAY_S = 0
with progress.ProgressDisplay("counting", unit="sheep") as display:
    display.begin(40, 2)
    display.update(10)
    time.sleep({seconds})
print("end", flush=True)
"""


def command(seconds: float) -> list[str]:
    return [sys.executable, "-c", WORK.format(seconds=seconds)]


def test_a_line_has_what_is_done_and_how_long_the_rest_takes() -> None:
    display = ProgressDisplay("counting", unit="sheep")
    now = time.monotonic()
    display.began = now - 95
    assert display.line() == "  counting: goes on after 2 min"
    display.begin(1200, 200)
    assert display.line() == "  counting: 200 of 1,200 sheep after 2 min"
    display.counted_from = now - 40  # 400 in 40 s, so that 600 more take 60 s
    display.update(400)
    assert display.line() == "  counting: 600 of 1,200 sheep after 2 min; about 60 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")]
)
def test_durations_are_said_in_the_unit_that_suits_them(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2, 3], "counting", "sheep")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_lines_go_on_while_nothing_is_counted_and_end_with_the_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SIGN_OF_LIFE_S", 0.02)
    printed = ""
    with ProgressDisplay("waiting") as display:
        while printed.count("waiting: goes on after 0 s") < 3:
            printed += capsys.readouterr().out
    assert not display.thread.is_alive()
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().out == ""


def test_an_error_ends_the_lines_too() -> None:
    display = ProgressDisplay("failing")
    with pytest.raises(ValueError, match="wrong"), display:
        raise ValueError("wrong")
    assert not display.thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [0, 70])  # a terminal that does not say its width says 0
def test_a_terminal_gets_a_bar_and_no_lines(columns: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    done = subprocess.run(command(0.5), stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.set_blocking(ours, False)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert "counting" in shown and "12/40" in shown
    assert done.stdout == b"end\n"


@pytest.mark.slow
def test_what_is_piped_has_its_lines_when_the_process_is_killed() -> None:
    process = subprocess.Popen(command(60), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    first = process.stdout.readline().decode()
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().decode()
    process.wait()
    process.stdout.close()
    assert first.startswith("  counting: 12 of 40 sheep after 0 s; about ")
    assert len(rest.splitlines()) >= 2 and rest.endswith("left\n")
