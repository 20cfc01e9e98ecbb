"""The suite "classifier": the training of MNIST's classifier by its recipe and in its quick form.

Both take turns of a few steps, with all threads, and the median step is scaled to all steps. The
quick training ends after its first part if it has reached its target. Random images take as long
as real ones, but only with --data-root is MNIST itself learned once, to show both accuracies.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from genae_core.data.base import Splits
from genae_core.data.load import load_splits
from genae_core.data.mnist import MNISTConfig
from genae_core.experiment.classifier_precision import ENDLESS, choose_precision
from genae_core.metrics.classifier import ClassifierConfig, quicken, resolve_feature_width
from genae_core.metrics.classifier_shipped import shipped_classifier
from genae_core.metrics.classifier_task import held_out_split
from genae_core.metrics.classifier_training import (
    accuracy,
    first_epochs,
    prepare_training,
    train_classifier,
)
from genae_core.recipes.datasets import recipe_of
from genae_core.training.session import TrainingSession

from .chain import time_interleaved
from .evaluation import SIZES, random_splits
from .rows import Row
from .train import repeat_epochs

STEPS = 5  # of each arm in a round
ROUNDS = 15  # rounds of a repeat


def rows(repeats: int, device: str, data_root: str | None, scratch: Path) -> list[Row]:
    """Measure classifier_mnist, in seconds of the whole training."""
    data = MNISTConfig(root=data_root or "generated")
    splits = random_splits() if data_root is None else load_splits(data, scratch)
    former = resolve_feature_width(recipe_of(data).classifier, SIZES[1])
    precision = choose_precision(former, data, splits, "auto", scratch)
    quick = quicken(former, precision)
    arms = {
        "former": steps_of(former, splits, device),
        "quick": steps_of(quick, splits, device),
    }
    median = time_interleaved(arms, repeats * ROUNDS, device)
    batches = {
        "former": former.training.epochs * (SIZES[0] // former.training.batch_size),
        "quick": first_epochs(quick) * (SIZES[0] // quick.training.batch_size),
    }
    seconds = {arm: median[arm] / STEPS * batches[arm] for arm in arms}
    reached, before = "", ""
    if data_root is not None:
        model = train_classifier(quick, splits, data.binarize, device)
        reached = f", {accuracy(model, held_out_split(splits), data.binarize):.2%} accurate"
        shipped = shipped_classifier("mnist")  # trained by the recipe itself
        before = f", {shipped.about['accuracy']:.2%} accurate" if shipped else ""
    return [
        Row(
            name="classifier_mnist",
            value=seconds["quick"],
            unit=f"s for {batches['quick']:,} batches, {precision} (scaled){reached}",
            baseline=f"{batches['former']:,} batches of the recipe itself, fp32{before}",
            baseline_value=seconds["former"],
            ratio=seconds["former"] / seconds["quick"],
        )
    ]


def steps_of(config: ClassifierConfig, splits: Splits, device: Any) -> Callable[[], None]:
    """A function that makes the next steps of a training."""
    model, examples, draw = prepare_training(config, splits, binarize=True, device=device)
    training = replace(config.training, epochs=ENDLESS)
    session = TrainingSession(model, model.stages(), examples, training, draw)
    session.begin_stage()
    batches = repeat_epochs(session.batches)

    def steps() -> None:
        for batch in islice(batches, STEPS):
            session.run_phases(batch)
            session.finish_step()

    return steps
