"""The folder in which genae keeps its files: GENAE_HOME, by default ~/.genae."""

import os
import secrets
import subprocess
from contextlib import suppress
from pathlib import Path

from genae_core.config.make_once import make_alone
from genae_core.config.places import local_path, sqlite_uri

# git's arguments for all files of a repository but the bytecode that Python writes beside modules,
# and for those that differ from the commit.
ALL_FILES = ("--", ":/", ":(top,exclude,glob)**/__pycache__/**")
STATUS = ("status", "--porcelain", *ALL_FILES)


def home() -> Path:
    """The absolute path of the folder, which is created if it is missing.

    Raises:
        ValueError: The folder cannot be created, or the variable is no local path.
    """
    folder = home_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"GENAE_HOME={folder} cannot be created: {error}") from None
    return folder


def home_path() -> Path:
    """The absolute path of the folder, which may be missing."""
    return local_path(os.environ.get("GENAE_HOME") or "~/.genae", "GENAE_HOME")


def default_store() -> str:
    """The tracking URI that is used if none is passed: the SQLite file mlflow.db in GENAE_HOME."""
    return sqlite_uri(home() / "mlflow.db")


def private_folder(name: str) -> Path:
    """The folder `name` in GENAE_HOME, created if it is missing; only this user can open it."""
    folder = home() / name
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def secret_file(path: Path, size: int = 32) -> Path:
    """The path of a file that holds `size` random bytes in hex.

    The first call creates the file. No other user can read it.
    """
    if not _holds_text(path):
        with make_alone(path):
            if not _holds_text(path):
                partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
                handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w") as file:
                    file.write(secrets.token_hex(size))
                    file.flush()
                    os.fsync(handle)
                partial.replace(path)
    return path


def _holds_text(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def code_version() -> dict[str, str]:
    """The tags git_commit and git_dirty, of genae itself.

    Their values come from git if genae runs from its repository, and otherwise from the variables
    GENAE_COMMIT and GENAE_DIRTY. A variable that is not set gives "unknown".
    """
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        # An installed genae may lie inside the repository of another project, which does not
        # track this file.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        dirty = bool(_git(here.parent, *STATUS))
        return {"git_commit": commit, "git_dirty": str(dirty).lower()}
    except (OSError, subprocess.CalledProcessError):
        return _from_variables(git_commit="GENAE_COMMIT", git_dirty="GENAE_DIRTY")


def study_version(script: Path | None) -> dict[str, str]:
    """The tags study_commit and study_dirty, of the repository that tracks a study's script.

    If none tracks it, as in a job on a cluster, or if there is no script, their values come from
    the variables GENAE_STUDY_COMMIT and GENAE_STUDY_DIRTY. A variable that is not set gives
    "unknown".
    """
    with suppress(OSError, subprocess.CalledProcessError):
        if script is not None:
            file = script.resolve()
            _git(file.parent, "ls-files", "--error-unmatch", "--", file.name)
            commit = _git(file.parent, "rev-parse", "HEAD")
            top = Path(_git(file.parent, "rev-parse", "--show-toplevel"))
            dirty = bool(_git(top, *STATUS))
            return {"study_commit": commit, "study_dirty": str(dirty).lower()}
    return _from_variables(study_commit="GENAE_STUDY_COMMIT", study_dirty="GENAE_STUDY_DIRTY")


def _from_variables(**names: str) -> dict[str, str]:
    return {tag: os.environ.get(name) or "unknown" for tag, name in names.items()}


def _git(folder: Path, *arguments: str) -> str:
    process = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return process.stdout.strip()
