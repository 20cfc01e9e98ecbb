"""The training of the FCD's classifier, and its accuracy."""

import numpy as np
import torch
from numpy.typing import NDArray

from genae_core.data.base import Split, Splits
from genae_core.distributions.rng import Draw
from genae_core.metrics.classifier import Classifier, ClassifierConfig, LabelledBatch
from genae_core.metrics.classifier_task import draw_turns, rotate
from genae_core.models.base import Examples
from genae_core.training.batches import Batches, to_pixels
from genae_core.training.loop import fit


def train_classifier(
    config: ClassifierConfig, splits: Splits, binarize: bool, device: torch.device | str = "cpu"
) -> Classifier:
    """Train a classifier on the training split.

    Args:
        config: The recipe, with a feature_width.
        splits: The dataset.
        binarize: Whether the classifier sees pixels thresholded at one half.
        device: The device of the training.

    Returns:
        The classifier in evaluation mode.

    Raises:
        NonFiniteLossError: The loss is not finite.
    """
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
    fit(model, model.stages(), Examples(count, batch, order), config.training, draw)
    return model


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
