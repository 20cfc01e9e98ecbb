"""Every command in the documentation would be accepted, and a misspelt one is noticed."""

from pathlib import Path

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

SCRIPT_NAMES = [str(script.relative_to(ROOT)) for script in SCRIPTS]
LANGUAGES = {"sh", "python", "text", ""}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("script", SCRIPTS, ids=SCRIPT_NAMES)
def test_every_script_has_options(script: Path) -> None:
    assert script_module(script).Options


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_shell_block_would_run(page: Path) -> None:
    for block in blocks(page.read_text()):
        assert block.language in LANGUAGES, f"{page.name}:{block.line}"
        if block.language in ("sh", ""):
            check_shell(block.text)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_flag_in_the_text_exists(page: Path) -> None:
    for code in inline_code(page.read_text()):
        if code.startswith(("python ", "make ", "ray job")):
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
        "ray job submit --working-dir . -- python sweeps/latent_dim.py --smok",
        "python cluster/fill.py cluster/kuberay/raycluster.yaml Imag=registry/genae:1",
        "python -m pytest tests/no_such_folder",
        "python -m pytset",
        "GENAE_HOME=/tmp make sweeep",
        "make sweep ARG=--smoke",
        "cluster/gcp/set_up.sh PROJECT",
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
