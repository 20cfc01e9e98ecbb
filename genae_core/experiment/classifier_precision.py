"""The precision in which the FCD's classifier is trained, which --precision chooses too."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from genae_core.config import identity
from genae_core.config.console import say
from genae_core.config.progress import ProgressDisplay
from genae_core.data.base import DataConfig, Split, Splits
from genae_core.experiment import measurements
from genae_core.experiment.hardware import identify_hardware
from genae_core.experiment.least_seconds import choose_plainest, least_seconds
from genae_core.experiment.precision import has_bf16
from genae_core.experiment.precision_flag import Precision
from genae_core.experiment.step_timing import CLOCKS, STEPS, compute_with
from genae_core.metrics.classifier import (
    ClassifierConfig,
    TrainingPrecision,
    resolve_feature_width,
)
from genae_core.metrics.classifier_training import prepare_training
from genae_core.training.session import TrainingSession

QUESTION = "classifier"
WAYS: tuple[TrainingPrecision, ...] = ("fp32", "bf16")  # the plainest first
ENDLESS = 10**9  # epochs of a training of which only the first steps are made


def choose_precision(
    config: ClassifierConfig, data: DataConfig, splits: Splits, flag: Precision, home: Path
) -> TrainingPrecision:
    """The precision in which this process trains the classifier of a recipe.

    "auto" measures which one is faster, once for each kind of hardware. A CPU that does not
    multiply in bfloat16 trains in fp32, also with the flag bf16, which is about the trials.

    Args:
        config: The recipe.
        data: The dataset's config.
        splits: The dataset.
        flag: The value of --precision.
        home: GENAE_HOME, which keeps what was measured.
    """
    if flag not in ("auto", "bf16") or not has_bf16():
        return "fp32"
    if flag == "bf16":
        return "bf16"
    half = min(len(splits.val.images), len(splits.test.images))
    config = resolve_feature_width(config, half)
    about = {"recipe": identity(config), "shape": list(data.shape), "binarize": data.binarize}
    question = measurements.ask_about(QUESTION, about)
    known = measurements.read_known(home, question, identify_hardware(gpu=False), say)
    with ProgressDisplay("measuring how the classifier trains fastest"):
        measured = measurements.recall_or_measure(
            known, False, time_training, config, splits, data.binarize
        )
    if measured.file is None:
        measurements.keep(home, question, measured, say)
    seconds = [measured.seconds[way] for way in WAYS]
    return WAYS[choose_plainest(seconds)]


def time_training(config: ClassifierConfig, splits: Splits, binarize: bool) -> dict[str, float]:
    """The least seconds of a training step in each precision, with one thread."""
    count = config.training.batch_size * STEPS
    rows = np.arange(count) % len(splits.train.images)
    few = splits._replace(train=Split(splits.train.images[rows], splits.train.labels[rows]))
    with compute_with(threads=1):
        steps = [
            _start_steps(replace(config, training_precision=way), few, binarize) for way in WAYS
        ]
        seconds = least_seconds(steps, clock=CLOCKS["cpu"])
    return dict(zip(WAYS, seconds, strict=True))


def _start_steps(config: ClassifierConfig, splits: Splits, binarize: bool) -> Callable[[], None]:
    """Begin a training, and return what makes its next step."""
    model, examples, draw = prepare_training(config, splits, binarize)
    session = TrainingSession(
        model=model,
        stages=model.stages(),
        examples=examples,
        config=replace(config.training, epochs=ENDLESS, max_images=None),
        draw=draw,
    )
    session.begin_stage()

    def train() -> Iterator[None]:
        while True:
            for batch in session.batches():
                session.run_phases(batch)
                session.finish_step()
                yield

    training = train()
    for _ in range(STEPS):
        next(training)
    return lambda: next(training)
