"""The training of the FCD's classifier, and its accuracy."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from genae_core.data.base import Split, Splits
from genae_core.distributions.rng import Draw
from genae_core.metrics.classifier import Classifier, ClassifierConfig, LabelledBatch
from genae_core.metrics.classifier_task import draw_turns, rotate, task_split
from genae_core.models.base import Examples
from genae_core.training.batches import Batches, to_pixels
from genae_core.training.loop import fit

FIRST_PART = 3  # A training with a target may end after this fraction of its epochs.

OnBatch = Callable[[int, int], None]


class Training(NamedTuple):
    """A classifier that is not trained yet, and what it is trained on.

    Attributes:
        model: The classifier.
        examples: Its training images, with labels.
        draw: The random stream of the training.
    """

    model: Classifier
    examples: Examples
    draw: Draw


def prepare_training(
    config: ClassifierConfig, splits: Splits, binarize: bool, device: torch.device | str = "cpu"
) -> Training:
    """Make the classifier of a recipe, and its training set (see `train_classifier`)."""
    draw = Draw(config.seed, "classifier", device=device)
    turns = draw_turns(splits, splits.train)
    labels = splits.train.labels if turns is None else turns
    num_outputs = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    with draw.as_global():
        model = Classifier(config, splits.train.images.shape[1:], num_outputs).to(device)

    def batch(index: NDArray[np.int64]) -> LabelledBatch:
        images = splits.train.images[index]
        x = to_pixels(
            images if turns is None else rotate(images, turns[index]), binarize, draw.device
        )
        return x, torch.from_numpy(labels[index]).to(draw.device)

    count = min(config.training.max_images or len(labels), len(labels))
    order = Batches(splits.train, count, binarize, torch.device("cpu")).order
    return Training(model, Examples(count, batch, order), draw)


def train_classifier(
    config: ClassifierConfig,
    splits: Splits,
    binarize: bool,
    device: torch.device | str = "cpu",
    on_batch: OnBatch = lambda *_: None,
) -> Classifier:
    """Train a classifier on the training split.

    Args:
        config: The recipe, with a feature_width.
        splits: The dataset.
        binarize: Whether the classifier sees pixels thresholded at one half.
        device: The device of the training.
        on_batch: Called before each batch with the number of batches that are done, and with the
            number of batches at most.

    Returns:
        The classifier in evaluation mode.

    Raises:
        NonFiniteLossError: The loss is not finite.
    """
    model, examples, draw = prepare_training(config, splits, binarize, device)
    most = config.training.epochs * (examples.count // config.training.batch_size)
    done = 0

    def batch(index: NDArray[np.int64]) -> LabelledBatch:
        nonlocal done
        on_batch(done, most)
        done += 1
        labelled: LabelledBatch = examples.batch(index)
        return labelled

    def train(epochs: int) -> None:
        training = replace(config.training, epochs=epochs)
        fit(model, model.stages(), replace(examples, batch=batch), training, draw)

    first = first_epochs(config)
    train(first)
    rest, target = config.training.epochs - first, config.target_accuracy
    if target is None or rest == 0:
        return model
    if accuracy(model, task_split(splits, splits.val), binarize) < target:
        train(rest)
    return model


def first_epochs(config: ClassifierConfig) -> int:
    """The epochs after which a training ends if it has reached its target."""
    epochs = config.training.epochs
    if config.target_accuracy is None:
        return epochs
    return math.ceil(epochs / FIRST_PART)


def correct_predictions(model: Classifier, split: Split, binarize: bool) -> NDArray[np.bool_]:
    """Whether each prediction is correct: [N], or [N, A] with A attributes."""
    device = next(model.parameters()).device
    correct = []
    for first in range(0, len(split.images), 1000):
        y = split.labels[first : first + 1000]
        with torch.no_grad():
            logits = model(to_pixels(split.images[first : first + 1000], binarize, device)).cpu()
        prediction = logits.argmax(1) if y.ndim == 1 else logits > 0
        correct.append(prediction.numpy() == y)
    return np.concatenate(correct)


def accuracy(model: Classifier, split: Split, binarize: bool) -> float:
    """The fraction of correct predictions; all attributes count alike."""
    return float(correct_predictions(model, split, binarize).mean())
