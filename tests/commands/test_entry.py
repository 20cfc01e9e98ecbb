"""The command `genae`: what it lists, what it runs, and what it refuses."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from contracts.scripts import ROOT

from genae_core.commands import entry, sample
from genae_core.config import command_name
from genae_core.config.command_name import command_line


def genae(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """Run the command in this process. Returns its exit status and what it printed."""
    monkeypatch.setattr(sys, "argv", ["genae", *words])
    try:
        status = entry.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status, *capsys.readouterr()


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_without_a_command_it_lists_all_of_them(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = genae(monkeypatch, capsys, *words)
    assert (status, err) == (0, "")
    for name, text in entry.COMMANDS.items():
        assert f"  {name} " in out and text in out
    assert max(map(len, out.splitlines())) <= 100


def test_every_module_with_options_is_a_command() -> None:
    folder = Path(entry.__file__).parent
    names = {path.stem for path in folder.glob("*.py") if "class Options" in path.read_text()}
    listed = {name.replace("-", "_") for name in entry.COMMANDS}
    assert names | {"node"} == listed


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_each_command_shows_examples_of_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = genae(monkeypatch, capsys, name, "--help")
    assert status == 0
    assert out.startswith(f"usage: genae {name} ")
    module: Any = importlib.import_module(f"genae_core.commands.{name.replace('-', '_')}")
    examples = [line for line in module.__doc__.splitlines() if line.startswith("  ")]
    assert examples and all(f"{line}\n" in out for line in examples)
    assert all(f"genae {name}" in line for line in examples if re.search(r"(?<!\S)genae ", line))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("sampel", "did you mean sample?"),
        ("train_classifier", "did you mean train-classifier?"),
        ("qqq", "they are sweep, search, sample"),
        ("http://me:hunter2@host/", "they are sweep"),
    ],
)
def test_an_unknown_command_names_the_nearest(
    word: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = genae(monkeypatch, capsys, word)
    assert (status, out) == (2, "")
    assert err.startswith("error: genae has no command ") and hint in err
    assert err.count("\n") == 1 and "hunter2" not in err


def test_a_command_gets_the_flags_behind_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    received: list[sample.Options] = []
    monkeypatch.setattr(sample, "main", lambda options: received.append(options) or 3)
    status, _, _ = genae(monkeypatch, capsys, "sample", "abc", "--steps", "4", "--out", "/out")
    assert status == 3
    assert received == [sample.Options(source="abc", steps=4, out="/out")]
    status, _, err = genae(monkeypatch, capsys, "sample", "abc", "--stops", "4", "--out", "/out")
    assert status == 2 and "--stops" in err and "genae sample --help" in err


@pytest.mark.slow
def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "genae_core", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "genae 0.1.0\n"


def test_messages_name_a_command_that_the_shell_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_line("replay", "a b") == f"{sys.executable} -m genae_core replay 'a b'"
    program = tmp_path / "genae"
    program.write_text("")
    program.chmod(0o755)
    assert command_line("ui") == f"{sys.executable} -m genae_core ui"  # of another Python
    monkeypatch.setattr(command_name.sys, "executable", str(tmp_path / "python"))
    assert command_line("replay", "a b") == "genae replay 'a b'"
