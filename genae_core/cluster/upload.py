"""The files that are sent to a cluster with a job: those that git tracks, as one zip file."""

import hashlib
import subprocess
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from genae_core.config.home import ALL_FILES, STATUS

# Data, stores and results at the root, and secrets, are never sent, even if git tracks them.
FOLDERS = ("data", "shards", "mlruns", "mlartifacts", ".genae")
FILES = ("*.db", "*.pt", "*.safetensors", "*.parquet", ".env", ".env.*", "*.pem", "*.key")
SHIPPED = Path("genae_core/metrics/shipped")  # weights that are part of genae, and are sent


@dataclass(frozen=True)
class Checkout:
    """A git checkout of the repository, from which a job is sent.

    Attributes:
        root: Its absolute path.
    """

    root: Path

    @classmethod
    def around(cls, folder: Path) -> "Checkout":
        """The checkout in which a folder lies. Raises ValueError if it lies in none."""
        return cls(Path(cls(folder)._git("rev-parse", "--show-toplevel").strip()))

    def job_command(self, command: tuple[str, ...], files: list[Path]) -> tuple[str, ...]:
        """The command that the job runs at the root of the sent files.

        Raises ValueError unless `command` begins with the path of a Python script among `files`.
        """
        path = Path(command[0])
        script = next((p for p in (self.root / path, Path.cwd() / path) if p.is_file()), None)
        if script is None:
            raise ValueError(f"there is no script {path}: pass its path in this repository")
        if not script.resolve().is_relative_to(self.root):
            raise ValueError(f"{path} is outside of this repository, and only its files are sent")
        inside = script.resolve().relative_to(self.root)
        if inside.suffix != ".py" or inside not in files:
            raise ValueError(f"{inside} is not a Python script that git tracks")
        return ("python", inside.as_posix(), *command[1:])

    def commit_variables(self, allow_dirty: bool) -> dict[str, str]:
        """The variables GENAE_STUDY_COMMIT and GENAE_STUDY_DIRTY, which say what the job runs.

        The second is "true" if the files differ from the commit. If the checkout has genae's own
        code, GENAE_COMMIT and GENAE_DIRTY are the same. Raises ValueError outside of a git
        checkout, and if the files differ but `allow_dirty` is False.
        """
        commit = self._git("rev-parse", "HEAD").strip()
        changed = [line[3:] for line in self._git(*STATUS).splitlines()]
        if changed and not allow_dirty:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise ValueError(
                f"these files differ from the commit: {', '.join(changed[:3])}{more}; commit "
                "them, or pass --allow-dirty"
            )
        dirty = str(bool(changed)).lower()
        variables = {"GENAE_STUDY_COMMIT": commit, "GENAE_STUDY_DIRTY": dirty}
        if self._git("ls-files", "genae_core"):
            variables |= {"GENAE_COMMIT": commit, "GENAE_DIRTY": dirty}
        return variables

    def files_to_send(self, max_bytes: float) -> list[Path]:
        """The tracked and new files, relative to the repository.

        Files that git ignores or that this module excludes are left out. Raises ValueError if a
        file is a link to a file outside of the repository, and if the files together have more
        than `max_bytes`.
        """
        listing = self._git(
            *("ls-files", "-z", "--cached", "--others", "--exclude-standard"), *ALL_FILES
        )
        names = sorted(set(listing.split("\0")))
        files = [Path(name) for name in names if name and (self.root / name).is_file()]
        files = [f for f in files if f.parts[0] not in FOLDERS]
        files = [f for f in files if f.is_relative_to(SHIPPED) or not _is_excluded(f)]
        for file in files:
            if not (self.root / file).resolve().is_relative_to(self.root):
                raise ValueError(f"{file} is a link to a file outside of this repository")
        sizes = {file: (self.root / file).stat().st_size for file in files}
        total = sum(sizes.values())
        if total > max_bytes:
            largest = sorted(files, key=lambda file: -sizes[file])[:5]
            sized = ", ".join(f"{file} ({sizes[file] / 2**20:.1f} MiB)" for file in largest)
            raise ValueError(
                f"the files to send have {total / 2**20:.1f} MiB, more than "
                f"--max-mib={max_bytes / 2**20:g}; the largest are {sized}"
            )
        return files

    def pack(self, files: list[Path], target: Path) -> None:
        """Zip the files. The same files give the same bytes, so that Ray uploads them once."""
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                entry = zipfile.ZipInfo(file.as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = ((self.root / file).stat().st_mode & 0o777) << 16
                archive.writestr(entry, (self.root / file).read_bytes())

    def requirements(self) -> list[str]:
        """The packages of a job in the versions of constraints.txt, as lines for pip.

        Ray caches an installation under the hash of these lines. They therefore contain the hash
        of constraints.txt.
        """
        constraints = self.root / "constraints.txt"
        requirements = self.root / "cluster" / "requirements.txt"
        if not (constraints.is_file() and requirements.is_file()):
            raise ValueError(
                f"--install reads {constraints} and {requirements}, which genae's own repository "
                "has: install genae on the cluster's nodes instead, and leave out --install"
            )
        versions = hashlib.sha256(constraints.read_bytes()).hexdigest()
        lines = requirements.read_text().splitlines()
        names = [line for line in lines if line and not line.startswith("#")]
        return [
            f"-c ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/constraints.txt  # {versions}",
            *names,
        ]

    def _git(self, *arguments: str) -> str:
        try:
            process = subprocess.run(
                ["git", "-C", str(self.root), *arguments],
                check=True,
                capture_output=True,
                text=True,
            )
        except (OSError, subprocess.CalledProcessError):
            raise ValueError(
                "a job is sent with the files that git tracks: run this in a git checkout"
            ) from None
        return process.stdout


def _is_excluded(file: Path) -> bool:
    return any(fnmatch(file.name, pattern) for pattern in FILES)
