"""The optimisers that a player of a training can have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from genae_core.config import register, require, require_finite
from genae_core.nets.uncompiled import Adam, RMSprop


class OptimizerConfig(Protocol):
    """The config of an optimiser: a frozen dataclass of its settings."""

    @property
    def learning_rate(self) -> float:
        """The step size, > 0."""

    def build(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """Build the optimiser of these parameters.

        Args:
            parameters: The parameters, on one device.

        Returns:
            The optimiser.
        """


@register("adam")
@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """The settings of Adam (Kingma & Ba 2015).

    Args:
        learning_rate: The step size, > 0.
        beta1: The decay of the first moment, in [0, 1).
        beta2: The decay of the second moment, in [0, 1).

    Raises:
        ValueError: A value is out of range.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        require(0 <= self.beta1 < 1, "beta1 must be in [0, 1)", beta1=self.beta1)
        require(0 <= self.beta2 < 1, "beta2 must be in [0, 1)", beta2=self.beta2)

    def build(self, parameters: Sequence[Tensor]) -> Adam:
        """Build the optimiser of these parameters.

        Args:
            parameters: The parameters, on one device.

        Returns:
            The optimiser, in torch's fused implementation.
        """
        betas = (self.beta1, self.beta2)
        return Adam(parameters, lr=self.learning_rate, betas=betas, fused=True)


@register("rms_prop")
@dataclass(frozen=True, kw_only=True)
class RMSPropConfig:
    """The settings of RMSProp (Tieleman & Hinton 2012), without momentum.

    Args:
        learning_rate: The step size, > 0. The default is that of the WGAN (Arjovsky et al. 2017,
            algorithm 1).
        decay: The decay of the mean of squared gradients, in [0, 1).

    Raises:
        ValueError: A value is out of range.
    """

    learning_rate: float = 5e-5
    decay: float = 0.99

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)
        require(0 <= self.decay < 1, "decay must be in [0, 1)", decay=self.decay)

    def build(self, parameters: Sequence[Tensor]) -> RMSprop:
        """Build the optimiser of these parameters.

        Args:
            parameters: The parameters, on one device.

        Returns:
            The optimiser, in torch's implementation for many tensors at once.
        """
        # A step that a GPU captures needs its count of steps on the GPU from the beginning.
        capturable = bool(parameters) and parameters[0].is_cuda
        return RMSprop(
            parameters,
            lr=self.learning_rate,
            alpha=self.decay,
            foreach=True,
            capturable=capturable,
        )


def check_learning_rate(learning_rate: float) -> None:
    """Raise ValueError unless the learning rate is a finite number > 0."""
    require_finite(0, learning_rate=learning_rate)
    require(learning_rate > 0, "learning_rate must be > 0", learning_rate=learning_rate)
