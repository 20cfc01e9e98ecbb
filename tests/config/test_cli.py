"""The errors of the command line."""

from dataclasses import dataclass

import pytest

from genae_core.config.cli import cli
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


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(options: Options) -> int:
        raise KeyError("a bug")

    monkeypatch.setattr("sys.argv", ["script"])
    with pytest.raises(KeyError):
        cli(Options, main, "What it does.")
