"""The delivery of journals to the tracking store: every event in order, and exactly once."""

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from genae_core.config.command_name import command_line
from genae_core.config.console import say
from genae_core.config.messages import print_warning
from genae_core.config.redaction import redact
from genae_core.data import durable, sealed
from genae_core.tracking.journal import (
    IMAGE_FILE,
    SET_ASIDE,
    START_FILE,
    DamagedEventError,
    Event,
    pending_events,
    pending_journals,
    read_events,
)
from genae_core.tracking.mlflow_store import StartedRun, Tracker
from genae_core.tracking.store_errors import MissingRunError, StoreError

POLL_S = 0.5  # between two checks of a journal that is still being written
PAUSES_S = (1.0, 30.0)  # after a failure: the first pause, and the longest after doubling
# An event with large files may take longer than the patience: a slow network sends this much.
BYTES_PER_SECOND = 2**20

# What to do about a journal that no waiting helps.
REPLAY = command_line("replay", "FOLDER")
SET_ASIDE_HELP = f"{REPLAY} --set-aside moves it aside and delivers the others"
DAMAGED_HELP = f"the same command with --resume logs its run again, and {SET_ASIDE_HELP}"
MISSING_HELP = (
    f"{REPLAY} --missing-runs recreate makes the run again, and --missing-runs discard deletes "
    "what waits for it"
)


class DeliveryError(Exception):
    """The store did not take an event, which is still on disk.

    Attributes:
        event: The folder of the event if it is the reason: it is damaged, or the store has
            refused it. None if the store did not answer.
        cause: The error behind it.
    """

    def __init__(self, reason: str, cause: Exception, event: Path | None = None) -> None:
        super().__init__(reason)
        self.cause, self.event = cause, event


def deliver(tracker: Tracker, folder: Path, on_event: Callable[[int], None] | None = None) -> bool:
    """Send the events that wait in one run's journal, and remove each event that the store has.

    An event is removed when what the store has written on this machine is on the disk. If a
    delivery is interrupted before that, the event is sent again. The store still holds it only
    once: a run is identified by its key, a metric has the time at which its run started, and an
    image or a file has a fixed name.

    Args:
        tracker: The store.
        folder: The journal's folder.
        on_event: Called before each event is sent, with the number of bytes of its files.

    Returns:
        Whether the last event was the end of the run.

    Raises:
        DeliveryError: The store did not take an event. The later events were not tried.
    """
    run: StartedRun | None = None
    event: Event | None = None
    delivered: list[Event] = []
    try:
        events = read_events(folder)
        try:
            for event in events:
                if on_event is not None:
                    files = (path for path in event.folder.rglob("*") if path.is_file())
                    on_event(sum(path.stat().st_size for path in files))
                if event.kind == "start":
                    run = _start(tracker, folder, event.fields)
                run = run or _find_run(tracker, folder, events)
                _send(tracker, run, event)
                delivered.append(event)
        finally:
            if delivered:
                tracker.sync()
                _remove(delivered)
    except DamagedEventError as error:
        raise DeliveryError(f"{error}; {DAMAGED_HELP}", error, error.event) from None
    except MissingRunError as error:
        raise DeliveryError(f"{error}; {MISSING_HELP}", error) from None
    except Exception as error:  # a client, a store and a network can raise anything
        kind = "" if isinstance(error, StoreError) else f"{type(error).__name__}: "
        reason = " ".join(redact(f"{kind}{error}").split())[:500]
        wrong = isinstance(error, KeyError | TypeError | ValueError)  # the event's own values
        if event is not None and (wrong or getattr(error, "refused", False)):
            raise DeliveryError(f"{reason}; {SET_ASIDE_HELP}", error, event.folder) from None
        raise DeliveryError(reason, error) from None
    return bool(delivered) and delivered[-1].kind == "finish"


def _remove(events: list[Event]) -> None:
    """Remove delivered events. The renames come first and are synced, so that an interrupted
    removal leaves no broken event."""
    removed = [event.folder.with_name(f".{event.folder.name}") for event in events]
    for event, path in zip(events, removed, strict=True):
        shutil.rmtree(path, ignore_errors=True)  # left by an interrupted delivery
        os.rename(event.folder, path)
    durable.sync_folder(events[0].folder.parent)
    for path in removed:
        shutil.rmtree(path)


def deliver_within(tracker: Tracker, folder: Path, patience: float) -> DeliveryError | None:
    """Deliver one journal as `deliver` does, and return its error.

    Args:
        tracker: The store.
        folder: The journal's folder.
        patience: The longest wait for one event. A call of the store may still be under way then.

    Returns:
        The error; None if everything was delivered.
    """
    attempt = _Attempt(tracker, folder)
    if not attempt.wait(time.monotonic() + patience, time.monotonic):
        return attempt.no_answer(patience)
    return attempt.error


def recreate_run(tracker: Tracker, folder: Path) -> None:
    """Make the run of a journal again, whose run in the store was deleted.

    A deleted run that MLflow still has is restored. Else a new run starts as the first one did.

    Args:
        tracker: The store.
        folder: The journal's folder.

    Raises:
        StoreError: The store fails.
    """
    if tracker.restore(folder.name):
        return
    try:
        fields = sealed.read(folder / START_FILE)
        tracker.start(key=folder.name, **fields)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, StoreError):
            raise
        if not isinstance(error, FileNotFoundError):
            print_warning(f"the run is made again without its params and most tags: {error}")
        # Journals of earlier versions do not say how the run was started.
        tags = {"sweep": folder.parent.parent.name}
        now = int(1000 * time.time())
        tracker.start(key=folder.name, name=folder.name, tags=tags, params={}, time=now)


def deliver_all(
    tracker: Tracker,
    folder: Path,
    patience: float = 60.0,
    say: Callable[[str], None] = say,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[Path, str]:
    """Deliver every journal of a sweep whose trials have ended, and remove the empty journals.

    Args:
        tracker: The store.
        folder: The folder of the sweep's journals.
        patience: After these seconds without a success, the rest is given up, even if a call of
            the store still waits for its answer.
        say: Called with a message at the first failure.
        clock: Returns the time in seconds.
        sleep: Waits for a number of seconds.

    Returns:
        The journals that could not be delivered, each with its reason.
    """
    queue, reasons = deque(pending_journals(folder)), dict[Path, str]()
    last_success, pause = clock(), PAUSES_S[0]
    while queue and clock() - last_success <= patience:
        attempt = _Attempt(tracker, queue[0])
        if not attempt.wait(last_success + patience, clock):
            reasons[queue[0]] = str(attempt.no_answer(patience))
            break  # The last call may still be under way.
        if attempt.error is None:
            queue.popleft()
            last_success, pause = clock(), PAUSES_S[0]
            continue
        if not reasons:
            say(f"waiting for the tracking store: {attempt.error}")
        reasons[queue[0]] = str(attempt.error)
        if attempt.delivered:
            last_success = clock()
        queue.rotate(-1)  # The fault may lie in this journal alone, so try another one.
        # The last attempt is made when the patience ends, even if the pauses are long by then.
        sleep(min(pause, max(0.1, patience - (clock() - last_success))))
        pause = min(2 * pause, PAUSES_S[1])
    for path in folder.glob("*"):
        # A trial that lives on may have written more.
        if path not in queue and not (path / SET_ASIDE).exists() and not pending_events(path):
            shutil.rmtree(path, ignore_errors=True)
    if not queue and not any(folder.glob("*")):
        shutil.rmtree(folder, ignore_errors=True)
    return {journal: reasons.get(journal, "not tried") for journal in queue}


class _Attempt:
    """The delivery of one journal in a thread, since a call of the store may never return.

    Args:
        tracker: The store.
        folder: The journal's folder.
    """

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker, self.folder = tracker, folder
        self.error: DeliveryError | None = None
        self.begun = 0  # events
        self.allowance = 0.0  # seconds for the files of the present event
        self.thread = threading.Thread(target=self._deliver, daemon=True, name="delivery")
        self.thread.start()

    @property
    def delivered(self) -> bool:
        """Whether the store has taken an event."""
        return self.begun > 1

    def wait(self, deadline: float, clock: Callable[[], float]) -> bool:
        """Wait for the end of the delivery.

        Args:
            deadline: The time at which the patience ends if the first event is not delivered by
                then. Each further event has as long a time.
            clock: Returns the time in seconds.

        Returns:
            Whether the delivery has ended, by success or by an error.
        """
        patience, begun = deadline - clock(), 1
        while self.thread.is_alive():
            if self.begun > begun:
                begun, deadline = self.begun, clock() + patience
            if clock() > deadline + self.allowance:
                return False
            self.thread.join(0.05)
        return True

    def no_answer(self, patience: float) -> DeliveryError:
        """The error of a delivery that has not ended."""
        error = TimeoutError(f"the store did not answer for {patience:g} s")
        return DeliveryError(str(error), error)

    def _deliver(self) -> None:
        try:
            deliver(self.tracker, self.folder, self._on_event)
        except DeliveryError as error:
            self.error = error

    def _on_event(self, size: int) -> None:
        self.allowance = size / BYTES_PER_SECOND
        self.begun += 1


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
    elif event.kind == "images":
        images = np.array(open_memmap(event.folder / IMAGE_FILE, mode="r"))
        tracker.log_images(run, images, event.fields["steps"])
    elif event.kind == "image":
        image = np.array(open_memmap(event.folder / IMAGE_FILE, mode="r"))
        tracker.log_images(run, image[None], [event.fields["step"]])
    elif event.kind == "tags":
        tracker.set_tags(run.run_id, event.fields["tags"])
    elif event.kind == "files":
        tracker.log_files(run.run_id, event.folder / "files")
    elif event.kind == "finish":
        tracker.finish(run.run_id, **event.fields)


def _start(tracker: Tracker, folder: Path, fields: dict[str, Any]) -> StartedRun:
    """Start or continue the run of a journal, and keep how it was started."""
    run = tracker.start(key=folder.name, **fields)
    sealed.write(folder / START_FILE, fields)
    return run


def _find_run(tracker: Tracker, folder: Path, events: list[Event]) -> StartedRun:
    """The run of a journal whose start was delivered earlier. The store knows it by its key.

    If the run was deleted since, and a later event starts it again, it is started now.
    """
    try:
        return tracker.started(folder.name)
    except MissingRunError:
        starts = [event for event in events if event.kind == "start"]
        if not starts:
            raise
        return _start(tracker, folder, starts[-1].fields)
