"""What is shown while the FCD's classifier is trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from genae_core.config.console import say
from genae_core.config.home import home
from genae_core.config.progress import ProgressDisplay
from genae_core.data.base import DataConfig, Splits
from genae_core.experiment.classifier_precision import choose_precision
from genae_core.experiment.precision_flag import Precision
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.metrics.classifier_cache import CheckedClassifier, ClassifierCallbacks
from genae_core.metrics.classifier_choice import find_classifier
from genae_core.metrics.classifier_training import OnBatch


def sound_classifier(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    choice: Literal["shipped", "train"] | None,
    precision: Precision = "auto",
) -> CheckedClassifier:
    """Find or train the classifier of a dataset in GENAE_HOME, as a program for people does.

    Args:
        config: The classifier of the dataset's recipe.
        data: The dataset's config.
        splits: The dataset.
        choice: The value of --classifier.
        precision: The value of --precision, for a classifier that is trained.

    Raises:
        ValueError: The classifier is blind: its features tell no images apart.
    """
    checked = find_classifier(
        config,
        data=data,
        splits=splits,
        folder=home() / "classifiers",
        choice=choice,
        callbacks=classifier_callbacks(data, splits, precision),
    )
    checked.require_sound()
    return checked


def classifier_callbacks(
    data: DataConfig, splits: Splits, flag: Precision = "auto"
) -> ClassifierCallbacks:
    """What a program for people calls where a classifier is found or trained.

    Args:
        data: The dataset's config.
        splits: The dataset.
        flag: The value of --precision.
    """
    return ClassifierCallbacks(
        say=say,
        choose_precision=lambda config: choose_precision(config, data, splits, flag, home()),
        show_training=show_training,
    )


@contextmanager
def show_training(dataset: str) -> Iterator[OnBatch]:
    """Show the progress of a classifier's training, which may end before its last epoch.

    dataset: The name of the dataset.
    """
    with ProgressDisplay(f"training the classifier of {dataset}", unit="batches") as progress:

        def show(done: int, most: int) -> None:
            if progress.total is None:
                progress.begin(most)
            progress.update(done - progress.done)

        yield show
