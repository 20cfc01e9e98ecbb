"""A user's own code is imported when the user names it, and never because a file names it."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from genae_core import config
from genae_core.config.cli import cli
from genae_core.config.own_code import TRUSTED, trust

CODE = """
from dataclasses import dataclass
import genae_core
from beside_{name} import SCALE

@genae_core.register("{name}")
@dataclass(frozen=True, kw_only=True)
class MyConfig:
    scale: float = SCALE

if __name__ == "__main__":
    raise SystemExit("the study has started")
"""


NUMBERS = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of a command that has none of its own."""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script with an own class, and a module beside it. Each test has its own names."""
    name = f"mine_{next(NUMBERS)}"
    (tmp_path / f"beside_{name}.py").write_text("SCALE = 2.5\n")
    path = tmp_path / f"{name}.py"
    path.write_text(CODE.format(name=name))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return path


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    TRUSTED.clear()


def test_a_file_imports_nothing_and_the_error_names_the_way(study: Path) -> None:
    text = f'{{"config": "{study.stem}", "scale": 1.0}}'
    with pytest.raises(ValueError, match=f"no config '{study.stem}'.*--trust FILE"):
        config.from_json(text)
    assert study.stem not in sys.modules


@pytest.mark.parametrize("how", ["path", "relative path", "module"])
def test_what_is_trusted_is_read(study: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = str(study)
    if how == "relative path":
        monkeypatch.chdir(study.parent)
        code = f"./{study.name}"
    elif how == "module":
        monkeypatch.syspath_prepend(str(study.parent))
        code = study.stem
    module = trust(code)
    read = config.from_json(f'{{"config": "{study.stem}", "scale": 1.0}}')
    assert type(read) is module.MyConfig and read == module.MyConfig(scale=1.0)
    assert module.MyConfig().scale == 2.5  # from the module beside it
    assert trust(code) is module and TRUSTED == [module]


def test_every_command_has_the_flag(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read: list[object] = []

    def main(_: object) -> int:
        read.append(config.from_json(f'{{"config": "{study.stem}"}}'))
        return 0

    assert cli(Options, main, "", words=["--trust", str(study)]) == 0
    assert type(read[0]).__module__ == study.stem
    assert cli(Options, main, "", words=["--trust", str(study.with_name("other.py"))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --trust {study.with_name('other.py')}: there is no file")


def test_code_that_fails_is_one_error_and_leaves_nothing(study: Path) -> None:
    study.write_text("import no_such_module_at_all\n")
    with pytest.raises(ValueError, match="cannot be imported: ModuleNotFoundError: No module"):
        trust(str(study))
    assert study.stem not in sys.modules and not TRUSTED
    with pytest.raises(ValueError, match="--trust no.such.module: it cannot be imported"):
        trust("no.such.module")


def test_a_file_of_a_package_is_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    package = tmp_path / f"lab_{next(NUMBERS)}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "numbers_.py").write_text("TWO = 2\n")
    (package / "models.py").write_text("from .numbers_ import TWO\n")
    module = trust(str(package / "models.py"))
    assert module.__name__ == f"{package.name}.models" and module.TWO == 2
    assert trust(str(package)).__name__ == package.name
    with pytest.raises(ValueError, match="there is no file .*__init__.py"):
        trust(f"{tmp_path}/")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        (
            "import genae_core as g; g.launch('mine', {}, None, g.LaunchOptions())",
            "it starts a sweep when it is imported: put what starts it below `if __name__",
        ),
    ],
)
def test_a_script_that_would_start_again_is_refused(
    tmp_path: Path, code: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    script = tmp_path / f"unguarded_{next(NUMBERS)}.py"
    script.write_text(code)
    with pytest.raises(ValueError, match=reason):
        trust(str(script))


def test_a_name_that_another_module_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text("")
    with pytest.raises(ValueError, match="another module has the name 'json': rename the file"):
        trust(str(path))
