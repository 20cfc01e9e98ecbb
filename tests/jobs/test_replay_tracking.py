"""A journal that cannot be delivered has a way out, which its error names."""

import json
from functools import partial
from pathlib import Path

import pytest
import replay_tracking
from contracts.databases import new_store

from genae_core.tracking.delivery import DeliveryError, deliver, deliver_all
from genae_core.tracking.journal import EVENT_FILE, Journal, pending_events
from genae_core.tracking.mlflow_store import Tracker

MANIFEST = {"study": "study", "seeds": [0], "cells": {}}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Tracker]:
    """The folder of a sweep without journals, and its store."""
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    now = [0.0]  # passes only while the job sleeps
    in_no_time = partial(
        deliver_all,
        clock=lambda: now[0],
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
    )
    monkeypatch.setattr("genae_core.tracking.deliver_all", in_no_time)
    uri = new_store(tmp_path)
    folder = tmp_path / "home" / "sweeps" / "s"
    (folder / "journals").mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({**MANIFEST, "tracking_uri": uri}))
    return folder, Tracker.create(uri, "study", tmp_path / "artifacts")


def start(folder: Path, tracker: Tracker, key: str = "key") -> Journal:
    """A journal whose start is delivered, and in which the end waits."""
    journal = Journal(folder / "journals" / key)
    journal.start("a run", {"sweep": "s"}, {"seed": 0})
    deliver(tracker, journal.folder)
    journal.log_metrics([("fcd", 2.0, 0)])
    journal.finish()
    return journal


def replay(folder: Path, **flags: object) -> int:
    return replay_tracking.main(replay_tracking.Options(folder, **flags))  # type: ignore[arg-type]


def check_delivered(tracker: Tracker, run_id: str | None = None) -> None:
    (run,) = tracker.find(key="key")
    assert run_id in (None, run.info.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "a run"
    assert run.data.params == {"seed": "0"} and run.data.metrics == {"fcd": 2.0}


@pytest.mark.slow
@pytest.mark.parametrize("forever", [False, True])
def test_a_run_that_was_deleted(
    sweep: tuple[Path, Tracker],
    forever: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, tracker = sweep
    journal = start(folder, tracker)
    run_id = tracker.started("key").run_id
    tracker.client.delete_run(run_id)
    if forever:  # as after `mlflow gc`
        monkeypatch.setattr(Tracker, "_deleted", lambda self, key: [])
    with pytest.raises(DeliveryError, match="--missing-runs recreate"):
        deliver(tracker, journal.folder)
    assert replay(folder) == 1
    assert "--missing-runs recreate" in capsys.readouterr().out
    assert len(pending_events(journal.folder)) == 2
    assert replay(folder, missing_runs="recreate") == 0
    check_delivered(tracker, None if forever else run_id)


def test_what_waits_for_a_deleted_run_can_be_discarded(sweep: tuple[Path, Tracker]) -> None:
    folder, tracker = sweep
    journal = start(folder, tracker)
    start(folder, tracker, "other")
    tracker.client.delete_run(tracker.started("key").run_id)
    assert replay(folder, missing_runs="discard") == 0
    assert not journal.folder.exists()
    (other,) = tracker.find(key="other")
    assert other.info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"kind": "dance"}', '{"kind": "metrics"}', None, "folder"]
)
def test_a_damaged_event_is_set_aside(
    sweep: tuple[Path, Tracker], damage: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, tracker = sweep
    journal = start(folder, tracker)
    journal.set_tags({"late": "yes"})
    event = sorted(pending_events(journal.folder))[1]
    (event / EVENT_FILE).unlink()
    if damage == "folder":
        (event / EVENT_FILE).mkdir()
    elif damage is not None:
        (event / EVENT_FILE).write_text(damage)
    assert replay(folder) == 1
    assert "--set-aside" in capsys.readouterr().out
    assert replay(folder, set_aside=True) == 0
    (run,) = tracker.find(key="key")
    assert run.data.metrics == {"fcd": 2.0} and run.data.tags["late"] == "yes"
    (aside,) = (journal.folder / "set-aside").iterdir()
    assert aside.name.endswith(event.name)


def test_an_event_that_the_store_refuses_is_set_aside(
    sweep: tuple[Path, Tracker], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, tracker = sweep
    journal = Journal(folder / "journals" / "key")
    journal.start("a run", {"sweep": "s"}, {"seed": 0})
    journal.log_metrics([("no name for MLflow: \n$%", 1.0, 0)])
    journal.log_metrics([("fcd", 2.0, 0)])
    journal.finish()
    assert replay(folder) == 1
    assert "--set-aside" in capsys.readouterr().out
    assert replay(folder, set_aside=True) == 0
    check_delivered(tracker)


def test_a_store_with_a_password_must_be_named_again(sweep: tuple[Path, Tracker]) -> None:
    folder, _ = sweep
    about = {**MANIFEST, "tracking_uri": "http://me:***@host"}
    (folder / "sweep.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="give its whole address with --tracking-uri"):
        replay(folder)
