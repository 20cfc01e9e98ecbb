"""The delivery of journals to the tracking store: every event in order, and exactly once."""

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

from genae_core.tracking.journal import (
    IMAGE_FILE,
    Event,
    pending_events,
    pending_journals,
    read_events,
)
from genae_core.tracking.mlflow_store import StartedRun, Tracker
from genae_core.tracking.store_uri import redact

RUN_FILE = "run.json"  # beside the events: the MLflow run to which they belong
POLL_S = 0.5  # between two checks of a journal that is still being written
PAUSES_S = (1.0, 30.0)  # after a failure: the first pause, and the longest after doubling


class DeliveryError(Exception):
    """The store did not take an event, which is still on disk."""


def deliver(tracker: Tracker, folder: Path) -> bool:
    """Send the events that wait in one run's journal, and remove each event that the store has.

    If a delivery is interrupted before an event is removed, the event is sent again. The store
    still holds it only once: a run is identified by its key, a metric has the time at which its
    run started, and an image or a file has a fixed name.

    Args:
        tracker: The store.
        folder: The journal's folder.

    Returns:
        Whether the last event was the end of the run.

    Raises:
        DeliveryError: The store did not take an event. The later events were not tried.
    """
    run: StartedRun | None = None
    ended = False
    try:
        for event in read_events(folder):
            if event.kind == "start":
                run = tracker.start(key=folder.name, **event.fields)
                _write_run(folder / RUN_FILE, run)
            run = run or StartedRun(*json.loads((folder / RUN_FILE).read_text()))
            _send(tracker, run, event)
            ended = event.kind == "finish"
            # The rename comes first, so that an interrupted removal leaves no broken event.
            removed = event.folder.with_name(f".{event.folder.name}")
            shutil.rmtree(removed, ignore_errors=True)  # left by an interrupted delivery
            os.rename(event.folder, removed)
            shutil.rmtree(removed)
    except Exception as error:  # a client, a store and a network can raise anything
        reason = " ".join(redact(f"{type(error).__name__}: {error}").split())
        raise DeliveryError(reason[:500]) from None
    return ended


def deliver_all(
    tracker: Tracker,
    folder: Path,
    patience: float = 60.0,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[Path, str]:
    """Deliver every journal of a sweep whose trials have ended, and remove the empty journals.

    Args:
        tracker: The store.
        folder: The folder of the sweep's journals.
        patience: After these seconds without a success, the rest is given up.
        say: Called with a message at the first failure.
        clock: Returns the time in seconds.
        sleep: Waits for a number of seconds.

    Returns:
        The journals that could not be delivered, each with its reason.
    """
    queue, reasons = deque(pending_journals(folder)), dict[Path, str]()
    last_success, pause = clock(), PAUSES_S[0]
    while queue and clock() - last_success <= patience:
        try:
            deliver(tracker, queue[0])
        except DeliveryError as error:
            if not reasons:
                say(f"waiting for the tracking store: {error}")
            reasons[queue[0]] = str(error)
            queue.rotate(-1)  # The fault may lie in this journal alone, so try another one.
            # The last attempt is made when the patience ends, even if the pauses are long by then.
            sleep(min(pause, max(0.1, patience - (clock() - last_success))))
            pause = min(2 * pause, PAUSES_S[1])
        else:
            queue.popleft()
            last_success, pause = clock(), PAUSES_S[0]
    for path in folder.glob("*"):
        if path not in queue:
            shutil.rmtree(path, ignore_errors=True)
    if not queue:
        shutil.rmtree(folder, ignore_errors=True)
    return {journal: reasons.get(journal, "not tried") for journal in queue}


class BackgroundSender:
    """Delivers the journals of this process in a background thread, one after the other.

    Args:
        connect: Makes the tracker. The background thread calls it.
        warn: Called with a message at the first of several failures in a row.
        on_failure: Called at every failure.
    """

    def __init__(
        self,
        connect: Callable[[], Tracker],
        warn: Callable[[str], None] = lambda text: print(f"warning: {text}", flush=True),
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.connect, self.warn, self.on_failure = connect, warn, on_failure
        self.folders: list[Path] = []
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def add(self, folder: Path) -> None:
        """Deliver this journal from now on, until the end of its run has been delivered."""
        with self.changed:
            if folder not in self.folders:
                self.folders.append(folder)
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, daemon=True, name="sender")
                self.thread.start()

    def flush(self, folders: list[Path], seconds: float) -> bool:
        """Wait until these journals are delivered, but no longer than a number of seconds.

        Args:
            folders: The folders of the journals.
            seconds: The longest time to wait.

        Returns:
            Whether everything is delivered. The rest stays on disk.
        """
        deadline = time.monotonic() + seconds
        with self.changed:
            while any(pending_events(folder) for folder in folders):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.changed.notify_all()
                self.changed.wait(min(left, 0.05))
        return True

    def _work(self) -> None:
        """Deliver forever. A failure is followed by a pause, and then by another journal."""
        tracker: Tracker | None = None
        pause = 0.0
        while True:
            failed = False
            for folder in list(self.folders):
                try:
                    tracker = tracker or self.connect()
                    ended = deliver(tracker, folder)
                except Exception as error:  # connecting can fail too
                    if not pause:
                        self.warn(f"the tracking store does not take what is logged: {error}")
                    failed = True
                    self.on_failure()
                with self.changed:
                    if failed or (ended and not pending_events(folder)):
                        self.folders.remove(folder)
                    if failed:  # The fault may lie in this journal alone, so it goes last.
                        self.folders.append(folder)
                        break
            with self.changed:
                self.changed.notify_all()
                pause = min(max(2 * pause, PAUSES_S[0]), PAUSES_S[1]) if failed else 0.0
                self.changed.wait(pause or POLL_S)


def _send(tracker: Tracker, run: StartedRun, event: Event) -> None:
    """Send one event to the store. The event "start" was sent when the run was started."""
    if event.kind == "metrics":
        tracker.log_metrics(run, event.fields["rows"])
    elif event.kind == "image":
        image = np.array(open_memmap(event.folder / IMAGE_FILE, mode="r"))
        tracker.log_image(run, image, event.fields["step"])
    elif event.kind == "tags":
        tracker.set_tags(run.run_id, event.fields["tags"])
    elif event.kind == "files":
        tracker.log_files(run.run_id, event.folder / "files")
    elif event.kind == "finish":
        tracker.finish(run.run_id, **event.fields)


def _write_run(path: Path, run: StartedRun) -> None:
    """Write the run's id and start. The file is written completely or not at all."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(list(run)))
    os.replace(partial, path)
