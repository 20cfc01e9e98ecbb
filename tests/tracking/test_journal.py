"""Logged events are on disk, whole and in order, before any store has them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from genae_core.experiment.experiment import resolve
from genae_core.experiment.recording import record_chain, record_training
from genae_core.experiment.trial import run_trial
from genae_core.testing import tiny
from genae_core.tracking.journal import (
    EVENT_FILE,
    IMAGE_FILE,
    Journal,
    pending_events,
    pending_journals,
    read_events,
)


def test_events_are_read_back_in_order_with_their_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "key")
    journal.start("a run", {"sweep": "s"}, {"lr": 1e-3})
    journal.log_metrics([("train/loss", 0.5, 1), ("train/loss", math.inf, 2)])
    journal.log_images([np.full((4, 6, 3), 7, np.uint8)], [5])
    journal.log_text("{}", "experiment.json")
    journal.finish("FAILED", "it broke")
    logged = read_events(tmp_path / "key")
    assert [event.kind for event in logged] == ["start", "metrics", "images", "files", "finish"]
    assert logged[0].fields["params"] == {"lr": "0.001"}
    assert logged[1].fields["rows"] == [["train/loss", 0.5, 1], ["train/loss", math.inf, 2]]
    picture = np.load(logged[2].folder / IMAGE_FILE, allow_pickle=False)
    assert np.array_equal(picture, np.full((1, 4, 6, 3), 7, np.uint8))
    assert logged[2].fields == {"steps": [5]}
    assert (logged[3].folder / "files" / "experiment.json").read_text() == "{}"
    assert logged[4].fields.items() >= {"status": "FAILED", "reason": "it broke"}.items()
    assert logged[0].fields["time"] <= logged[4].fields["time"]


def test_an_interrupted_event_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "key")
    with pytest.raises(OSError, match="disk"), journal.files() as folder:
        (folder / "weights").write_text("half of it")
        raise OSError("the disk is full")
    assert list((tmp_path / "key").iterdir()) == []
    (tmp_path / "key" / ".event-of-a-killed-process").mkdir()
    assert read_events(tmp_path / "key") == []


def test_new_events_follow_those_that_wait(tmp_path: Path) -> None:
    Journal(tmp_path / "key").finish("KILLED")
    again = Journal(tmp_path / "key")
    again.finish()
    assert [e.fields["status"] for e in read_events(tmp_path / "key")] == ["KILLED", "FINISHED"]


def test_a_changed_event_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "key").finish()
    (event,) = pending_events(tmp_path / "key")
    (event / EVENT_FILE).write_text('["not", "an event"]')
    with pytest.raises(ValueError, match="000001 is not an event"):
        read_events(tmp_path / "key")


def test_a_finished_run_is_known_without_the_store(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "key")
    assert journal.done() is None
    journal.mark_done(12.5)
    assert Journal(tmp_path / "key").done() == 12.5
    (tmp_path / "key" / "done.json").write_text("{")
    assert journal.done() is None


def test_pending_journals_are_those_with_events(tmp_path: Path) -> None:
    assert pending_journals(tmp_path / "nowhere") == []
    Journal(tmp_path / "empty")
    Journal(tmp_path / "full").finish()
    assert pending_journals(tmp_path) == [tmp_path / "full"]


def test_a_trial_is_recorded_whole(tmp_path: Path) -> None:
    splits = tiny.splits()
    experiment = resolve(tiny.experiment(), splits)
    result = run_trial(experiment, splits, tiny.classifier(splits))
    journal = Journal(tmp_path / "key")
    record_training(journal, result.training.history)
    chain = result.chains[0]
    record_chain(journal, chain, 12.5)
    training, metrics, images, files = read_events(tmp_path / "key")
    names = {name for name, _, _ in training.fields["rows"]}
    assert names == {f"train/{name}" for name in result.training.history[0][1]}
    rows = {(name, step): value for name, value, step in metrics.fields["rows"]}
    for step, value in zip(chain.config.record, chain.fcd, strict=True):
        assert rows["chain/fcd", step] == value
    assert rows["fcd_best", 0] == chain.summary()["fcd_best"]
    assert rows["training_seconds", 0] == 12.5
    assert rows["evaluation_seconds", 0] == chain.seconds > 0
    assert all(math.isfinite(value) for value in rows.values())
    assert images.fields["steps"] == list(chain.config.record)
    assert len(np.load(images.folder / IMAGE_FILE)) == len(chain.grids)
    curve = json.loads((files.folder / "files" / "curve.json").read_text())
    assert curve["fcd_val"] == pytest.approx(chain.fcd_val)
    assert (files.folder / "files" / "strip.png").exists()
