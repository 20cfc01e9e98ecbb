"""The errors of adversarial autoencoders that name the digits of MNIST, for paper_tables.py.

Makhzani et al. 2016, second version: in section 4 few of the training images have labels, and in
section 5 none has, so that a cluster gets its class afterwards. The settings are searched on the
last 10,000 of the 60,000 training images, and the models are trained on the others. The 10,000
test images are read once, at the end.
Shapes: N images, K clusters.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from genae_core.config.progress import track
from genae_core.data.base import Splits
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.trial import replica_of
from genae_core.models.cluster_aae import ClusterAAE, ClusterAAEConfig
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import sampling_mode
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_rows import Row, print_rows
from genae_core.recipes.pictures import CPU, model_of
from genae_core.recipes.search_results import stored_experiment
from genae_core.recipes.swept_table import SweptTable, grey_mnist, prior_draws, splits_of
from genae_core.report.intervals import interval
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun, Tracker
from genae_core.training.batches import Batches
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import fit

ClassTable = Literal["semi", "clusters"]
TRAINED, HELD_OUT = 50_000, 10_000  # of the 60,000 training images
CLASSES = 10
BLOCK = 1_000  # images that a model sees at a time
SMOKE_IMAGES = 2_000
NET = DCGANConfig(width=16)
CRITIC = CriticConfig(widths=(128, 128), dropout=0.0, slope=0.0)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was searched for a table.

    Args:
        style_dim: The dimension of the style.
        noise: The standard deviation of the noise in the images that the encoder gets.
        cluster_noise: That of the noise in what the critic of y gets.
        epochs: Passes over the training images.
        batch_size: The number of images in a batch.
        learning_rate: Adam's learning rate for the reconstruction.
        label_rate: That for the labels.
        adversarial_rate: That of the critics, and of the encoder against them.
    """

    style_dim: int
    noise: float
    cluster_noise: float
    epochs: int
    batch_size: int
    learning_rate: float
    label_rate: float
    adversarial_rate: float


# Chosen by one training each, on the held-out images. docs/results.md says what else was tried. A
# style of few dimensions cannot hold the class, noise for the critic of y leaves the clusters time
# to form, and the labels need the higher rate because each phase moves the encoder as far as its
# own rate.
CLUSTERS = Settings(
    style_dim=5,
    noise=0.3,
    cluster_noise=0.3,
    epochs=20,
    batch_size=100,
    learning_rate=2e-3,
    label_rate=2e-3,
    adversarial_rate=1e-3,
)
FEW = replace(CLUSTERS, style_dim=3, epochs=10, label_rate=5e-3, adversarial_rate=3e-4)
LABELS = {
    100: FEW,
    1_000: replace(FEW, learning_rate=1e-3),
    TRAINED: replace(
        FEW,
        noise=0.0,
        cluster_noise=0.0,
        learning_rate=5e-4,
        label_rate=2e-3,
        adversarial_rate=2e-4,
    ),
}
CLASS_AXES: dict[ClassTable, dict[str, tuple[int, ...]]] = {
    "semi": {"labels": tuple(LABELS)},
    "clusters": {"clusters": (16, 30)},
}


def class_table(table: ClassTable, study: StudyOptions) -> SweptTable:
    """One of the tables of a study."""
    chain = prior_draws(study)

    def experiment(params: Mapping[str, Any]) -> Experiment:
        return class_experiment(study, params, chain)

    def show(tracker: Tracker, sweep: str, _: Path) -> list[Row]:
        rows = class_rows(table, tracker, tracker.read_runs(sweep), splits_of(study))
        print_rows(rows)
        return rows

    return SweptTable(CLASS_AXES[table], experiment, show)


def class_experiment(
    study: StudyOptions, params: Mapping[str, Any], chain: ChainConfig
) -> Experiment:
    """The experiment of a cell of a table.

    Args:
        study: The study's flags.
        params: The number of labels, or of clusters.
        chain: The draws from the prior, whose FCD is measured too.
    """
    labels = params.get("labels")
    recipe, settings = dataset_recipe(study), CLUSTERS if labels is None else LABELS[labels]
    model = ClusterAAEConfig(
        style_dim=settings.style_dim,
        clusters=params.get("clusters", CLASSES),
        labels=labels is not None,
        noise=settings.noise,
        cluster_noise=settings.cluster_noise,
        net=NET,
        critic=CRITIC,
        optimizer=AdamConfig(learning_rate=settings.learning_rate),
        label_optimizer=None if labels is None else AdamConfig(learning_rate=settings.label_rate),
        adversarial_optimizer=AdamConfig(learning_rate=settings.adversarial_rate, beta1=0.5),
    )
    images = SMOKE_IMAGES if study.smoke else TRAINED
    training = TrainingConfig(
        epochs=study.epochs or (1 if study.smoke else settings.epochs),
        batch_size=settings.batch_size,
        max_images=images,
        num_labelled=None if labels is None else min(labels, images),
        decay="linear",
    )
    return Experiment(
        data=grey_mnist(study),
        model=model,
        training=training,
        chains=(chain,),
        classifier=recipe.classifier,
    )


def class_rows(
    table: ClassTable, tracker: Tracker, runs: Sequence[StoredRun], splits: Splits
) -> list[Row]:
    """The rows of the finished runs, whose errors are in percent of the test images.

    Args:
        table: The name of the table.
        tracker: The store of the sweep.
        runs: The runs of the sweep.
        splits: The images of MNIST.
    """
    (axis,) = CLASS_AXES[table]
    rows = []
    for value in CLASS_AXES[table][axis]:
        members = [
            run
            for run in runs
            if run.status == "FINISHED" and json.loads(run.tags["cell"])[axis] == value
        ]
        members.sort(key=lambda run: int(run.tags["seed"]))
        if members and table == "semi":
            rows += semi_rows(value, tracker, members, splits)
        elif members:
            rows += cluster_rows(value, tracker, members, splits)
    return rows


def semi_rows(
    labels: int, tracker: Tracker, runs: Sequence[StoredRun], splits: Splits
) -> list[Row]:
    """The errors with this number of labels, and those of the same encoder without the rest.

    The control is trained by the label phase alone, as often, from the same weights.
    """
    errors: list[float] = []
    alone: list[float] = []
    for run in track(runs, f"training on {labels:,} labels alone", "models"):
        errors.append(class_error(model_of(tracker, run), splits))
        alone.append(class_error(labels_alone(stored_experiment(tracker, run), splits), splits))
        print(
            f"{labels:,} labels, seed {run.tags['seed']}: error {errors[-1]:.2f} %, "
            f"labels alone {alone[-1]:.2f} %",
            flush=True,
        )
    return [
        _row(f"error, %: {labels:,} labels", errors),
        _row(f"error, %: {labels:,} labels alone", alone),
    ]


def labels_alone(experiment: Experiment, splits: Splits) -> ClusterAAE:
    """The model of an experiment, trained by its label phase alone."""
    model, stages, examples, draw, _ = replica_of(experiment, splits)
    assert isinstance(model, ClusterAAE)
    assert experiment.training is not None
    (stage,) = stages
    control = stage._replace(name="labels", phases=stage.phases[-1:])
    fit(model, (control,), examples, experiment.training, draw)
    return model


def class_error(model: Any, splits: Splits) -> float:
    """The share of the test images, in percent, whose most probable y is not their class."""
    y, classes = clusters_of_test(model, splits)
    return error_of(y.argmax(1), classes)


def cluster_rows(
    clusters: int, tracker: Tracker, runs: Sequence[StoredRun], splits: Splits
) -> list[Row]:
    """The errors with this number of clusters: of the seed with the lowest loss, and of all."""
    errors: list[float] = []
    losses: list[float] = []
    for run in runs:
        model = model_of(tracker, run)
        names = name_clusters(*clusters_of_held_out(model, splits))
        y, classes = clusters_of_test(model, splits)
        errors.append(error_of(names[y.argmax(1)], classes))
        losses.append(unlabelled_loss(tracker.get_run(run.run_id).data.metrics))
        print(
            f"{clusters} clusters, seed {run.tags['seed']}: error {errors[-1]:.2f} %, "
            f"loss {losses[-1]:.2f} nats, {len(set(names.tolist()))} of {CLASSES} classes have a "
            "cluster",
            flush=True,
        )
    best = errors[int(np.argmin(losses))]
    return [
        Row(
            name=f"error, %: {clusters} clusters, lowest loss",
            paper=None,
            mean=best,
            n=len(errors),
        ),
        _row(f"error, %: {clusters} clusters", errors),
    ]


def unlabelled_loss(metrics: Mapping[str, float]) -> float:
    """The loss that chooses a seed without labels: the reconstruction's plus the divergences.

    A critic's loss is minus its estimate of a divergence. All are in nats, at the end of the
    training.
    """
    critics = metrics["train/style_critic"] + metrics["train/cluster_critic"]
    return metrics["train/reconstruction"] - critics


def name_clusters(y: Tensor, classes: Tensor) -> Tensor:
    """The class of each cluster, int64 [K]: that of the image with the largest y_k.

    This is the paper's rule (section 5).

    Args:
        y: The probabilities of the clusters for images with known classes, [N, K].
        classes: The classes, int64 [N].
    """
    return classes[y.argmax(0)]


def error_of(answers: Tensor, classes: Tensor) -> float:
    """The share of wrong answers [N], in percent."""
    return 100 * float((answers != classes).double().mean())


def clusters_of_test(model: Any, splits: Splits) -> tuple[Tensor, Tensor]:
    """y [N, K] and the classes [N] of all test images of MNIST, which are two splits here."""
    y, classes = zip(
        *(_clusters(model, split, np.arange(len(split.images))) for split in splits[1:3]),
        strict=True,
    )
    return torch.cat(y), torch.cat(classes)


def clusters_of_held_out(model: Any, splits: Splits) -> tuple[Tensor, Tensor]:
    """y [N, K] and the classes [N] of the training images that no model is trained on."""
    last = len(splits.train.images)
    return _clusters(model, splits.train, np.arange(max(0, last - HELD_OUT), last))


def _clusters(model: Any, split: Any, rows: Any) -> tuple[Tensor, Tensor]:
    examples = Batches(split, len(split.images), False, CPU).examples()
    parts = [rows[first : first + BLOCK] for first in range(0, len(rows), BLOCK)]
    with sampling_mode(model, "running"):
        batches = [examples.batch(part) for part in parts]
        y = torch.cat([model.parts(batch.x)[1] for batch in batches])
    return y, torch.cat([batch.labels for batch in batches])


def _row(name: str, errors: Sequence[float]) -> Row:
    mean, low, high = interval(errors)
    return Row(name=name, paper=None, mean=mean, low=low, high=high, n=len(errors))
