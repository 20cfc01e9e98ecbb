"""Every command in the documentation would be accepted, and a misspelt one is noticed."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from documented import (
    PAGES,
    ROOT,
    SCRIPTS,
    DocumentationError,
    all_flags,
    blocks,
    check_command,
    check_flags,
    check_shell,
    commands,
    inline_code,
    script_module,
)

from genae_core.config.places import sqlite_path

SCRIPT_NAMES = [str(script.relative_to(ROOT)) for script in SCRIPTS]
LANGUAGES = {"sh", "python", "text", ""}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("script", SCRIPTS, ids=SCRIPT_NAMES)
def test_every_script_has_options(script: Path) -> None:
    assert script_module(script).Options


# Flags that are text and name a place. A flag of the type Path always names one.
STORES = {"tracking_uri", "optuna_storage"}
PLACES = {"data_root", "out", "raw", "shards", "storage", *STORES}


@pytest.mark.parametrize("script", SCRIPTS, ids=SCRIPT_NAMES)
def test_every_flag_that_names_a_place_is_made_absolute(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    options_class = script_module(script).Options
    kinds = get_type_hints(options_class)
    options = object.__new__(options_class)
    places: dict[str, Any] = {}
    for field in dataclasses.fields(options_class):
        value = None if field.default is dataclasses.MISSING else field.default
        if Path in (kinds[field.name], *get_args(kinds[field.name])):
            value = places[field.name] = Path("~/a?b/../%20")
        elif field.name in PLACES:
            value = "sqlite:///~/%2520" if field.name in STORES else "~/a?b/../%20"
            places[field.name] = value
        object.__setattr__(options, field.name, value)
    with contextlib.suppress(Exception):  # some flags have no value
        options.__post_init__()
    for name in places:
        value = getattr(options, name)
        path = sqlite_path(value) if name in STORES else Path(value)
        assert path == tmp_path / "%20", name


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_shell_block_would_run(page: Path) -> None:
    for block in blocks(page.read_text()):
        assert block.language in LANGUAGES, f"{page.name}:{block.line}"
        if block.language in ("sh", ""):
            check_shell(block.text)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_flag_in_the_text_exists(page: Path) -> None:
    for code in inline_code(page.read_text()):
        if code.startswith(("python ", "make ", "ray job", "genae ")):
            check_shell(code)
        elif code.startswith("--"):
            check_flags(code)


def test_the_readme_and_the_guides_have_commands() -> None:
    """The search for commands still finds them."""
    text = (ROOT / "README.md").read_text()
    shell = "\n".join(block.text for block in blocks(text) if block.language == "sh")
    words = list(commands(shell))
    assert ["make", "sweep"] in words and ["make", "test"] in words
    assert any("sweeps/latent_dim.py" in command for command in words)
    assert "--dataset" in all_flags() and "--no-cuda-graphs" in all_flags()


@pytest.mark.parametrize(
    "snippet",
    [
        "python sweeps/latent_dim.py --datset mnist --data-root DIR",
        "python sweeps/latent_dim.py --dataset mnits --data-root DIR",
        "python sweeps/latent_dims.py",
        "python sweeps/latent_dim.py --seeds one",
        "python jobs/submit.py -- sweeps/latent_dim.py --smok",
        "genae sampel RUN_ID --out DIR",
        "genae sample RUN_ID --ot DIR",
        "python -m genae_core submit -- sweeps/latent_dim.py --smok",
        "ray job submit --working-dir . -- python sweeps/latent_dim.py --smok",
        "python cluster/fill.py cluster/kuberay/raycluster.yaml Imag=registry/genae:1",
        "python -m pytest tests/no_such_folder",
        "python -m pytset",
        "GENAE_HOME=/tmp make sweeep",
        "make sweep ARG=--smoke",
        "cluster/gcp/set_up.sh PROJECT",
        "sbatch cluster/slurm/sweep.sh sweeps/latent_dim.py",
        "sbatch --nodes=2 cluster/slurm/sweep.sbatch sweeps/latent_dim.py --smok",
        "echo one && pyhton sweeps/latent_dim.py",
        "echo 'one",
    ],
)
def test_a_misspelt_command_is_noticed(snippet: str) -> None:
    with pytest.raises(DocumentationError):
        check_shell(snippet)


def test_a_misspelt_flag_in_the_text_is_noticed() -> None:
    check_flags("--name NAME --resume")
    with pytest.raises(DocumentationError, match="--resumee"):
        check_flags("--name NAME --resumee")


def test_a_correct_command_passes() -> None:
    check_command(["python", "sweeps/latent_dim.py", "--dataset", "mnist", "--data-root", "DIR"])
