"""The tables that compare neighbouring values of an axis over the same seeds."""

import json
import math
from typing import Any

import pytest

from genae_core.models.began import BEGANConfig
from genae_core.recipes.comparison_tables import comparison_experiment, comparison_rows
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.samplers.ancestral import Ancestral
from genae_core.tracking.mlflow_store import StoredRun


def _run(cell: dict[str, Any], seed: int, status: str = "FINISHED", **at_0: float) -> StoredRun:
    tags = {"cell": json.dumps(cell), "seed": str(seed)}
    return StoredRun("id", status, tags, {}, {}, {name: {0: v} for name, v in at_0.items()})


def test_differences_are_paired_over_the_seeds() -> None:
    """Recalls differ by 0.1 between seeds, and by 4, 5 and 6 percent between the two gammas.

    So the half width of the difference is t(0.975; 2) / sqrt(3) = 2.484, whatever the seeds do.
    """
    runs = [
        _run({"gamma": gamma}, seed, recall=0.1 * seed + extra, precision=0.5)
        for gamma, extras in ((0.3, (0.0, 0.0, 0.0)), (0.5, (0.04, 0.05, 0.06)))
        for seed, extra in enumerate(extras)
    ]
    rows = {row.name: row for row in comparison_rows("began_gamma", runs)}
    difference = rows["recall, %: gamma 0.5 - 0.3"]
    assert difference.low is not None and difference.n == 3
    assert difference.mean == pytest.approx(5)
    assert difference.mean - difference.low == pytest.approx(4.302653 / math.sqrt(3))
    assert rows["recall, %: gamma 0.3"].mean == pytest.approx(10)
    assert rows["precision, %: gamma 0.5 - 0.3"].mean == 0
    assert not any("0.7" in name for name in rows)  # it has no run


def test_a_difference_takes_the_seeds_that_both_have() -> None:
    runs = [
        _run({"family": "vae"}, 0, fcd=300.0),
        _run({"family": "vae"}, 1, fcd=100.0),
        _run({"family": "wae_mmd"}, 1, fcd=90.0),
        _run({"family": "wae_mmd"}, 0, "FAILED"),
    ]
    rows = {row.name: (row.mean, row.n) for row in comparison_rows("wae", runs)}
    assert rows == {
        "FCD: vae": (200, 2),
        "FCD: wae_mmd": (90, 1),
        "FCD: wae_mmd - vae": (-10, 1),
    }


def test_the_experiments_differ_in_the_axis_alone() -> None:
    study = StudyOptions(smoke=True)
    chain = dataset_recipe(study).chain(sampler=Ancestral(), record=(0,))
    models = [
        comparison_experiment(study, "began_gamma", {"gamma": gamma}, chain).model
        for gamma in (0.3, 0.7)
    ]
    assert [type(model) for model in models] == [BEGANConfig, BEGANConfig]
    assert [getattr(model, "gamma", None) for model in models] == [0.3, 0.7]
    wae = comparison_experiment(study, "wae", {"family": "wae_gan"}, chain)
    assert wae.model.latent_dim == 8  # images of one channel
