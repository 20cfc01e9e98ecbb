"""The files that are sent to a cluster with a job: those that git tracks, as one zip file."""

import hashlib
import subprocess
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

# Never sent, even if git does not ignore them: data, stores and results at the root, and secrets.
FOLDERS = ("data", "shards", "mlruns", "mlartifacts", ".genae")
FILES = ("*.db", "*.pt", "*.safetensors", "*.parquet", ".env", ".env.*", "*.pem", "*.key")


@dataclass(frozen=True)
class Checkout:
    """A git checkout of the repository, from which a job is sent. root: its absolute path."""

    root: Path

    def job_command(self, command: tuple[str, ...], files: list[Path]) -> tuple[str, ...]:
        """The command as the job runs it at the root of the files that are sent.

        Raises ValueError unless it begins with the path of a Python script among `files`.
        """
        path = Path(command[0])
        script = next((p for p in (self.root / path, Path.cwd() / path) if p.is_file()), None)
        if script is None:
            raise ValueError(f"there is no script {path}: give its path in this repository")
        if not script.resolve().is_relative_to(self.root):
            raise ValueError(f"{path} is outside of this repository, and only its files are sent")
        inside = script.resolve().relative_to(self.root)
        if inside.suffix != ".py" or inside not in files:
            raise ValueError(f"{inside} is not a Python script that git tracks")
        return ("python", inside.as_posix(), *command[1:])

    def commit_variables(self, allow_dirty: bool) -> dict[str, str]:
        """GENAE_COMMIT, and GENAE_DIRTY: whether the files differ from the commit.

        Raises ValueError outside of a git checkout, and if the files differ without `allow_dirty`.
        """
        commit = self._git("rev-parse", "HEAD").strip()
        changed = [line[3:] for line in self._git("status", "--porcelain").splitlines()]
        if changed and not allow_dirty:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise ValueError(
                f"these files differ from the commit: {', '.join(changed[:3])}{more}; commit "
                "them, or give --allow-dirty"
            )
        return {"GENAE_COMMIT": commit, "GENAE_DIRTY": str(bool(changed)).lower()}

    def files_to_send(self, max_bytes: float) -> list[Path]:
        """The tracked and new files, relative to the repository, that are neither ignored by git
        nor excluded by this module.

        Raises ValueError if a file is a link to one outside of the repository, and if the files
        are larger than `max_bytes` together.
        """
        listed = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split(
            "\0"
        )
        files = [
            Path(name) for name in sorted(set(listed)) if name and (self.root / name).is_file()
        ]
        files = [f for f in files if f.parts[0] not in FOLDERS]
        files = [f for f in files if not any(fnmatch(f.name, pattern) for pattern in FILES)]
        for file in files:
            if not (self.root / file).resolve().is_relative_to(self.root):
                raise ValueError(f"{file} is a link to a file outside of this repository")
        sizes = {file: (self.root / file).stat().st_size for file in files}
        total = sum(sizes.values())
        if total > max_bytes:
            largest = sorted(files, key=lambda file: -sizes[file])[:5]
            names = ", ".join(f"{file} ({sizes[file] / 2**20:.1f} MiB)" for file in largest)
            raise ValueError(
                f"the files to send have {total / 2**20:.1f} MiB, more than "
                f"--max-mib={max_bytes / 2**20:g}; the largest are {names}"
            )
        return files

    def pack(self, files: list[Path], target: Path) -> None:
        """Zip the files. The same files give the same bytes, so Ray uploads them only once."""
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                entry = zipfile.ZipInfo(file.as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = ((self.root / file).stat().st_mode & 0o777) << 16
                archive.writestr(entry, (self.root / file).read_bytes())

    def requirements(self) -> list[str]:
        """The lines for pip with the packages of a job, in the versions of constraints.txt.

        Ray caches an installation under the hash of these lines, so they contain the hash of
        constraints.txt.
        """
        versions = hashlib.sha256((self.root / "constraints.txt").read_bytes()).hexdigest()
        listed = (self.root / "cluster" / "requirements.txt").read_text().splitlines()
        names = [line for line in listed if line and not line.startswith("#")]
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
                "a job is sent the files that git tracks: run this in a git checkout"
            ) from None
        return process.stdout
