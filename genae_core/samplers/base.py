"""The interface of a sampler, and the functions that all samplers use.

Shapes: B chains of a sub-batch, D latent dimension, C channels, H rows, W columns.
"""

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from genae_core.config import require
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw

Start = int | Tensor
NO_ENCODER = "the model has no encoder"


class Chain(NamedTuple):
    """B chains at one step.

    Attributes:
        z: The latent codes, [B, D].
        x: The images that the next step encodes, [B, C, H, W].
        mean: The mean of p(x|z), which the metrics use, [B, C, H, W].
        state: Anything else that the sampler needs in the next step.
        accepted: The fraction of its proposals that each chain has accepted so far, [B]; None for
            a sampler that accepts every proposal.
    """

    z: Tensor
    x: Tensor
    mean: Tensor
    state: Any = None
    accepted: Tensor | None = None


class Sampleable(Protocol):
    """The methods of a model that a sampler needs. The model may be genae's or your own."""

    def latent_prior(self) -> Distribution:
        """The distribution that z is drawn from.

        Returns:
            A distribution whose mean is [D].
        """

    def decode(self, z: Tensor) -> Distribution:
        """Decode latent codes.

        Args:
            z: Latent codes, [B, D].

        Returns:
            p(x|z), whose mean is [B, C, H, W].
        """

    def encode(self, x: Tensor) -> Distribution:
        """Encode images.

        Args:
            x: Images, [B, C, H, W].

        Returns:
            q(z|x), whose mean is [B, D].
        """

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        """Corrupt images.

        Args:
            x: Images, [B, C, H, W].
            draw: The source of randomness.

        Returns:
            x~ ~ C(x~|x), [B, C, H, W]; x itself for a model without noise.
        """


class Sampler(Protocol):
    """A Markov chain over a model's latent codes and images, with a start and a pure transition.

    A sampler is a frozen dataclass of its settings.
    """

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        """Whether `run_chain` calls `init` with a number of chains or with images."""

    @property
    def couples(self) -> bool:
        """Whether chains may depend on one another through the statistics of their batch."""

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        """The chain at step 0.

        Args:
            model: The model to sample.
            start: A number of chains, images [B, C, H, W], or latent codes z [B, D].
            draw: The source of randomness.

        Returns:
            B chains.

        Raises:
            ValueError: The sampler cannot start from this, or it needs a density that the model
                does not have.
        """

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        """Make one transition, without changing the model or `chain`.

        Args:
            model: The model to sample.
            chain: B chains at one step.
            draw: The source of randomness.

        Returns:
            The same B chains at the next step.
        """


class ModelWithPrior:
    """A model whose z is drawn from a fitted prior instead of the model's own prior."""

    def __init__(self, model: Sampleable, fitted_prior: Distribution) -> None:
        self.fitted_prior = fitted_prior
        self.decode, self.encode, self.corrupt = model.decode, model.encode, model.corrupt

    def latent_prior(self) -> Distribution:
        return self.fitted_prior


class DecoderAlone:
    """A model without an encoder, with the methods of one that say why they cannot be called."""

    def __init__(self, model: Any) -> None:
        self.latent_prior, self.decode = model.latent_prior, model.decode

    def encode(self, x: Tensor) -> Distribution:
        raise ValueError(NO_ENCODER)

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        raise ValueError(NO_ENCODER)


def has_encoder(model: Any) -> bool:
    """Whether a model, of genae or of your own, can encode. A GAN's generator cannot."""
    return callable(getattr(model, "encode", None))


def start_latents(model: Sampleable, start: Start, draw: Draw) -> Tensor:
    """z_0 [B, D] for a start of any kind.

    It is drawn from p(z) for a number of chains, and from q(z|x~) for images; a start at z is z_0
    itself.
    """
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
    """Raise ValueError unless images [..., C, H, W] have the shape of the model's images."""
    dim = model.latent_prior().mean.shape[-1]
    # Two codes are decoded, because batch normalisation refuses a batch of one.
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
    """The chain at z [B, D]. Its x is the mean of p(x|z) or a sample of it."""
    distribution = model.decode(z)
    mean = distribution.mean
    x = distribution.sample(draw) if decode == "sample" else mean
    return Chain(z, x, mean, state)


def sum_log_prob(distribution: Distribution, value: Tensor) -> Tensor:
    """log p(value) of each row in nats, [B].

    If the distribution gives one number for each element, the numbers of a row are added.
    """
    return distribution.log_prob(value).reshape(len(value), -1).sum(1)


def check_decode(decode: str) -> None:
    """Raise ValueError unless decode is "mean" or "sample"."""
    require(decode in ("mean", "sample"), 'decode must be "mean" or "sample"', decode=decode)
