"""--optuna-storage: the trials as a study for optuna-dashboard, and what it must not be."""

import contextlib
import math
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from contracts.databases import new_store
from optuna.trial import TrialState

from genae_core.sweep import study_copy
from genae_core.sweep.launcher import grid_searcher
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.reports import FAILED
from genae_core.sweep.study_copy import StudyCopy, open_copy
from genae_core.tracking.mlflow_store import StoreError, Tracker

AXES = {"family": ("vae", "aae"), "dim": (2, 4)}
GRID = [{"family": family, "dim": dim} for family in AXES["family"] for dim in AXES["dim"]]
DONE = {"finished": True, "training_iteration": 1}


@pytest.fixture
def place(tmp_path: Path) -> SweepPlace:
    tracker = Tracker.create(new_store(tmp_path), "study", tmp_path / "files")
    return SweepPlace("study", "s", tmp_path, tracker)


def options_for(folder: Path, **flags: Any) -> LaunchOptions:
    return LaunchOptions(name="s", optuna_storage=f"sqlite:///{folder}/optuna.db", **flags)


def stored_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials that optuna-dashboard would show."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db")
    try:
        return optuna.load_study(study_name="s", storage=storage).trials
    finally:
        storage.engine.dispose()


def shown(folder: Path) -> list[tuple[str, dict[str, Any], float | None]]:
    return [(trial.state.name, trial.params, trial.value) for trial in stored_trials(folder)]


def run_grid(copy: StudyCopy, results: list[Any]) -> None:
    """Run the cells of the grid, of which each has one of the results, or fails with an error."""
    searcher: Any = grid_searcher(GRID)
    searcher.copy = copy
    for number, result in enumerate(results):
        assert searcher.suggest(str(number)) == GRID[number]
        if isinstance(result, dict):
            searcher.on_trial_result(str(number), result)
            searcher.on_trial_complete(str(number), result)
        else:
            searcher.on_trial_complete(str(number), None, error=result == "died")
    copy.close()


def test_every_trial_that_ended_is_shown_with_how_it_ended(
    place: SweepPlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = open_copy(place, options_for(tmp_path))
    printed = capsys.readouterr().out
    assert f"optuna-dashboard sqlite:///{tmp_path}/optuna.db shows the study s" in printed
    stopped = {"fcd_val": 9.0, "finished": False, "training_iteration": 1}
    failed = {"fcd_val": math.inf, FAILED: "ValueError: no", "training_iteration": 1}
    run_grid(copy, [{"fcd_val": 3.5, **DONE}, stopped, failed, "died"])
    assert shown(tmp_path) == [
        ("COMPLETE", GRID[0], 3.5),
        ("PRUNED", GRID[1], None),
        ("FAIL", GRID[2], None),
        ("FAIL", GRID[3], None),
    ]
    trials = stored_trials(tmp_path)
    assert trials[1].intermediate_values == {1: 9.0}
    assert trials[2].user_attrs == {FAILED: "ValueError: no"}
    assert all(trial.datetime_start for trial in trials)


def test_a_resumed_sweep_adds_what_the_study_lacks_and_nothing_twice(
    place: SweepPlace, tmp_path: Path
) -> None:
    run_grid(open_copy(place, options_for(tmp_path)), [{"fcd_val": 3.5, **DONE}, None])
    again = options_for(tmp_path, resume=True)
    results = [{"fcd_val": 3.5 + number, **DONE} for number in range(4)]
    run_grid(open_copy(place, again), results)
    expected = [("COMPLETE", cell, 3.5 + number) for number, cell in enumerate(GRID)]
    assert shown(tmp_path) == expected


def test_what_a_search_knows_from_before_is_in_a_new_study(
    place: SweepPlace, tmp_path: Path
) -> None:
    searcher: Any = grid_searcher(GRID)
    known = optuna.trial.create_trial(
        params={"family": "vae"},
        distributions={"family": optuna.distributions.CategoricalDistribution(["vae", "aae"])},
        value=7.0,
    )
    searcher._ot_study.add_trial(known)
    searcher.copy = open_copy(place, options_for(tmp_path))
    searcher.suggest("0")
    searcher.copy.close()
    assert shown(tmp_path) == [("COMPLETE", {"family": "vae"}, 7.0)]


def test_the_study_of_somebody_else_is_left_alone(place: SweepPlace, tmp_path: Path) -> None:
    run_grid(open_copy(place, options_for(tmp_path)), [{"fcd_val": 3.5, **DONE}])
    reason = "has a study of this name already, which is not of this sweep"
    with pytest.raises(ValueError, match=reason):
        open_copy(place, options_for(tmp_path))  # a new sweep of this name
    (tmp_path / "other").mkdir()
    other = Tracker.create(new_store(tmp_path / "other"), "study", tmp_path / "files")
    with pytest.raises(ValueError, match=reason):
        open_copy(place._replace(tracker=other), options_for(tmp_path, resume=True))
    assert len(shown(tmp_path)) == 1


def test_a_database_that_fails_is_one_warning(
    place: SweepPlace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = open_copy(place, options_for(tmp_path))
    (tmp_path / "optuna.db").unlink()
    (tmp_path / "optuna.db").write_text("no database")
    run_grid(copy, [{"fcd_val": 3.5, **DONE}] * 3)
    printed = capsys.readouterr().out
    assert printed.count("warning: --optuna-storage") == 1 and "not a database" in printed
    slow = StudyCopy("postgresql+psycopg://me:hunter2@host/db", "s")
    monkeypatch.setattr(study_copy, "WAIT_S", 0.05)
    monkeypatch.setattr(StudyCopy, "_add", lambda *_: __import__("time").sleep(1))
    slow.add([])
    printed = capsys.readouterr().out
    assert "no answer within 0.05 s" in printed
    assert "postgresql+psycopg://me:***@host/db" in printed and "hunter2" not in printed


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://host:5000", "must be sqlite:///PATH"),
        ("optuna.db", "must be sqlite:///PATH"),
        ("redis://me:hunter2@host", r"optuna_storage='redis://me:\*\*\*@host'"),
        ("sqlite:///{folder}/no/optuna.db", "the folder does not exist"),
        ("sqlite:///{folder}/mlflow.db", "must be another database than --tracking-uri"),
        ("sqlite:///{folder}/other/mlflow.db", "holds the tables of MLflow"),
        ("sqlite:///{folder}/text", "file is not a database"),
        ("sqlite:///{folder}/other", "unable to open database file"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/db", "nothing answers at 127.0.0.1:1"),
        ("mysql+nodriver://me:hunter2@127.0.0.1:1/db", "driver of this kind of database is not"),
    ],
)
def test_what_optuna_cannot_write_is_refused_before_anything_runs(
    place: SweepPlace, tmp_path: Path, uri: str, reason: str
) -> None:
    (tmp_path / "other").mkdir()
    new_store(tmp_path / "other")
    (tmp_path / "text").write_text("no database, but more than sixteen bytes")
    options = LaunchOptions(name="s", optuna_storage=uri.format(folder=tmp_path))
    with pytest.raises((ValueError, StoreError), match=reason) as refused:
        open_copy(place, options)
    assert "hunter2" not in str(refused.value) and "\n" not in str(refused.value)


def test_mlflow_and_optuna_would_break_each_other_in_one_database(tmp_path: Path) -> None:
    """Both keep the version of their tables in the table alembic_version."""
    new_store(tmp_path)
    optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db").engine.dispose()
    for name in ("optuna.db", "mlflow.db"):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as connection:
            assert len(connection.execute("select * from alembic_version").fetchall()) == 1


def test_what_tune_writes_to_disk_holds_no_password() -> None:
    searcher: Any = grid_searcher(GRID)
    searcher.copy = StudyCopy("postgresql+psycopg://me:hunter2@host/db", "s")
    assert b"hunter2" not in pickle.dumps(searcher.copy)


def test_the_state_of_a_trial_is_that_of_its_result() -> None:
    trial = optuna.trial.create_trial(value=2.0, params={}, distributions={})
    assert study_copy._for_people(trial, {}).state == TrialState.FAIL
    assert study_copy._for_people(trial, DONE).value == 2.0
