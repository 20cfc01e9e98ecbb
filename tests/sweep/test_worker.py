"""A cell's seeds in one trial, trained in turn or as one stacked model."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
from contracts.databases import new_store
from contracts.sweeps import make_sweep

from genae_core.experiment.experiment import resolve
from genae_core.metrics.classifier import Classifier
from genae_core.sweep import worker
from genae_core.sweep.cells import ONE_SEED, cell_key
from genae_core.sweep.driver import stored_curves
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.reports import CURVE
from genae_core.sweep.runs import Sweep, run_key
from genae_core.sweep.worker import run_cell
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import StoredRun, Tracker
from genae_core.training import stacked
from genae_core.training.curve import NonFiniteLossError
from genae_core.training.vmapped_loss import StackingError

pytestmark = pytest.mark.slow

PARAMS = {"family": "vae", "latent_dim": 2}
SEEDS = (4, 0, 2)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return tiny.classifier(tiny.splits())


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    folder = tmp_path_factory.mktemp("store")
    return Tracker.create(new_store(folder), "study", folder / "artifacts")


def sweep(name: str, tracker: Tracker, folder: Path, together: bool, **more: Any) -> Sweep:
    cells = {cell_key(PARAMS): resolve(tiny.experiment(), tiny.splits())}
    tags = {"study": "study", "dataset": "digits"}
    return make_sweep(
        tracker, folder, cells, name, tags, seeds=SEEDS, stack_seeds=together, **more
    )


def ran(tracker: Tracker, name: str) -> dict[tuple[str, str], StoredRun]:
    """By seed and chain; each once."""
    curves = tracker.read_runs(name)
    found = {(run.tags["seed"], run.tags["chain"]): run for run in curves}
    assert len(found) == len(curves)
    return found


def test_seeds_trained_as_one_are_logged_as_those_trained_in_turn(
    tracker: Tracker, classifier: Classifier, tmp_path: Path
) -> None:
    reports: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    warnings: list[str] = []
    for together in (False, True):
        name = "together" if together else "in-turn"
        given = sweep(name, tracker, tmp_path / name, together, rungs=(0.4,))
        heard = reports[together].append
        run_cell(PARAMS, given, tiny.splits(), classifier, heard, warnings.append)
        assert not (tmp_path / name / "states").exists()  # all is logged: none is needed
    assert warnings == []
    alone, together = ran(tracker, "in-turn"), ran(tracker, "together")
    assert len(alone) == 2 * len(SEEDS) and alone.keys() == together.keys()
    for key, run in alone.items():
        other = together[key]
        assert run.status == other.status == "FINISHED"
        assert run.params == other.params
        for metric, curve in run.chain.items():
            assert other.chain[metric] == pytest.approx(curve, rel=1e-2)
    assert {run.tags["seeds_stacked"] for run in together.values()} == {"yes"}
    assert not any("seeds_stacked" in run.tags for run in alone.values())
    last, same = (reports[together][-1] for together in (False, True))
    assert last["finished"] and last["fcd_val"] == pytest.approx(same["fcd_val"], rel=1e-2)
    # Half of all steps: of one seed in turn, of each at once.
    assert [len(reports[together]) for together in (False, True)] == [2, 2]
    assert reports[True][0]["percent"] == 50


def test_a_trial_of_one_seed_reports_its_curve_and_whoever_has_lost_it_finds_it_in_the_store(
    tracker: Tracker, classifier: Classifier, tmp_path: Path
) -> None:
    """The first chain's, also from the record of a run that had finished."""
    about = sweep("one-seed", tracker, tmp_path, False)
    params = {**PARAMS, ONE_SEED: 7}
    reports: list[dict[str, Any]] = []
    for _ in range(2):
        run_cell(params, about, tiny.splits(), classifier, reports.append)
    first, again = reports
    assert again["fcd_val"] == first["fcd_val"] and again[CURVE] == first[CURVE]
    place = SweepPlace("study", "one-seed", tmp_path, tracker)
    key = cell_key(PARAMS)
    curves = stored_curves(place)
    assert list(curves) == [(key, 7)] and curves[key, 7] == pytest.approx(first[CURVE])
    assert len(first[CURVE]) == len(about.cells[key].chains[0].record)
    elsewhere = dataclasses.replace(about, journals=str(tmp_path / "another node"))
    known = dataclasses.replace(elsewhere, finished=tracker.finished_fcds("one-seed"))
    run_cell(params, known, tiny.splits(), classifier, reports.append)
    assert reports[-1]["fcd_val"] == pytest.approx(first["fcd_val"]) and CURVE not in reports[-1]


def test_a_trial_that_is_stopped_while_its_seeds_are_one_ends_the_runs_of_all(
    tracker: Tracker, classifier: Classifier, tmp_path: Path
) -> None:
    def stop(_: dict[str, Any]) -> None:
        raise SystemExit

    given = sweep("stopped", tracker, tmp_path, together=True, rungs=(0.4,))
    with pytest.raises(SystemExit):
        run_cell(PARAMS, given, tiny.splits(), classifier, stop)
    worker.sender_to(tracker.uri, tracker.experiment_id).flush(
        [path for path in (tmp_path / "journals").iterdir()], 60
    )
    assert {run.status for run in ran(tracker, "stopped").values()} == {"KILLED"}


def test_a_seed_that_fails_ends_the_others_runs_too(
    tracker: Tracker, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker.run_trial

    def fails(experiment: Any, *given: Any, **options: Any) -> Any:
        if experiment.seed == SEEDS[1]:
            raise NonFiniteLossError("it diverged")
        return real(experiment, *given, **options)

    monkeypatch.setattr(worker, "run_trial", fails)
    given = sweep("one-fails", tracker, tmp_path, together=True)
    with pytest.raises(NonFiniteLossError):
        run_cell(PARAMS, given, tiny.splits(), classifier, lambda _: None)
    status = {seed: run.status for (seed, _), run in ran(tracker, "one-fails").items()}
    assert status == {"4": "FINISHED", "0": "FAILED", "2": "FAILED"}
    monkeypatch.undo()
    warnings: list[str] = []
    run_cell(PARAMS, given, tiny.splits(), classifier, lambda _: None, warnings.append)
    assert {run.status for run in ran(tracker, "one-fails").values()} == {"FINISHED"}
    # The first is not run again; the third goes on from where it was trained to.
    assert any("one after the other: all snapshots must be of one step" in w for w in warnings)
    assert any(w.startswith("the training of seed 2 was interrupted") for w in warnings)


def test_runs_of_seeds_trained_together_each_took_their_part(
    tracker: Tracker, classifier: Classifier, tmp_path: Path
) -> None:
    given = sweep("parts", tracker, tmp_path, together=True)
    began = time.monotonic()
    run_cell(PARAMS, given, tiny.splits(), classifier, lambda _: None)
    took = time.monotonic() - began
    parts = tracker.run_seconds(sweep="parts", stage="model")
    assert len(parts) == len(SEEDS) and 0 < sum(parts) <= took


def test_where_it_cannot_be_they_are_trained_in_turn_and_it_is_said(
    tracker: Tracker, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError("too much for this GPU")

    monkeypatch.setattr(worker, "fit_together", full)
    warnings: list[str] = []
    given = sweep("full", tracker, tmp_path, together=True)
    run_cell(PARAMS, given, tiny.splits(), classifier, lambda _: None, warnings.append)
    assert warnings == [
        "from here the seeds are trained one after the other: too much for this GPU"
    ]
    assert {run.status for run in ran(tracker, "full").values()} == {"FINISHED"}


def test_seeds_that_cannot_be_stacked_are_not_tagged_as_stacked(
    tracker: Tracker, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sessions: Any) -> None:
        raise StackingError("its loss decides by the values of its tensors")

    monkeypatch.setattr(stacked, "Stack", refuse)
    warnings: list[str] = []
    spec = sweep("unstackable", tracker, tmp_path, together=True)
    run_cell(PARAMS, spec, tiny.splits(), classifier, lambda _: None, warnings.append)
    assert warnings == [
        "in the stage autoencoder the seeds were not one stacked model, but took their steps in "
        "turn: its loss decides by the values of its tensors"
    ]
    runs = ran(tracker, "unstackable").values()
    assert {run.status for run in runs} == {"FINISHED"}
    assert {run.tags["seeds_stacked"] for run in runs} == {"no"}


@pytest.mark.parametrize("together", [False, True])
def test_a_state_that_cannot_be_used_is_said_where_the_trial_is_heard(
    tracker: Tracker, classifier: Classifier, tmp_path: Path, together: bool
) -> None:
    given = sweep(f"torn-{together}", tracker, tmp_path, together)
    experiment = dataclasses.replace(given.cells[cell_key(PARAMS)], seed=SEEDS[0])
    key = run_key(given.name, experiment, experiment.chains[0])
    torn = tmp_path / "states" / key / "state-000003"
    torn.mkdir(parents=True)
    warnings: list[str] = []
    run_cell(PARAMS, given, tiny.splits(), classifier, lambda _: None, warnings.append)
    assert any("state-000003 cannot be used" in warning for warning in warnings)
