"""What a family gives: something to draw z from, a decoder, and how it is trained.

A paper's algorithm box is an ordered tuple of phases; `training.fit` runs every family. Losses
are pure: no backward, no step, no logging inside.
Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genae_core.config import register, require, require_finite
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.nets.base import Shape, sampling_mode

ENCODED = 500  # images at a time


@register("adam")
@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam's settings (Kingma & Ba 2015)."""

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        require_finite(0, learning_rate=self.learning_rate)
        require(
            self.learning_rate > 0, "learning_rate must be > 0", learning_rate=self.learning_rate
        )
        require(0 <= self.beta1 < 1, "beta1 must be in [0, 1)", beta1=self.beta1)
        require(0 <= self.beta2 < 1, "beta2 must be in [0, 1)", beta2=self.beta2)

    def build(self, parameters: Sequence[Tensor]) -> torch.optim.Adam:
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(parameters, lr=self.learning_rate, betas=betas, fused=True)


class Player(NamedTuple):
    """Who moves in a phase: a name, its parameters, and the optimiser that steps them."""

    name: str
    parameters: list[nn.Parameter]
    optimizer: AdamConfig


class Batch(NamedTuple):
    """What a loss sees.

    x: images [B, C, H, W] in [0, 1], or codes [B, D] in a stage over codes. labels: int64 [B],
    the class of each, -1 where it is not known; or uint8 [B, A], binary attributes.
    """

    x: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Examples:
    """What a stage is trained on.

    batch: int64 indices [B] into 0..count-1 -> what the losses take. order: an epoch's order of
    all indices; None is a permutation, new for each epoch.
    """

    count: int
    batch: Callable[[NDArray[np.int64]], Any]
    order: Callable[[Draw], NDArray[np.int64]] | None = None


Loss = Callable[[Any, Any, Draw], tuple[Tensor, dict[str, Tensor]]]


class Phase(NamedTuple):
    """One step of an algorithm box: loss(model, batch, draw) -> (scalar, terms by name).

    project: puts the model back into the set that is allowed, after each step.
    """

    player: Player
    loss: Loss
    repeats: int = 1
    project: Callable[[Any], None] | None = None


class Stage(NamedTuple):
    """A training of its own, over images unless `inputs` makes something else of them when the
    stage begins. epochs: None takes those of the training. Without phases, `inputs` is all."""

    name: str
    phases: tuple[Phase, ...]
    inputs: Callable[[Any, Examples, Draw], Examples] | None = None
    epochs: int | None = None


class GenerativeModel(nn.Module, ABC):
    """Anything one can sample."""

    latent_dim: int

    @abstractmethod
    def latent_prior(self) -> Distribution:
        """What z is drawn from; its mean is [D]."""

    @abstractmethod
    def decode(self, z: Tensor) -> Distribution:
        """p(x|z) for z [B, D]; its mean is [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """How it is trained; most families have one stage."""


class Autoencoder(GenerativeModel, ABC):
    """A generative model that also infers: what the encode/decode chain needs."""

    @abstractmethod
    def encode(self, x: Tensor) -> Distribution:
        """q(z|x) for x [B, C, H, W]; its mean is [B, D]. It has no density where the encoder is
        deterministic."""

    @abstractmethod
    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        """x~ ~ C(x~|x), the shape of x; x itself where the model has no noise."""


@runtime_checkable
class ModelConfig(Protocol):
    """A family's config: `build` raises ValueError for a shape its nets cannot take."""

    @property
    def latent_dim(self) -> int: ...

    @property
    def family(self) -> str:
        """Its name in the literature, for people: "VAE", "DVAE", ..."""

    @property
    def num_classes(self) -> int:
        """Classes that the training needs the labels of; 0 where it needs none."""

    def build(self, shape: Shape) -> GenerativeModel: ...


def encoded(model: Autoencoder, examples: Examples) -> Tensor:
    """The codes of all images, [N, D]: running statistics, no dropout, no corruption, the mean of
    a stochastic encoder."""
    codes = []
    with sampling_mode(model, "running"):
        for first in range(0, examples.count, ENCODED):
            rows = np.arange(first, min(first + ENCODED, examples.count))
            codes.append(model.encode(examples.batch(rows).x).mean)
    return torch.cat(codes)


def add_noise(x: Tensor, noise: float, draw: Draw) -> Tensor:
    """x~ ~ N(x, noise^2 I); `noise` is a standard deviation, and at 0 nothing is drawn.

    Creswell et al. 2017, section 4.3: their N(x, 0.25 I) is noise=0.5.
    """
    return x + noise * draw.normal(tuple(x.shape)) if noise > 0 else x
