"""A small autoencoder that belongs to no family, toy images, and the digest of a module."""

import hashlib

import torch
from torch import Tensor, nn

from genae_core.distributions.base import Bernoulli, Normal
from genae_core.distributions.rng import Draw
from genae_core.models.base import Autoencoder, Stage, add_noise
from genae_core.priors.base import Prior
from genae_core.priors.normal import IsotropicNormal

SHAPE = (1, 3, 4)
LATENT = 2


class Toy(Autoencoder):
    """An autoencoder with torch's batch normalisation and dropout in both bodies."""

    def __init__(self, noise: float = 0.3, seed: int = 0) -> None:
        super().__init__()
        self.latent_dim = LATENT
        self.noise = noise
        self.prior = IsotropicNormal(LATENT)
        with Draw(seed, "toy").as_global():
            self.encoder = nn.Sequential(
                nn.Flatten(),
                nn.Linear(12, 8),
                nn.BatchNorm1d(8),
                nn.ELU(),
                nn.Dropout(0.5),
                nn.Linear(8, 2 * LATENT),
            )
            self.decoder = nn.Sequential(
                nn.Linear(LATENT, 8),
                nn.BatchNorm1d(8),
                nn.ELU(),
                nn.Dropout(0.5),
                nn.Linear(8, 12),
                nn.Unflatten(1, SHAPE),
            )

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Normal:
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        return Normal(mean, log_var)

    def decode(self, z: Tensor) -> Bernoulli:
        return Bernoulli(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        return ()


def images(count: int, shape: tuple[int, int, int] = SHAPE, patterns: int = 4) -> Tensor:
    """Images of 0 and 1 that repeat a few random patterns, [N, C, H, W]."""
    pattern = (Draw(0, "patterns").uniform((patterns, *shape)) > 0.5).float()
    return pattern[torch.arange(count) % patterns]


def digest(module: nn.Module) -> str:
    """The sha256 of every parameter and buffer, including buffers that are not saved."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    hasher = hashlib.sha256()
    for name, tensor in tensors:
        hasher.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()
