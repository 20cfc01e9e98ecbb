"""InfoGAN: a GAN whose images tell some parts of z, the codes c, to a network Q(c|x).

With L_I = E[log Q(c|x)] + H(c), a lower bound on the mutual information I(c; x) in nats, generator
and Q maximise lambda L_I besides the game of the GAN (Chen et al. 2016, eq. 5 and 6).
Shapes: B batch, C channels, H rows, W columns, D latent dimension, K classes, S continuous codes.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require_finite, require_positive_int
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.wasserstein import has_gradient_penalty
from genae_core.models.base import Batch, Phase, Player, Stage
from genae_core.models.gan import check_penalised
from genae_core.models.image_generator import ImageGenerator, ImageGeneratorConfig
from genae_core.models.matching import check_critic, sample_prior
from genae_core.models.optimizers import AdamConfig, OptimizerConfig
from genae_core.nets.base import Net, NetConfig, Shape
from genae_core.nets.mlp import SLOPE
from genae_core.priors.codes import CodesConfig

# Chen et al. 2016, appendix C.1: the width of Q's own layer, and the optimisers.
Q_WIDTH = 128
GENERATOR_ADAM = AdamConfig(learning_rate=1e-3, beta1=0.5)
CRITIC_ADAM = AdamConfig(learning_rate=2e-4, beta1=0.5)


@register("info_gan")
@dataclass(frozen=True, kw_only=True)
class InfoGANConfig(ImageGeneratorConfig):
    """The config of an InfoGAN.

    It has the arguments of `ImageGeneratorConfig` and these:

    Args:
        prior: The numbers of classes and of continuous codes. The latent dimension D counts the
            noise, the classes and the continuous codes.
        divergence: The divergence between generated and real images; it needs a critic.
        class_weight: The weight lambda of the bound on the information about the class.
        continuous_weight: The weight of the bound on that about the continuous codes.
        features: The number of features of an image that critic and Q share.

    Raises:
        ValueError: A value is out of range, the codes do not fit the latent dimension, the
            divergence has no critic, or a gradient penalty is asked of a critic with batch
            normalisation.
    """

    prior: CodesConfig = field(default_factory=CodesConfig)
    divergence: Divergence = field(default_factory=FDivergence)
    class_weight: float = 1.0
    continuous_weight: float = 0.1
    features: int = 1024
    optimizer: OptimizerConfig = GENERATOR_ADAM
    critic_optimizer: OptimizerConfig | None = CRITIC_ADAM

    def __post_init__(self) -> None:
        super().__post_init__()
        self.prior.noise_dim(self.latent_dim)
        require_positive_int(features=self.features)
        require_finite(0, class_weight=self.class_weight)
        require_finite(0, continuous_weight=self.continuous_weight)
        check_critic(self.family, self.divergence)
        check_penalised(has_gradient_penalty(self.divergence), self.critic)

    @property
    def family(self) -> str:
        return "InfoGAN"

    def build(self, shape: Shape) -> "InfoGAN":
        return InfoGAN(self, shape)


class CodePosterior(NamedTuple):
    """Q(c|x), a softmax over the classes and independent Gaussians of the continuous codes.

    Attributes:
        log_probs: The logarithms of the probabilities of the classes, [B, K].
        continuous: The distribution of the continuous codes, whose mean is [B, S].
    """

    log_probs: Tensor
    continuous: Normal


class Information(NamedTuple):
    """L_I = E[log Q(c|x)] + H(c), the lower bound on I(c; x) in nats.

    Attributes:
        classes: The bound for the class, a scalar; log K at most.
        continuous: The bound for the continuous codes, a scalar.
    """

    classes: Tensor
    continuous: Tensor


class InfoGAN(ImageGenerator):
    """A generator, a critic of images, and Q(c|x) on the features of the critic.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape.
    """

    def __init__(self, config: InfoGANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.divergence = config.divergence
        self.sizes = (config.prior.classes, config.prior.continuous)
        self.class_weight = config.class_weight
        self.continuous_weight = config.continuous_weight
        self.critic = FeatureCritic(config.critic, config.features, shape)
        outputs = config.prior.classes + 2 * config.prior.continuous
        self.q = Net(
            nn.Linear(config.features, Q_WIDTH), nn.LeakyReLU(SLOPE), nn.Linear(Q_WIDTH, outputs)
        )

    def infer(self, x: Tensor) -> CodePosterior:
        """Q(c|x).

        Args:
            x: Images [B, C, H, W] in [0, 1].
        """
        classes, continuous = self.sizes
        outputs = self.q(self.critic.features(x))
        mean, log_var = outputs[:, classes:].tensor_split((continuous,), 1)
        return CodePosterior(outputs[:, :classes].log_softmax(1), Normal(mean, log_var))

    def information(self, x: Tensor, z: Tensor) -> Information:
        """The bounds on the information of images about their codes.

        Args:
            x: Images [B, C, H, W] that were generated from z.
            z: Latent codes [B, D].
        """
        classes, continuous = self.sizes
        one_hot, c = z[:, -classes - continuous :].tensor_split((classes,), 1)
        q = self.infer(x)
        return Information(
            (q.log_probs * one_hot).sum(1).mean() + math.log(classes),
            q.continuous.log_prob(c).sum(1).mean() + continuous * math.log(2),
        )

    def stages(self) -> tuple[Stage, ...]:
        """The steps of critic and Q, then a step of the generator."""
        parameters = [*self.critic.parameters(), *self.q.parameters()]
        player = Player("critic", parameters, self.critic_optimizer())
        critic = Phase(player, critic_loss, self.divergence.critic_steps, project_critic)
        return (Stage("generator", (critic, self.generator_phase(generator_loss))),)


class FeatureCritic(nn.Module):
    """The map of images [B, C, H, W] to scores [B], by features that Q uses too.

    Args:
        body: The networks, whose encoder computes the features.
        features: The number of features.
        shape: (C, H, W) of the images.
    """

    def __init__(self, body: NetConfig, features: int, shape: Shape) -> None:
        super().__init__()
        self.body = body.build_encoder(shape, features)
        self.top = nn.Linear(features, 1)

    def features(self, x: Tensor) -> Tensor:
        """The features of images [B, C, H, W]."""
        return F.leaky_relu(self.body(x), SLOPE)

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        score: Tensor = self.top(self.features(x)).squeeze(1)
        return score


def generate(model: InfoGAN, batch: Batch, draw: Draw) -> tuple[Tensor, Tensor]:
    """x = sigmoid(g(z)) [B, C, H, W] and its z ~ p(z) [B, D], as many as the batch has images."""
    z = sample_prior(model, batch, draw)
    return model.generate(z), z


def weighted_information(model: InfoGAN, information: Information) -> Tensor:
    """lambda L_I, with one lambda for the class and one for the continuous codes."""
    return (
        model.class_weight * information.classes + model.continuous_weight * information.continuous
    )


def critic_loss(model: InfoGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """The critic's loss minus lambda L_I, which Q and the features that it shares maximise."""
    with torch.no_grad():
        x, z = generate(model, batch, draw)
    loss = model.divergence.critic_loss(lambda x: model.critic(x, draw), batch.x, x, draw)
    return loss - weighted_information(model, model.information(x, z)), {"critic": loss}


def generator_loss(model: InfoGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """The generator's loss minus lambda L_I (Chen et al. 2016, eq. 6).

    The terms `class_information` and `continuous_information` are the bounds in nats.
    """
    x, z = generate(model, batch, draw)
    loss = model.divergence.codes_loss(lambda x: model.critic(x, draw), x, x)
    information = model.information(x, z)
    terms = {
        "generator": loss,
        "class_information": information.classes,
        "continuous_information": information.continuous,
    }
    return loss - weighted_information(model, information), terms


def project_critic(model: InfoGAN) -> None:
    """Project the critic, and not Q, onto the functions that the divergence allows."""
    model.divergence.project(model.critic)
