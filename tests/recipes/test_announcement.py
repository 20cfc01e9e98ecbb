"""The line that a sweep prints before the long imports."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genae_core.config.cli import cli
from genae_core.recipes.options import StudyOptions

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "sweeps").glob("*.py"))


@pytest.mark.parametrize(
    ("flags", "beginning"),
    [
        ({}, "starting the sweep on digits."),
        ({"dataset": "mnist", "name": "s"}, "starting the sweep s on mnist."),
        ({"name": "s", "resume": True}, "resuming the sweep s on digits."),
        ({"name": "s", "resume": "auto"}, "starting or resuming the sweep s on digits."),
    ],
)
def test_it_says_which_sweep_begins_and_where_its_results_go(
    flags: dict[str, Any], beginning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("GENAE_HOME", str(home))
    assert StudyOptions(**flags).announcement() == (
        f"{beginning} Files: {home}/sweeps. Runs: sqlite:///{home}/mlflow.db. "
        "First, PyTorch and Ray are loaded ..."
    )
    assert not home.exists()  # a sweep that is refused makes no folder


def test_it_shows_the_places_of_the_flags_without_passwords() -> None:
    options = StudyOptions(storage="s3://bucket/a", tracking_uri="http://me:hunter2@host:5000")
    text = options.announcement()
    assert text is not None and "hunter2" not in text
    assert "Files: s3://bucket/a. Runs: http://me:***@host:5000. " in text


def test_a_script_prints_it_first_and_with_print_not_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(options: StudyOptions) -> int:
        print("main")
        return 0

    monkeypatch.setattr("sys.argv", ["/a/study.py"])
    assert cli(StudyOptions, main, "What.") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("study.py: starting the sweep on digits.") and second == "main"
    monkeypatch.setattr("sys.argv", ["/a/study.py", "--print"])
    assert cli(StudyOptions, main, "What.") == 0
    assert capsys.readouterr().out == "main\n"
    monkeypatch.setattr("sys.argv", ["/a/study.py", "--seeds", "0", "0"])
    assert cli(StudyOptions, main, "What.") == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("script", STUDIES, ids=lambda path: path.stem)
def test_every_study_says_first_what_it_does(script: Path) -> None:
    """The flags of a study can announce it, so its first line needs no PyTorch and no Ray."""
    options = runpy.run_path(str(script))["Options"]
    assert callable(getattr(options, "announcement", None)), script.name


def test_the_tables_say_first_what_they_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    options = runpy.run_path(str(ROOT / "sweeps" / "paper_tables.py"))["Options"]
    (tmp_path / "files").mkdir()
    sweep = options(table="parzen", data_root=str(tmp_path / "files"), name="p")
    assert sweep.announcement().startswith(f"starting the sweep p on mnist. Files: {tmp_path}")
    assert options(table="parzen", data_root="s3://b/x", print=True).announcement() is None
    assert options(table="saturation").announcement().startswith("measuring the table saturation.")


def test_it_is_printed_without_the_long_imports() -> None:
    code = (
        "import sys; from genae_core.recipes.options import StudyOptions; "
        "StudyOptions().announcement(); "
        "print({'torch', 'ray', 'mlflow', 'scipy', 'numpy'} & sys.modules.keys())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "set()\n", process.stderr
