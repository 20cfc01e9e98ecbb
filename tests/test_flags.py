"""Every flag of every script with extreme, wrong and empty values: one message and exit code 2, or
the script works."""

import contextlib
import dataclasses
import importlib.util
import io
import random
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from contracts.scripts import ROOT

from genae_core.config.cli import cli

SCRIPTS = (*sorted(ROOT.glob("sweeps/*.py")), *sorted(ROOT.glob("jobs/*.py")))
# What a script needs besides the flag that is tested. A study only prints its trials; a job ends
# at a source that does not exist.
BASE: dict[str, tuple[str, ...]] = {
    "paper_tables.py": ("--data-root", "nowhere"),
    "evaluate.py": ("nowhere",),
    "export.py": ("nowhere", "--out", "out"),
    "prepare_data.py": ("image_folder", "--raw", "nowhere", "--out", "out"),
    "replay_tracking.py": ("nowhere",),
    "sample.py": ("nowhere", "--out", "out"),
    "ship_classifier.py": ("--dataset", "mnist", "--data-root", "nowhere", "--out", "out"),
    "submit.py": ("jobs/nowhere.py", "--address", "http://127.0.0.1:1"),
    "benchmark.py": ("nowhere",),
    "train_classifier.py": ("--dataset", "mnist", "--data-root", "nowhere"),
}
NUMBERS = (
    *("0", "-1", "1", "-0", "9223372036854775808", "-9223372036854775809", "1" * 400),
    *("nan", "inf", "-inf", "1e308", "1e-320", "1e400", "0.5"),
    *("", " ", "x", "٣", "½", "0x10", "1,5", "None", "true"),
)
TEXTS = ("", " ", "a/b", "../x", "é", "\u202e", "x" * 300, "a\nb", "%25", "~", "?", "nowhere")
MANY = 40  # the cases of each script in the usual suite


def load(path: Path) -> types.ModuleType:
    """The script's module, by a name of its own."""
    name = f"flags_of_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def texts_for(kind: Any) -> Iterator[tuple[str, ...]]:
    """Values to pass for a flag of this type, each as the words on the command line."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        yield from texts_for(arguments[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from texts_for(argument)
    elif origin is tuple:
        yield ()
        each = list(dict.fromkeys(texts_for(arguments[0])))
        yield from each
        yield from ((*words, *words) for words in each[:3])
    elif kind in (int, float):
        yield from ((text,) for text in NUMBERS)
    elif origin is Literal:
        yield from (("nowhere",), ("",), (str(arguments[0]),))
    elif kind in (str, Path):
        yield from ((text,) for text in TEXTS)


def cases_of(path: Path) -> list[tuple[str, ...]]:
    """The command lines of one script, each with one flag besides the base."""
    options = load(path).Options
    kinds = typing.get_type_hints(options, include_extras=True)
    lines = []
    for field in dataclasses.fields(options):
        flag = f"--{field.name.replace('_', '-')}"
        for words in dict.fromkeys(texts_for(kinds[field.name])):
            joined = (f"{flag}={words[0]}",) if len(words) == 1 else (flag, *words)
            lines.append(joined)
    return lines


def check(path: Path, line: tuple[str, ...], folder: Path) -> None:
    """Assert that the script ends with exit code 0 or with one message and exit code 2."""
    module = load(path)
    is_study = path.parent.name == "sweeps"
    argv = [str(path), *BASE.get(path.name, ()), *line, *(["--print"] if is_study else [])]
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", argv)
        patch.setenv("GENAE_HOME", str(folder / "home"))
        patch.chdir(folder)
        try:
            code = cli(module.Options, module.main, module.__doc__)
        except SystemExit as ended:
            code = ended.code
    said = out.getvalue() + err.getvalue()
    assert code in (0, 2), (line, code, said)
    assert "Traceback" not in said, (line, said)
    assert code == 0 or said.strip(), line


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_some_values_of_every_script(path: Path, tmp_path: Path) -> None:
    lines = cases_of(path)
    for line in random.Random(0).sample(lines, min(MANY, len(lines))):
        check(path, line, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_all_values_of_every_script(path: Path, tmp_path: Path) -> None:
    for line in cases_of(path):
        check(path, line, tmp_path)
