"""No version below cluster/ but those of constraints.txt."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
# Versions as these files write them: of an image of Ray, of a requirement, of a Ray cluster.
IMAGE = re.compile(r"rayproject/ray:([\d.]+)")
PINNED = re.compile(r"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?==([\w.]+)")
RAY = re.compile(r"rayVersion: \"?([\d.]+)")
INSTALL = re.compile(r"pip install\b((?:[^;&|\n]|\\\n|\n(?=    -|    [a-z]))*)")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(*files: Path) -> dict[str, str]:
    matches = [PINNED.fullmatch(line) for file in files for line in file.read_text().splitlines()]
    return {normal(match[1]): match[2] for match in matches if match}


ALL = pins(ROOT / "constraints.txt", CLUSTER / "constraints.txt")
OWN = pins(ROOT / "constraints.txt")


def contradictions(text: str) -> list[str]:
    """The versions in the text that are not the constraints'."""
    matches = [("ray", version) for version in IMAGE.findall(text) + RAY.findall(text)]
    matches += [(normal(name), version) for name, version in PINNED.findall(text)]
    return [f"{name} {version}" for name, version in matches if ALL.get(name) != version]


def unpinned(text: str) -> list[str]:
    """The packages that a pip command in the text installs and no constraint names."""
    matches = []
    for arguments in INSTALL.findall(text):
        if "--no-deps -e" in arguments:
            continue  # genae itself
        words = arguments.replace("\\", " ").replace('"', "").split()
        if "-c" not in words:
            matches.append(f"without -c: {arguments.strip()}")
        takes = [n + 1 for n, w in enumerate(words) if w in ("-c", "-r", "--index-url")]
        names = [w for n, w in enumerate(words) if n not in takes and not w.startswith("-")]
        matches += [name for name in names if normal(re.split(r"[\[=]", name)[0]) not in ALL]
    return matches


FILES = [
    path
    for path in sorted(CLUSTER.rglob("*"))
    if path.is_file() and path.suffix in ("", ".yaml", ".sh", ".md", ".txt", ".py")
]


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CLUSTER)) for path in FILES])
def test_a_file_names_no_other_version(path: Path) -> None:
    assert contradictions(path.read_text()) == []
    if path.suffix in ("", ".yaml", ".sh"):
        assert unpinned(path.read_text()) == []


def test_the_files_name_the_versions_that_they_should() -> None:
    assert {CLUSTER / name for name in ("aws.yaml", "gcp.yaml", "Dockerfile")} <= set(FILES)
    assert IMAGE.findall((CLUSTER / "Dockerfile").read_text())
    for name in ("raycluster.yaml", "rayjob.yaml"):
        assert RAY.findall((CLUSTER / "kuberay" / name).read_text()) == [ALL["ray"]]
    for name in ("aws.yaml", "gcp.yaml", "Dockerfile"):
        assert INSTALL.findall((CLUSTER / name).read_text())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FROM rayproject/ray:2.59.0-py311", "ray 2.59.0"),
        ('rayVersion: "2.59.0"', "ray 2.59.0"),
        ("pip install torch==2.12.0", "torch 2.12.0"),
        ("pip install psycopg[binary]==3.0", "psycopg 3.0"),
        ("pip install unheard-of==1.0", "unheard-of 1.0"),
    ],
)
def test_another_version_is_seen(text: str, fault: str) -> None:
    assert contradictions(text) == [fault]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("pip install -q torch", "without -c: -q torch"),
        ("pip install -c constraints.txt unheard-of", "unheard-of"),
        ("pip install -c a.txt \\\n    torch unheard-of \\\n    && useradd x", "unheard-of"),
        (">-\n    ~/venv/bin/pip install -c a.txt torch\n    --index-url u other", "other"),
    ],
)
def test_an_unpinned_package_is_reported(text: str, fault: str) -> None:
    assert unpinned(text) == [fault]


def test_the_two_lists_of_constraints_do_not_overlap() -> None:
    own, more = OWN, pins(CLUSTER / "constraints.txt")
    assert len(own) > 100 and len(more) > 3 and not set(own) & set(more)


def test_nodes_install_the_packages_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = project["dependencies"] + project["optional-dependencies"]["sweep"]
    listed = (CLUSTER / "requirements.txt").read_text().splitlines()
    names = [line for line in listed if line and not line.startswith("#")]
    assert [re.split(r">=", need)[0] for need in needs] == names
    assert {normal(line.split("[")[0]) for line in names} <= set(OWN)
