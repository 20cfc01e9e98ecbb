"""The classifier behind the FCD: a small network, trained once for each dataset.

Shapes: B batch, C channels, H rows, W columns, F features, K classes or attributes.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import (
    later_field,
    register,
    require,
    require_int,
    require_positive_int,
)
from genae_core.distributions.rng import Draw
from genae_core.models.base import Phase, Player, Stage
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import Shape
from genae_core.training.config import TrainingConfig

# A recipe that gives a blind classifier is tried once more with this many times the epochs and
# the features, and at least LEAST_WIDTH features. A repeated sweep finds the same classifier by
# this rule, so it does not change.
LONGER, WIDER, LEAST_WIDTH = 4, 2, 64
# The accuracy that is enough for a ruler, so that its training may end, and the learning rate with
# which a short training gets there (see `quicken`).
TARGET_ACCURACY, LEAST_LEARNING_RATE = 0.99, 2e-3

FeaturesPrecision = Literal["fp32", "bf16"]
TrainingPrecision = Literal["fp32", "bf16"]


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
        weights: The sha256 (hex) of the weights of a classifier that genae ships, which was
            trained by this recipe and is used as it is. None trains a classifier.
        training_precision: "bf16" trains with matrix products and convolutions in bfloat16
            (torch's autocast); weights, gradients and losses are float32 in any case.
        target_accuracy: The accuracy on the validation images that ends the training after the
            first third of its epochs. The learning rate decays within this third, and once more
            within the rest. None always trains all epochs at once.

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
    weights: str | None = later_field(None)
    training_precision: TrainingPrecision = later_field("fp32")
    target_accuracy: float | None = later_field(None)

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
        require(
            self.training_precision in ("fp32", "bf16"),
            'training_precision must be "fp32" or "bf16"',
            training_precision=self.training_precision,
        )
        require(
            self.target_accuracy is None or 0 < self.target_accuracy <= 1,
            "target_accuracy must be in (0, 1]",
            target_accuracy=self.target_accuracy,
        )


def choose_feature_width(num_reference: int) -> int:
    """Choose F for reference halves of `num_reference` images.

    There is one feature for ten images, but there are at least 16. There are never more than 128,
    or than a quarter of the images. A width of 8 or more is rounded down to a multiple of 8.
    """
    width = min(128, num_reference // 4, max(16, num_reference // 10))
    return max(1, width - width % 8 if width >= 8 else width)


def resolve_feature_width(config: ClassifierConfig, num_reference: int) -> ClassifierConfig:
    """The recipe with a feature_width, for reference halves of `num_reference` images.

    Raises ValueError for a width of more than a quarter of the images, unless it is the one of
    `strengthen`.
    """
    width = config.feature_width or choose_feature_width(num_reference)
    require(
        width <= max(1, num_reference // 4) or width == stronger_width(num_reference),
        "feature_width must be at most a quarter of the smaller "
        f"half of the reference images ({num_reference})",
        feature_width=width,
    )
    return replace(config, feature_width=width)


def quicken(config: ClassifierConfig, precision: TrainingPrecision) -> ClassifierConfig:
    """The recipe that is trained where a classifier of `config` is not at hand yet.

    It may end at `TARGET_ACCURACY`, and its learning rate is at least `LEAST_LEARNING_RATE`.

    Args:
        config: The recipe of an experiment.
        precision: The precision of the training.

    Returns:
        The recipe. A quick one stays as it is.
    """
    if config.target_accuracy is not None:
        return config
    rate = max(config.optimizer.learning_rate, LEAST_LEARNING_RATE)
    return replace(
        config,
        optimizer=replace(config.optimizer, learning_rate=rate),
        training_precision=precision,
        target_accuracy=TARGET_ACCURACY,
    )


def trained_recipes(config: ClassifierConfig) -> tuple[ClassifierConfig, ...]:
    """The recipes by which a classifier for `config` may have been trained at first."""
    return (config, quicken(config, "fp32"), quicken(config, "bf16"))


def stronger_width(num_reference: int) -> int:
    """F of the second recipe (see `strengthen`): twice the usual F, and at least 64."""
    return max(WIDER * choose_feature_width(num_reference), LEAST_WIDTH)


def strengthen(config: ClassifierConfig, num_reference: int) -> ClassifierConfig:
    """The recipe that is tried once if the classifier of `config` is blind (see `Ruler`).

    It has four times as many epochs, and `stronger_width` features for reference halves of
    `num_reference` images. These may be more than a quarter of the images: the few features that
    a few images allow may all be 0, and an FCD with more bias is then better than none. Its
    training does not end early: an accurate classifier may be blind too.
    """
    assert config.feature_width is not None, "resolve feature_width first"
    return replace(
        config,
        feature_width=max(config.feature_width, stronger_width(num_reference)),
        training=replace(config.training, epochs=LONGER * config.training.epochs),
        target_accuracy=None,
    )


class Classifier(nn.Module):
    """The network: images [B, C, H, W] in [0, 1] to logits [B, K].

    Args:
        config: The recipe, with a feature_width.
        shape: (C, H, W) of an image.
        num_outputs: K.

    Attributes:
        precision: The precision in which `features_of` computes features on a CPU. With "bf16",
            the weights must not change any more.
    """

    precision: FeaturesPrecision = "fp32"

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

    @property
    def num_features(self) -> int:
        """F."""
        return self.top.in_features

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
    keep = 1 - model.config.dropout
    bf16 = model.config.training_precision == "bf16"
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        maps = model.maps(x)
        if model.training and keep < 1:
            maps = maps * draw.mask(tuple(maps.shape), keep).to(maps.dtype) / keep
        logits = model.top(F.relu(model.hidden(maps)))
    logits = logits.float()
    loss = (
        F.cross_entropy(logits, y)
        if y.ndim == 1
        else F.binary_cross_entropy_with_logits(logits, y.float())
    )
    return loss, {"cross_entropy": loss}
