"""Courier: takes the events of journals to the tracking store, in order and exactly once."""

import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from genae_core.tracking.journal import PICTURE, events, pending, waiting
from genae_core.tracking.mlflow_store import RunAt, Tracker, redact

SENT_TO = "run.json"  # the run that a journal's events belong to, beside them
POLL_S = 0.5  # between two looks at journals that are still written
PAUSES_S = (1.0, 30.0)  # after a failure: the first, doubled up to the last


class Undelivered(Exception):
    """Events that the store did not take: they are still on disk."""


def deliver(tracker: Tracker, folder: Path) -> bool:
    """Send what waits in one run's journal; an event leaves the disk when the store has it.
    Whether the run's end was among it.

    One that is sent again, because this was cut off between the two, changes nothing: a run is
    found by its key, a metric's time is the start of its run, an image and a file are known by
    their names. Raises Undelivered at the first event that the store does not take.
    """
    run: RunAt | None = None
    ended = False
    try:
        for event in events(folder):
            if event.kind == "start":
                run = tracker.start(key=folder.name, **event.fields)
                _write(folder / SENT_TO, run)
            run = run or RunAt(*json.loads((folder / SENT_TO).read_text()))
            if event.kind == "metrics":
                tracker.log_metrics(run, event.fields["rows"])
            elif event.kind == "image":
                picture = np.array(open_memmap(event.folder / PICTURE, mode="r"))
                tracker.log_image(run, picture, event.fields["step"])
            elif event.kind == "files":
                tracker.log_files(run.run_id, event.folder / "files")
            elif event.kind == "finish":
                tracker.finish(run.run_id, **event.fields)
            ended = event.kind == "finish"
            gone = event.folder.with_name(f".{event.folder.name}")  # whole or absent, as it came
            shutil.rmtree(gone, ignore_errors=True)  # of a delivery that was cut off here
            os.rename(event.folder, gone)
            shutil.rmtree(gone)
    except Exception as error:  # whatever a client, a store or a network can raise
        reason = " ".join(redact(f"{type(error).__name__}: {error}").split())
        raise Undelivered(reason[:500]) from None
    return ended


def deliver_all(
    tracker: Tracker,
    folder: Path,
    patience: float = 60.0,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[Path, str]:
    """Send what waits in every journal of a sweep whose trials have ended, and remove the empty
    ones; those that are left, each with its reason.

    patience: seconds without a success, after which the rest is left. say: hears of the first
    failure.
    """
    queue, reasons = deque(waiting(folder)), dict[Path, str]()
    succeeded, pause = clock(), PAUSES_S[0]
    while queue and clock() - succeeded <= patience:
        try:
            deliver(tracker, queue[0])
        except Undelivered as error:
            if not reasons:
                say(f"waiting for the tracking store: {error}")
            reasons[queue[0]] = str(error)
            queue.rotate(-1)  # it may be this one's fault: another's turn
            # The last try is when the patience ends, however long the pauses have become.
            sleep(min(pause, max(0.1, patience - (clock() - succeeded))))
            pause = min(2 * pause, PAUSES_S[1])
        else:
            queue.popleft()
            succeeded, pause = clock(), PAUSES_S[0]
    for path in folder.glob("*"):
        if path not in queue:
            shutil.rmtree(path, ignore_errors=True)
    if not queue:
        shutil.rmtree(folder, ignore_errors=True)
    return {run: reasons.get(run, "not tried") for run in queue}


class Courier:
    """Delivers the journals of this process in the background, one at a time.

    connect: makes the tracker, in the thread that uses it. warn: hears of the first failure of a
    row. failed: hears of each failure.
    """

    def __init__(
        self,
        connect: Callable[[], Tracker],
        warn: Callable[[str], None] = lambda text: print(f"warning: {text}", flush=True),
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.connect, self.warn, self.failed = connect, warn, failed
        self.folders: list[Path] = []
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def add(self, folder: Path) -> None:
        """Deliver this journal from now on, until `settle` is told that nothing more comes."""
        with self.changed:
            if folder not in self.folders:
                self.folders.append(folder)
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, daemon=True, name="courier")
                self.thread.start()

    def settle(self, folders: list[Path], seconds: float) -> bool:
        """Wait until these are delivered, or the seconds are over; whether they are delivered.
        What is not stays on disk."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while any(pending(folder) for folder in folders):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.changed.notify_all()
                self.changed.wait(min(left, 0.05))
        return True

    def _work(self) -> None:
        tracker: Tracker | None = None
        pause = 0.0
        while True:
            failed = False
            for folder in list(self.folders):
                try:
                    tracker = tracker or self.connect()
                    ended = deliver(tracker, folder)
                except Exception as error:  # connecting can fail as delivering can
                    if not pause:
                        self.warn(f"the tracking store does not take what is logged: {error}")
                    failed = True
                    self.failed()
                with self.changed:
                    if failed or (ended and not pending(folder)):
                        self.folders.remove(folder)
                    if failed:  # it may be this one's fault: another's turn
                        self.folders.append(folder)
                        break
            with self.changed:
                self.changed.notify_all()
                pause = min(max(2 * pause, PAUSES_S[0]), PAUSES_S[1]) if failed else 0.0
                self.changed.wait(pause or POLL_S)


def _write(path: Path, run: RunAt) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(list(run)))
    os.replace(partial, path)
