"""MMD GAN: a generator that minimises the MMD of features that a critic learns against it.

Li et al. 2017, eq. 3, with the gradient penalty and the kernels of Binkowski et al. 2018 instead
of clipped weights and an autoencoder. Shapes: B batch, K features.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import gradient_penalty
from genae_core.models.base import Batch, Phase, Player, Stage
from genae_core.models.gan import check_penalised
from genae_core.models.image_generator import (
    ImageGenerator,
    ImageGeneratorConfig,
    generate_images,
)
from genae_core.nets.base import Shape


def mixture_of_rational_quadratics() -> MMD:
    """The kernel of Binkowski et al. 2018, section 2.1 and 4."""
    return MMD(kernel="rational_quadratic", scales=(0.2, 0.5, 1.0, 2.0, 5.0))


@register("mmd_gan")
@dataclass(frozen=True, kw_only=True)
class MMDGANConfig(ImageGeneratorConfig):
    """The config of an MMD GAN.

    It has the arguments of `ImageGeneratorConfig` and these:

    Args:
        divergence: The MMD of the features.
        features: The number K of features of the critic.
        penalty: The weight of the gradient penalty, >= 0.
        critic_steps: The number of critic steps before each step of the generator.

    Raises:
        ValueError: A value is out of range, or a gradient penalty is asked of a critic with batch
            normalisation.
    """

    divergence: MMD = field(default_factory=mixture_of_rational_quadratics)
    features: int = 16
    penalty: float = 1.0
    critic_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.divergence.root,
            "an MMD GAN minimises MMD^2, so divergence.root must be False",
            root=self.divergence.root,
        )
        require_finite(0, penalty=self.penalty)
        require_positive_int(features=self.features, critic_steps=self.critic_steps)
        check_penalised(self.penalty > 0, self.critic)

    @property
    def family(self) -> str:
        return "MMD GAN"

    def build(self, shape: Shape) -> "MMDGAN":
        return MMDGAN(self, shape)


class MMDGAN(ImageGenerator):
    """A generator, and a critic whose features make the kernel k(phi(x), phi(x')).

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the prior is learned.
    """

    def __init__(self, config: MMDGANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.divergence, self.penalty = config.divergence, config.penalty
        self.critic_steps = config.critic_steps
        self.critic = config.critic.build_encoder(shape, config.features)

    def stages(self) -> tuple[Stage, ...]:
        """The critic's steps, then a step of the generator."""
        player = Player("critic", list(self.critic.parameters()), self.critic_optimizer())
        critic = Phase(player, critic_loss, self.critic_steps)
        return (Stage("generator", (critic, self.generator_phase(generator_loss))),)


def critic_loss(model: MMDGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """-MMD^2(phi(x), phi(G(z))) + penalty E[(||grad f|| - 1)^2], with the witness function f.

    f(t) = E[k(phi(x), phi(t))] - E[k(phi(G(z)), phi(t))] (Binkowski et al. 2018, section 2.2).
    """
    with torch.no_grad():
        images = generate_images(model, batch, draw)
    real, generated = model.critic(batch.x), model.critic(images)
    loss = -model.divergence.between(real, generated)
    if model.penalty == 0:
        return loss, {"critic": loss}

    def witness(x: Tensor) -> Tensor:
        return model.divergence.witness(model.critic(x), real, generated)

    penalty = gradient_penalty(witness, batch.x, images, draw)
    loss = loss + model.penalty * penalty
    return loss, {"critic": loss, "gradient_penalty": penalty}


def generator_loss(model: MMDGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """MMD^2(phi(x), phi(G(z))) (Li et al. 2017, eq. 3)."""
    images = generate_images(model, batch, draw)
    loss = model.divergence.between(model.critic(batch.x), model.critic(images))
    return loss, {"generator": loss}
