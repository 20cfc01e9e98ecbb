"""The checkpoints of other packages that genae reads without code of the user's own.

Nothing in them is unpickled that could run programs: weights are safetensors, or are read by
Pythae with torch's `weights_only=True`, and networks that a package has pickled are refused.
"""

import importlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from genae_core.config import require
from genae_core.models.wrapped import WrappedAutoencoder, wrap
from genae_core.nets.base import Shape

# Pythae's models whose codes are z ~ N(mean, diag(exp(log_covariance))), or a point, and whose
# images are the decoder's. The others have a posterior, a prior or codes of their own.
PYTHAE = (
    "AE",
    "Adversarial_AE",
    "BetaTCVAE",
    "BetaVAE",
    "DisentangledBetaVAE",
    "FactorVAE",
    "INFOVAE_MMD",
    "MSSSIM_VAE",
    "RAE_GP",
    "RAE_L2",
    "VAE",
    "VAEGAN",
    "WAE_MMD",
)
# What the settings of Pythae begin with that are false if a network is pickled.
DEFAULT = "uses_default_"
# The variable with which torch.load unpickles everything, whoever calls it.
UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class Kind(NamedTuple):
    """A kind of checkpoint.

    Attributes:
        load: Makes the model from the folder of the checkpoint, for images (C, H, W).
        files: The files in the folder that the model is made of.
        name: Names the model for people, from the folder.
    """

    load: Callable[[Path, Shape], WrappedAutoencoder]
    files: tuple[str, ...]
    name: Callable[[Path], str]


def load_pythae(folder: Path, shape: Shape) -> WrappedAutoencoder:
    """A model of Pythae, from the folder that its trainer wrote.

    Raises:
        ValueError: Pythae is not installed, or the folder holds no model that this can read.
    """
    package = _package("pythae.models", "pythae")
    values = _read_json(folder / "model_config.json")
    name = _pythae_name(folder)
    require(
        name in PYTHAE,
        f"{folder}: the models of Pythae that are read are {', '.join(PYTHAE)}; for another one, "
        "give a loader of your own",
        model=name,
    )
    pickled = [
        name for name, own in values.items() if name.startswith(DEFAULT) and own is not True
    ]
    require(
        not pickled,
        f"{folder}: networks of this model are pickled, which could run programs, and are not "
        "read; give a loader of your own that builds them",
        pickled=[name.removeprefix(DEFAULT) for name in pickled],
    )
    require(
        UNSAFE not in os.environ,
        f"{folder}: {UNSAFE} makes torch unpickle any object; unset it",
        **{UNSAFE: os.environ.get(UNSAFE)},
    )
    own_shape = tuple(values.get("input_dim") or ())
    require(
        own_shape == tuple(shape),
        f"{folder}: the model is of images of shape {own_shape}, so the dataset must be too; "
        "--size changes its images",
        dataset=tuple(shape),
    )
    try:
        model = getattr(package, name).load_from_folder(str(folder))
    except Exception as error:  # torch's words would advise to unpickle the file
        raise ValueError(
            f"{folder / 'model.pt'} does not hold the plain weights of this model "
            f"({type(error).__name__}), and nothing else is unpickled"
        ) from None

    return wrap_pythae(model, shape)


def wrap_pythae(model: Any, shape: Shape) -> WrappedAutoencoder:
    """Wrap a trained model of Pythae, one of `PYTHAE`, of images (C, H, W)."""

    def encode(x: Tensor) -> Any:
        output = model.encoder(x)
        if "log_covariance" not in output:
            return output.embedding
        return output.embedding, output.log_covariance

    def decode(z: Tensor) -> Tensor:
        images: Tensor = model.decoder(z).reconstruction
        return images

    return wrap(model, encode, decode, latent_dim=model.latent_dim, shape=shape)


def load_autoencoder_kl(folder: Path, shape: Shape) -> WrappedAutoencoder:
    """An AutoencoderKL of diffusers, from the folder of its `save_pretrained`.

    Its codes are the maps before diffusers' `scaling_factor`. N(0, I) is not their distribution.

    Raises:
        ValueError: diffusers is not installed, or the folder holds no AutoencoderKL.
    """
    # A CPU's torch may fail to load torchvision's operators; this import avoids that.
    importlib.import_module("genae_core.data.torchvision_import").torchvision_datasets()
    package = _package("diffusers", "diffusers")
    values = _read_json(folder / "config.json")
    require(
        values.get("_class_name") == "AutoencoderKL",
        f"{folder}: config.json must be of an AutoencoderKL",
        _class_name=values.get("_class_name"),
    )
    channels = values.get("in_channels")
    require(
        channels == shape[0],
        f"{folder}: the model is of images with {channels} channels, so the dataset must be too",
        dataset=shape[0],
    )
    model = package.AutoencoderKL.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
    ).float()
    side = _reduction(model)
    require(
        shape[1] % side == 0 and shape[2] % side == 0,
        f"{folder}: the sides of its images must be multiples of {side}; --size changes them",
        dataset=shape[1:],
    )
    return wrap_autoencoder_kl(model, shape)


def wrap_autoencoder_kl(model: Any, shape: Shape) -> WrappedAutoencoder:
    """Wrap a trained AutoencoderKL of diffusers, for images (C, H, W) in [0, 1]."""
    side = _reduction(model)
    latents = (model.config.latent_channels, shape[1] // side, shape[2] // side)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        posterior = model.encode(2 * x - 1).latent_dist
        return posterior.mean.flatten(1), posterior.logvar.flatten(1)

    def decode(z: Tensor) -> Tensor:
        images: Tensor = model.decode(z.reshape(-1, *latents)).sample
        return (images / 2 + 0.5).clamp(0, 1)

    return wrap(model, encode, decode, latent_dim=math.prod(latents), shape=shape)


def _reduction(model: Any) -> int:
    """How many times smaller the maps of an AutoencoderKL are than its images."""
    return int(2 ** (len(model.config.block_out_channels) - 1))


KINDS: dict[str, Kind] = {
    "pythae": Kind(
        load_pythae, ("model_config.json", "model.pt"), lambda f: f"Pythae {_pythae_name(f)}"
    ),
    "autoencoder_kl": Kind(
        load_autoencoder_kl,
        ("config.json", "diffusion_pytorch_model.safetensors"),
        lambda _: "AutoencoderKL",
    ),
}


def _pythae_name(folder: Path) -> str:
    """The name of a model of Pythae: "VAE" for "VAEConfig"."""
    name = str(_read_json(folder / "model_config.json").get("name", ""))
    return name.removesuffix("Config").removesuffix("_")


def _package(module: str, name: str) -> Any:
    """A package that is not among genae's own dependencies."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"this checkpoint needs the package {name}, which cannot be imported ({error}): "
            f"pip install 'genae[models]'"
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from None
    require(isinstance(values, dict), f"{path} must hold a JSON object")
    result: dict[str, Any] = values
    return result
