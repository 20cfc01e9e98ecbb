"""The commands, examples and links of the documentation, and what each of them is checked against.

Shell commands are never run here: the flags of a script are parsed with the script's own options,
a `make` target has to exist, and any other program has to be in the list of those that pages use.
"""

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from genae_core.commands.entry import COMMANDS
from genae_core.config.flags import parse_flags

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "cluster").rglob("README.md")),
    *sorted((ROOT / "dashboards").rglob("README.md")),
]
SCRIPTS = [
    *sorted((ROOT / "sweeps").glob("*.py")),
    *sorted((ROOT / "jobs").glob("*.py")),
    ROOT / "cluster/fill.py",
    ROOT / "cluster/local/node.py",
    *sorted((ROOT / "dashboards").glob("*/*.py")),
]
COMPILED_ONLY = "<!-- compiled only"
# Placeholders that would not parse: a choice, and a file that has to exist.
PLACEHOLDERS = {
    "SUITE": "train",
    "/tmp/ray/prom_metrics_service_discovery.json": __file__,
}
OTHER_PROGRAMS = {
    "apt", "aws", "base64", "cat", "cd", "docker", "echo", "gcloud", "git", "id", "kubectl",
    "mkdir", "openssl", "pg_dump", "pip", "pre-commit", "ray", "scancel", "source", "ssh",
    "ssh-keygen",
    "tail", "touch", "umask",
}  # fmt: skip
# Flags in the text that belong to other programs.
OTHER_FLAGS = {"--index-url", "--requeue", "--exclusive"}
PYTHON = re.compile(r"(.*/)?python[\d.]*")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")
PUNCTUATION = re.compile(r"[();<>|&]+")
SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")


class Block(NamedTuple):
    """A fenced block of a page: the first line of its text, its language, and its text."""

    line: int
    language: str
    text: str
    compiled_only: bool


class DocumentationError(AssertionError):
    """A command, example or link that does not work as it is written."""


def blocks(page: str) -> Iterator[Block]:
    """Every fenced block of a page's Markdown."""
    lines = page.splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        before = lines[start - 1] if start else ""
        text = "\n".join(lines[start + 1 : number])
        language = lines[start].removeprefix("```").strip()
        yield Block(start + 2, language, text, before.startswith(COMPILED_ONLY))
        start = None
    if start is not None:
        raise DocumentationError(f"the block that opens in line {start + 1} never closes")


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def inline_code(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands(shell: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell text, without redirections and comments."""
    for line in shell.replace("\\\n", " ").splitlines():
        for inner in SUBSTITUTION.findall(line):
            yield from commands(inner)
        words: list[str] = []
        redirected = False
        lexer = shlex.shlex(SUBSTITUTION.sub("VALUE", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in lexer:
            if PUNCTUATION.fullmatch(word):
                redirected = word[0] in "<>"
                if not redirected:
                    yield from [words] if words else []
                    words = []
            elif redirected:
                redirected = False
            else:
                words.append(word)
        yield from [words] if words else []


def check_shell(shell: str) -> None:
    """Check every command of a shell block.

    Raises:
        DocumentationError: The shell cannot read it, or a command in it would not work.
    """
    parsed = subprocess.run(["bash", "-n"], input=shell, capture_output=True, text=True)
    if parsed.returncode:
        raise DocumentationError(f"bash cannot read this:\n{shell}\n{parsed.stderr}")
    for words in commands(shell):
        check_command(words)


def check_command(words: list[str]) -> None:
    """Check one command by its words. Raises DocumentationError if it would not work."""
    words = [PLACEHOLDERS.get(word, word) for word in words if word != "..."]
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if not words:
        return
    program, *arguments = words
    if PYTHON.fullmatch(program):
        _check_python(arguments)
    elif program == "make":
        _check_make(arguments)
    elif program == "sbatch":
        _check_batch(arguments)
    elif program == "genae":
        check_genae(arguments)
    elif program.endswith(".sh"):
        if not (ROOT / program).is_file():
            raise DocumentationError(f"there is no script {program}")
    elif Path(program).name not in OTHER_PROGRAMS and "=" not in program:
        raise DocumentationError(f"unknown program in the documentation: {program}")
    elif program == "ray" and arguments[:2] == ["job", "submit"]:
        check_command(arguments[arguments.index("--") + 1 :])


def _check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        if not importlib.util.find_spec(arguments[1]):
            raise DocumentationError(f"there is no module {arguments[1]}")
        if arguments[1] == "genae_core":
            check_genae(arguments[2:])
        for argument in arguments[2:]:
            if argument.startswith("tests/") and not (ROOT / argument).exists():
                raise DocumentationError(f"there is no {argument}")
        return
    check_script(arguments[0], arguments[1:])


def _check_batch(arguments: list[str]) -> None:
    """Check the study that Slurm would run, behind the flags of sbatch and its file."""
    file = next((word for word in arguments if not word.startswith("-")), "")
    if not file.endswith(".sbatch") or not (ROOT / file).is_file():
        raise DocumentationError(f"there is no file {file} for sbatch")
    study, *flags = arguments[arguments.index(file) + 1 :]
    check_script(study, flags)


def check_script(name: str, arguments: list[str]) -> None:
    """Parse the arguments with the script's own options."""
    path = ROOT / name
    if path not in SCRIPTS:
        raise DocumentationError(f"there is no script {name}")
    module = script_module(path)
    options = _parse(name, module.Options, arguments)
    if name == "jobs/submit.py":
        check_script(options.command[0], list(options.command[1:]))
    if name == "cluster/fill.py":
        asked = module.names((ROOT / options.file).read_text()) - {"Repository", "Token"}
        named = {value.split("=")[0] for value in options.values}
        if named != asked and options.values:
            raise DocumentationError(f"{options.file} asks for {asked}, and is given {named}")


def check_genae(arguments: list[str]) -> None:
    """Parse the arguments of the command `genae`."""
    name, *words = arguments or ["--help"]
    if name in ("--help", "--version"):
        return
    if name not in COMMANDS:
        raise DocumentationError(f"genae has no command {name}")
    if not words:
        return  # The text names the command.
    options = _parse(f"genae {name}", command_module(name).Options, words)
    if name == "submit" and options.command[0].startswith("sweeps/"):
        check_script(options.command[0], list(options.command[1:]))


def command_module(name: str) -> ModuleType:
    """The module of a command of genae."""
    return importlib.import_module(f"genae_core.commands.{name.replace('-', '_')}")


def _parse(name: str, options_class: type, arguments: list[str]) -> Any:
    """The flags' values. Raises DocumentationError if they are not accepted."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            return parse_flags(options_class, arguments)[0]
    except (SystemExit, ValueError) as error:
        text = f"{name} {shlex.join(arguments)} is not accepted: {error}\n{printed.getvalue()}"
        raise DocumentationError(text) from None


@cache
def script_module(path: Path) -> ModuleType:
    """The script as a module; its main() is not called."""
    name = "documented_" + "_".join(path.relative_to(ROOT).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def all_flags() -> set[str]:
    """The flags of all scripts, as their help lists them."""
    flags: set[str] = set()
    modules = [script_module(path) for path in SCRIPTS]
    for module in [*modules, *map(command_module, COMMANDS)]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            parse_flags(module.Options, ["--help"])
        flags |= set(re.findall(r"--[a-z][\w-]*", printed.getvalue()))
    return flags


def _check_make(arguments: list[str]) -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(" ".join(re.findall(r"^([a-z][\w -]*):", text, re.M)).split())
    variables = set(re.findall(r"^([A-Z]\w*) *[?:]?=", text, re.M))
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if name not in (variables if equals else targets):
            raise DocumentationError(f"the Makefile has no {name}")


def check_flags(code: str) -> None:
    """Check the flags of inline code that starts with a flag, such as `--name NAME --resume`."""
    for flag in re.findall(r"(?:^|\s)(--[a-z][\w-]*)", code):
        if flag not in all_flags() | OTHER_FLAGS:
            raise DocumentationError(f"no script has the flag {flag}")


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def anchors(page: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", prose(page), re.M)}


def links(page: str) -> list[str]:
    """The targets of all links and pictures."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:href|src)=\"([^\"]+)\"", text)


def check_link(page: Path, target: str) -> None:
    """Check that a relative link leads to a file, and to a heading if it names one."""
    if re.match(r"https?://", target):
        return
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        raise DocumentationError(f"{page.name} links to {target}, which does not exist")
    if anchor and anchor not in anchors(path.read_text()):
        raise DocumentationError(f"{path.name} has no heading #{anchor}")
