"""A page of the API reference for each package, made from the names in its `__init__.pyi`.

MkDocs calls these functions while it builds the site (`hooks` in mkdocs.yml). No list of names is
kept by hand: a new public name is on its page as soon as the package's stub exports it.
"""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "genae_core"


def public_names(stub: Path) -> list[str]:
    """The names that a package's stub exports."""
    return [
        alias.name
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def page(stub: Path) -> str:
    """The Markdown of a package's page: its docstring, then each public name."""
    package = stub.parent.name
    docstring = ast.get_docstring(ast.parse(stub.with_suffix(".py").read_text())) or ""
    lines = [f"# genae_core.{package}", "", docstring, ""]
    for name in public_names(stub):
        lines += [f"::: genae_core.{package}.{name}", ""]
    return "\n".join(lines)


def stubs() -> list[Path]:
    return sorted(PACKAGE.glob("*/__init__.pyi"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation."""
    pages = [{f"genae_core.{stub.parent.name}": f"api/{stub.parent.name}.md"} for stub in stubs()]
    assert config.nav is not None
    config.nav.append({"API": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the files of the site."""
    for stub in stubs():
        files.append(File.generated(config, f"api/{stub.parent.name}.md", content=page(stub)))
    return files
