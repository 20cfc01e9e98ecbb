"""Events on disk reach the store in order and once, even if the store fails in between."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.databases import new_store
from contracts.resealing import digest_of_file, reseal
from PIL import Image

from genae_core.tracking.delivery import BackgroundSender, DeliveryError, deliver, deliver_all
from genae_core.tracking.journal import (
    EVENT_FILE,
    IMAGE_FILE,
    Journal,
    pending_events,
    read_events,
)
from genae_core.tracking.mlflow_store import StartedRun, Tracker

GREY = np.full((4, 4, 3), 99, np.uint8)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    folder = tmp_path_factory.mktemp("store")
    return Tracker.create(new_store(folder), "study", folder / "artifacts")


def full(folder: Path, status: str = "FINISHED") -> Journal:
    """A run's journal with one event of each kind."""
    journal = Journal(folder)
    journal.start("a run", {"sweep": folder.parent.name}, {"model.latent_dim": 10, "seed": 0})
    journal.log_text("{}", "experiment.json")
    journal.log_metrics([("chain/fcd", 5.0, 0), ("chain/fcd", 4.0, 2), ("fcd_val_best", 4.5, 0)])
    journal.log_images([GREY], [0])
    journal.log_images([GREY], [2])
    journal.finish(status, "" if status == "FINISHED" else "it broke")
    return journal


def stored(tracker: Tracker, key: str) -> dict[str, Any]:
    """All that the store holds under this key, of the one run there is."""
    (run,) = tracker.find(key=key)
    run_id = run.info.run_id
    history = tracker.client.get_metric_history(run_id, "chain/fcd")
    files = [file.path for file in tracker.client.list_artifacts(run_id)]
    return {
        "run_id": run_id,
        "status": run.info.status,
        "params": run.data.params,
        "fcd": sorted((m.step, m.value, m.timestamp) for m in history),
        "start": run.info.start_time,
        "files": files,
        "images": sorted(file.path for file in tracker.client.list_artifacts(run_id, "images")),
        "error": run.data.tags.get("error"),
    }


def test_every_kind_of_event_arrives_and_leaves_the_disk(tracker: Tracker, tmp_path: Path) -> None:
    journal = full(tmp_path / "whole")
    assert deliver(tracker, journal.folder)
    assert pending_events(journal.folder) == []
    run = stored(tracker, "whole")
    assert run["status"] == "FINISHED"
    assert run["params"] == {"model.latent_dim": "10", "seed": "0"}
    assert run["fcd"] == [(0, 5.0, run["start"]), (2, 4.0, run["start"])]
    assert set(run["files"]) == {"experiment.json", "images"}
    assert len(run["images"]) == 4  # two pictures, each also small
    whole = next(path for path in run["images"] if path.endswith(".png"))
    with Image.open(tracker.fetch(run["run_id"], whole, tmp_path)) as picture:
        assert np.array_equal(np.asarray(picture), GREY)
    assert tracker.finished_fcds(tmp_path.name)["whole"] == 4.5


def test_a_picture_that_is_a_pickle_is_not_opened(tracker: Tracker, tmp_path: Path) -> None:
    journal = full(tmp_path / "pickle")
    (picture, _) = sorted(journal.folder.glob(f"*/{IMAGE_FILE}"))
    np.save(picture, np.array([Path("/")], dtype=object), allow_pickle=True)
    reseal(picture.with_name(EVENT_FILE), files={IMAGE_FILE: digest_of_file(picture)})
    with pytest.raises(DeliveryError, match="Python objects"):
        deliver(tracker, journal.folder)


def test_an_event_that_is_sent_twice_is_stored_once(tracker: Tracker, tmp_path: Path) -> None:
    journal = full(tmp_path / "twice")
    shutil.copytree(journal.folder, tmp_path / "copy")
    deliver(tracker, journal.folder)
    before = stored(tracker, "twice")
    shutil.rmtree(journal.folder)
    shutil.copytree(tmp_path / "copy", journal.folder)
    deliver(tracker, journal.folder)
    assert stored(tracker, "twice") == before


def test_an_interrupted_delivery_continues_where_it_stopped(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call to the store fails once, having done its work: the answer was lost."""
    journal = full(tmp_path / "cut")
    failed: set[str] = set()

    def once(name: str) -> None:
        real = getattr(Tracker, name)

        def call(self: Tracker, *args: Any, **kwargs: Any) -> Any:
            result = real(self, *args, **kwargs)
            if name not in failed:
                failed.add(name)
                raise ConnectionError(f"no answer to {name}")
            return result

        monkeypatch.setattr(Tracker, name, call)

    names = ("start", "log_files", "log_metrics", "log_images", "finish")
    for name in names:
        once(name)
    waiting = [len(pending_events(journal.folder))]
    for _ in names:
        with pytest.raises(DeliveryError, match="no answer to"):
            deliver(tracker, journal.folder)
        waiting.append(len(pending_events(journal.folder)))
    assert deliver(tracker, journal.folder)
    assert failed == set(names)
    assert waiting == [6, 6, 5, 4, 3, 1]  # in order, none passed over
    run = stored(tracker, "cut")
    assert [row[:2] for row in run["fcd"]] == [(0, 5.0), (2, 4.0)]
    assert len(run["images"]) == 4


def test_a_continued_run_is_the_same_run(tracker: Tracker, tmp_path: Path) -> None:
    deliver(tracker, full(tmp_path / "again", "FAILED").folder)
    failed = stored(tracker, "again")
    assert (failed["status"], failed["error"]) == ("FAILED", "it broke")
    deliver(tracker, full(tmp_path / "again").folder)
    run = stored(tracker, "again")
    assert run == {**failed, "status": "FINISHED", "error": None}


def test_a_clock_that_jumps_back_makes_no_second_run(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(tracker, full(tmp_path / "clock", "KILLED").folder)
    before = stored(tracker, "clock")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 3600)
    deliver(tracker, full(tmp_path / "clock").folder)
    assert stored(tracker, "clock") == {**before, "status": "FINISHED", "error": None}


def test_the_finished_one_of_two_runs_with_one_key_stays(tracker: Tracker, tmp_path: Path) -> None:
    """A store has two such runs if it took a call and its answer was lost."""
    deliver(tracker, full(tmp_path / "pair").folder)
    (kept,) = tracker.find(key="pair")
    tags = {"key": "pair", "sweep": tmp_path.name}
    tracker.client.create_run(tracker.experiment_id, tags=tags)
    tags = {"key": "cut off", "sweep": tmp_path.name}
    tracker.client.create_run(tracker.experiment_id, tags=tags)
    tracker.close_sweep(tmp_path.name)
    (run,) = tracker.find(key="pair")
    assert run.info.run_id == kept.info.run_id
    (run,) = tracker.find(key="cut off")
    assert run.info.status == "KILLED"


def test_a_run_that_is_yet_to_be_delivered_is_left_alone(tracker: Tracker, tmp_path: Path) -> None:
    tags = {"key": "waits", "sweep": tmp_path.name}
    tracker.client.create_run(tracker.experiment_id, tags=tags)
    tracker.close_sweep(tmp_path.name, {"waits"})
    (run,) = tracker.find(key="waits")
    assert run.info.status == "RUNNING" and "error" not in run.data.tags


def test_an_interrupted_delivery_does_not_block_the_next(tracker: Tracker, tmp_path: Path) -> None:
    journal = full(tmp_path / "jam")
    gone = journal.folder / ".000001"  # a kill came between its renaming and its removal
    gone.mkdir()
    (gone / "event.json").write_text("{}")
    deliver(tracker, journal.folder)
    assert stored(tracker, "jam")["status"] == "FINISHED"
    assert not gone.exists()


def test_a_changed_journal_is_kept_and_reported(tracker: Tracker, tmp_path: Path) -> None:
    journal = full(tmp_path / "changed")
    (read_events(journal.folder)[2].folder / EVENT_FILE).write_text("{")
    with pytest.raises(DeliveryError, match="000003 is not an event"):
        deliver(tracker, journal.folder)
    assert len(pending_events(journal.folder)) == 6


def test_passwords_are_not_in_reasons(tmp_path: Path) -> None:
    class Store:
        def start(self, **told: Any) -> StartedRun:
            raise ConnectionError("http://me:secret@host:1 refused")

    store: Any = Store()
    with pytest.raises(DeliveryError, match=r"me:\*\*\*@host"):
        deliver(store, full(tmp_path / "key").folder)


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_one_run_that_cannot_be_delivered_does_not_hold_up_the_others(
    tracker: Tracker, tmp_path: Path
) -> None:
    for name in ("first", "broken", "last"):
        full(tmp_path / name)
    (read_events(tmp_path / "broken")[0].folder / EVENT_FILE).write_text("{")
    clock, said = Clock(), list[str]()
    left = deliver_all(tracker, tmp_path, 60, said.append, clock, clock.sleep)
    assert list(left) == [tmp_path / "broken"]
    assert "is not an event" in left[tmp_path / "broken"]
    assert len(said) == 1 and clock.now >= 60
    assert {path.name for path in tmp_path.iterdir()} == {"broken"}
    assert stored(tracker, "last")["status"] == "FINISHED"


def test_a_store_that_comes_back_gets_everything(tracker: Tracker, tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    for name in ("one", "two"):
        full(journals / name)
    clock = Clock()

    def away(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > 30:
            store.here = True

    class Store:
        here = False

        def __getattr__(self, name: str) -> Any:
            if not self.here:
                raise ConnectionError("away")
            return getattr(tracker, name)

    store: Any = Store()
    assert deliver_all(store, journals, 60, lambda text: None, clock, away) == {}
    assert not journals.exists()
    assert {stored(tracker, name)["status"] for name in ("one", "two")} == {"FINISHED"}


class Flaky:
    """A tracker whose store does not answer until `here` is set."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.here, self.asked = tracker, False, 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        if not self.here:
            raise ConnectionError("away")
        return getattr(self.tracker, name)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("genae_core.tracking.delivery.POLL_S", 0.01)
    monkeypatch.setattr("genae_core.tracking.delivery.PAUSES_S", (0.01, 0.05))
    yield


def test_the_last_try_is_when_the_patience_ends(tmp_path: Path) -> None:
    class Dead:
        def __getattr__(self, name: str) -> Any:
            tries.append(now[0])
            raise ConnectionError("away")

    tries: list[float] = []
    now = [0.0]
    dead: Any = Dead()
    full(tmp_path / "sweep" / "one")
    left = deliver_all(
        dead,
        tmp_path / "sweep",
        patience=60.0,
        say=lambda _: None,
        clock=lambda: now[0],
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
    )
    assert len(left) == 1 and tries[-1] == 60.0


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_sender_delivers_in_the_background(tracker: Tracker, tmp_path: Path) -> None:
    store: Any = Flaky(tracker)
    said: list[str] = []
    failed: list[None] = []
    sender = BackgroundSender(lambda: store, said.append, lambda: failed.append(None))
    journal = full(tmp_path / "behind")
    sender.add(journal.folder)
    assert not sender.flush([journal.folder], 0.5)
    threading.Timer(0.5, lambda: setattr(store, "here", True)).start()
    assert sender.flush([journal.folder], 60)  # a failure on the way does not end the wait
    assert stored(tracker, "behind")["status"] == "FINISHED"
    assert failed
    assert len(said) == 1 and "away" in said[0]


@pytest.mark.usefixtures("quick")
def test_a_trial_does_not_wait_for_a_store_that_never_answers(tmp_path: Path) -> None:
    def connect() -> Tracker:
        time.sleep(3600)
        raise AssertionError

    sender = BackgroundSender(connect)
    journal = full(tmp_path / "never")
    sender.add(journal.folder)
    began = time.monotonic()
    assert not sender.flush([journal.folder], 0.2)
    assert time.monotonic() - began < 10
    assert len(pending_events(journal.folder)) == 6


@pytest.mark.usefixtures("quick")
def test_the_sender_forgets_runs_that_have_ended(tracker: Tracker, tmp_path: Path) -> None:
    sender = BackgroundSender(lambda: tracker)
    for number in range(3):
        journal = full(tmp_path / f"run{number}")
        sender.add(journal.folder)
        assert sender.flush([journal.folder], 60)
    deadline = time.monotonic() + 10
    while sender.folders and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sender.folders == []
