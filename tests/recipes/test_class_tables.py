"""The errors of AAEs that name the digits: the rules, by hand-made y, and the rows of runs."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genae_core.data.base import Split, Splits
from genae_core.data.digits import DigitsConfig
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.trial import replica_of
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.models.cluster_aae import ClusterAAE, ClusterAAEConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.recipes import class_tables
from genae_core.recipes.class_tables import (
    CLASS_AXES,
    class_experiment,
    class_rows,
    error_of,
    labels_alone,
    name_clusters,
    unlabelled_loss,
)
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_rows import write_rows
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.testing.toys import digest
from genae_core.tracking.mlflow_store import StoredRun
from genae_core.training.config import TrainingConfig

CHAIN = ChainConfig(sampler=Ancestral(), record=(0,))


def test_a_cluster_has_the_class_of_its_most_confident_image() -> None:
    """Most images of the cluster 0 show a 7, but its most confident one a 3. No image belongs to
    the cluster 2, and it has the class of the image that comes nearest."""
    y = torch.tensor(
        [[0.7, 0.2, 0.1], [0.8, 0.1, 0.1], [0.9, 0.1, 0.0], [0.1, 0.5, 0.4], [0.2, 0.8, 0.0]]
    )
    classes = torch.tensor([7, 7, 3, 4, 5])
    names = name_clusters(y, classes)
    assert names.tolist() == [3, 5, 4]
    # The five images get 3, 3, 3, 5 and 5: three of them are wrong.
    assert error_of(names[y.argmax(1)], classes) == 60


def test_the_loss_of_a_seed_adds_the_estimated_divergences() -> None:
    """Critics that cannot tell codes from their prior have a loss of log 4."""
    log4 = float(np.log(4))
    fooled = {
        "train/reconstruction": 80.0,
        "train/style_critic": log4,
        "train/cluster_critic": log4,
    }
    sure = fooled | {"train/style_critic": 0.1, "train/labels": 9.0}
    assert unlabelled_loss(fooled) == pytest.approx(80 - 2 * log4)
    assert unlabelled_loss(sure) > unlabelled_loss(fooled)


def _splits() -> Splits:
    """Images of 8 x 8 whose row of light is their class, of four."""
    rng = np.random.default_rng(0)
    splits = []
    for count in (160, 40, 44):
        labels = np.arange(count) % 4
        images = rng.integers(0, 60, (count, 1, 8, 8), np.uint8)
        images[np.arange(count), 0, labels] += 190
        splits.append(Split(images, labels))
    return Splits(*splits, ())


def _experiment() -> Experiment:
    net, critic = MLPConfig(widths=(16,)), CriticConfig(widths=(8,))
    return Experiment(
        data=DigitsConfig(),
        model=ClusterAAEConfig(style_dim=2, clusters=4, labels=True, net=net, critic=critic),
        training=TrainingConfig(epochs=30, batch_size=20, num_labelled=8),
        chains=(CHAIN,),
        classifier=ClassifierConfig(channels=(4,)),
    )


def test_the_control_is_the_same_encoder_trained_by_the_labels_alone() -> None:
    experiment, splits = _experiment(), _splits()
    before = replica_of(experiment, splits).model
    control = labels_alone(experiment, splits)
    assert isinstance(before, ClusterAAE)
    for part in ("decoder", "style_critic", "cluster_critic"):
        assert digest(getattr(control, part)) == digest(getattr(before, part))
    assert digest(control.encoder) != digest(before.encoder)
    assert class_tables.class_error(control, splits) < 10  # chance is 75 %
    # It sees the same labels: with other images behind them, nothing changes.
    other = splits.train.images.copy()
    other[8:] = 0
    again = labels_alone(experiment, splits._replace(train=Split(other, splits.train.labels)))
    assert digest(again) == digest(control)


def _run(axis: str, value: int, seed: int, status: str = "FINISHED") -> StoredRun:
    tags = {"cell": json.dumps({axis: value}), "seed": str(seed)}
    return StoredRun(f"{value}-{seed}", status, tags, {}, {}, {})


class _Answers:
    """A model whose y is certain, and wrong for every image whose class is below `wrong`."""

    def __init__(self, wrong: int, order: tuple[int, ...] = (0, 1, 2, 3)) -> None:
        self.wrong, self.order = wrong, torch.tensor(order)

    def modules(self) -> list[Any]:
        return []

    training = False

    def train(self, mode: bool = True) -> "_Answers":
        return self

    eval = train

    def parts(self, x: torch.Tensor) -> tuple[None, torch.Tensor]:
        classes = x[:, 0].mean(2).argmax(1)
        answers = torch.where(classes < self.wrong, (classes + 1) % 4, classes)
        return None, torch.eye(4)[self.order[answers]]


def test_the_semi_supervised_rows_have_the_control_beside_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each class is a quarter of the 84 test images, so a class that is wrong costs 25 %."""
    wrong = {"100-0": 0, "100-1": 1, "1000-0": 0}
    tracker: Any = SimpleNamespace()
    monkeypatch.setattr(class_tables, "model_of", lambda t, run: _Answers(wrong[run.run_id]))
    monkeypatch.setattr(class_tables, "stored_experiment", lambda t, run: None)
    monkeypatch.setattr(class_tables, "labels_alone", lambda e, s: _Answers(2))
    runs = [
        _run("labels", 1_000, 0),
        _run("labels", 100, 1),
        _run("labels", 100, 0),
        _run("labels", 100, 2, "FAILED"),
    ]
    rows = class_rows("semi", tracker, runs, _splits())
    assert [(row.name, row.mean, row.n) for row in rows] == [
        ("error, %: 100 labels", 12.5, 2),
        ("error, %: 100 labels alone", 50, 2),
        ("error, %: 1,000 labels", 0, 1),
        ("error, %: 1,000 labels alone", 50, 1),
    ]
    assert all(row.paper is None for row in rows)  # numbers from memory are not printed
    write_rows(rows, tmp_path / "rows.json")
    stored = json.loads((tmp_path / "rows.json").read_text())
    assert [row["mean"] for row in stored] == [12.5, 50, 0, 50]


def test_the_seed_of_the_clusters_is_chosen_by_its_loss_and_not_by_its_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clusters in another order than the classes get their names from held-out images."""
    monkeypatch.setattr(class_tables, "HELD_OUT", 40)
    models = {"16-0": _Answers(0, (2, 3, 1, 0)), "16-1": _Answers(0, (1, 1, 2, 3))}
    losses = {"16-0": 90.0, "16-1": 80.0}
    monkeypatch.setattr(class_tables, "model_of", lambda t, run: models[run.run_id])

    def get_run(run_id: str) -> Any:
        metrics = {"train/reconstruction": losses[run_id]}
        metrics |= {"train/style_critic": 1.0, "train/cluster_critic": 1.0}
        return SimpleNamespace(data=SimpleNamespace(metrics=metrics))

    tracker: Any = SimpleNamespace(get_run=get_run)
    runs = [_run("clusters", 16, seed) for seed in (0, 1)]
    best, mean = class_rows("clusters", tracker, runs, _splits())
    # The second seed puts the classes 0 and 1 into one cluster, so one of them is wrong.
    assert (best.name, best.mean, best.n) == ("error, %: 16 clusters, lowest loss", 25, 2)
    assert (mean.name, mean.mean) == ("error, %: 16 clusters", 12.5)
    lines = [line for line in capsys.readouterr().out.splitlines() if "seed 1" in line]
    assert lines == [
        "16 clusters, seed 1: error 25.00 %, loss 78.00 nats, 3 of 10 classes have a cluster"
    ]


@pytest.mark.parametrize("table", ["semi", "clusters"])
def test_the_experiments_keep_the_held_out_images_out(table: Any) -> None:
    study = StudyOptions(dataset="mnist", data_root="nowhere")
    (axis,) = CLASS_AXES[table]
    for value in CLASS_AXES[table][axis]:
        experiment = class_experiment(study, {axis: value}, CHAIN)
        training, model = experiment.training, experiment.model
        assert training is not None and isinstance(model, ClusterAAEConfig)
        assert training.max_images == 50_000 and model.code == "beside"
        expected = (10, True, value) if axis == "labels" else (value, False, None)
        assert (model.clusters, model.labels, training.num_labelled) == expected
