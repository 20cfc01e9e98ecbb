"""What a sampler is, and what the samplers share.

Shapes: B chains of a sub-batch, D latent dimension, C channels, H rows, W columns.
"""

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from genae_core.config import require
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw

Start = int | Tensor


class Chain(NamedTuple):
    """B chains at one step.

    Attributes:
        z: The latent codes, [B, D].
        x: The images that the next step encodes, [B, C, H, W].
        mean: The mean of p(x|z), which the metrics use, [B, C, H, W].
        state: Anything else that the sampler carries from step to step.
        accepted: The share of each chain's proposals so far that were accepted, [B]; None for a
            sampler that accepts every proposal.
    """

    z: Tensor
    x: Tensor
    mean: Tensor
    state: Any = None
    accepted: Tensor | None = None


class Sampleable(Protocol):
    """The part of a model that a sampler needs; the model may be genae's or your own."""

    def latent_prior(self) -> Distribution:
        """The distribution of z; its mean has the shape [D]."""

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z) for z [B, D]; its mean has the shape [B, C, H, W]."""

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x) for x [B, C, H, W]; its mean has the shape [B, D]."""

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        """x~ ~ C(x~|x), [B, C, H, W]; x itself for a model without noise."""


class Sampler(Protocol):
    """A Markov chain over a model's latent codes and images: a frozen dataclass of its settings,
    with a start and a pure transition."""

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        """Whether `run_chain` calls `init` with a number of chains or with images."""

    @property
    def couples(self) -> bool:
        """Whether its chains may share the batch statistics of batch normalisation."""

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        """The chain at step 0.

        Args:
            model: The model to sample.
            start: A number of chains, images [B, C, H, W], or latent codes z [B, D].
            draw: The source of randomness.

        Raises:
            ValueError: The sampler cannot start from this, or the model lacks a density that the
                sampler needs.
        """

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        """One transition. It is pure: it changes neither the model nor the chain passed in.

        Args:
            model: The model to sample.
            chain: B chains at one step.
            draw: The source of randomness.

        Returns:
            The same B chains at the next step.
        """


class ModelWithPrior:
    """A model whose z is drawn from another prior than its own."""

    def __init__(self, model: Sampleable, fitted_prior: Distribution) -> None:
        self.fitted_prior = fitted_prior
        self.decode, self.encode, self.corrupt = model.decode, model.encode, model.corrupt

    def latent_prior(self) -> Distribution:
        return self.fitted_prior


def start_latents(model: Sampleable, start: Start, draw: Draw) -> Tensor:
    """z0 [B, D] from a number of chains (z ~ p(z)), from images (z ~ q(z|x~)), or z itself."""
    if isinstance(start, int):
        return model.latent_prior().sample(draw, (start,))
    if start.ndim == 2:
        return start
    require(
        start.ndim == 4,
        "start must be a number, z [B, D] or images [B, C, H, W]",
        shape=tuple(start.shape),
    )
    check_images(model, start)
    return model.encode(model.corrupt(start, draw)).sample(draw)


def check_images(model: Sampleable, images: Tensor) -> None:
    """Raise ValueError unless images [..., C, H, W] have the shape of those that the model
    decodes."""
    dim = model.latent_prior().mean.shape[-1]
    # Batch normalisation refuses a batch of one, so two codes are decoded.
    decoded_shape = model.decode(torch.zeros(2, dim, device=images.device)).mean.shape[1:]
    require(
        images.shape[-3:] == decoded_shape,
        f"images must be of the model's shape, {list(decoded_shape)}",
        shape=list(images.shape),
    )


def chain_at(
    model: Sampleable,
    z: Tensor,
    decode: Literal["mean", "sample"],
    draw: Draw,
    state: Any = None,
) -> Chain:
    """The chain at z, with x the mean of p(x|z) or a sample of it."""
    pixels = model.decode(z)
    mean = pixels.mean
    return Chain(z, pixels.sample(draw) if decode == "sample" else mean, mean, state)


def sum_log_prob(distribution: Distribution, value: Tensor) -> Tensor:
    """log p(value) of each row in nats, [B]: the sum over the elements of a row for a
    distribution that gives it element by element."""
    return distribution.log_prob(value).reshape(len(value), -1).sum(1)


def check_decode(decode: str) -> None:
    """Raise ValueError unless decode is "mean" or "sample"."""
    require(decode in ("mean", "sample"), 'decode must be "mean" or "sample"', decode=decode)
