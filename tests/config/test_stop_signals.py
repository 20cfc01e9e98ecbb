"""Programs that are stopped, and printing that cannot fail."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from genae_core.config import console
from genae_core.config.stop_signals import STOP_SIGNALS


def script(body: str) -> subprocess.Popen[str]:
    """A script that prints "ready" before it can be stopped."""
    text = f"""
    import sys, time
    from dataclasses import dataclass
    {body}
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


IMPORTS = """
    from genae_core.config.cli import cli
    print("ready", flush=True)
    time.sleep(60)  # other modules are imported
"""
RUNS = """
    from genae_core.config.cli import cli
    @dataclass(frozen=True)
    class Options: pass
    def main(_):
        print("ready", flush=True)
        time.sleep(60)
    sys.exit(cli(Options, main, ""))
"""


@pytest.mark.parametrize(
    ("body", "line"), [(IMPORTS, "stopped before anything had begun"), (RUNS, "interrupted")]
)
def test_a_script_that_is_stopped_prints_one_line(body: str, line: str) -> None:
    running = [(number, script(body)) for number in STOP_SIGNALS]
    for number, process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, line + "\n")
        assert time.monotonic() - began < 5


def test_a_program_keeps_its_exit_code_if_nobody_reads_what_it_prints() -> None:
    body = RUNS.replace('print("ready", flush=True)', 'print("ready")')
    body = body.replace("time.sleep(60)", "return 3")
    reader, writer = os.pipe()
    os.close(reader)
    text = f"import sys\nfrom dataclasses import dataclass\n{textwrap.dedent(body)}"
    process = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (3, "")


def test_a_signal_while_python_ends_changes_no_exit_code() -> None:
    body = (
        RUNS.replace("time.sleep(60)", "return 3")
        + """
    """
    )
    body = body.replace(
        'sys.exit(cli(Options, main, ""))',
        """
    import atexit
    atexit.register(time.sleep, 60)
    code = cli(Options, main, "")
    print("ended", flush=True)
    sys.exit(code)
    """,
    )
    running = [(number, script(body)) for number in STOP_SIGNALS]
    for number, process in running:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "ended\n"]
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (3, "")


def test_an_importing_program_that_is_no_script_keeps_its_handlers() -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_characters_that_a_stream_lacks_are_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.reconfigure(encoding="ascii", errors="strict")  # type: ignore[union-attr]
    console.say("FCD 1 ± 2")
    assert capfd.readouterr().out == "FCD 1 \\xb1 2\n"
