"""What is shown while the FCD's classifier is trained: a bar on a terminal, else lines."""

import time
from collections.abc import Callable
from typing import Literal

from tqdm import tqdm

from genae_core.config.console import say
from genae_core.config.home import home
from genae_core.data.base import DataConfig, Splits
from genae_core.experiment.classifier_precision import choose_precision
from genae_core.experiment.precision_flag import Precision
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.metrics.classifier_cache import CheckedClassifier, ClassifierCallbacks
from genae_core.metrics.classifier_choice import find_classifier

SIGN_OF_LIFE_S = 30  # the seconds between two lines


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
        start_progress=TrainingDisplay,
    )


class TrainingDisplay:
    """Shows how many batches of a classifier's training are done.

    Args:
        dataset: The name of the dataset.
        clock: Returns seconds that never decrease.
    """

    def __init__(self, dataset: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.dataset = dataset
        self.clock = clock
        self.start = self.last_line = clock()
        # disable=None shows the bar on a terminal only.
        self.bar = tqdm(unit=" batches", leave=False, disable=None, dynamic_ncols=True)

    def __call__(self, done: int, most: int) -> None:
        """Show that `done` of at most `most` batches are done."""
        if not self.bar.disable:
            self.bar.total = most
            self.bar.update(done - self.bar.n)
            return
        now = self.clock()
        if now - self.last_line >= SIGN_OF_LIFE_S:
            self.last_line = now
            say(
                f"  the classifier of {self.dataset} has done {done:,} of at most {most:,} "
                f"batches after {now - self.start:.0f} s"
            )
