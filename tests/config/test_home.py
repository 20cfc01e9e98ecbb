import shutil
import subprocess
from pathlib import Path

import pytest

import genae_core.config.home as module
from genae_core.config.home import code_version, home, study_version


def test_home_is_the_folder_of_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "a" / "b"))
    assert home() == tmp_path / "a" / "b" and home().is_dir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENAE_HOME", "here")
    assert home() == tmp_path / "here" and home().is_absolute()


@pytest.mark.parametrize("value", [None, ""])
def test_home_is_in_the_users_folder_by_default(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GENAE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("GENAE_HOME", value)
    assert home() == tmp_path / ".genae" and home().is_dir()


def test_a_home_that_cannot_be_created_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("GENAE_HOME", str(place))
        with pytest.raises(ValueError, match=f"GENAE_HOME={place} cannot be created"):
            home()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit that holds pkg/home.py, which the module takes for itself."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    ours = [f"GENAE_{name}" for name in ("COMMIT", "DIRTY", "STUDY_COMMIT", "STUDY_DIRTY")]
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", *ours):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "pkg" / "home.py"
    file.parent.mkdir()
    file.write_text("")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "pkg/home.py")
    _git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(module, "__file__", str(file))
    return tmp_path


def _git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    process = subprocess.run(
        ["git", "-C", str(folder), *author, *arguments], check=True, capture_output=True, text=True
    )
    return process.stdout.strip()


def test_the_version_is_the_commit_and_whether_files_differ(repository: Path) -> None:
    commit = _git(repository, "rev-parse", "HEAD")
    assert code_version() == {"git_commit": commit, "git_dirty": "false"}
    (repository / "pkg" / "home.py").write_text("changed")
    assert code_version() == {"git_commit": commit, "git_dirty": "true"}


def test_another_projects_repository_is_not_ours(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """genae may be installed below a repository that does not track it."""
    untracked = repository / "venv" / "home.py"
    untracked.parent.mkdir()
    untracked.write_text("")
    monkeypatch.setattr(module, "__file__", str(untracked))
    assert code_version() == {"git_commit": "unknown", "git_dirty": "unknown"}
    monkeypatch.setenv("GENAE_COMMIT", "abc")
    assert code_version() == {"git_commit": "abc", "git_dirty": "unknown"}


def test_a_study_has_the_version_of_the_repository_that_tracks_it(repository: Path) -> None:
    study = repository / "studies" / "mine.py"
    study.parent.mkdir()
    study.write_text("")
    unknown = {"study_commit": "unknown", "study_dirty": "unknown"}
    assert study_version(study) == unknown
    _git(repository, "add", "studies")
    _git(repository, "commit", "-qm", "a study")
    commit = _git(repository, "rev-parse", "HEAD")
    assert study_version(study) == {"study_commit": commit, "study_dirty": "false"}
    bytecode = study.parent / "parts" / "__pycache__"
    bytecode.mkdir(parents=True)
    (bytecode / "study.cpython-311.pyc").write_bytes(b"what Python writes beside a module")
    assert study_version(study) == {"study_commit": commit, "study_dirty": "false"}
    (repository / "pkg" / "home.py").write_text("a module of the study has changed")
    assert study_version(study) == {"study_commit": commit, "study_dirty": "true"}
    assert study_version(repository / "no" / "such.py") == unknown
    assert study_version(repository / "-c") == unknown  # sys.argv[0] of `python -c`


def test_a_study_without_a_repository_has_the_version_of_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job on a cluster runs in a copy without git."""
    (tmp_path / "study.py").write_text("")
    monkeypatch.setenv("GENAE_STUDY_COMMIT", "abc")
    expected = {"study_commit": "abc", "study_dirty": "unknown"}
    assert study_version(tmp_path / "study.py") == study_version(None) == expected


def test_without_git_the_variable_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GENAE_COMMIT", raising=False)
    assert code_version()["git_commit"] == "unknown"
    monkeypatch.setenv("GENAE_COMMIT", "abc")
    assert code_version()["git_commit"] == "abc"
    monkeypatch.setenv("GENAE_DIRTY", "true")
    assert code_version() == {"git_commit": "abc", "git_dirty": "true"}
