"""Journal: what a trial has to say of one run, kept on disk until the tracking store has it.

A store that is slow, dead or full therefore neither fails a trial nor stalls it. Knows nothing of
MLflow: `delivery` reads the events and sends them, in order.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import require

EVENT = "event.json"  # in the folder of each event, beside the files that it brings
PICTURE = "picture.npy"  # of an event of the kind image
DONE = "done.json"  # beside the events of a run that has finished

Row = tuple[str, float, int]  # a metric's name, value and step


class Event(NamedTuple):
    """folder: of the event and its files; kind: start, metrics, image, files or finish."""

    folder: Path
    kind: str
    fields: dict[str, Any]


class Journal:
    """The events of one run, as numbered folders, each written whole or not at all.

    folder: named after the run's key; one that is there already is continued. Raises OSError
    where the disk fails or is full.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.number = max((int(path.name) for path in pending(folder)), default=0)

    def start(self, name: str, tags: dict[str, str], params: dict[str, object]) -> None:
        told = {name: str(value) for name, value in params.items()}
        with self._event("start", name=name, tags=tags, params=told, time=_now()):
            pass

    def log_metrics(self, rows: Iterable[Row]) -> None:
        with self._event("metrics", rows=list(rows)):
            pass

    def log_image(self, picture: NDArray[np.uint8], step: int) -> None:
        with self._event("image", step=step) as folder:
            np.save(folder / PICTURE, picture)  # to make it a PNG takes longer: who sends it does

    def log_text(self, text: str, name: str) -> None:
        with self.files() as folder:
            (folder / name).write_text(text)

    @contextlib.contextmanager
    def files(self) -> Iterator[Path]:
        """A folder to fill; what lies in it becomes the run's artifacts, under the same names."""
        with self._event("files") as folder:
            (folder / "files").mkdir()
            yield folder / "files"

    def finish(self, status: str = "FINISHED", reason: str = "") -> None:
        """End the run; the reason of a failure becomes its tag "error"."""
        with self._event("finish", status=status, reason=reason, time=_now()):
            pass

    def mark_done(self, value: float) -> None:
        """The run has finished with this best validation FCD: it need not be run again."""
        partial = self.folder / f".{DONE}"
        partial.write_text(json.dumps({"fcd_val_best": value}))
        os.replace(partial, self.folder / DONE)

    def done(self) -> float | None:
        """The best validation FCD of a run that has finished."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            return float(json.loads((self.folder / DONE).read_text())["fcd_val_best"])
        return None

    @contextlib.contextmanager
    def _event(self, kind: str, **fields: Any) -> Iterator[Path]:
        """The event's folder, to be filled, which then takes its place in one rename."""
        partial = Path(tempfile.mkdtemp(dir=self.folder, prefix=".event-"))
        try:
            (partial / EVENT).write_text(json.dumps({"kind": kind, **fields}))
            yield partial
            self.number += 1
            os.rename(partial, self.folder / f"{self.number:06}")
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def events(folder: Path) -> list[Event]:
    """What waits in a run's journal, oldest first. Raises ValueError where it was changed."""
    found = []
    for path in sorted(pending(folder)):
        try:
            # A link would have the store be given a file from elsewhere on this machine.
            links = [file for file in path.rglob("*") if file.is_symlink()]
            require(not links, "an event holds files and no links", links=len(links))
            fields = json.loads((path / EVENT).read_text())
            found.append(Event(path, fields.pop("kind"), fields))
        except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is not an event as genae writes it: {error!r}") from None
    return found


def pending(folder: Path) -> list[Path]:
    """The folders of the events that wait in a run's journal, in no order."""
    return [path for path in folder.glob("[0-9]*") if path.name.isdigit()]


def waiting(folder: Path) -> list[Path]:
    """The journals in a sweep's folder of them that have undelivered events, oldest first."""
    runs = [path for path in folder.glob("*") if pending(path)]
    return sorted(runs, key=lambda path: path.stat().st_ctime)


def _now() -> int:
    """ms since 1970."""
    return int(1000 * time.time())
