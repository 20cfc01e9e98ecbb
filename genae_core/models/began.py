"""BEGAN: an autoencoder as the critic, and a weight that balances its two reconstruction errors.

Berthelot, Schumm & Metz 2017, section 3. The paper steps critic and generator from one batch at
once; here the critic's step comes first, as in the other families.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

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


@register("began")
@dataclass(frozen=True, kw_only=True)
class BEGANConfig(ImageGeneratorConfig):
    """The config of a BEGAN.

    It has the arguments of `ImageGeneratorConfig`, whose `critic` gives the critic's encoder and
    decoder, and these:

    Args:
        gamma: The diversity ratio E[L(G(z))] / E[L(x)] that the balance aims at, in (0, 1]. A
            smaller one gives clearer images that differ less. The paper's 0.5 for faces leaves
            few kinds of digits.
        lambda_k: The step size of k, > 0. The errors are about 0.1, so the paper's 0.001 changes
            k within tens of thousands of steps; the trainings of the studies have thousands.
        code_dim: The dimension of the critic's codes.

    Raises:
        ValueError: A value is out of range.
    """

    gamma: float = 0.9
    lambda_k: float = 0.2
    code_dim: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite(0, gamma=self.gamma, lambda_k=self.lambda_k)
        require(0 < self.gamma <= 1, "gamma must be in (0, 1]", gamma=self.gamma)
        require(self.lambda_k > 0, "lambda_k must be > 0", lambda_k=self.lambda_k)
        require_positive_int(code_dim=self.code_dim)

    def build(self, shape: Shape) -> "BEGAN":
        return BEGAN(self, shape)


class BEGAN(ImageGenerator):
    """A generator, and a critic that reconstructs real images better than generated ones.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the prior is learned.
    """

    def __init__(self, config: BEGANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.critic = AutoencodingCritic(config.critic, config.code_dim, shape)
        self.balance = Balance(config.gamma, config.lambda_k)

    def stages(self) -> tuple[Stage, ...]:
        """A step of the critic, a step of the generator, and an update of the balance."""
        critic = Player("critic", list(self.critic.parameters()), self.critic_optimizer())
        generator = self.generator_phase(generator_loss)
        average = generator.project

        def project(model: BEGAN) -> None:
            model.balance.update()
            if average is not None:
                average(model)

        phases = (Phase(critic, critic_loss), generator._replace(project=project))
        return (Stage("generator", phases),)


class Balance(nn.Module):
    """The weight k of the error of generated images in the critic's loss.

    k <- clip(k + lambda_k (gamma L(x) - L(G(z))), 0, 1), from k = 0 (section 3.4).

    The losses write the errors of a step into buffers, as batch normalisation writes its running
    averages, and the end of the step changes k. Buffers are in snapshots, so a training that is
    resumed goes on with the same k.

    Args:
        gamma: The ratio of the errors in equilibrium.
        lambda_k: The step size.
    """

    k: Tensor
    real_error: Tensor
    generated_error: Tensor

    def __init__(self, gamma: float, lambda_k: float) -> None:
        super().__init__()
        self.gamma, self.lambda_k = gamma, lambda_k
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("real_error", torch.zeros(()))
        self.register_buffer("generated_error", torch.zeros(()))

    def update(self) -> None:
        """Change k by the errors of this step."""
        difference = self.gamma * self.real_error - self.generated_error
        self.k.add_(difference, alpha=self.lambda_k).clamp_(0, 1)

    def convergence(self) -> Tensor:
        """M_global = L(x) + |gamma L(x) - L(G(z))| (section 3.4.1); less is better."""
        return self.real_error + (self.gamma * self.real_error - self.generated_error).abs()


def critic_loss(model: BEGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """L(x) - k L(G(z)), and its two parts."""
    with torch.no_grad():
        images = generate_images(model, batch, draw)
    real = reconstruction_error(model, batch.x)
    generated = reconstruction_error(model, images)
    k = model.balance.k.clone()
    model.balance.real_error.copy_(real.detach())
    loss = real - k * generated
    return loss, {"critic": loss, "real_error": real, "k": k}


def generator_loss(model: BEGAN, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """L(G(z)); the measure of convergence is a term beside it."""
    loss = reconstruction_error(model, generate_images(model, batch, draw))
    model.balance.generated_error.copy_(loss.detach())
    return loss, {"generator": loss, "convergence": model.balance.convergence()}


def reconstruction_error(model: BEGAN, x: Tensor) -> Tensor:
    """L(x) = |x - D(x)|, the mean over the pixels and over the batch (eq. 1 with eta = 1).

    Args:
        model: The model, of whose critic D it is.
        x: Images, [B, C, H, W].

    Returns:
        A scalar.
    """
    error: Tensor = (x - model.critic(x).x).abs().mean()
    return error
