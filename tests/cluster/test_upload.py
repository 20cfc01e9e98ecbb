"""What is sent to a cluster, and what never is."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from genae_core.cluster.upload import Checkout

ROOT = Path(__file__).resolve().parents[2]
GIT = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
TRACKED = (".gitignore", "constraints.txt", "data/digits.bin", "genae_core/data/base.py")
TRACKED += ("jobs/hello.py", "pyproject.toml")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run([*GIT, "-C", str(folder), *arguments], capture_output=True, check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("no git")
    folder = tmp_path / "repository"
    for name in (*TRACKED, "ignored/file"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".gitignore").write_text("ignored/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def checkout(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.chdir(repository)
    return Checkout(repository)


def test_what_is_sent_is_what_git_tracks_but_data_stores_and_secrets(
    checkout: Checkout, repository: Path
) -> None:
    tracked = {Path(name) for name in TRACKED}
    assert tracked - set(checkout.files_to_send(2**20)) == {Path("data/digits.bin")}
    for name in (".env", "key.pem", "weights.pt", "mlflow.db", "notes.txt"):
        (repository / name).write_text("")
    assert set(checkout.files_to_send(2**20)) - tracked == {Path("notes.txt")}
    (repository / "jobs" / "hello.py").unlink()
    assert Path("jobs/hello.py") not in checkout.files_to_send(2**20)


def test_every_module_of_genae_is_sent() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    sent = set(Checkout(ROOT).files_to_send(2**30))
    modules = {path.relative_to(ROOT) for path in (ROOT / "genae_core").rglob("*.py")}
    assert len(modules) > 50 and modules <= sent
    shipped = {path for path in sent if path.is_relative_to("genae_core/metrics/shipped")}
    assert {path.suffix for path in shipped} == {".json", ".safetensors"}
    assert sum((ROOT / path).stat().st_size for path in sent) < 20 * 2**20


def test_a_dirty_tree_is_refused_unless_allowed(checkout: Checkout, repository: Path) -> None:
    clean = checkout.commit_variables(allow_dirty=False)
    (repository / "__pycache__").mkdir()
    (repository / "__pycache__" / "study.cpython-311.pyc").write_bytes(b"bytecode")
    assert checkout.commit_variables(allow_dirty=False) == clean
    assert not any("__pycache__" in path.parts for path in checkout.files_to_send(2**30))
    assert re.fullmatch("[0-9a-f]{40}", clean["GENAE_COMMIT"]) and clean["GENAE_DIRTY"] == "false"
    assert clean["GENAE_STUDY_COMMIT"] == clean["GENAE_COMMIT"]
    assert clean["GENAE_STUDY_DIRTY"] == "false"
    for name in ("a", "b", "c", "d"):
        (repository / name).write_text("")
    with pytest.raises(ValueError, match="the commit: a, b, c and 1 more; commit them"):
        checkout.commit_variables(allow_dirty=False)
    dirty = {"GENAE_DIRTY": "true", "GENAE_STUDY_DIRTY": "true"}
    assert checkout.commit_variables(allow_dirty=True) == clean | dirty


def test_a_study_of_ones_own_is_no_version_of_genae(checkout: Checkout, repository: Path) -> None:
    git(repository, "rm", "-rq", "genae_core")
    git(repository, "commit", "-qm", "only a study")
    variables = checkout.commit_variables(allow_dirty=False)
    assert set(variables) == {"GENAE_STUDY_COMMIT", "GENAE_STUDY_DIRTY"}


def test_too_much_is_refused_by_name(checkout: Checkout, repository: Path) -> None:
    (repository / "large.bin").write_bytes(b"\0" * 3 * 2**20)
    with pytest.raises(ValueError, match=r"--max-mib=2; the largest are large.bin \(3.0 MiB\)"):
        checkout.files_to_send(2 * 2**20)


def test_a_link_out_of_the_repository_is_refused(
    checkout: Checkout, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").write_text("")
    (repository / "link").symlink_to(tmp_path / "private")
    with pytest.raises(ValueError, match="link is a link to a file outside"):
        checkout.files_to_send(2**30)


def test_the_same_files_make_the_same_zip(checkout: Checkout, tmp_path: Path) -> None:
    files = checkout.files_to_send(2**30)
    for name in ("one.zip", "two.zip"):
        checkout.pack(files, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == [path.as_posix() for path in files]
        assert archive.read("jobs/hello.py") == b"jobs/hello.py"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jobs/missing.py", "there is no script jobs/missing.py"),
        ("python", "there is no script python"),
        ("constraints.txt", "constraints.txt is not a Python script"),
        ("ignored/file", "ignored/file is not a Python script that git tracks"),
        (sys.executable, "is outside of this repository"),
    ],
)
def test_only_a_script_of_the_repository_is_sent(
    name: str, words: str, checkout: Checkout
) -> None:
    assert checkout.job_command(("jobs/hello.py", "-x"), checkout.files_to_send(2**20))[1:] == (
        "jobs/hello.py",
        "-x",
    )
    with pytest.raises(ValueError, match=words):
        checkout.job_command((name,), checkout.files_to_send(2**30))


def test_outside_of_git_nothing_is_sent(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="run this in a git checkout"):
        Checkout(tmp_path).commit_variables(allow_dirty=True)


def test_what_is_installed_follows_the_constraints(checkout: Checkout, repository: Path) -> None:
    (repository / "cluster").mkdir()
    (repository / "cluster" / "requirements.txt").write_text("# what\ntorch\nray[tune]\n")
    first, *names = checkout.requirements()
    assert names == ["torch", "ray[tune]"]
    assert first.startswith("-c ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/constraints.txt  # ")
    (repository / "constraints.txt").write_text("torch==0.0.0")
    assert checkout.requirements()[0] != first


def test_the_repository_around_a_folder_is_sent(repository: Path, tmp_path: Path) -> None:
    assert Checkout.around(repository / "genae_core" / "data").root == repository.resolve()
    with pytest.raises(ValueError, match="run this in a git checkout"):
        Checkout.around(tmp_path)


def test_a_repository_without_the_versions_of_genae_cannot_install_it(checkout: Checkout) -> None:
    with pytest.raises(ValueError, match="--install reads .*requirements.txt, which genae's own"):
        checkout.requirements()
