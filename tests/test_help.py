"""The help of every script: it is printed at once, and a person can read it."""

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Annotated

import pytest
import tyro
from contracts.scripts import ROOT

from genae_core.config.flags import parse_flags

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("sweeps/*.py", "jobs/*.py", "dashboards/*/*.py", "cluster/*.py")
    for path in ROOT.glob(pattern)
)
SLOW = {"torch", "ray", "mlflow", "optuna", "numpy", "sklearn", "pyarrow", "matplotlib"}
# Prints the help of each script, and what it has imported, in one process.
HELP = """
import contextlib, io, json, runpy, sys
helps = {}
for script in sys.argv[2:]:
    printed = io.StringIO()
    before, sys.argv = sys.argv, [script, "--help"]
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    sys.argv = before
    slow = sorted(set(json.loads(sys.argv[1])) & set(sys.modules))
    helps[script] = (printed.getvalue(), slow)
print(json.dumps(helps))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[str, list[str]]]:
    """The help of each script at a width of 80 columns, and the slow libraries that it imports."""
    done = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(sorted(SLOW)), *SCRIPTS],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "COLUMNS": "80", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    helps: dict[str, tuple[str, list[str]]] = json.loads(done.stdout)
    return helps


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_no_library_that_takes_long(
    script: str, helps: dict[str, tuple[str, list[str]]]
) -> None:
    printed, slow = helps[script]
    assert printed.startswith("usage: ") and "--debug" in printed
    assert slow == []


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_each_default_once_and_keeps_examples(
    script: str, helps: dict[str, tuple[str, list[str]]]
) -> None:
    printed, _ = helps[script]
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", printed).split())
    for flag in re.split(r" (?=--[a-z])", words):
        assert flag.count("(default") <= 1 and "default: None" not in flag, flag
    for line in (ROOT / script).read_text().split('"""')[1].splitlines():
        if line.startswith("  "):
            assert f"\n{line}\n" in printed


def test_a_study_shows_its_own_flags_before_those_of_every_sweep(
    helps: dict[str, tuple[str, list[str]]],
) -> None:
    printed, _ = helps["sweeps/latent_dim.py"]
    order = ["--latent-dims {", "study options", "--families [", "data options", "--dataset {"]
    order += ["launch options", "--seeds", "--tracking-uri"]
    places = [printed.index(text) for text in order]
    assert places == sorted(places)


@dataclass(frozen=True, kw_only=True)
class GeneralOptions:
    """The general
    flags."""

    count: int = 1
    """A count
    in two lines."""
    place: str | None = None
    """A place (default: here)."""


@dataclass(frozen=True, kw_only=True)
class Options(GeneralOptions):
    source: Annotated[str, tyro.conf.Positional]
    """What it reads."""
    words: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Words."""
    count: int = 2
    """Another count."""


def test_flags_of_a_class_and_of_its_bases_are_read_into_one_object() -> None:
    options, common = parse_flags(Options, ["file", "--set", "a", "b", "--place", "there"])
    assert options == Options(source="file", words=("a", "b"), count=2, place="there")
    assert type(options) is Options and common == (False, ())
    words = ["file", "--count", "5", "--debug", "--trust", "a.py", "--trust", "b"]
    assert parse_flags(Options, words) == (Options(source="file", count=5), (True, ("a.py", "b")))


def test_a_flag_is_in_the_group_of_the_class_that_defines_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit):
        parse_flags(Options, ["--help"], "What it does.\n\n  an example\n  another one", "program")
    own, general = printed.getvalue().split("general options")
    assert (
        own.startswith("usage: program ") and "What it does.\n  an example\n  another one\n" in own
    )
    assert "The general flags." in general and "--place" in general and "--set" in own
    assert "Another count. (default: 2)" in own and "count" not in general
    assert "A place (default: here).  " in general
