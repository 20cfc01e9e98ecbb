"""The site builds without a warning, fetches nothing, and shows every public name."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documented import ROOT

pytestmark = pytest.mark.slow

STUBS = sorted((ROOT / "genae_core").glob("*/__init__.pyi"))
FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(https?:)?//", re.I)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


def test_nothing_is_fetched_from_a_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assert not FETCHED.search(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", style.read_text()), style


@pytest.mark.parametrize("stub", STUBS, ids=[stub.parent.name for stub in STUBS])
def test_every_public_name_of_a_package_is_on_its_page(site: Path, stub: Path) -> None:
    package = f"genae_core.{stub.parent.name}"
    page = (site / "api" / f"{stub.parent.name}.html").read_text()
    names = importlib.import_module(package).__all__
    assert names
    for name in names:
        assert f'id="{package}.{name}"' in page, name


def test_examples_in_docstrings_are_blocks_of_code(site: Path) -> None:
    """Markdown alone would make a quotation of a line that begins with >>>."""
    pages = {page.stem: page.read_text() for page in (site / "api").glob("*.html")}
    assert not [name for name, text in pages.items() if "<blockquote" in text]
    assert '<span class="gp">' in pages["config"]  # a prompt, as Pygments colours it
