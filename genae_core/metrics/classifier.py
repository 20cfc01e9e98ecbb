"""The classifier behind the FCD: a small network, trained once for each dataset and cached.

Shapes: B batch, C channels, H rows, W columns, F features, K classes or attributes.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import (
    from_dict,
    identity,
    register,
    require,
    require_int,
    require_positive_int,
    to_dict,
)
from genae_core.data.base import DataConfig, Split, Splits, fingerprint
from genae_core.distributions.rng import Draw
from genae_core.models.base import AdamConfig, Examples, Phase, Player, Stage
from genae_core.nets.base import Shape
from genae_core.training import checkpoint
from genae_core.training.batches import Batches, to_pixels
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import fit

# The version of this file's recipe. Increase it if the same config would train other weights.
VERSION = 1


@register("classifier")
@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """A small convolutional classifier, whose F penultimate features the FCD compares.

    Each layer of `channels` is a convolution, a 2 x 2 max pooling and a ReLU. A fully connected
    layer with a ReLU follows, whose F outputs are the features. There is no batch normalisation,
    so the features of an image depend on no other image.

    Args:
        channels: The output channels of each convolution.
        kernel_size: Rows and columns of a convolution's kernel; odd, so that it keeps the size.
        dropout: The fraction of the convolutions' outputs that training drops, in [0, 1).
        feature_width: F; None lets `choose_feature_width` choose it from the number of reference
            images.
        training: The length and batch size of the training.
        optimizer: Adam's settings.
        seed: The seed of the weights and of the training.

    Raises:
        ValueError: A field is out of range.
    """

    channels: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    dropout: float = 0.0
    feature_width: int | None = None
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=8, batch_size=200)
    )
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        require(len(self.channels) > 0, "channels must name a layer", channels=self.channels)
        for width in self.channels:
            require_positive_int(channels=width)
        require_positive_int(kernel_size=self.kernel_size)
        require(self.kernel_size % 2 == 1, "kernel_size must be odd", kernel_size=self.kernel_size)
        require(0 <= self.dropout < 1, "dropout must be in [0, 1)", dropout=self.dropout)
        require_int(seed=self.seed)
        if self.feature_width is not None:
            require_positive_int(feature_width=self.feature_width)


def choose_feature_width(num_reference: int) -> int:
    """Choose F for reference halves of `num_reference` images.

    There is one feature for ten images, but there are at least 16. There are never more than 128,
    or than a quarter of the images. A width of 8 or more is rounded down to a multiple of 8.
    """
    width = min(128, num_reference // 4, max(16, num_reference // 10))
    return max(1, width - width % 8 if width >= 8 else width)


class Classifier(nn.Module):
    """The network: images [B, C, H, W] in [0, 1] to logits [B, K].

    Args:
        config: The recipe, with a feature_width.
        shape: (C, H, W) of an image.
        num_outputs: K.
    """

    def __init__(self, config: ClassifierConfig, shape: Shape, num_outputs: int) -> None:
        super().__init__()
        assert config.feature_width is not None, "resolve feature_width first"
        self.config = config
        layers: list[nn.Module] = []
        fan_in, side = shape[0], shape[1]
        for width in config.channels:
            # Pooling before the ReLU gives the same numbers for a quarter of the work.
            padding = config.kernel_size // 2
            layers += [nn.Conv2d(fan_in, width, config.kernel_size, 1, padding)]
            layers += [nn.MaxPool2d(2), nn.ReLU()]
            fan_in, side = width, side // 2
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(fan_in * side * side, config.feature_width)
        self.top = nn.Linear(config.feature_width, num_outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def maps(self, x: Tensor) -> Tensor:
        """The flat outputs of the convolutions."""
        maps: Tensor = self.convolutions(x.to(memory_format=torch.channels_last))
        return maps

    def features(self, x: Tensor) -> Tensor:
        """The penultimate features [B, F]."""
        return F.relu(self.hidden(self.maps(x)))

    def forward(self, x: Tensor) -> Tensor:
        """The logits [B, K]."""
        logits: Tensor = self.top(self.features(x))
        return logits

    def stages(self) -> tuple[Stage, ...]:
        """The training: one phase of cross-entropy."""
        player = Player("classifier", list(self.parameters()), self.config.optimizer)
        return (Stage("classifier", (Phase(player, cross_entropy),)),)


LabelledBatch = tuple[Tensor, Tensor]


def cross_entropy(
    model: Classifier, batch: LabelledBatch, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean of -log p(y|x) in nats, over the images or, with attributes, over all attributes.

    batch: x [B, C, H, W], and y as int64 [B], or as [B, A] of 0 and 1 for A attributes.
    """
    x, y = batch
    maps = model.maps(x)
    keep = 1 - model.config.dropout
    if model.training and keep < 1:
        maps = maps * draw.mask(tuple(maps.shape), keep) / keep
    logits = model.top(F.relu(model.hidden(maps)))
    loss = (
        F.cross_entropy(logits, y)
        if y.ndim == 1
        else F.binary_cross_entropy_with_logits(logits, y.float())
    )
    return loss, {"cross_entropy": loss}


def accuracy(model: Classifier, split: Split, binarize: bool) -> float:
    """The fraction of correct predictions; all attributes count alike."""
    device = next(model.parameters()).device
    correct = []
    for first in range(0, len(split.images), 1000):
        y = split.labels[first : first + 1000]
        with torch.no_grad():
            logits = model(to_pixels(split.images[first : first + 1000], binarize, device)).cpu()
        prediction = logits.argmax(1) if y.ndim == 1 else logits > 0
        correct.append((prediction.numpy() == y).reshape(-1))
    return float(np.concatenate(correct).mean())


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


def draw_turns(splits: Splits, split: Split) -> NDArray[np.int64] | None:
    """Draw a seeded quarter turn (0, ..., 3) for each image of a split without labels.

    Returns None if the dataset has labels. A classifier that predicts by how much an image is
    turned learns features without labels, since it has to recognise what the image shows
    (Gidaris, Singh & Komodakis 2018, section 2.1).
    """
    if splits.train.labels.ndim > 1 or splits.train.labels.max() > 0:
        return None
    return np.random.default_rng(0).integers(4, size=len(split.images))


def rotate(images: NDArray[np.uint8], turns: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Rotate each square image of [N, C, H, W] by its number of quarter turns."""
    result = images.copy()
    for number in (1, 2, 3):
        result[turns == number] = np.rot90(images[turns == number], number, axes=(2, 3))
    return result


def task_name(splits: Splits) -> Literal["classes", "attributes", "quarter turns"]:
    """What a classifier of this dataset predicts."""
    if draw_turns(splits, splits.val) is not None:
        return "quarter turns"
    return "classes" if splits.val.labels.ndim == 1 else "attributes"


def task_split(splits: Splits, split: Split) -> Split:
    """The split as the classifier learns it: with its own labels, or with turned images."""
    turns = draw_turns(splits, split)
    if turns is None:
        return split
    return Split(rotate(np.asarray(split.images), turns), turns)


def recipe_key(config: ClassifierConfig, data: str, binarize: bool) -> str:
    """The sha256 of what decides the weights: the recipe, the data's sha256, and `binarize`."""
    recipe = [VERSION, identity(config), data, binarize]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def cached_classifier(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    folder: Path,
    device: torch.device | str = "cpu",
    on_train: Callable[[], None] = lambda: None,
) -> tuple[Path, dict[str, Any]]:
    """Find the trained classifier of a recipe and a dataset, or train and store it.

    Args:
        config: The recipe; `choose_feature_width` chooses a feature_width of None.
        data: The dataset's config, which gives its name and whether pixels are thresholded.
        splits: The dataset.
        folder: The folder of all classifiers.
        device: The device of the training.
        on_train: Called before a training.

    Returns:
        The classifier's folder, and its description: among others the dataset, the sha256 of data,
        recipe and weights, the task, and the accuracy on the held-out images.

    Raises:
        ValueError: The stored classifier is broken.
    """
    if config.feature_width is None:
        half = min(len(splits.val.images), len(splits.test.images))
        config = replace(config, feature_width=choose_feature_width(half))
    data_sha256 = splits.sha256 or fingerprint(splits)
    key = recipe_key(config, data_sha256, data.binarize)
    home = folder / f"{data.name}-{key[:16]}"
    if not home.is_dir():
        on_train()
        model = train_classifier(config, splits, data.binarize, device)
        origin = {"dataset": data.name, "data": data_sha256, "recipe": key}
        about = _description(model, splits, data.binarize)
        checkpoint.write(home, model.state_dict(), {**origin, **about})
    return home, checkpoint.read(home)[1]


def _description(model: Classifier, splits: Splits, binarize: bool) -> dict[str, Any]:
    """What a classifier's checkpoint says about its architecture, task and accuracy."""
    val, test = task_split(splits, splits.val), task_split(splits, splits.test)
    held_out = Split(
        np.concatenate([val.images, test.images]), np.concatenate([val.labels, test.labels])
    )
    return {
        "config": to_dict(model.config),
        "shape": list(splits.train.images.shape[1:]),
        "num_outputs": model.top.out_features,
        "task": task_name(splits),
        "accuracy": accuracy(model, held_out, binarize),
    }


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> Classifier:
    """Load a classifier that `cached_classifier` stored.

    Args:
        folder: The classifier's folder.
        device: The device to load it to.

    Returns:
        The classifier in evaluation mode.

    Raises:
        ValueError: A file is missing or broken.
    """
    tensors, about = checkpoint.read(folder)
    model = Classifier(from_dict(about["config"]), tuple(about["shape"]), about["num_outputs"])
    model.load_state_dict(tensors)
    return model.to(device).eval()
