"""The classifier behind the FCD: small, trained once a dataset, cached by content.

Shapes: B batch, C channels, H rows, W columns, F features, K classes or attributes.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from genae_core.data.base import Split, Splits, fingerprint
from genae_core.distributions.rng import Draw
from genae_core.models.base import AdamConfig, Examples, Phase, Player, Stage
from genae_core.nets.base import Shape
from genae_core.training import checkpoint
from genae_core.training.batches import Batches, to_pixels
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import fit

VERSION = 1  # of this file's recipe: raise it where the same config would train other weights


@register("classifier")
@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """A convolution, 2 x 2 max pooling and ReLU for each of `channels`, then F penultimate
    features with ReLU. No batch normalisation: a feature is of one image alone.

    kernel_size: rows and columns of a convolution's kernel, odd, so that it keeps the size.
    dropout: of what the convolutions give, while training.
    feature_width: F; None lets `resolved_width` choose it from the number of reference images.
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


def resolved_width(num_reference: int) -> int:
    """F for halves of `num_reference` images: one feature for ten images where that leaves at
    least 16, never more than a quarter of the images or 128, in whole eights where it can."""
    width = min(128, num_reference // 4, max(16, num_reference // 10))
    return max(1, width - width % 8 if width >= 8 else width)


class Classifier(nn.Module):
    """[B, C, H, W] in [0, 1] -> logits [B, K]; `features` gives [B, F]."""

    def __init__(self, config: ClassifierConfig, shape: Shape, num_outputs: int) -> None:
        super().__init__()
        assert config.feature_width is not None, "resolve feature_width first"
        self.config = config
        layers: list[nn.Module] = []
        fan_in, side = shape[0], shape[1]
        for width in config.channels:
            # Pooled before the ReLU, which gives the same numbers from a quarter of the work.
            same = config.kernel_size // 2
            layers += [nn.Conv2d(fan_in, width, config.kernel_size, 1, same)]
            layers += [nn.MaxPool2d(2), nn.ReLU()]
            fan_in, side = width, side // 2
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(fan_in * side * side, config.feature_width)
        self.top = nn.Linear(config.feature_width, num_outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def maps(self, x: Tensor) -> Tensor:
        """What the convolutions give, flat."""
        maps: Tensor = self.convolutions(x.to(memory_format=torch.channels_last))
        return maps

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.hidden(self.maps(x)))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.top(self.features(x))
        return logits

    def stages(self) -> tuple[Stage, ...]:
        player = Player("classifier", list(self.parameters()), self.config.optimizer)
        return (Stage("classifier", (Phase(player, cross_entropy),)),)


Labelled = tuple[Tensor, Tensor]


def cross_entropy(
    model: Classifier, batch: Labelled, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-log p(y|x), nats an image, or an attribute where there are several.

    batch: x [B, C, H, W] and y int64 [B], or [B, A] of 0 and 1.
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
    """The share of labels that are predicted right, in [0, 1]; all attributes count alike."""
    device = next(model.parameters()).device
    right = []
    for first in range(0, len(split.images), 1000):
        y = split.labels[first : first + 1000]
        with torch.no_grad():
            logits = model(to_pixels(split.images[first : first + 1000], binarize, device)).cpu()
        guess = logits.argmax(1) if y.ndim == 1 else logits > 0
        right.append((guess.numpy() == y).reshape(-1))
    return float(np.concatenate(right).mean())


def train_classifier(
    config: ClassifierConfig, splits: Splits, binarize: bool, device: torch.device | str = "cpu"
) -> Classifier:
    """A classifier of the training split, in evaluation mode."""
    draw = Draw(config.seed, "classifier", device=device)
    turns = turns_of(splits, splits.train)
    labels = splits.train.labels if turns is None else turns
    num_outputs = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    with draw.as_global():
        model = Classifier(config, splits.train.images.shape[1:], num_outputs).to(device)

    def batch(index: NDArray[np.int64]) -> Labelled:
        images = splits.train.images[index]
        x = to_pixels(
            images if turns is None else turned(images, turns[index]), binarize, draw.device
        )
        return x, torch.from_numpy(labels[index]).to(draw.device)

    count = min(config.training.max_images or len(labels), len(labels))
    order = Batches(splits.train, count, binarize, torch.device("cpu")).order
    fit(model, model.stages(), Examples(count, batch, order), config.training, draw)
    return model


def turns_of(splits: Splits, split: Split) -> NDArray[np.int64] | None:
    """Quarter turns (0, ..., 3) for each image of the split, seeded, where the dataset has no
    classes to learn; None where it has.

    Images without labels still need features: a classifier that tells which way up an image is
    has to know what is on it (Gidaris, Singh & Komodakis 2018, section 2.1).
    """
    if splits.train.labels.ndim > 1 or splits.train.labels.max() > 0:
        return None
    return np.random.default_rng(0).integers(4, size=len(split.images))


def turned(images: NDArray[np.uint8], turns: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The square images [N, C, H, W], each turned by its quarter turns."""
    result = images.copy()
    for number in (1, 2, 3):
        result[turns == number] = np.rot90(images[turns == number], number, axes=(2, 3))
    return result


def task_of(splits: Splits, split: Split) -> Split:
    """The images and labels that the classifier learns: the split's own, or quarter turns."""
    turns = turns_of(splits, split)
    if turns is None:
        return split
    return Split(turned(np.asarray(split.images), turns), turns)


def recipe_key(config: ClassifierConfig, data: str, binarize: bool) -> str:
    """sha256 over what decides the weights: the recipe, the data's fingerprint, the pixels."""
    recipe = [VERSION, identity(config), data, binarize]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def cached_classifier(
    config: ClassifierConfig,
    name: str,
    splits: Splits,
    binarize: bool,
    folder: Path,
    device: torch.device | str = "cpu",
    on_train: Callable[[], None] = lambda: None,
) -> tuple[Path, dict[str, Any]]:
    """The folder of the trained classifier, trained now if it is not there, and its identity:
    dataset, data and recipe hashes, accuracy on the held-out images, sha256 of the weights.

    config: where its feature_width is None, `resolved_width` of the reference images chooses it.
    name: the dataset's. folder: where classifiers are kept. on_train: called before a training.
    Raises ValueError where a cached one is broken.
    """
    if config.feature_width is None:
        half = min(len(splits.val.images), len(splits.test.images))
        config = replace(config, feature_width=resolved_width(half))
    data = splits.sha256 or fingerprint(splits)
    key = recipe_key(config, data, binarize)
    home = folder / f"{name}-{key[:16]}"
    if not home.is_dir():
        on_train()
        model = train_classifier(config, splits, binarize, device)
        both = (task_of(splits, part) for part in (splits.val, splits.test))
        held_out = Split(*map(np.concatenate, zip(*both, strict=True)))
        checkpoint.write(
            home,
            model.state_dict(),
            {
                "dataset": name,
                "data": data,
                "recipe": key,
                "config": to_dict(config),
                "shape": list(splits.train.images.shape[1:]),
                "num_outputs": model.top.out_features,
                "task": (
                    "quarter turns"
                    if turns_of(splits, splits.val) is not None
                    else "classes"
                    if splits.val.labels.ndim == 1
                    else "attributes"
                ),
                "accuracy": accuracy(model, held_out, binarize),
            },
        )
    return home, checkpoint.read(home)[1]


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> Classifier:
    """The cached classifier in evaluation mode. Raises ValueError where it is broken."""
    tensors, about = checkpoint.read(folder)
    model = Classifier(from_dict(about["config"]), tuple(about["shape"]), about["num_outputs"])
    model.load_state_dict(tensors)
    return model.to(device).eval()
