"""The base of the two-stage families: an autoencoder, and a distribution that is fitted to its
codes.

The autoencoder may be "any arbitrary autoencoder that is already trained" (Sridhar & Srivastava,
section 1). Its codes are computed once and standardised, and its weights stay fixed while the
distribution is fitted to the codes.
Shapes: N images, B batch, D latent dimension.
"""

from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require, require_positive_int
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.models.ae import AEConfig
from genae_core.models.base import Autoencoder, Batch, Examples, Phase, Stage, encode_all
from genae_core.models.config import ModelConfig, check_model_config, is_trained
from genae_core.nets.base import Shape

SMALLEST_SCALE = 1e-6  # Codes are divided by their standard deviations, but not by less than this.


@dataclass(frozen=True, kw_only=True)
class TwoStageConfig(ModelConfig):
    """The config of a two-stage model.

    Args:
        autoencoder: The autoencoder of the first stage.
        finished: The folder with the checkpoint of a trained autoencoder of this config, which is
            used without training. None trains the autoencoder first.
        epochs: The number of epochs in which the distribution of the codes is fitted; None takes
            the number of `TrainingConfig`.

    Raises:
        ValueError: A value is out of range, or the autoencoder is a two-stage model.
    """

    autoencoder: ModelConfig = field(default_factory=lambda: AEConfig(latent_dim=10))
    finished: str | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        check_model_config(self.autoencoder)
        require(
            not isinstance(self.autoencoder, TwoStageConfig),
            f"{self.family} is built on an autoencoder, not on another two-stage model",
            autoencoder=type(self.autoencoder).__name__,
        )
        require(
            not is_trained(self.autoencoder),
            f"{self.family} trains its autoencoder, or takes one of genae's (finished); fit a "
            "prior to the codes of a model of another package with ChainConfig.fitted_prior",
            autoencoder=type(self.autoencoder).__name__,
        )
        if self.epochs is not None:
            require_positive_int(epochs=self.epochs)

    @property
    def latent_dim(self) -> int:
        return self.autoencoder.latent_dim


class AffineDistribution:
    """The distribution of z = shift + scale * u, where u is a standardised code.

    Args:
        distribution: The distribution of u.
        shift: The mean of the codes, [D].
        scale: The standard deviation of each component of the codes, [D].
    """

    def __init__(self, distribution: Distribution, shift: Tensor, scale: Tensor) -> None:
        self.distribution, self.shift, self.scale = distribution, shift, scale

    @property
    def mean(self) -> Tensor:
        return self.shift + self.scale * self.distribution.mean

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self.shift + self.scale * self.distribution.sample(draw, sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z) = log p(u) - sum_d log scale_d, [B], in nats.

        Raises:
            TypeError: The distribution of u has no density.
        """
        u = (value - self.shift) / self.scale
        return self.distribution.log_prob(u) - self.scale.log().sum()


class TwoStage(Autoencoder):
    """An autoencoder whose latent codes are drawn from `code_distribution`.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the model of the first stage
            has no encoder.

    Attributes:
        needs_weights: Whether the weights of a finished autoencoder still have to be loaded.
        shift: The mean of the codes, [D].
        scale: The standard deviation of each component of the codes, [D].
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: TwoStageConfig, shape: Shape) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        autoencoder = config.autoencoder.build(shape)
        if not isinstance(autoencoder, Autoencoder):
            raise ValueError(
                f"{config.family} is built on an autoencoder, and {config.autoencoder.family} "
                "has no encoder"
            )
        self.autoencoder = autoencoder
        self.finished = config.finished
        self.needs_weights = config.finished is not None
        self.register_buffer("shift", torch.zeros(self.latent_dim))
        self.register_buffer("scale", torch.ones(self.latent_dim))

    def load_autoencoder(self, weights: dict[str, Tensor]) -> None:
        """Load the weights of the finished autoencoder, which the training needs.

        Args:
            weights: The state dict of the autoencoder.
        """
        self.autoencoder.load_state_dict(weights)
        self.needs_weights = False

    @abstractmethod
    def code_distribution(self) -> Distribution:
        """The distribution of the standardised codes.

        Returns:
            A distribution whose mean is [D].
        """

    @abstractmethod
    def code_stage(self) -> Stage:
        """The stage that fits `code_distribution` to the codes.

        Returns:
            A stage whose batches hold standardised codes, [B, D].
        """

    def latent_prior(self) -> AffineDistribution:
        return AffineDistribution(self.code_distribution(), self.shift, self.scale)

    def encode(self, x: Tensor) -> Distribution:
        return self.autoencoder.encode(x)

    def decode(self, z: Tensor) -> Distribution:
        return self.autoencoder.decode(z)

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return self.autoencoder.corrupt(x, draw)

    def stages(self) -> tuple[Stage, ...]:
        """The stages of the autoencoder, unless it is finished, and then the stage of the codes.

        Raises:
            ValueError: The weights of the finished autoencoder are not loaded.
        """
        self.check_weights()
        if self.finished is not None:
            return (self.code_stage(),)
        return (*map(self._with_autoencoder, self.autoencoder.stages()), self.code_stage())

    def check_weights(self) -> None:
        """Raise ValueError unless the finished autoencoder, if there is one, has its weights."""
        require(
            not self.needs_weights,
            "the weights of the finished autoencoder are not loaded: make the model with "
            "genae_core.training.checkpoint.build_model",
            finished=self.finished,
        )

    def _with_autoencoder(self, stage: Stage) -> Stage:
        """Adapt a stage of the autoencoder to this model.

        `fit` passes this model to the losses, but the losses of the stage need the autoencoder.
        """
        assert stage.inputs is None
        autoencoder = self.autoencoder

        def adapt(phase: Phase) -> Phase:
            project = phase.project
            return phase._replace(
                loss=lambda _, batch, draw: phase.loss(autoencoder, batch, draw),
                project=None if project is None else lambda _: project(autoencoder),
            )

        return stage._replace(phases=tuple(map(adapt, stage.phases)))


def cache_codes(model: TwoStage, examples: Examples, draw: Draw) -> Examples:
    """Encode all images, set the model's shift and scale, and return the standardised codes.

    Raises:
        ValueError: The weights of the finished autoencoder are not loaded.
    """
    model.check_weights()
    model.eval()
    z = encode_all(model, examples)
    model.shift.copy_(z.mean(0))
    model.scale.copy_(z.std(0).clamp_min(SMALLEST_SCALE))
    u = (z - model.shift) / model.scale
    unknown = torch.full((len(u),), -1, device=u.device)

    def gather(index: NDArray[np.int64]) -> Batch:
        rows = torch.from_numpy(index).to(u.device, non_blocking=True)
        return Batch(u[rows], unknown[rows])

    return Examples(examples.count, gather)
