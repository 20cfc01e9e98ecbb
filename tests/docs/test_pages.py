"""Examples run, links lead somewhere, and the README stays short."""

import ast
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from documented import (
    PAGES,
    ROOT,
    Block,
    DocumentationError,
    anchors,
    blocks,
    check_link,
    inline_code,
    links,
    slug,
)

import genae_core

STUBS = sorted((ROOT / "genae_core").glob("*/__init__.pyi"))
LONGEST = 120  # lines of the README
EXAMPLES = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{block.line}")
    for page in PAGES
    for block in blocks(page.read_text())
    if block.language == "python"
]


@pytest.mark.parametrize("block", EXAMPLES)
def test_every_example_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example that needs what is not here is compiled, and its imports of genae are made."""
    monkeypatch.chdir(tmp_path)  # some examples write files
    code = compile(block.text, "example", "exec")
    if not block.compiled_only:
        exec(code, {"__name__": "example"})
        return
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genae_core"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
    assert any(not param.values[0].compiled_only for param in EXAMPLES)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page.read_text()):
        check_link(page, target)


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `title` of *two* parts\n\n[here](#a-title-of-two-parts)\n")
    (target,) = links(page.read_text())
    check_link(page, target)
    for broken in ("#another", "missing.md", "page.md#nowhere"):
        with pytest.raises(DocumentationError):
            check_link(page, broken)
    assert anchors(page.read_text()) == {slug("A title of two parts")}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST


def test_the_moved_modules_are_where_the_pages_say() -> None:
    table = (ROOT / "docs/architecture.md").read_text().split("## Where the modules")[1]
    new = re.findall(r"\| `([\w/]+\.py)` \|$", table, re.M)
    assert len(new) > 80
    missing = [path for path in new if not (ROOT / path).is_file()]
    assert not missing, f"docs/architecture.md names modules that do not exist: {missing}"


def test_the_new_imports_of_the_changelog_work() -> None:
    form = r"\| `from (genae_core[\w.]*) import ([\w, ]+)` \|$"
    new = re.findall(form, _text("CHANGELOG.md"), re.M)
    assert len(new) > 15
    for module, names in new:
        for name in names.split(", "):
            assert name in importlib.import_module(module).__all__, f"{module}.{name}"


def test_the_public_names_in_the_text_exist() -> None:
    """Such a name is written as `genae_core.PATH`, `NAME()` or `NAMEConfig`."""
    packages = [importlib.import_module(f"genae_core.{stub.parent.name}") for stub in STUBS]
    public = set(genae_core.__all__).union(*(package.__all__ for package in packages))
    present = [page for page in PAGES if page.name != "CHANGELOG.md"]  # it has former names too
    codes = {code for page in present for code in inline_code(page.read_text())}
    paths = [code for code in codes if re.fullmatch(r"genae_core(\.\w+)+", code)]
    names = [code for code in codes if re.fullmatch(r"\w+\(\)|[A-Z]\w+Config(\.\w+)?", code)]
    assert len(paths) >= 3 and len(names) >= 3
    for path in paths:
        assert pkgutil.resolve_name(path) is not None
    for name in names:
        assert re.split(r"[.(]", name)[0] in public, name


def test_the_package_table_is_complete() -> None:
    text = _text("docs/architecture.md").split("Each third-party")[0]
    table = re.findall(r"^\| `(\w+)` \|", text, re.M)
    packages = {path.parent.name for path in (ROOT / "genae_core").glob("*/__init__.py")}
    assert set(table) == packages and len(table) == len(packages)


def test_the_citation_file_is_valid() -> None:
    """The required keys of CFF 1.2.0, and the version and licence of pyproject.toml."""
    citation = yaml.safe_load(_text("CITATION.cff"))
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["message"] and citation["title"]
    assert citation["license"] == project["license"]
    assert citation["version"] == project["version"]
    for entry in (citation, *citation["references"]):
        assert entry["title"] and entry["type"] in ("software", "article")
        for author in entry["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})


def test_the_hooks_before_a_commit_need_no_network() -> None:
    config = yaml.safe_load(_text(".pre-commit-config.yaml"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff", "ruff-format", "mypy"]
    for hook in repository["hooks"]:
        assert hook["language"] == "system" and hook["entry"].startswith(".venv/bin/")


def _text(name: str) -> str:
    return (ROOT / name).read_text()
