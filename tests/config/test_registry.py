"""The names of config classes: which class may have one, and what a second definition does."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from genae_core.config import KEY, from_json, register, to_dict, to_json
from genae_core.config.registry import class_of
from genae_core.models.vae import VAEConfig


def _define(name: str, *fields: str, kind: str = "Mine", module: str = "notebook") -> Any:
    """A config class of its own with fields of ints, as if a cell of a notebook defined it."""
    made = dataclasses.make_dataclass(kind, [(f, int, 1) for f in fields], frozen=True)
    made.__module__ = module
    return register(name)(made)


def _python(code: str, folder: Path, *arguments: str) -> str:
    (folder / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_registered_class_is_written_and_read() -> None:
    mine = _define("test.mine", "number")
    assert from_json(to_json(mine(number=2))) == mine(number=2)
    assert to_dict(mine()) == {KEY: "test.mine", "number": 1}


@pytest.mark.parametrize("name", ["Not a name", "", "a..b", "a.", "_a", "vae\n"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case words joined"):
        register(name)


def test_a_name_belongs_to_one_class() -> None:
    _define("test.one", "number", kind="One")
    with pytest.raises(ValueError, match=r"notebook.One and notebook.Two both .* 'test.one'"):
        _define("test.one", "number", kind="Two")
    with pytest.raises(ValueError, match=r"'vae' belongs to genae: choose another for notebook"):
        _define("vae", "number")
    assert class_of("vae") is VAEConfig


def test_a_name_of_genae_is_refused_before_genae_has_registered_it(tmp_path: Path) -> None:
    code = """
import dataclasses
from genae_core import register
try:
    register("prior.normal")(dataclasses.make_dataclass("Mine", [], frozen=True))
except ValueError as error:
    print(error)
"""
    assert "belongs to genae" in _python(code, tmp_path)


def test_a_class_has_one_name() -> None:
    mine = _define("test.first_name", "number")
    with pytest.raises(ValueError, match=r"has the config name 'test.first_name' already"):
        register("test.second_name")(mine)


def test_a_class_that_could_not_be_read_again_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a frozen dataclass"):
        register("test.loose")(dataclasses.make_dataclass("Loose", ["number"]))
    with pytest.raises(ValueError, match="a field 'config'"):
        _define("test.key", KEY)

    @dataclasses.dataclass(frozen=True)
    class Derived:
        number: int = dataclasses.field(init=False, default=1)

    with pytest.raises(ValueError, match="Derived.number must be an argument"):
        register("test.derived")(Derived)


def test_a_class_may_be_defined_again() -> None:
    """As in a notebook whose cell runs twice: configs of the first class are still written."""
    former = _define("test.again", "number")
    current = _define("test.again", "number")
    assert class_of("test.again") is current
    assert from_json(to_json(former(number=3))) == current(number=3)


def test_a_config_of_a_class_with_other_fields_now_is_not_written() -> None:
    """The file could not be read."""
    former = _define("test.changed", "number")(number=2)
    _define("test.changed", "number", "other")
    with pytest.raises(ValueError, match=r"defined again with other fields.*create it anew"):
        to_dict(former)


def test_a_script_may_also_be_imported() -> None:
    script = _define("test.script", "number", module="__main__")
    module = _define("test.script", "number", module="my_study")
    assert from_json(to_json(script(number=2))) == module(number=2)


def test_a_subclass_needs_a_name_of_its_own() -> None:
    mine = _define("test.parent", "number")

    @dataclasses.dataclass(frozen=True)
    class Child(mine):
        pass

    with pytest.raises(ValueError, match=r"Child has no name on disk.*register"):
        to_dict(Child())


SCRIPT = """
import dataclasses, sys, cloudpickle
from genae_core import register

@register("test.sent")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
    number: int = 1

with open(sys.argv[1], "wb") as file:
    cloudpickle.dump(Sent(number=4), file)
"""


def test_a_config_of_a_script_reaches_another_process(tmp_path: Path) -> None:
    """Ray sends a class of the running script by its contents: no decorator runs in the worker."""
    _python(SCRIPT, tmp_path, "sent")
    with (tmp_path / "sent").open("rb") as file:
        config = cloudpickle.load(file)
    assert type(config).__module__ == "__main__"
    assert to_dict(config) == {KEY: "test.sent", "number": 4}
    assert from_json(to_json(config)) == config


@pytest.mark.slow
def test_threads_may_look_up_at_once(tmp_path: Path) -> None:
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from genae_core.config import from_dict

sys.setswitchinterval(1e-5)
barrier = Barrier(8)
NAMES = ("adam", "net.mlp", "prior.normal", "divergence.mmd", "training", "flow", "chain", "vae")

def look_up(name):
    barrier.wait()
    try:
        return type(from_dict({"config": name})).__name__
    except ValueError as error:  # "chain" and "vae" have required fields
        return "missing" in str(error)

with ThreadPoolExecutor(8) as pool:
    print(*pool.map(look_up, NAMES))
"""
    expected = "AdamConfig MLPConfig NormalPriorConfig MMD True FlowConfig True True"
    assert _python(code, tmp_path).strip() == expected
