"""EBGAN: the critic is an autoencoder, and its reconstruction error is the energy of an image.

Zhao, Mathieu & LeCun 2017, eq. 1 to 4. Shapes: B batch, C channels, H rows, W columns, K dimension
of the critic's codes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.models.autoencoding_critic import AutoencodingCritic
from genae_core.models.base import Batch, Phase, Player, Stage
from genae_core.models.image_generator import (
    ImageGenerator,
    ImageGeneratorConfig,
    generate_images,
)
from genae_core.nets.base import Shape


@register("eb_gan")
@dataclass(frozen=True, kw_only=True)
class EBGANConfig(ImageGeneratorConfig):
    """The config of an EBGAN.

    It has the arguments of `ImageGeneratorConfig`, whose `critic` gives the critic's encoder and
    decoder, and these:

    Args:
        margin: The energy m up to which the critic raises generated images, > 0. The energy is an
            error of a pixel, so one margin serves images of every size. In the paper, the energy
            is the norm of the error of the whole image: its m = 10 for MNIST is 10 / 28 = 0.36.
        pull_away: The weight of the pull-away term, >= 0; 0 leaves it out (section 2.4).
        code_dim: The dimension K of the critic's codes.

    Raises:
        ValueError: A value is out of range.
    """

    margin: float = 0.36
    pull_away: float = 0.1
    code_dim: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite(0, margin=self.margin, pull_away=self.pull_away)
        require(self.margin > 0, "margin must be > 0", margin=self.margin)
        require(self.pull_away >= 0, "pull_away must be >= 0", pull_away=self.pull_away)
        require_positive_int(code_dim=self.code_dim)

    @property
    def family(self) -> str:
        return "EBGAN-PT" if self.pull_away > 0 else "EBGAN"

    def build(self, shape: Shape) -> "EBGAN":
        return EBGAN(self, shape)


class EBGAN(ImageGenerator):
    """A generator of images with a low energy, and a critic that gives real images a low one.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the prior is learned.
    """

    def __init__(self, config: EBGANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.margin, self.pull_away = config.margin, config.pull_away
        self.critic = AutoencodingCritic(config.critic, config.code_dim, shape)

    def stages(self) -> tuple[Stage, ...]:
        """A step of the critic, then a step of the generator."""
        critic = Player("critic", list(self.critic.parameters()), self.critic_optimizer())
        return (
            Stage("generator", (Phase(critic, critic_loss), self.generator_phase(generator_loss))),
        )


def critic_loss(model: EBGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """E[D(x)] + E[max(0, m - D(G(z)))] (eq. 1)."""
    with torch.no_grad():
        images = generate_images(model, batch, draw)
    real = energy(batch.x, model.critic(batch.x).x)
    generated = energy(images, model.critic(images).x)
    loss = real.mean() + F.relu(model.margin - generated).mean()
    terms = {"critic": loss, "real_energy": real.mean(), "generated_energy": generated.mean()}
    return loss, terms


def generator_loss(model: EBGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """E[D(G(z))] + pull_away PT(S), with the codes S of the generated images (eq. 2 and 4)."""
    images = generate_images(model, batch, draw)
    codes, reconstruction = model.critic(images)
    loss = energy(images, reconstruction).mean()
    if model.pull_away == 0:
        return loss, {"generator": loss}
    similarity = pull_away_term(codes)
    loss = loss + model.pull_away * similarity
    return loss, {"generator": loss, "pull_away": similarity}


def energy(x: Tensor, reconstruction: Tensor) -> Tensor:
    """D(x) = |Dec(Enc(x)) - x| / sqrt(C H W) (eq. 3, which does not divide by the pixels), [B].

    Args:
        x: Images [B, C, H, W].
        reconstruction: Their reconstructions, of the same shape.
    """
    # Without the constant, the gradient of the square root at 0 would not be finite.
    return ((reconstruction - x).flatten(1).square().mean(1) + 1e-12).sqrt()


def pull_away_term(codes: Tensor) -> Tensor:
    """The mean squared cosine of the codes of two different images of a batch (eq. 4).

    PT(S) = 1 / (B (B - 1)) sum over i != j of (S_i . S_j / (|S_i| |S_j|))^2

    Args:
        codes: The codes S, [B, K].

    Returns:
        A scalar in [0, 1].
    """
    directions = F.normalize(codes)
    squared = (directions @ directions.T).square()
    count = len(codes)
    return (squared.sum() - squared.diagonal().sum()) / (count * (count - 1))
