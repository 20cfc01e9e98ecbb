"""Autoencoders and decoders of other packages, with the interface of genae's models.

Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn

from genae_core.config import require, require_finite, require_positive_int
from genae_core.distributions.base import Delta, Distribution, Normal
from genae_core.distributions.rng import Draw
from genae_core.models.base import Autoencoder, GenerativeModel, Stage, add_noise
from genae_core.nets.base import Shape, sampling_mode
from genae_core.priors.normal import IsotropicNormal

# A point, the mean and log-variance of a diagonal Gaussian, or a distribution.
Output = Tensor | tuple[Tensor, Tensor] | Distribution
PIXEL_TOLERANCE = 1e-3  # how far the pixels of a decoder may leave [0, 1]
CHECKED = 2  # images and codes that a model is tried with; batch normalisation refuses one


@overload
def wrap(
    module: nn.Module,
    encode: Callable[[Tensor], Output],
    decode: Callable[[Tensor], Output],
    latent_dim: int,
    shape: Shape,
    noise: float = 0.0,
    prior: Distribution | None = None,
) -> "WrappedAutoencoder": ...
@overload
def wrap(
    module: nn.Module,
    encode: None,
    decode: Callable[[Tensor], Output],
    latent_dim: int,
    shape: Shape,
    noise: float = 0.0,
    prior: Distribution | None = None,
) -> "WrappedDecoder": ...
def wrap(
    module: nn.Module,
    encode: Callable[[Tensor], Output] | None,
    decode: Callable[[Tensor], Output],
    latent_dim: int,
    shape: Shape,
    noise: float = 0.0,
    prior: Distribution | None = None,
) -> "WrappedAutoencoder | WrappedDecoder":
    """Make an autoencoder from two functions of a trained module, or a decoder from one.

    Both functions are called once, so that their results can be checked.

    Args:
        module: The module with the layers. A chain sets its mode.
        encode: Maps images [B, C, H, W] in [0, 1] to codes [B, D], to the pair (mean,
            log-variance) of a Gaussian, or to a distribution. None is a decoder alone, such as the
            generator of a GAN, which can be sampled but has no chain.
        decode: Maps codes [B, D] to images [B, C, H, W] in [0, 1], to such a pair, or to a
            distribution. `Metropolis` needs a density, which plain images do not have.
        latent_dim: The dimension D of the codes.
        shape: (C, H, W) of the images.
        noise: The standard deviation of the corruption that the module was trained with.
        prior: The distribution of z; None is N(0, I).

    Returns:
        The autoencoder, or the decoder. genae does not train it.

    Raises:
        ValueError: The codes or the images have a wrong shape or type or are not finite, or pixels
            are not in [0, 1].
    """
    if encode is None:
        require(noise == 0, "a decoder alone corrupts no images, so noise must be 0", noise=noise)
        decoder = WrappedDecoder(module, decode, latent_dim, prior)
        try_model(decoder, shape)
        return decoder
    model = WrappedAutoencoder(module, encode, decode, latent_dim, noise=noise, prior=prior)
    try_model(model, shape)
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
        self.to(_device_of(module))

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


class WrappedDecoder(GenerativeModel):
    """A trained decoder of another package without an encoder; `wrap` makes it."""

    def __init__(
        self,
        module: nn.Module,
        decode: Callable[[Tensor], Output],
        latent_dim: int,
        prior: Distribution | None = None,
    ) -> None:
        super().__init__()
        require_positive_int(latent_dim=latent_dim)
        self.module = module
        self.latent_dim = latent_dim
        self.prior = prior or IsotropicNormal(latent_dim)
        self._decode = decode
        self.to(_device_of(module))

    def latent_prior(self) -> Distribution:
        return self.prior

    def decode(self, z: Tensor) -> Distribution:
        return _to_distribution(self._decode(z))

    def stages(self) -> tuple[Stage, ...]:
        """No stages, because the model is already trained."""
        return ()


def try_model(model: GenerativeModel, shape: Shape) -> None:
    """Encode two images and decode two codes, as a chain will, and check the results.

    Args:
        model: The model, with or without an encoder.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: Codes or images have a wrong shape or type or are not finite, or pixels are not
            in [0, 1].
    """
    device = _device_of(model)
    draw = Draw(0, "tried", device=device)
    with sampling_mode(model, "running"):
        if isinstance(model, Autoencoder):
            codes = model.encode(draw.uniform((CHECKED, *shape)))
            _check("encode", codes, ("codes", "for_two_images"), (model.latent_dim,), draw)
        decoded = model.decode(model.latent_prior().sample(draw, (CHECKED,)))
        _check("decode", decoded, ("images", "for_two_codes"), shape, draw)
        images = decoded.mean
    lowest, highest = float(images.min()), float(images.max())
    require(
        lowest >= -PIXEL_TOLERANCE and highest <= 1 + PIXEL_TOLERANCE,
        "decode must give pixels in [0, 1]; scale and clamp its output",
        lowest=lowest,
        highest=highest,
    )


def _check(
    function: str, result: Distribution, words: tuple[str, str], shape: tuple[int, ...], draw: Draw
) -> None:
    """Raise ValueError unless a result has this shape, is float32, and is finite.

    words: What the results are, and what the message calls their shape.
    """
    mean: Any = getattr(result, "mean", None)
    require(
        isinstance(mean, Tensor),
        f"{function} must give a tensor, a pair of tensors or a distribution",
        result=type(result).__name__,
    )
    require(
        mean.shape == (CHECKED, *shape),
        f"{function} must give {words[0]} of shape (B, {', '.join(map(str, shape))})",
        **{words[1]: tuple(mean.shape)},
    )
    require(
        mean.dtype == torch.float32,
        f"{function} must give float32, as its input is; convert its output",
        dtype=str(mean.dtype),
    )
    sample = result.sample(draw)
    require(
        sample.shape == mean.shape,
        f"{function} must give a log-variance of the shape of the mean, {tuple(mean.shape)}",
        shape_of_a_sample=tuple(sample.shape),
    )
    for name, values in (("its mean", mean), ("a sample", sample)):
        finite = values.isfinite()
        require(
            bool(finite.all()),
            f"{function} must give finite numbers, and {name} is not finite",
            not_finite=int((~finite).sum()),
            of=finite.numel(),
        )


def _device_of(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _to_distribution(output: Output) -> Distribution:
    if isinstance(output, Tensor):
        return Delta(output)
    return Normal(*output) if isinstance(output, tuple) else output
