"""Where a user's own classes are defined is stored beside their configs, and errors say it."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genae_core import config
from genae_core.config.definitions import Definition, how_to_trust, stored_definition
from genae_core.config.own_parts import describe_changes, describe_obstacles
from genae_core.config.registry import say_what_to_trust
from genae_core.models.vae import VAEConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import dataclasses
import genae_core

@genae_core.register("NAME")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine:
    number: int = 1
"""
PRINT = """
import json
from genae_core.config import own_definitions
from genae_core.config.own_parts import describe_obstacles
print(json.dumps([own_definitions(Mine()), describe_obstacles(Mine())]))
"""


def python(folder: Path, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
    )


def printed(folder: Path, *words: str, text: str | None = None) -> Any:
    done = python(folder, *words, text=text)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def script(folder: Path, guard: bool) -> Path:
    path = folder / "study.py"
    body = PRINT.strip().replace("\n", "\n    ")
    ending = f'if __name__ == "__main__":\n    {body}\n' if guard else PRINT
    path.write_text(MODULE.replace("NAME", "test.defined") + ending)
    return path


def test_a_class_of_a_script_has_the_name_the_file_and_its_digest(tmp_path: Path) -> None:
    path = script(tmp_path, guard=True)
    definitions, obstacles = printed(tmp_path, path.name)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    about = {"class": "study.Mine", "file": str(path.resolve()), "sha256": sha256}
    assert definitions == {"test.defined": about} and obstacles == []
    definitions, obstacles = printed(tmp_path, "-m", "study")
    assert definitions == {"test.defined": about} and obstacles == []


def test_what_only_this_process_can_load_is_said_before(tmp_path: Path) -> None:
    path = script(tmp_path, guard=False)
    _, (unguarded,) = printed(tmp_path, path.name)
    assert f"{path.resolve()} has no `if __name__ ==" in unguarded
    _, (notebook,) = printed(tmp_path, "-", text=path.read_text())
    assert "Mine can be loaded in this process only: it is defined in a notebook" in notebook

    @config.register("test.local_class")
    @dataclasses.dataclass(frozen=True)
    class Local:
        number: int = 1

    (local,) = describe_obstacles(Local())
    assert "it is defined inside of a function in" in local and __file__ in local


def test_the_error_names_the_class_the_file_and_the_flag() -> None:
    about = {"class": "mine.MyConfig", "file": "/no/where/my study.py", "sha256": ""}
    stored = {"lab.mine": about}
    with (
        pytest.raises(ValueError, match="run 7: no config 'lab.mine'") as caught,
        say_what_to_trust(stored, "run 7"),
    ):
        config.from_dict({"config": "lab.mine"})
    message = str(caught.value)
    assert "it was defined as mine.MyConfig in /no/where/my study.py" in message
    assert "--trust '/no/where/my study.py'" in message
    installed = Definition("lab.models.MyConfig", "/x/site-packages/lab/models.py", "")
    assert "--trust lab," in how_to_trust(installed)


@pytest.mark.parametrize("stored", [None, [], {"lab.mine": 3}, {"lab.mine": {"class": 3}}, "x"])
def test_what_is_stored_may_be_damaged(stored: object) -> None:
    with pytest.raises(ValueError, match="no config 'lab.mine'"), say_what_to_trust(stored, "it"):
        config.from_dict({"config": "lab.mine"})


def test_a_file_cannot_write_to_the_terminal() -> None:
    """Its text is shown without the characters that a terminal would obey."""
    stored = {"a": {"class": "m.\x1b[2JC", "file": "/x\n.py", "sha256": ""}}
    place = stored_definition(stored, "a")
    assert place == Definition("m.[2JC", "/x.py", "")


def test_a_changed_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "changing_code.py"
    path.write_text(MODULE.replace("NAME", "test.changing"))
    mine = config.trust(str(path)).Mine()
    stored = config.own_definitions(mine)
    assert describe_changes(mine, stored) == []
    stored["test.changing"]["sha256"] = "0" * 64
    (change,) = describe_changes(mine, stored)
    assert change.startswith(f"{path.resolve()}, which defines Mine, has changed since the train")
    assert change.endswith("and was 000000000000")


def test_configs_of_genae_have_no_definition() -> None:
    chain = ChainConfig(sampler=EncodeDecode())
    assert config.own_definitions(chain) == {}
    assert describe_changes(VAEConfig(latent_dim=2), {"vae": {"sha256": "0"}}) == []


def test_the_identity_of_a_stored_config_needs_no_class() -> None:
    vae = VAEConfig(latent_dim=2)
    assert config.stored_identity(config.to_dict(vae)) == config.identity(vae)
    unknown = {"config": "lab.unknown", "model": config.to_dict(vae), "pair": [1, {"a": 2}]}
    with pytest.raises(ValueError, match="a config on disk has its name under"):
        config.stored_identity(unknown)
    unknown["pair"] = [1, 2.5]
    identity = {"config": "lab.unknown", "model": config.identity(vae), "pair": [1, 2.5]}
    assert config.stored_identity(unknown) == identity


def install(folder: Path, value: str) -> None:
    """Write what pip would write of a package that announces its configs."""
    about = folder / "lab_models-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-models\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[genae.configs]\nlab = {value}\n")


READ = """
from genae_core.config import from_json
try:
    print(from_json('{"config": "lab.announced", "number": 3}'))
except ValueError as error:
    print("refused:", error)
"""


@pytest.mark.slow
def test_an_installed_package_announces_its_configs(tmp_path: Path) -> None:
    (tmp_path / "lab_models.py").write_text(MODULE.replace("NAME", "lab.announced"))
    assert "refused: no config 'lab.announced'" in python(tmp_path, "-c", READ).stdout
    install(tmp_path, "lab_models")
    assert python(tmp_path, "-c", READ).stdout == "Mine(number=3)\n"


@pytest.mark.slow
def test_an_announced_module_that_fails_is_named(tmp_path: Path) -> None:
    install(tmp_path, "lab_models.nothing")
    printed = python(tmp_path, "-c", READ).stdout
    assert printed.startswith("refused: no config 'lab.announced'")
    assert "the package lab-models announces lab_models.nothing in genae.configs" in printed
    assert "ModuleNotFoundError: No module named 'lab_models'" in printed


@pytest.mark.parametrize(
    ("file", "kept", "to_trust"),
    [
        ("/home/jane/studies/mine.py", "mine.py", "mine.py"),
        ("/opt/x/lib/site-packages/lab/priors.py", "site-packages/lab/priors.py", "lab"),
        ("", "", ""),
    ],
)
def test_a_definition_for_others_has_no_folders(file: str, kept: str, to_trust: str) -> None:
    definition = Definition("lab.priors.P", file, "12ab")
    assert definition.without_folders() == Definition("lab.priors.P", kept, "12ab")
    assert definition.without_folders().to_trust == to_trust
