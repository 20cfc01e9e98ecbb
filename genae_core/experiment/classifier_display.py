"""What is shown while the FCD's classifier is trained: a bar on a terminal, else lines."""

import time
from collections.abc import Callable

from tqdm import tqdm

from genae_core.config.console import say
from genae_core.config.home import home
from genae_core.data.base import DataConfig, Splits
from genae_core.experiment.classifier_precision import choose_precision
from genae_core.experiment.precision_flag import Precision
from genae_core.metrics.classifier_cache import ClassifierCallbacks

SIGN_OF_LIFE_S = 30  # the seconds between two lines


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
