"""The files of runs: they are read from this machine's disk, or fetched if they are not there."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from genae_core.tracking.mlflow_store import StoreError, Tracker
from genae_core.tracking.moved_home import check_place, folder_of_files

READERS = 8  # threads that read at a time, because over HTTP most of the time is waiting


class Artifact(NamedTuple):
    """A file of a run: its path below the run's artifacts, and its size in bytes."""

    path: str
    size: int


class Artifacts:
    """Lists and reads the artifacts of runs.

    Args:
        tracker: The store of the runs.
        scratch: A folder for the files that are fetched.
    """

    def __init__(self, tracker: Tracker, scratch: Path) -> None:
        self.tracker = tracker
        self.scratch = scratch
        self.folders: dict[str, Path] = {}

    def locate(self, run: Any) -> None:
        """Remember the folder of MLflow's run if its artifacts are on this machine's disk.

        Raises ValueError if GENAE_HOME was moved, so that the folder is another one.
        """
        location = run.info.artifact_uri or ""
        check_place(self.tracker.uri, location)
        folder = folder_of_files(location)
        if folder is not None:
            self.folders[run.info.run_id] = folder

    def list_files(self, run_id: str, folder: str = "") -> list[Artifact]:
        """Return the files in a folder of the run's artifacts, by name.

        A folder that cannot be listed counts as empty. The page says that pictures are missing.
        """
        try:
            if run_id in self.folders:
                place = self.folders[run_id] / folder
                files = [path for path in place.glob("*") if path.is_file()]
                artifacts = [
                    Artifact(f"{folder}/{path.name}".lstrip("/"), path.stat().st_size)
                    for path in files
                ]
            else:
                infos = self.tracker.client.list_artifacts(run_id, folder or None)
                artifacts = [Artifact(i.path, i.file_size or 0) for i in infos if not i.is_dir]
        except (OSError, StoreError):
            return []
        return sorted(artifacts)

    def read(self, run_id: str, path: str) -> bytes:
        """Return the contents of a file. Raises OSError or StoreError if there is no such file."""
        if run_id in self.folders:
            return (self.folders[run_id] / path).read_bytes()
        place = self.scratch / run_id
        place.mkdir(parents=True, exist_ok=True)
        return self.tracker.fetch(run_id, path, place).read_bytes()

    def read_all(self, files: Sequence[tuple[str, Artifact]]) -> list[bytes | None]:
        """Return the contents of files in the same order, with None for one that cannot be read.

        Args:
            files: Each file as the id of its run and the artifact.
        """

        def read_one(file: tuple[str, Artifact]) -> bytes | None:
            try:
                return self.read(file[0], file[1].path)
            except (OSError, StoreError):
                return None

        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read_one, files))
