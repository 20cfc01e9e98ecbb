"""Autoencoders of other packages, with the interface of genae's autoencoders.

Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from genae_core.config import require, require_finite, require_positive_int
from genae_core.distributions.base import Delta, Distribution, Normal
from genae_core.distributions.rng import Draw
from genae_core.models.base import Autoencoder, Stage, add_noise
from genae_core.nets.base import Shape, sampling_mode
from genae_core.priors.normal import IsotropicNormal

# A point, the mean and log-variance of a diagonal Gaussian, or a distribution.
Output = Tensor | tuple[Tensor, Tensor] | Distribution
PIXEL_TOLERANCE = 1e-3  # how far the pixels of a decoder may leave [0, 1]


def wrap(
    module: nn.Module,
    encode: Callable[[Tensor], Output],
    decode: Callable[[Tensor], Output],
    latent_dim: int,
    shape: Shape,
    noise: float = 0.0,
    prior: Distribution | None = None,
) -> "WrappedAutoencoder":
    """Make an autoencoder from two functions of a trained module.

    Both functions are called once, so that their results can be checked.

    Args:
        module: The module with the layers. A chain sets its mode.
        encode: Maps images [B, C, H, W] in [0, 1] to codes [B, D], to the pair (mean,
            log-variance) of a Gaussian, or to a distribution.
        decode: Maps codes [B, D] to images [B, C, H, W] in [0, 1], to such a pair, or to a
            distribution. `Metropolis` needs a density, which plain images do not have.
        latent_dim: The dimension D of the codes.
        shape: (C, H, W) of the images.
        noise: The standard deviation of the corruption that the module was trained with.
        prior: The distribution of z; None is N(0, I).

    Returns:
        The autoencoder. genae does not train it.

    Raises:
        ValueError: The shape of the codes or the images is wrong, or pixels are not in [0, 1].
    """
    model = WrappedAutoencoder(module, encode, decode, latent_dim, noise=noise, prior=prior)
    with sampling_mode(model, "running"):
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        model.to(device)
        code = model.encode(torch.zeros(2, *shape, device=device)).mean
        require(
            code.shape == (2, latent_dim),
            f"encode must give codes of shape (B, {latent_dim})",
            for_two_images=tuple(code.shape),
        )
        images = model.decode(model.latent_prior().sample(Draw(0, device=device), (2,))).mean
    require(
        images.shape == (2, *shape),
        f"decode must give images of shape (B, {', '.join(map(str, shape))})",
        for_two_codes=tuple(images.shape),
    )
    lowest, highest = float(images.min()), float(images.max())
    require(
        lowest >= -PIXEL_TOLERANCE and highest <= 1 + PIXEL_TOLERANCE,
        "decode must give pixels in [0, 1]; scale and clamp its output",
        lowest=lowest,
        highest=highest,
    )
    return model


class WrappedAutoencoder(Autoencoder):
    """A trained autoencoder of another package; `wrap` makes it."""

    def __init__(
        self,
        module: nn.Module,
        encode: Callable[[Tensor], Output],
        decode: Callable[[Tensor], Output],
        latent_dim: int,
        noise: float = 0.0,
        prior: Distribution | None = None,
    ) -> None:
        super().__init__()
        require_positive_int(latent_dim=latent_dim)
        require_finite(0, noise=noise)
        self.module = module
        self.latent_dim = latent_dim
        self.noise = noise
        self.prior = prior or IsotropicNormal(latent_dim)
        self._encode, self._decode = encode, decode

    def latent_prior(self) -> Distribution:
        return self.prior

    def encode(self, x: Tensor) -> Distribution:
        return _to_distribution(self._encode(x))

    def decode(self, z: Tensor) -> Distribution:
        return _to_distribution(self._decode(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """No stages, because the model is already trained."""
        return ()


def _to_distribution(output: Output) -> Distribution:
    if isinstance(output, Tensor):
        return Delta(output)
    return Normal(*output) if isinstance(output, tuple) else output
