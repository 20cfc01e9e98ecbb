"""The interface of a model family: a distribution of latent codes, a decoder, and the training.

The training algorithm of a paper is an ordered tuple of phases, and `training.fit` trains every
family. A loss is pure: it computes no gradients, steps no optimiser and logs nothing.
Shapes: N images, B batch, C channels, H rows, W columns, D latent dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.models.optimizers import OptimizerConfig
from genae_core.nets.base import sampling_mode

ENCODING_BATCH = 500  # the number of images that `encode_all` encodes at a time


class Player(NamedTuple):
    """The part of a model that a phase trains.

    Attributes:
        name: The player's name. Phases whose players have the same name share an optimiser.
        parameters: The player's parameters.
        optimizer: The config of the optimiser that steps them.
    """

    name: str
    parameters: list[nn.Parameter]
    optimizer: OptimizerConfig


class Batch(NamedTuple):
    """The examples that a loss is computed on.

    Attributes:
        x: Images [B, C, H, W] in [0, 1], or codes [B, D] in a stage that is trained on codes.
        labels: int64 [B], the class of each example, or -1 if it is unknown; or uint8 [B, A], A
            binary attributes.
    """

    x: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Examples:
    """The training set of a stage.

    Attributes:
        count: The number N of examples.
        batch: Gathers the examples at the indices int64 [B], which are in 0..N-1.
        order: Draws the order of all indices for an epoch, int64 [N]. With None, the order of each
            epoch is a new permutation.
    """

    count: int
    batch: Callable[[NDArray[np.int64]], Any]
    order: Callable[[Draw], NDArray[np.int64]] | None = None


Loss = Callable[[Any, Any, Draw], tuple[Tensor, dict[str, Tensor]]]


class Phase(NamedTuple):
    """One line of a training algorithm: minimise a loss over the parameters of a player.

    Attributes:
        player: The player.
        loss: Computes loss(model, batch, draw) -> (scalar, loss terms by name).
        repeats: How often the phase is repeated in each optimiser step.
        project: Projects the model's weights onto the allowed ones after each repeat. None allows
            all weights.
    """

    player: Player
    loss: Loss
    repeats: int = 1
    project: Callable[[Any], None] | None = None


class Stage(NamedTuple):
    """A part of a training with its own training set and its own optimisers.

    Attributes:
        name: The stage's name.
        phases: The phases of an optimiser step. A stage without phases only computes its inputs.
        inputs: Computes the stage's training set, inputs(model, images, draw), when the stage
            begins. With None, the stage is trained on the images.
        epochs: The number of epochs; None takes the number of `TrainingConfig`.
    """

    name: str
    phases: tuple[Phase, ...]
    inputs: Callable[[Any, Examples, Draw], Examples] | None = None
    epochs: int | None = None


class GenerativeModel(nn.Module, ABC):
    """A model of images x that can be sampled: one draws a latent code z and decodes it.

    Attributes:
        latent_dim: The dimension D of z.
    """

    latent_dim: int

    @abstractmethod
    def latent_prior(self) -> Distribution:
        """The distribution that z is drawn from.

        Returns:
            A distribution whose mean is [D].
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Distribution:
        """Decode latent codes.

        Args:
            z: Latent codes [B, D].

        Returns:
            p(x|z), whose mean is [B, C, H, W] in [0, 1].
        """

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the training.

        Returns:
            The stages in order; most families have one.
        """


class Autoencoder(GenerativeModel, ABC):
    """A generative model that can also encode images, as the encode/decode chain needs."""

    @abstractmethod
    def encode(self, x: Tensor) -> Distribution:
        """Encode images.

        Args:
            x: Images [B, C, H, W] in [0, 1].

        Returns:
            q(z|x), whose mean is [B, D]. If the encoder is deterministic, q(z|x) has no density.
        """

    @abstractmethod
    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        """Corrupt images.

        Args:
            x: Images [B, C, H, W] in [0, 1].
            draw: The random stream of the noise.

        Returns:
            x~ ~ C(x~|x), [B, C, H, W]; x itself if the model has no noise.
        """


def encode_all(model: Autoencoder, examples: Examples) -> Tensor:
    """Encode all images.

    The images are encoded without corruption and without dropout, and batch normalisation uses its
    running averages. The code of a stochastic encoder is the mean of q(z|x).

    Args:
        model: The autoencoder.
        examples: The images, N of them.

    Returns:
        The codes, [N, D].
    """
    codes = []
    with sampling_mode(model, "running"):
        for start in range(0, examples.count, ENCODING_BATCH):
            rows = np.arange(start, min(start + ENCODING_BATCH, examples.count))
            codes.append(model.encode(examples.batch(rows).x).mean)
    return torch.cat(codes)


def add_noise(x: Tensor, noise: float, draw: Draw) -> Tensor:
    """Corrupt images by x~ ~ N(x, noise^2 I) (Creswell et al. 2017, section 4.3).

    The paper states the variance: its N(x, 0.25 I) is noise=0.5.

    Args:
        x: Images [B, C, H, W].
        noise: The standard deviation, in units of pixels in [0, 1]. With 0, nothing is drawn.
        draw: The random stream.

    Returns:
        The corrupted images [B, C, H, W]. Their pixels may lie outside of [0, 1].
    """
    return x + noise * draw.normal(tuple(x.shape)) if noise > 0 else x
