"""What is sent to a cluster: the files that git tracks, as one zip."""

import hashlib
import subprocess
import zipfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Never sent, also where git does not ignore them: data, stores and results at the root, secrets.
FOLDERS = ("data", "shards", "mlruns", "mlartifacts", ".genae")
FILES = ("*.db", "*.pt", "*.safetensors", "*.parquet", ".env", ".env.*", "*.pem", "*.key")


def script(command: tuple[str, ...], files: list[Path]) -> tuple[str, ...]:
    """The command as it is run at the root of what is sent.

    Raises ValueError unless it begins with a Python file among `files`.
    """
    path = Path(command[0])
    found = next((p for p in (ROOT / path, Path.cwd() / path) if p.is_file()), None)
    if found is None:
        raise ValueError(f"there is no script {path}: give its path in this repository")
    if not found.resolve().is_relative_to(ROOT):
        raise ValueError(f"{path} is outside of this repository: only what is in it is sent")
    inside = found.resolve().relative_to(ROOT)
    if inside.suffix != ".py" or inside not in files:
        raise ValueError(f"{inside} is not a Python script that git tracks")
    return ("python", inside.as_posix(), *command[1:])


def version(allow_dirty: bool) -> dict[str, str]:
    """The commit, and whether the files differ from it. Raises ValueError where they do and may
    not, and outside of a git checkout."""
    commit = _git("rev-parse", "HEAD").strip()
    changed = [line[3:] for line in _git("status", "--porcelain").splitlines()]
    if changed and not allow_dirty:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ValueError(
            f"these files differ from the commit: {', '.join(changed[:3])}{more}; commit them, or "
            "give --allow-dirty"
        )
    return {"GENAE_COMMIT": commit, "GENAE_DIRTY": str(bool(changed)).lower()}


def to_send(max_bytes: float) -> list[Path]:
    """The files, relative to the repository: tracked or new, not ignored and not excluded.

    Raises ValueError where they are larger than max_bytes.
    """
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    files = [Path(name) for name in sorted(set(listed)) if name and (ROOT / name).is_file()]
    files = [f for f in files if f.parts[0] not in FOLDERS]
    files = [f for f in files if not any(fnmatch(f.name, pattern) for pattern in FILES)]
    for file in files:
        if not (ROOT / file).resolve().is_relative_to(ROOT):
            raise ValueError(f"{file} is a link to a file outside of this repository")
    sizes = {file: (ROOT / file).stat().st_size for file in files}
    if sum(sizes.values()) > max_bytes:
        largest = sorted(files, key=lambda file: -sizes[file])[:5]
        names = ", ".join(f"{file} ({sizes[file] / 2**20:.1f} MiB)" for file in largest)
        raise ValueError(
            f"{sum(sizes.values()) / 2**20:.1f} MiB to send, --max-mib={max_bytes / 2**20:g}; the "
            f"largest: {names}"
        )
    return files


def pack(files: list[Path], to: Path) -> None:
    """Zip the files; the same files give the same bytes, which Ray then has already."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = ((ROOT / file).stat().st_mode & 0o777) << 16
            archive.writestr(entry, (ROOT / file).read_bytes())


def requirements() -> list[str]:
    """What a job needs, for pip, in the versions of constraints.txt.

    Ray keeps what it installed under the hash of these lines, so they hold that of the versions.
    """
    versions = hashlib.sha256((ROOT / "constraints.txt").read_bytes()).hexdigest()
    listed = (ROOT / "cluster" / "requirements.txt").read_text().splitlines()
    names = [line for line in listed if line and not line.startswith("#")]
    return [f"-c ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/constraints.txt  # {versions}", *names]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise ValueError("what is sent is what git tracks: run this in a git checkout") from None
    return done.stdout
