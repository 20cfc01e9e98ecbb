"""The journal of a run: it keeps what a trial logs on disk until the tracking store has it.

A store that is slow, dead or full can therefore neither fail a trial nor delay it. This module
does not use MLflow: `delivery` reads the events and sends them in order.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.config.messages import print_warning
from genae_core.data import durable, sealed

EVENT_FILE = "event.json"  # in the folder of each event, beside the files that belong to it
IMAGE_FILE = "picture.npy"  # in the folder of an event of the kind "images" or "image"
DONE_FILE = "done.json"  # beside the events of a run that has finished
START_FILE = "start.json"  # beside the events: how the run was started, once the store knows it
SET_ASIDE = "set-aside"  # beside the events: the folder of those that can never be delivered
FILES = "files"  # the key in an event of the sha256 of each of its files
# The fields of each kind of event. Version 0.1 wrote the kind "image".
FIELDS = {
    "start": {"name", "tags", "params", "time"},
    "tags": {"tags"},
    "metrics": {"rows"},
    "image": {"step"},
    "images": {"steps"},
    "files": set(),
    "finish": {"status", "reason", "time"},
}

MetricRow = tuple[str, float, int]  # the name, the value and the step of a metric


class Event(NamedTuple):
    """One thing that was logged.

    Attributes:
        folder: The folder of the event, with its files.
        kind: start, tags, metrics, images, files or finish; or image, which version 0.1 wrote.
        fields: The values that belong to the kind.
    """

    folder: Path
    kind: str
    fields: dict[str, Any]


class DamagedEventError(ValueError):
    """An event has another form than genae writes.

    Attributes:
        event: The folder of the event.
    """

    def __init__(self, event: Path, reason: Exception) -> None:
        super().__init__(f"{event} is not an event as genae writes it: {reason!r}")
        self.event = event


class Journal:
    """Writes the events of one run as numbered folders, each completely or not at all.

    Each event is on the disk before the call that logs it returns.

    Args:
        folder: The journal's folder, named after the run's key. If it exists, the new events
            follow those that are there.
        warn: Called with the text of each warning.

    Raises:
        OSError: The disk fails or is full. Every method can raise it.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = print_warning) -> None:
        self.folder, self.warn = folder, warn
        durable.make_folder(folder)
        self.number = max((int(path.name) for path in pending_events(folder)), default=0)

    def start(self, name: str, tags: dict[str, str], params: dict[str, object]) -> None:
        """Log the start of the run. MLflow's UI shows the name.

        A run that starts again logs everything again, so that damaged events of its earlier
        attempt are deleted.
        """
        for path, reason in damaged_events(self.folder).items():
            self.warn(f"{path} is deleted, because its run is logged again: {reason}")
            shutil.rmtree(path)
        texts = {name: str(value) for name, value in params.items()}
        with self._event("start", name=name, tags=tags, params=texts, time=_now_ms()):
            pass

    def log_metrics(self, rows: Iterable[MetricRow]) -> None:
        """Log metrics as (name, value, step)."""
        with self._event("metrics", rows=list(rows)):
            pass

    def log_images(self, images: Sequence[NDArray[np.uint8]], steps: Sequence[int]) -> None:
        """Log an image of each of these MCMC steps, uint8 [H, W, 3], all of one size."""
        with self._event("images", steps=list(steps)) as folder:
            # Raw pixels are fast to write. The delivery compresses them to PNG files.
            np.save(folder / IMAGE_FILE, np.stack(images))

    def set_tags(self, tags: dict[str, str]) -> None:
        """Set tags of the run, in addition to the tags that it started with."""
        with self._event("tags", tags=tags):
            pass

    def log_text(self, text: str, name: str) -> None:
        """Log a text file with this name."""
        with self.files() as folder:
            (folder / name).write_text(text)

    @contextlib.contextmanager
    def files(self) -> Iterator[Path]:
        """Yield a folder to fill. Its files become artifacts of the run, under the same names."""
        with self._event("files") as folder:
            (folder / "files").mkdir()
            yield folder / "files"

    def finish(self, status: str = "FINISHED", reason: str = "") -> None:
        """Log the end of the run. The reason of a failure becomes the run's tag "error"."""
        with self._event("finish", status=status, reason=reason, time=_now_ms()):
            pass

    def mark_done(self, fcd_val: float, curve: Sequence[float] = ()) -> None:
        """Record that the run has finished with this best validation FCD.

        A sweep that is resumed does not run it again.

        curve: The validation FCD at each recorded step.
        """
        sealed.write(self.folder / DONE_FILE, {"fcd_val_best": fcd_val, "curve": list(curve)})

    def curve(self) -> list[float]:
        """Return the validation FCD at each recorded step of a run that has finished.

        It is empty if the record has none, as that of an earlier version.
        """
        try:
            return [float(value) for value in sealed.read(self.folder / DONE_FILE)["curve"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def done(self) -> float | None:
        """Return the best validation FCD if the run has finished, else None.

        A run whose record or events are damaged has not finished, because it must be run again.
        """
        try:
            fcd_val = float(sealed.read(self.folder / DONE_FILE)["fcd_val_best"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.warn(f"the run is run again: {self.folder / DONE_FILE}: {error}")
            return None
        damaged = damaged_events(self.folder)
        for reason in damaged.values():
            self.warn(f"the run is run again: {reason}")
        return None if damaged else fcd_val

    @contextlib.contextmanager
    def _event(self, kind: str, **fields: Any) -> Iterator[Path]:
        """Yield the event's folder to fill. A single rename then gives it its final name."""
        partial = Path(tempfile.mkdtemp(dir=self.folder, prefix=".event-"))
        try:
            yield partial
            event = {"kind": kind, **fields, FILES: sealed.digests_of(partial)}
            (partial / EVENT_FILE).write_text(sealed.to_text(event, indent=None))
            self.number += 1
            durable.publish(partial, self.folder / f"{self.number:06}")
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def read_events(folder: Path) -> list[Event]:
    """Read the events that wait in a run's journal, oldest first.

    Raises:
        DamagedEventError: An event has another form than genae writes.
    """
    return [_read_event(path) for path in sorted(pending_events(folder))]


def damaged_events(folder: Path) -> dict[Path, str]:
    """Return the waiting events that are damaged, each with the reason."""
    damaged = {}
    for path in sorted(pending_events(folder)):
        try:
            _read_event(path)
        except DamagedEventError as error:
            if path.exists():  # Else it has been delivered while it was read.
                damaged[path] = str(error)
    return damaged


def _read_event(path: Path) -> Event:
    """Read an event. Raises DamagedEventError as `read_events` does."""
    try:
        # A link could send the store a file from elsewhere on this machine.
        links = [file for file in path.rglob("*") if file.is_symlink()]
        require(not links, "an event holds files and no links", links=len(links))
        fields = sealed.read(path / EVENT_FILE)
        sealed.check_files(path, fields.pop(FILES, {}))
        kind = fields.pop("kind")
        require(set(fields) == FIELDS[kind], f"the fields of {kind} differ", fields=fields)
        return Event(path, kind, fields)
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise DamagedEventError(path, error) from None


def set_aside(event: Path) -> Path:
    """Move an event out of the way of the later ones, and return its new place."""
    aside = event.parent / SET_ASIDE
    durable.make_folder(aside)
    place = aside / f"{len(list(aside.iterdir())) + 1:06}-{event.name}"
    durable.publish(event, place)
    return place


def pending_events(folder: Path) -> list[Path]:
    """Return the folders of the events that wait in a run's journal, in any order."""
    return [path for path in folder.glob("[0-9]*") if path.name.isdigit()]


def pending_journals(folder: Path) -> list[Path]:
    """Return the journals in a sweep's folder that have events to deliver, oldest first."""
    runs = [path for path in folder.glob("*") if pending_events(path)]
    return sorted(runs, key=lambda path: path.stat().st_ctime)


def _now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return int(1000 * time.time())
