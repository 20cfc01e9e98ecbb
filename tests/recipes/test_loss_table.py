"""Whether a loss follows the FCD through a training, by trainings of a second."""

from dataclasses import asdict, replace

import pytest

from genae_core.recipes import loss_table
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.loss_table import ESTIMATES, loss_experiment, loss_rows
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.slides_claims import loss_correlations
from genae_core.samplers.ancestral import Ancestral
from genae_core.testing import tiny


@pytest.mark.parametrize("family", ESTIMATES)
def test_each_epoch_is_a_checkpoint(family: str) -> None:
    study = StudyOptions(smoke=True, epochs=2)
    chain = dataset_recipe(study).chain(sampler=Ancestral(), record=(0,))
    experiment = loss_experiment(study, family, chain)
    splits = tiny.splits()
    small = replace(
        experiment, classifier=tiny.experiment().classifier, chains=(replace(chain, sub_batch=40),)
    )
    (row,) = loss_rows({family: small}, (3,), splits, tiny.classifier(splits))
    assert len(row.fcds) == len(row.estimates) == 2
    assert row.spearman == pytest.approx(1) or row.spearman == pytest.approx(-1)
    rises = [values[1] > values[0] for values in (row.fcds, row.estimates)]
    assert (row.spearman > 0) == (rises[0] == rises[1])
    assert row.seed == 3 and ESTIMATES[family].name in row.line()


def test_a_training_has_twenty_checkpoints_of_the_weights_themselves() -> None:
    study = StudyOptions()
    chain = dataset_recipe(study).chain(sampler=Ancestral(), record=(0,))
    experiment = loss_experiment(study, "wgan_gp", chain)
    assert experiment.training is not None
    assert experiment.training.epochs == loss_table.CHECKPOINTS == 20
    assert getattr(experiment.model, "average", None) == 0


def test_a_training_that_collapsed_at_once_has_no_correlation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = StudyOptions(smoke=True, epochs=2)
    experiment = loss_experiment(study, "began", dataset_recipe(study).chain(record=(0,)))
    monkeypatch.setattr(loss_table, "_train", lambda *_: ([0.25, 0.2], [9.0, 9.0]))
    splits = tiny.splits()
    small = replace(experiment, classifier=tiny.experiment().classifier)
    (row,) = loss_rows({"began": small}, (0,), splits, tiny.classifier(splits))
    assert row.spearman is None and " n/a " in row.line()
    assert loss_correlations([asdict(row)]) == []
    assert loss_correlations([asdict(replace(row, spearman=0.9))])[0].values == {0: 0.9}
