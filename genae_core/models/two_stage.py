"""What the two-stage families share: a finished autoencoder, and a law fitted to its codes.

"Any arbitrary autoencoder that is already trained" (Sridhar & Srivastava, section 1): its codes
are cached once, standardised, and its weights no longer move.
Shapes: N images, B batch, D latent dimension.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from genae_core.config import require, require_positive_int
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.models.ae import AEConfig
from genae_core.models.base import Autoencoder, Batch, Examples, ModelConfig, Stage, encoded
from genae_core.nets.base import Shape

SMALLEST = 1e-6  # standard deviation of a code's component that is divided by


@dataclass(frozen=True, kw_only=True)
class TwoStageConfig(ABC):
    """autoencoder: trained first, or taken from the checkpoint folder `finished`. epochs: of the
    law of its codes; None takes those of the training."""

    autoencoder: ModelConfig = field(default_factory=lambda: AEConfig(latent_dim=10))
    finished: str | None = None
    epochs: int | None = None

    num_classes: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require(
            not isinstance(self.autoencoder, TwoStageConfig),
            f"{self.family} is built on an autoencoder, not on another two-stage model",
            autoencoder=type(self.autoencoder).__name__,
        )
        if self.epochs is not None:
            require_positive_int(epochs=self.epochs)

    @property
    def latent_dim(self) -> int:
        return self.autoencoder.latent_dim

    @property
    @abstractmethod
    def family(self) -> str:
        """As in `ModelConfig`."""


class Standardised:
    """The law of shift + scale * u, u of the law of standardised codes. shift, scale: [D]."""

    def __init__(self, distribution: Distribution, shift: Tensor, scale: Tensor) -> None:
        self.distribution, self.shift, self.scale = distribution, shift, scale

    @property
    def mean(self) -> Tensor:
        return self.shift + self.scale * self.distribution.mean

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self.shift + self.scale * self.distribution.sample(draw, sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z), [B], where the law has a density (see `priors.base.Prior`)."""
        u = (value - self.shift) / self.scale
        return self.distribution.log_prob(u) - self.scale.log().sum()


class TwoStage(Autoencoder):
    """The autoencoder encodes and decodes; z is drawn from `code_law`."""

    shift: Tensor
    scale: Tensor

    def __init__(self, config: TwoStageConfig, shape: Shape) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self.autoencoder: Any = config.autoencoder.build(shape)
        self.finished = config.finished
        self.untrained = config.finished is not None
        self.register_buffer("shift", torch.zeros(self.latent_dim))
        self.register_buffer("scale", torch.ones(self.latent_dim))

    def take_autoencoder(self, weights: dict[str, Tensor]) -> None:
        """Load the finished autoencoder's state dict, without which the second stage cannot be
        trained; a trained two-stage model holds these weights itself."""
        self.autoencoder.load_state_dict(weights)
        self.untrained = False

    @abstractmethod
    def code_distribution(self) -> Distribution:
        """The law of standardised codes [D]."""

    @abstractmethod
    def code_stage(self) -> Stage:
        """How it is fitted, on Batch.x of standardised codes [B, D]."""

    def latent_prior(self) -> Standardised:
        return Standardised(self.code_distribution(), self.shift, self.scale)

    def encode(self, x: Tensor) -> Distribution:
        distribution: Distribution = self.autoencoder.encode(x)
        return distribution

    def decode(self, z: Tensor) -> Distribution:
        distribution: Distribution = self.autoencoder.decode(z)
        return distribution

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        corrupted: Tensor = self.autoencoder.corrupt(x, draw)
        return corrupted

    def stages(self) -> tuple[Stage, ...]:
        require(
            not self.untrained,
            "the weights of the finished autoencoder are not loaded: make the model with "
            "genae_core.training.checkpoint.build_model",
            finished=self.finished,
        )
        # A phase's loss is called with the model that is trained, here the inner one.
        first = () if self.finished else tuple(map(self._inner, self.autoencoder.stages()))
        return (*first, self.code_stage())

    def _inner(self, stage: Stage) -> Stage:
        assert stage.inputs is None
        inner = self.autoencoder

        def inside(phase: Any) -> Any:
            project = phase.project
            return phase._replace(
                loss=lambda _, batch, draw: phase.loss(inner, batch, draw),
                project=None if project is None else lambda _: project(inner),
            )

        return stage._replace(phases=tuple(map(inside, stage.phases)))


def cached_codes(model: TwoStage, examples: Examples, draw: Draw) -> Examples:
    """The standardised codes of all images, made once. Sets the model's shift and scale."""
    model.eval()
    z = encoded(model, examples)
    model.shift.copy_(z.mean(0))
    model.scale.copy_(z.std(0).clamp_min(SMALLEST))
    u = (z - model.shift) / model.scale
    unknown = torch.full((len(u),), -1, device=u.device)

    def batch(index: Any) -> Batch:
        rows = torch.from_numpy(index).to(u.device, non_blocking=True)
        return Batch(u[rows], unknown[rows])

    return Examples(examples.count, batch)
