"""The models that the suite "train" trains, and a plain training step for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.data.base import Split
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.distributions.rng import Draw
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.experiment.experiment import Experiment
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.gan import GANConfig
from genae_core.models.image_generator import critic_like
from genae_core.models.mmd_gan import MMDGANConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.training.config import TrainingConfig

Adams = dict[str, torch.optim.Adam]  # the optimiser of each player
PLAIN = ComputeConfig()


class Case(NamedTuple):
    """A model as the studies train it.

    Attributes:
        model: The config of the model.
        data: The config of the data.
        batch: Images in a batch.
        steps: Training steps in a round.
        plain: The training step of the plain loop.
        images: Images in the training split.
        stage: Index of the stage that is trained.
    """

    model: Any
    data: Any
    batch: int
    steps: int
    plain: Callable[[Any, Tensor, Adams, Draw], None]
    images: int = 60_000
    stage: int = 0


def vae_step(model: Any, x: Tensor, adams: Adams, draw: Draw) -> None:
    mean, log_var = model.encoder(x).chunk(2, 1)
    z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    logits = model.decoder(z)
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1).mean()
    move(adams["autoencoder"], error + kl)


def aae_step(model: Any, x: Tensor, adams: Adams, draw: Draw) -> None:
    """The phases of reconstruction and regularisation (Makhzani et al. 2016, section 2)."""
    logits = model.decoder(model.encoder(x))
    move(
        adams["autoencoder"],
        F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x),
    )
    with torch.no_grad():
        codes = model.encoder(x)
    real = model.critic(torch.randn_like(codes), draw)
    made = model.critic(codes, draw)
    move(adams["critic"], F.softplus(-real).mean() + F.softplus(made).mean())
    move(adams["encoder"], F.softplus(-model.critic(model.encoder(x), draw)).mean())


def reconstruction_step(model: Any, x: Tensor, adams: Adams, draw: Draw) -> None:
    autoencoder = model.autoencoder
    logits = autoencoder.decoder(autoencoder.encoder(x))
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    move(adams["autoencoder"], error)


def wgan_step(model: Any, u: Tensor, adams: Adams, draw: Draw) -> None:
    """Five critic steps with a gradient penalty and one generator step, on codes [B, D]
    (Gulrajani et al. 2017, algorithm 1)."""
    for _ in range(5):
        with torch.no_grad():
            made = model.generator(torch.randn_like(u))
        share = torch.rand(len(u), 1, device=u.device)
        between = (share * u + (1 - share) * made).requires_grad_()
        score = model.critic(between, draw).sum()
        (slope,) = torch.autograd.grad(score, between, create_graph=True)
        penalty = 10 * (slope.norm(dim=1) - 1).square().mean()
        loss = model.critic(made, draw).mean() - model.critic(u, draw).mean() + penalty
        move(adams["code critic"], loss)
    move(adams["generator"], -model.critic(model.generator(torch.randn_like(u)), draw).mean())


def gan_step(model: Any, x: Tensor, adams: Adams, draw: Draw) -> None:
    """A critic step and a step of the non-saturating generator (Goodfellow et al. 2014,
    algorithm 1), on images."""
    with torch.no_grad():
        made = generated(model, len(x), x.device)
    loss = F.softplus(-model.critic(x, draw)).mean() + F.softplus(model.critic(made, draw)).mean()
    move(adams["critic"], loss)
    made = generated(model, len(x), x.device)
    move(adams["generator"], F.softplus(-model.critic(made, draw)).mean())


def image_wgan_step(model: Any, x: Tensor, adams: Adams, draw: Draw) -> None:
    """Five critic steps with a gradient penalty and one generator step, on images
    (Gulrajani et al. 2017, algorithm 1)."""
    for _ in range(5):
        with torch.no_grad():
            made = generated(model, len(x), x.device)
        share = torch.rand(len(x), 1, 1, 1, device=x.device)
        between = (share * x + (1 - share) * made).requires_grad_()
        score = model.critic(between, draw).sum()
        (slope,) = torch.autograd.grad(score, between, create_graph=True)
        penalty = 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        loss = model.critic(made, draw).mean() - model.critic(x, draw).mean() + penalty
        move(adams["critic"], loss)
    move(adams["generator"], -model.critic(generated(model, len(x), x.device), draw).mean())


def mmd_gan_step(model: Any, x: Tensor, adams: Adams, draw: Draw) -> None:
    """Five critic steps with the gradient penalty of the witness function and one generator step
    (Binkowski et al. 2018, section 2.2 and 4)."""
    scales, count = (0.2, 0.5, 1.0, 2.0, 5.0), len(x)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
        total = torch.zeros_like(squared)
        for scale in scales:
            total = total + (1 + squared / (2 * scale)) ** -scale
        return total

    def within(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.diagonal().sum()) / (count * (count - 1))

    def mmd(a: Tensor, b: Tensor) -> Tensor:
        return within(a) + within(b) - 2 * kernel(a, b).mean()

    for _ in range(5):
        with torch.no_grad():
            made = generated(model, count, x.device)
        real, fake = model.critic(x), model.critic(made)
        share = torch.rand(count, *[1] * (x.dim() - 1), device=x.device)
        between = (share * x + (1 - share) * made).requires_grad_()
        code = model.critic(between)
        witness = kernel(code, real).mean(1) - kernel(code, fake).mean(1)
        (slope,) = torch.autograd.grad(witness.sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        move(adams["critic"], penalty - mmd(real, fake))
    made = generated(model, count, x.device)
    move(adams["generator"], mmd(model.critic(x), model.critic(made)))


def generated(model: Any, count: int, device: torch.device) -> Tensor:
    """Images that the model's generator makes, [count, C, H, W]."""
    return torch.sigmoid(model.generator(torch.randn(count, model.latent_dim, device=device)))


def move(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad(set_to_none=True)
    loss.backward(inputs=[p for group in adam.param_groups for p in group["params"]])  # type: ignore[no-untyped-call]
    adam.step()


DIGITS = MNISTConfig(root="generated")
FACES = ImageFolderConfig(root="generated", size=64)
CASES = {
    "mlp": Case(VAEConfig(latent_dim=10, net=MLPConfig()), DIGITS, 200, 12, vae_step),
    "aae_mlp": Case(AAEConfig(latent_dim=10, net=MLPConfig()), DIGITS, 200, 6, aae_step),
    "adv_ae_mlp": Case(
        AdvAEConfig(autoencoder=AEConfig(latent_dim=10, net=MLPConfig())),
        DIGITS,
        200,
        12,
        reconstruction_step,
    ),
    "adv_ae_wgan": Case(
        AdvAEConfig(autoencoder=AEConfig(latent_dim=10, net=MLPConfig())),
        DIGITS,
        200,
        6,
        wgan_step,
        stage=1,
    ),
    "dcgan64": Case(
        VAEConfig(latent_dim=200, net=DCGANConfig()), FACES, 64, 1, vae_step, images=6_000
    ),
    "gan_mlp": Case(GANConfig(latent_dim=10, net=MLPConfig()), DIGITS, 200, 6, gan_step),
    "mmd_gan": Case(
        MMDGANConfig(latent_dim=10, net=MLPConfig(), critic_steps=5), DIGITS, 64, 4, mmd_gan_step
    ),
    "wgan_gp_dcgan": Case(
        GANConfig(
            latent_dim=10,
            net=DCGANConfig(width=32),
            critic=critic_like(DCGANConfig(width=32)),
            divergence=Wasserstein(),
        ),
        DIGITS,
        64,
        2,
        image_wgan_step,
    ),
}


def images_of(case: Case, count: int | None = None) -> Split:
    """Random images: `count` of them, by default those of one round."""
    shape = (count or case.batch * case.steps, *case.data.shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Split(pixels, np.zeros(len(pixels), np.int64))


def experiment_of(case: Case) -> Experiment:
    return Experiment(
        data=case.data,
        model=case.model,
        training=TrainingConfig(epochs=1, batch_size=case.batch),
        chains=(ChainConfig(sampler=EncodeDecode()),),
    )


def build_model(case: Case, compute: ComputeConfig, device: str) -> Any:
    with Draw(0).as_global():
        model = case.model.build(case.data.shape).to(device)
    compute_as(model, compute)
    return model.train()
