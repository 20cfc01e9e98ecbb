"""The errors of the command line."""

import logging
import pickle
from dataclasses import dataclass

import pytest

from genae_core.config.cli import cli
from genae_core.config.errors import DEBUG
from genae_core.tracking import mlflow_store


@dataclass(frozen=True)
class Options:
    count: int = 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("http://me:hunter2@host/ is wrong"),
        OSError("http://me:hunter2@host/ is gone"),
        mlflow_store.StoreError("http://me:hunter2@host/ answers 500"),
    ],
)
def test_an_error_of_the_user_is_one_message_without_passwords(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(options: Options) -> int:
        raise error

    monkeypatch.setattr("sys.argv", ["script"])
    assert cli(Options, main, "What it does.") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: http://me:***@host/") and "hunter2" not in printed.err


@pytest.mark.parametrize(
    "error",
    [KeyError("a bug"), AssertionError(), RuntimeError("two\nlines"), RecursionError("deep")],
)
def test_a_bug_is_one_message_that_asks_for_a_report(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(options: Options) -> int:
        raise error

    monkeypatch.delenv(DEBUG, raising=False)
    monkeypatch.setattr("sys.argv", ["script"])
    assert cli(Options, main, "What it does.") == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "Traceback" not in printed
    assert f"did not expect: {type(error).__name__}" in printed
    assert "report" in printed and "--debug" in printed


@pytest.mark.parametrize("how", ["flag", "variable"])
@pytest.mark.parametrize("kind", [ValueError, KeyError])
def test_debug_shows_the_traceback_without_passwords(
    how: str,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(options: Options) -> int:
        raise kind("http://me:hunter2@host/")

    # setenv first, so that monkeypatch removes what the flag sets.
    monkeypatch.setenv(DEBUG, "1" if how == "variable" else "")
    monkeypatch.setattr("sys.argv", ["script", *(["--debug"] if how == "flag" else [])])
    assert cli(Options, main, "What it does.") == (2 if kind is ValueError else 1)
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "in main" in printed and "hunter2" not in printed


def test_ctrl_c_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(options: Options) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["script"])
    assert cli(Options, main, "What it does.") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_flag_that_does_not_exist_is_repeated_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["script", "--traking-uri", "http://me:hunter2@host/"])
    with pytest.raises(SystemExit) as end:
        cli(Options, lambda options: 0, "What it does.")
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert "traking-uri" in printed and "hunter2" not in printed


def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(options: Options) -> int:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")

    monkeypatch.setattr("sys.argv", ["script"])
    assert cli(Options, main, "What it does.") == 2
    assert "the package ray is not installed: pip install" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--debug",)])
def test_a_script_gets_its_own_class_which_can_be_sent_to_another_process(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[Options] = []

    def main(options: Options) -> int:
        received.append(pickle.loads(pickle.dumps(options)))
        return 0

    monkeypatch.setenv(DEBUG, "")
    monkeypatch.setattr("sys.argv", ["script", "--count", "3", *words])
    assert cli(Options, main, "What it does.") == 0
    assert received == [Options(count=3)] and type(received[0]) is Options


@pytest.mark.parametrize("debug", [False, True])
def test_what_a_library_logs_about_an_exception_is_one_line(
    debug: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def main(options: Options) -> int:
        try:
            raise OSError("no space at\nhttp://me:hunter2@host/")
        except OSError:
            logging.getLogger("a.library").exception("Saving %s failed:\n", "the state")
        logging.getLogger("a.library").warning("%d left", 3)
        return 0

    monkeypatch.setenv(DEBUG, "0")  # --debug sets it, and the fixture undoes that
    monkeypatch.setattr("sys.argv", ["script", *(["--debug"] if debug else [])])
    assert cli(Options, main, "What it does.") == 0
    first, second = caplog.records
    assert second.getMessage() == "3 left"
    if debug:
        assert first.exc_info is not None and first.getMessage() == "Saving the state failed:\n"
    else:
        assert first.exc_info is None
        assert first.getMessage() == (
            "Saving the state failed: OSError: no space at http://me:***@host/"
        )
