"""Where genae keeps what outlives a run: GENAE_HOME, by default ~/.genae."""

import os
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


def code_version() -> dict[str, str]:
    """The tags git_commit and git_dirty: from git, else GENAE_COMMIT, else "unknown"."""
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)  # not another project's
        return {
            "git_commit": commit,
            "git_dirty": str(bool(_git(here.parent, "status", "--porcelain"))).lower(),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": os.environ.get("GENAE_COMMIT") or "unknown", "git_dirty": "unknown"}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
