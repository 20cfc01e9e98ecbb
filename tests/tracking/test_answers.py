"""Whatever a tracking server answers, no run is lost, nothing hangs, and the delivery ends."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.mlflow_app import PASSWORD, USER, Gate, serve

from genae_core.tracking.delivery import deliver, deliver_all
from genae_core.tracking.journal import Journal, pending_events
from genae_core.tracking.mlflow_store import Tracker
from genae_core.tracking.store_errors import StoreError
from genae_core.tracking.store_uri import resolve_uri

BROKEN = ("503", "429", "{}", "half", "nothing")
PATIENCE_S = 2.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, str]]:
    with serve(tmp_path_factory.mktemp("server")) as (gate, uri):
        yield gate, uri


@pytest.fixture
def gate(served: tuple[Gate, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    gate = served[0]
    yield gate
    gate.mode, gate.only, gate.login = "pass", lambda path: True, False


@pytest.fixture
def tracker(served: tuple[Gate, str], tmp_path: Path) -> Tracker:
    return Tracker.create(served[1], "study", tmp_path)


def write_run(folder: Path) -> Journal:
    journal = Journal(folder)
    journal.start("a run", {"sweep": "s"}, {"seed": 0})
    journal.log_text("{}", "experiment.json")
    journal.log_metrics([("chain/fcd", 5.0, 0), ("chain/fcd", 4.0, 2)])
    journal.log_images([np.zeros((4, 4, 3), np.uint8)], [0])
    journal.set_tags({"seeds_stacked": "no"})
    journal.finish()
    return journal


def check_run(tracker: Tracker, key: str) -> None:
    """Check that the store holds one run with this key, and everything of it."""
    (run,) = tracker.find(key=key)
    assert run.info.status == "FINISHED" and run.data.params == {"seed": "0"}
    assert run.data.tags["seeds_stacked"] == "no"
    history = tracker.client.get_metric_history(run.info.run_id, "chain/fcd")
    assert sorted((metric.step, metric.value) for metric in history) == [(0, 5.0), (2, 4.0)]
    files = {file.path for file in tracker.client.list_artifacts(run.info.run_id)}
    assert files == {"experiment.json", "images"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", BROKEN)
def test_a_server_that_answers_wrongly_loses_nothing_and_is_given_up_in_time(
    gate: Gate, tracker: Tracker, tmp_path: Path, mode: str
) -> None:
    journal = write_run(tmp_path / "journals" / f"wrong {mode.strip('{}')}")
    gate.mode = mode
    began = time.monotonic()
    undelivered = deliver_all(tracker, tmp_path / "journals", PATIENCE_S, lambda text: None)
    assert time.monotonic() - began < PATIENCE_S + 3
    assert list(undelivered) == [journal.folder]
    assert len(pending_events(journal.folder)) == 6
    gate.mode = "pass"
    assert deliver_all(tracker, tmp_path / "journals", 60, lambda text: None) == {}
    check_run(tracker, journal.folder.name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["{}", "half"])
@pytest.mark.parametrize(
    "call",
    ["runs/create", "runs/search", "runs/log-batch", "runs/set-tag", "runs/update", "artifacts/"],
)
def test_one_call_that_is_answered_without_being_done_is_repeated(
    gate: Gate, tracker: Tracker, tmp_path: Path, mode: str, call: str
) -> None:
    """The first such call only, whatever it is: an answer of success is not believed."""
    name = f"{call.replace('/', '-')}{len(mode)}"
    journal = write_run(tmp_path / "journals" / name)
    broken: list[str] = []

    def only(path: str) -> bool:
        first = call in path and not broken
        broken.extend([path] * first)
        return first

    gate.mode, gate.only = mode, only
    assert deliver_all(tracker, tmp_path / "journals", 20, lambda text: None, sleep=_brief) == {}
    assert broken
    gate.mode = "pass"
    tracker.close_sweep("s")
    check_run(tracker, journal.folder.name)


def _brief(seconds: float) -> None:
    time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("mode", BROKEN)
def test_a_store_is_not_opened_at_such_a_server(
    gate: Gate, served: tuple[Gate, str], tmp_path: Path, mode: str
) -> None:
    gate.mode = mode
    began = time.monotonic()
    with pytest.raises(StoreError, match="the tracking store http://127.0.0.1") as caught:
        Tracker.create(resolve_uri(served[1]), "study", tmp_path)
    assert time.monotonic() - began < 8
    assert len(str(caught.value).splitlines()) == 1


def test_a_user_and_a_password_in_the_address_work(
    gate: Gate,
    served: tuple[Gate, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gate.login = True
    host = served[1].removeprefix("http://")
    tracker = Tracker.create(
        resolve_uri(f"http://{USER}:{PASSWORD}@{host}"), "with a login", tmp_path
    )
    journal = write_run(tmp_path / "login")
    assert deliver(tracker, journal.folder)
    check_run(tracker, "login")
    (run,) = tracker.find(key="login")
    text = tracker.fetch(run.info.run_id, "experiment.json", tmp_path).read_text()
    assert text == "{}"
    printed = capfd.readouterr()
    assert PASSWORD not in printed.out + printed.err  # MLflow prints links at the end of a run
    for wrong in (served[1], f"http://{USER}:wrong!@{host}"):
        with pytest.raises(StoreError, match="refuses the user or the password") as caught:
            Tracker.create(resolve_uri(wrong), "with a login", tmp_path)
        assert "wrong!" not in str(caught.value)


def test_a_run_is_found_without_what_the_journal_remembers(
    gate: Gate, tracker: Tracker, tmp_path: Path
) -> None:
    """Earlier versions kept the run's id in run.json, which could be missing or wrong."""
    for name, content in (("missing", None), ("wrong", '["0123", 5]'), ("empty", "")):
        journal = Journal(tmp_path / name)
        journal.start("a run", {"sweep": "s"}, {})
        deliver(tracker, journal.folder)
        if content is not None:
            (journal.folder / "run.json").write_text(content)
        (journal.folder / "start.json").unlink()
        journal.log_metrics([("fcd", 3.0, 0)])
        journal.finish()
        assert deliver(tracker, journal.folder)
        (run,) = tracker.find(key=name)
        assert run.info.status == "FINISHED" and run.data.metrics == {"fcd": 3.0}


def test_a_run_that_is_started_again_after_it_was_deleted_gets_what_waits(
    gate: Gate, tracker: Tracker, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "again")
    journal.start("a run", {"sweep": "s"}, {"seed": 1})
    deliver(tracker, journal.folder)
    (run,) = tracker.find(key="again")
    tracker.client.delete_run(run.info.run_id)
    journal.finish("KILLED", "interrupted")
    journal.start("a run", {"sweep": "s"}, {"seed": 1})
    journal.finish()
    assert deliver(tracker, journal.folder)
    (new,) = tracker.find(key="again")
    assert new.info.run_id != run.info.run_id and new.info.status == "FINISHED"
    assert new.data.params == {"seed": "1"} and "error" not in new.data.tags


def test_a_param_that_differs_keeps_its_first_value(
    gate: Gate, tracker: Tracker, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "params")
    journal.start("a run", {"sweep": "s"}, {"root": "data"})
    journal.start("a run", {"sweep": "s"}, {"root": "/home/me/data", "seed": 0})
    assert not deliver(tracker, journal.folder)
    (run,) = tracker.find(key="params")
    assert run.data.params == {"root": "data", "seed": "0"}


def test_start_is_kept_for_a_run_that_must_be_made_again(
    gate: Gate, tracker: Tracker, tmp_path: Path
) -> None:
    journal = write_run(tmp_path / "kept")
    fields: dict[str, Any] = {"name": "a run", "tags": {"sweep": "s"}, "params": {"seed": "0"}}
    shutil.rmtree(journal.folder / "000006")
    deliver(tracker, journal.folder)
    kept = json.loads((journal.folder / "start.json").read_text())
    assert {name: kept[name] for name in fields} == fields
