"""Other people's autoencoders, as samplers and metrics see genae's own.

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

Given = Tensor | tuple[Tensor, Tensor] | Distribution
SLACK = 1e-3  # that an image's pixels may be outside [0, 1]


def wrap(
    module: nn.Module,
    encode: Callable[[Tensor], Given],
    decode: Callable[[Tensor], Given],
    latent_dim: int,
    shape: Shape,
    noise: float = 0.0,
    prior: Distribution | None = None,
) -> "Wrapped":
    """The autoencoder made of these two functions of a trained module.

    module: what holds the layers, so that the chain can set their mode. encode: images
    [B, C, H, W] in [0, 1] -> the code [B, D]; or (mean, log_var) of a Gaussian; or a
    `Distribution`. decode: [B, D] -> images in [0, 1], or a `Distribution` over them. noise: the
    standard deviation of the corruption that it was trained with. prior: of z; N(0, I) if None.
    A plain tensor is a law without a density: `Metropolis` then refuses it.

    Both are tried once. Raises ValueError for a shape, or pixels, that do not fit.
    """
    model = Wrapped(module, encode, decode, latent_dim, noise, prior)
    with sampling_mode(model, "running"):
        here = next((p.device for p in module.parameters()), torch.device("cpu"))
        model.to(here)
        code = model.encode(torch.zeros(2, *shape, device=here)).mean
        require(
            code.shape == (2, latent_dim),
            f"encode must give codes of shape (B, {latent_dim})",
            for_two_images=tuple(code.shape),
        )
        images = model.decode(model.latent_prior().sample(Draw(0, device=here), (2,))).mean
    require(
        images.shape == (2, *shape),
        f"decode must give images of shape (B, {', '.join(map(str, shape))})",
        for_two_codes=tuple(images.shape),
    )
    low, high = float(images.min()), float(images.max())
    require(
        low >= -SLACK and high <= 1 + SLACK,
        "decode must give pixels in [0, 1]; scale and clamp its output",
        lowest=low,
        highest=high,
    )
    return model


class Wrapped(Autoencoder):
    """See `wrap`. It is not trained here."""

    def __init__(
        self,
        module: nn.Module,
        encode: Callable[[Tensor], Given],
        decode: Callable[[Tensor], Given],
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
        return _distribution(self._encode(x))

    def decode(self, z: Tensor) -> Distribution:
        return _distribution(self._decode(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """None: it is trained already."""
        return ()


def _distribution(given: Given) -> Distribution:
    if isinstance(given, Tensor):
        return Delta(given)
    return Normal(*given) if isinstance(given, tuple) else given
