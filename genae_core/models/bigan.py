"""BiGAN and ALI: a GAN of pairs of an image and its code, so that it has an encoder.

A critic tells (x, E(x)), for images x of the data, from (G(z), z), for z of the prior. Encoder and
generator move both distributions to each other. With the best critic they minimise
2 JS(p(x, E(x)), p(G(z), z)) - log 4, and at the optimum E inverts G (Donahue et al. 2017, eq. 3,
and section 3; Dumoulin et al. 2017, eq. 1 to 3). Nothing else asks for good reconstructions.
Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require
from genae_core.distributions.base import Delta, Distribution, Normal
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.wasserstein import has_gradient_penalty
from genae_core.models.base import Autoencoder, Batch, Phase, Player, Stage
from genae_core.models.gan import check_penalised
from genae_core.models.image_generator import ImageGenerator, ImageGeneratorConfig
from genae_core.models.matching import Matching, check_critic, sample_prior
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig


@register("bigan")
@dataclass(frozen=True, kw_only=True)
class BiGANConfig(ImageGeneratorConfig):
    """The config of a BiGAN, or of an ALI if the encoder is a Gaussian.

    It has the arguments of `ImageGeneratorConfig`, whose `optimizer` is also that of the encoder,
    whose `net` also makes the encoder, and whose `critic` gives the features of an image, and
    these:

    Args:
        posterior: The form of q(z|x): "deterministic" is a point (BiGAN), and "gaussian" a
            diagonal Gaussian (ALI).
        divergence: The divergence between generated and encoded pairs; it needs a critic.
        joint: The part of the critic that scores the features of an image together with a code.
            The critic computes as many features as its first layer is wide.

    Raises:
        ValueError: A value is out of range, the divergence has no critic, or a gradient penalty is
            asked of a critic with batch normalisation.
    """

    posterior: Literal["deterministic", "gaussian"] = "deterministic"
    divergence: Divergence = field(default_factory=FDivergence)
    joint: CriticConfig = field(default_factory=lambda: CriticConfig(dropout=0.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.posterior in ("deterministic", "gaussian"),
            'posterior must be "deterministic" or "gaussian"',
            posterior=self.posterior,
        )
        check_critic(self.family, self.divergence)
        check_penalised(has_gradient_penalty(self.divergence), self.critic)

    @property
    def family(self) -> str:
        return "ALI" if self.posterior == "gaussian" else "BiGAN"

    def build(self, shape: Shape) -> "BiGAN":
        return BiGAN(self, shape)


class BiGAN(ImageGenerator, Autoencoder):
    """A generator, an encoder, and a critic of pairs of an image and a code.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the prior is learned.
    """

    def __init__(self, config: BiGANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.posterior, self.divergence = config.posterior, config.divergence
        outputs = config.latent_dim * (2 if config.posterior == "gaussian" else 1)
        self.encoder = config.net.build_encoder(shape, outputs)
        self.critic = PairCritic(config.critic, config.joint, shape, config.latent_dim)

    def encode(self, x: Tensor) -> Distribution:
        if self.posterior == "gaussian":
            mean, log_var = self.encoder(x).chunk(2, dim=1)
            return Normal(mean, log_var)
        return Delta(self.encoder(x))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return x

    def stages(self) -> tuple[Stage, ...]:
        """The critic's steps, then a step of the generator and one of the encoder.

        Neither loss of the last two depends on the other network, so they are stepped at once.
        """
        matching = self.matching()
        encoder = Player("encoder", list(self.encoder.parameters()), self.config.optimizer)
        phases = (
            *matching.critic_phases(self, self.critic_optimizer()),
            self.generator_phase(matching.codes_loss),
            Phase(encoder, encoder_loss),
        )
        return (Stage("generator", phases),)

    def matching(self) -> Matching:
        """The matching that moves the generated pairs to the encoded ones."""
        return Matching(
            self.divergence,
            critic=lambda model: model.critic,
            codes=generated_pairs,
            target=encoded_pairs,
            terms=("critic", "generator"),
        )


class PairCritic(nn.Module):
    """The map of pairs [B, C H W + D], as `join` makes them, to scores [B].

    Args:
        body: The networks, whose encoder computes the features of an image.
        joint: The critic of the features and the code.
        shape: (C, H, W) of the images.
        latent_dim: The dimension D of the codes.
    """

    def __init__(
        self, body: NetConfig, joint: CriticConfig, shape: Shape, latent_dim: int
    ) -> None:
        super().__init__()
        self.shape, self.slope = shape, joint.slope
        features = joint.widths[0]
        self.body = body.build_encoder(shape, features)
        self.joint = joint.build(features + latent_dim)

    def forward(self, pairs: Tensor, draw: Draw) -> Tensor:
        pixels = math.prod(self.shape)
        x, z = pairs[:, :pixels].reshape(-1, *self.shape), pairs[:, pixels:]
        features = F.leaky_relu(self.body(x), self.slope)
        score: Tensor = self.joint(torch.cat([features, z], 1), draw)
        return score


def join(x: Tensor, z: Tensor) -> Tensor:
    """Images [B, C, H, W] and codes [B, D] as pairs, [B, C H W + D]."""
    return torch.cat([x.flatten(1), z], 1)


def generated_pairs(model: BiGAN, batch: Batch, draw: Draw) -> Tensor:
    """(G(z), z), z ~ p(z), as many as the batch has images, [B, C H W + D]."""
    z = sample_prior(model, batch, draw)
    return join(model.generate(z), z)


def encoded_pairs(model: BiGAN, batch: Batch, draw: Draw) -> Tensor:
    """(x, z), z ~ q(z|x), for the images of the batch, [B, C H W + D]."""
    return join(batch.x, model.encode(batch.x).sample(draw))


def encoder_loss(model: BiGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the encoder: the critic shall take its pairs for generated ones."""
    pairs = encoded_pairs(model, batch, draw)
    loss = model.divergence.target_loss(model.matching().score(model, batch, draw), pairs)
    return loss, {"encoder": loss}
