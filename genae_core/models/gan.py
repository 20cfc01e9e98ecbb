"""GAN, f-GAN, LSGAN, WGAN, WGAN-GP and GMMN: a generator whose images are moved to the real ones.

The divergence between the two distributions of images makes the family:

- `FDivergence()`: the GAN, which minimises 2 JS(p, q) - log 4 (Goodfellow et al. 2014, eq. 1); the
  generator's loss is the non-saturating one unless `saturating` (section 3);
- `FDivergence(kind=...)`: the f-GAN (Nowozin et al. 2016, eq. 6 and Table 6);
- `LeastSquares()`: the LSGAN (Mao et al. 2017, eq. 2);
- `Wasserstein(constraint="clip")`: the WGAN (Arjovsky et al. 2017, algorithm 1);
- `Wasserstein()`: the WGAN-GP (Gulrajani et al. 2017, eq. 3);
- `MMD()`: the GMMN, which has no critic (Li et al. 2015, eq. 3 and 8).

Unlike the papers' algorithms, all critic steps before a step of the generator have the same batch
of real images; the generated ones are new in each.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from genae_core.config import register, require
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.least_squares import LeastSquares
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein, has_gradient_penalty
from genae_core.models.base import Stage
from genae_core.models.image_generator import (
    ImageGenerator,
    ImageGeneratorConfig,
    generate_images,
    real_images,
)
from genae_core.models.matching import Matching
from genae_core.nets.base import NetConfig, Shape


@register("gan")
@dataclass(frozen=True, kw_only=True)
class GANConfig(ImageGeneratorConfig):
    """The config of a GAN, and of its relatives with another divergence.

    It has the arguments of `ImageGeneratorConfig` and this one:

    Args:
        divergence: The divergence between generated and real images. One without a critic (an
            MMD) ignores `critic` and `critic_optimizer`.

    Raises:
        ValueError: A value is out of range, or a gradient penalty is asked of a critic with batch
            normalisation.
    """

    divergence: Divergence = field(default_factory=FDivergence)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_penalised(has_gradient_penalty(self.divergence), self.critic)

    @property
    def family(self) -> str:
        match self.divergence:
            case FDivergence(kind="gan", saturating=saturating):
                return "GAN (saturating)" if saturating else "GAN"
            case FDivergence(kind=kind):
                return f"f-GAN ({kind.replace('_', ' ')})"
            case LeastSquares():
                return "LSGAN"
            case Wasserstein(constraint=constraint):
                return "WGAN" if constraint == "clip" else "WGAN-GP"
            case MMD():
                return "GMMN"
        return f"GAN ({type(self.divergence).__name__})"

    def build(self, shape: Shape) -> "GAN":
        return GAN(self, shape)


class GAN(ImageGenerator):
    """A generator and, if the divergence has one, a critic of images.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the prior is learned.
    """

    def __init__(self, config: GANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.divergence = config.divergence
        has_critic = config.divergence.critic_steps > 0
        self.critic = ImageCritic(config.critic, shape) if has_critic else None

    def stages(self) -> tuple[Stage, ...]:
        """The critic's steps, then a step of the generator."""
        matching = self.matching()
        critic = matching.critic_phases(self, self.critic_optimizer())
        return (Stage("generator", (*critic, self.generator_phase(matching.codes_loss))),)

    def matching(self) -> Matching:
        """The matching that moves the generated images to the real ones."""
        return Matching(
            self.divergence,
            critic=lambda model: model.critic,
            codes=generate_images,
            target=real_images,
            terms=("critic", "generator"),
        )


class ImageCritic(nn.Module):
    """The map of images [B, C, H, W] to scores [B].

    Args:
        config: The networks, whose encoder is used.
        shape: (C, H, W) of the images.
    """

    def __init__(self, config: NetConfig, shape: Shape) -> None:
        super().__init__()
        self.net = config.build_encoder(shape, 1)

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        score: Tensor = self.net(x).squeeze(1)
        return score


def check_penalised(penalised: bool, critic: NetConfig) -> None:
    """Raise ValueError if a critic with batch normalisation is to have a gradient penalty."""
    require(
        not (penalised and getattr(critic, "batch_norm", False)),
        "a gradient penalty holds for each image alone, so its critic must have no batch "
        "normalisation: set critic.batch_norm to False",
        critic=type(critic).__name__,
    )
