"""The snapshots of a training on disk, so that little work is lost if the training is stopped."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genae_core.config import require, require_finite
from genae_core.config.messages import print_warning
from genae_core.data import durable
from genae_core.data.storage import Folder
from genae_core.training import checkpoint
from genae_core.training.snapshots import Snapshot, check_values

NUM_SNAPSHOTS = 2  # The second snapshot is used if the newest one is broken.
NOTICE_S = 25.0  # Platforms wait 30 seconds or more between SIGTERM and SIGKILL.
LONGEST_WAIT_S = 60.0  # The longest wait after an attempt without progress.
TRAINING = "training"  # The key in a snapshot of the name of the training that it belongs to.
STOP_REQUESTED = threading.Event()  # It is set when this process must end soon.


class Preempted(BaseException):
    """The training has saved a snapshot and must now stop, because the process must end.

    Like SystemExit it is not an Exception, so that no `except Exception` catches it.
    """


def request_stop(*_: object) -> None:
    """Handle SIGTERM, so that the training saves a snapshot after its current step and stops.

    If no training stops, the process ends itself before the platform kills it.
    """
    STOP_REQUESTED.set()
    timer = threading.Timer(NOTICE_S, os._exit, (143,))
    timer.daemon = True
    timer.start()


@dataclass(frozen=True)
class SaveSchedule:
    """The times at which a training saves its snapshots.

    Attributes:
        interval: The seconds between two snapshots.
        must_stop: Returns whether the process must end; then a snapshot is due at once.
        clock: Returns the present time in seconds, which never decreases.
    """

    interval: float = 60.0
    must_stop: Callable[[], bool] = STOP_REQUESTED.is_set
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        require_finite(0, interval=self.interval)


EVERY_MINUTE = SaveSchedule()


class SnapshotFolder:
    """A `SnapshotStore` that keeps the newest two snapshots in a folder.

    Each snapshot is a checkpoint, which is written completely or not at all. If a snapshot is
    incomplete, changed, or of another training, there is a warning, and the one before it is used.
    An older snapshot is deleted when the newer one is on the disk. If a snapshot cannot
    be written, for example on a full disk, there is a warning, and the training continues.

    Args:
        folder: The folder.
        schedule: The times at which snapshots are saved.
        warn: Is called with the text of each warning.
        on_save: Is called with the size of each saved snapshot in bytes.
        mirror: A folder for copies of the snapshots, on a store that outlives this machine.
        training: A name for the training, which its snapshots hold. With the default, snapshots of
            any training are used.
    """

    def __init__(
        self,
        folder: Path,
        schedule: SaveSchedule = EVERY_MINUTE,
        warn: Callable[[str], None] = print_warning,
        on_save: Callable[[int], None] = lambda num_bytes: None,
        mirror: Folder | None = None,
        training: str = "",
    ) -> None:
        self.folder, self.schedule, self.mirror = folder, schedule, mirror
        self.training = training
        self.warn, self.on_save = warn, on_save
        self.last_save = schedule.clock()
        self.resumed_step: int | None = None  # the step of the loaded snapshot
        self.number = max({*self._local_numbers(), *self._mirrored_numbers()}, default=0)

    def load_latest(self) -> Snapshot | None:
        """The newest readable snapshot in the folder or in the mirror; None if there is none."""
        for number in sorted({*self._local_numbers(), *self._mirrored_numbers()}, reverse=True):
            path = self._path(number)
            try:
                if not path.exists():
                    self._fetch(path)
                snapshot = self._read(path)
            except (ValueError, OSError) as error:
                self.warn(f"{path.name} cannot be used, going back to the one before: {error}")
                continue
            self.resumed_step = snapshot.values["step"]
            return snapshot
        return None

    def _read(self, path: Path) -> Snapshot:
        """Read a snapshot. Raises ValueError if it is damaged or of another training."""
        snapshot = Snapshot(*checkpoint.read(path))
        check_values(snapshot)
        # Snapshots of earlier versions do not name their training.
        training = snapshot.values.get(TRAINING, self.training)
        same = not self.training or training == self.training
        require(same, f"it is not of the training {self.training}", training=training)
        return snapshot

    def is_due(self) -> bool:
        """Whether the interval is over or the process must end."""
        elapsed = self.schedule.clock() - self.last_save
        return elapsed >= self.schedule.interval or self.schedule.must_stop()

    def save(self, snapshot: Snapshot) -> None:
        """Write the snapshot, and delete all snapshots but the newest two.

        Raises:
            Preempted: The process must end.
        """
        self.last_save = self.schedule.clock()
        path = self._path(self.number + 1)
        try:
            checkpoint.write(path, snapshot.tensors, {**snapshot.values, TRAINING: self.training})
            self.number += 1
            self._attempts.unlink(missing_ok=True)
            self.on_save(sum(file.stat().st_size for file in path.iterdir()))
            self._push(path)
        except OSError as error:
            self.warn(f"{path} could not be written, the training goes on without it: {error}")
        for number in self._local_numbers():
            if number <= self.number - NUM_SNAPSHOTS:
                shutil.rmtree(self._path(number), ignore_errors=True)
        if self.schedule.must_stop():
            raise Preempted

    def back_off(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Count an attempt at this training. Wait first if the last attempts saved no snapshot.

        Each further attempt without a snapshot doubles the wait.
        """
        attempts = 0
        with contextlib.suppress(OSError, ValueError):
            attempts = int(self._attempts.read_text())
        if attempts:
            sleep(min(2.0 ** min(attempts - 1, 10), LONGEST_WAIT_S))
        with contextlib.suppress(OSError):  # `save` warns of a full disk.
            durable.make_folder(self.folder)
            self._attempts.write_text(str(attempts + 1))

    def delete(self) -> None:
        """Delete all snapshots in the folder and in the mirror.

        The caller has saved the result of the training before.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # The parent may hold the snapshots of other trainings.
            self.folder.parent.rmdir()
        if self.mirror is not None:
            with contextlib.suppress(OSError):
                self.mirror.delete()

    def _push(self, path: Path) -> None:
        """Copy a snapshot to the mirror. The description comes last and marks it as complete."""
        if self.mirror is not None:
            for name in (checkpoint.WEIGHTS, checkpoint.DESCRIPTION):
                self.mirror.write(f"{path.name}/{name}", (path / name).read_bytes())
            self._delete_mirrored(self.number - NUM_SNAPSHOTS)

    def _fetch(self, path: Path) -> None:
        """Copy a snapshot from the mirror."""
        assert self.mirror is not None
        durable.make_folder(self.folder)
        # After the renaming there is nothing to clean up.
        place = tempfile.TemporaryDirectory(
            dir=self.folder, prefix=".fetched-", ignore_cleanup_errors=True
        )
        with place as scratch:
            for name in (checkpoint.WEIGHTS, checkpoint.DESCRIPTION):
                (Path(scratch) / name).write_bytes(self.mirror.read(f"{path.name}/{name}"))
            durable.publish(Path(scratch), path)

    def _delete_mirrored(self, last: int) -> None:
        """Delete the snapshots in the mirror up to number `last`."""
        assert self.mirror is not None
        with contextlib.suppress(OSError):  # An old snapshot does no harm.
            for name in {name.split("/")[0] for name in self._mirrored_files()}:
                if snapshot_number(name) <= last:
                    # On some stores, deleting the files one by one would leave an empty folder.
                    self.mirror.delete(name)

    def _mirrored_files(self) -> list[str]:
        """The names of the files of all snapshots in the mirror."""
        files = self.mirror.files() if self.mirror is not None else []
        return [file.name for file in files if file.name.startswith("state-")]

    def _mirrored_numbers(self) -> list[int]:
        """The numbers of the complete snapshots in the mirror."""
        try:
            files = self._mirrored_files()
        except OSError as error:
            self.warn(f"the snapshots in {self.mirror} cannot be listed: {error}")
            return []
        return [snapshot_number(name) for name in files if name.endswith(checkpoint.DESCRIPTION)]

    def _local_numbers(self) -> list[int]:
        """The numbers of the snapshots in the folder."""
        names = [path.name for path in self.folder.glob("state-*")]
        return [snapshot_number(name) for name in names if name.removeprefix("state-").isdigit()]

    def _path(self, number: int) -> Path:
        """The folder of the snapshot with this number."""
        return self.folder / f"state-{number:06}"

    @property
    def _attempts(self) -> Path:
        """The file with the number of attempts since the last snapshot."""
        return self.folder / "lives"


def snapshot_number(name: str) -> int:
    """The number of a snapshot, from the name of its folder or of a file in it."""
    return int(name.split("/")[0].removeprefix("state-"))
