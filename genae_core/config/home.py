"""Where genae keeps what outlives a run: GENAE_HOME, by default ~/.genae."""

import contextlib
import os
import secrets
import subprocess
from pathlib import Path


def home() -> Path:
    """The absolute folder, made if it is missing. Raises ValueError where it cannot be."""
    folder = Path(os.environ.get("GENAE_HOME") or "~/.genae").expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"GENAE_HOME={folder} cannot be made: {error}") from None
    return folder


def default_store() -> str:
    """Return the tracking URI that is used if none is given: the SQLite file mlflow.db in home."""
    return f"sqlite:///{home() / 'mlflow.db'}"


def private(name: str) -> Path:
    """A folder in GENAE_HOME, made if it is missing, which only this user can open."""
    place = home() / name
    place.mkdir(mode=0o700, exist_ok=True)
    place.chmod(0o700)
    return place


def secret(path: Path, size: int = 32) -> Path:
    """A file with so many random bytes, in hex, made at the first call; no one else can read
    it."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(size))
    return path


def code_version() -> dict[str, str]:
    """The tags git_commit and git_dirty: from git, else GENAE_COMMIT and GENAE_DIRTY, else
    "unknown"."""
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)  # not another project's
        return {
            "git_commit": commit,
            "git_dirty": str(bool(_git(here.parent, "status", "--porcelain"))).lower(),
        }
    except (OSError, subprocess.CalledProcessError):
        told = {"git_commit": "GENAE_COMMIT", "git_dirty": "GENAE_DIRTY"}
        return {tag: os.environ.get(name) or "unknown" for tag, name in told.items()}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
