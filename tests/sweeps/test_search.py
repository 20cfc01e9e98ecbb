"""What a search knows before its first trial."""

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sweeps"))

import search  # noqa: E402

from genae_core import launch  # noqa: E402


def test_the_usual_cell_of_a_family_is_what_the_studies_train() -> None:
    options = search.Options()
    vae = search.usual(options, "vae", 10)
    assert vae == {
        "family": "vae",
        "latent_dim": 10,
        "learning_rate": 1e-3,
        "prior of a KL": "normal",
        "beta": 1.0,
    }
    daae = search.usual(options, "daae", 5)
    assert daae["noise"] == 0.5 and daae["prior of samples"] == "normal"
    assert search.usual(options, "flow_ae", 5).keys() == {"family", "latent_dim", "learning_rate"}
    assert search.cell_of(options, vae).model.latent_dim == 10


def test_tpe_learns_from_the_cells_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are finished trials of its study, under the distributions of the space itself; what it
    proposes then is near the good ones more often than where nothing is known."""
    options = search.Options(families=("vae", "ex_post_ae"))
    known = [(search.usual(options, "vae", 10 + k), 100.0 + k) for k in range(10)] + [
        (search.usual(options, "ex_post_ae", 10 + k), 10.0 + k) for k in range(5)
    ]
    plans: list[Any] = []
    monkeypatch.setattr(launch, "_launch", lambda study, plan, *_: plans.append(plan()) or 0)

    def searcher(known: Any) -> Any:
        launch.search(
            "search",
            search.usual(options, "vae", 10),
            lambda trial: search.suggest(options, trial),
            lambda params: search.cell_of(options, params),
            options,
            1.0,
            known=known,
        )
        return plans[-1].searcher

    informed = searcher(known)
    trials = informed._ot_study.trials
    assert [trial.value for trial in trials] == [value for _, value in known]
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)
    assert [trial.params for trial in trials] == [params for params, _ in known]
    proposed = [informed.suggest(str(number))["family"] for number in range(20)]
    assert proposed.count("ex_post_ae") > 14
    blind = searcher(())
    first = blind.suggest("0")
    assert (first["family"], first["latent_dim"]) == ("vae", 10)
