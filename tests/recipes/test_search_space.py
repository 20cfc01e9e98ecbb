"""What a search knows before its first trial."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from contracts.databases import new_store

from genae_core.data import sealed
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.search_space import search_experiment, suggest_cell, usual_cell
from genae_core.sweep import optuna_search, spent_time, sweep_folder
from genae_core.sweep.cells import cell_key
from genae_core.tracking.mlflow_store import Tracker


def test_the_usual_cell_of_a_family_is_what_the_studies_train() -> None:
    options = StudyOptions()
    vae = usual_cell(options, "vae", 10)
    assert vae == {
        "family": "vae",
        "latent_dim": 10,
        "learning_rate": 1e-3,
        "prior of a KL": "normal",
        "beta": 1.0,
    }
    daae = usual_cell(options, "daae", 5)
    assert daae["noise"] == 0.5 and daae["prior of samples"] == "normal"
    assert usual_cell(options, "flow_ae", 5).keys() == {"family", "latent_dim", "learning_rate"}
    assert search_experiment(options, vae).model.latent_dim == 10


def planner(monkeypatch: pytest.MonkeyPatch, options: StudyOptions) -> Callable[..., Any]:
    """The plan of search() with some settings; no trial is started."""
    plans: list[Any] = []
    decided = dataclasses.replace(options, resume=bool(options.resume))
    monkeypatch.setattr(
        optuna_search, "run_sweep", lambda study, plan, *_: plans.append(plan(decided)) or 0
    )

    def planned(known: Any = (), **settings: Any) -> Any:
        space = optuna_search.SearchSpace(
            first=usual_cell(options, "vae", 10),
            suggest=lambda trial: suggest_cell(options, trial),
            experiment=lambda params: search_experiment(options, params),
            known=known,
        )
        optuna_search.search("search", space, options, 1.0, **settings)
        return plans[-1]

    return planned


def test_tpe_learns_from_the_cells_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are finished trials of its study, under the distributions of the space itself; what it
    proposes then is near the good ones more often than where nothing is known."""
    options = StudyOptions(families=("vae", "ex_post_ae"))
    known = [(usual_cell(options, "vae", 10 + k), 100.0 + k) for k in range(10)] + [
        (usual_cell(options, "ex_post_ae", 10 + k), 10.0 + k) for k in range(5)
    ]
    planned = planner(monkeypatch, options)
    informed = planned(known=known).searcher()
    trials = informed._ot_study.trials
    assert [trial.value for trial in trials] == [value for _, value in known]
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)
    assert [trial.params for trial in trials] == [params for params, _ in known]
    proposed = [informed.suggest(str(number))["family"] for number in range(20)]
    assert proposed.count("ex_post_ae") > 14
    blind = planned(known=()).searcher()
    first = blind.suggest("0")
    assert (first["family"], first["latent_dim"]) == ("vae", 10)


def test_a_search_that_is_resumed_knows_what_it_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    options = StudyOptions(families=("vae",), seeds=(0, 1), name="s", resume=True)
    tracker = Tracker.create(new_store(tmp_path), "search", tmp_path / "artifacts")

    def logged(params: dict[str, Any], seed: int, status: str, value: float = 9.0) -> None:
        tags = {"sweep": "s", "cell": cell_key(params), "seed": str(seed)}
        run = tracker.start(f"{cell_key(params)} {seed}", "a run", tags, {}, 0)
        tracker.log_metrics(run, [("fcd_val_best", value, 0)])
        tracker.finish(run.run_id, status)

    done, cut_off, failed, stopped = (usual_cell(options, "vae", 10 + k) for k in range(4))
    logged(done, 0, "FINISHED", 40.0)
    logged(done, 1, "FINISHED", 60.0)
    logged(cut_off, 0, "FINISHED")
    logged(cut_off, 1, "KILLED")
    logged(failed, 0, "FAILED")
    logged(stopped, 0, "KILLED")
    folder = sweep_folder.folder_of("s", options)
    folder.mkdir(parents=True)
    sweep_folder.note_stopped(folder, {**stopped, "experiment": "{}"})
    assert sweep_folder.earlier_trials("search", options) == ([(done, 50.0)], [cut_off], 2)

    planned = planner(monkeypatch, options)
    plan = planned(trials=5)
    assert plan.max_trials == 2
    searcher = plan.searcher()
    assert [t.value for t in searcher._ot_study.trials if t.state.name == "COMPLETE"] == [50]
    first = searcher.suggest("0")
    assert first["latent_dim"] == cut_off["latent_dim"]
    with pytest.raises(ValueError, match="has already run all its trials"):
        planned(trials=3)

    # A batch system repeats the command until it succeeds, so that it is only concluded.
    automatic = planner(monkeypatch, dataclasses.replace(options, resume="auto"))
    assert automatic(trials=3).max_trials == 0
    assert automatic(trials=5)[3:5] == (2, 60.0)
    sealed.write(folder / spent_time.FILE, {"seconds": 45.0})
    assert automatic(trials=5)[3:5] == (2, 15.0)
    again = planner(monkeypatch, options)  # --resume alone has its full minutes again
    assert again(trials=5)[3:5] == (2, 60.0)
    sealed.write(folder / spent_time.FILE, {"seconds": 61.0})
    assert planner(monkeypatch, dataclasses.replace(options, resume="auto"))().max_trials == 0
