"""Unmodified models of other packages under genae's chain and metrics."""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genae_core.distributions.base import Bernoulli
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Examples, encode_all
from genae_core.models.wrapped import WrappedAutoencoder, wrap
from genae_core.nets.base import sampling_mode
from genae_core.priors.ex_post import ExPostMixture
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.samplers.metropolis import Metropolis
from genae_core.testing.toys import digest

SHAPE = (1, 16, 16)


def pythae_model(name: str) -> WrappedAutoencoder:
    """The adapter in docs/library.md."""
    package = importlib.import_module("pythae.models")
    with Draw(0).as_global():
        config = getattr(package, f"{name}_Config" if "_" in name else f"{name}Config")
        model = getattr(package, name)(config(input_dim=SHAPE, latent_dim=3))

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        output = model.encoder(x)
        return output.embedding, output.log_covariance

    def decode(z: Tensor) -> Tensor:
        images: Tensor = model.decoder(z).reconstruction
        return images

    return wrap(model, encode, decode, latent_dim=3, shape=SHAPE)


def diffusers_model() -> WrappedAutoencoder:
    """The adapter in docs/library.md. Its latents are maps [2, 8, 8] and its pixels in [-1, 1]."""
    # Where the CPU's torch cannot load torchvision's operators, it is imported with care first.
    importlib.import_module("genae_core.data.torchvision_import").torchvision_datasets()
    package: Any = importlib.import_module("diffusers")
    with Draw(0).as_global():
        model = package.AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=2,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            sample_size=16,
        )

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        distribution = model.encode(2 * x - 1).latent_dist
        return distribution.mean.flatten(1), distribution.logvar.flatten(1)

    def decode(z: Tensor) -> Tensor:
        images: Tensor = model.decode(z.unflatten(1, (2, 8, 8))).sample
        return (images / 2 + 0.5).clamp(0, 1)

    return wrap(model, encode, decode, latent_dim=128, shape=SHAPE)


MODELS = {
    "pythae VAE": lambda: pythae_model("VAE"),
    "pythae AAE": lambda: pythae_model("Adversarial_AE"),
    "diffusers AutoencoderKL": diffusers_model,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_chain_and_an_ex_post_mixture_run_on_it(name: str) -> None:
    model = MODELS[name]()
    before = digest(model)
    x = Draw(1).uniform((30, *SHAPE))
    examples = Examples(30, lambda index: Batch(x[index], torch.zeros(len(index))))
    distribution = ExPostMixture(components=1).fit(encode_all(model, examples)[:, :2], Draw(0))
    assert distribution.mean.isfinite().all()
    config = ChainConfig(sampler=EncodeDecode(), record=(0, 1, 3), sub_batch=4)
    records = list(run_chain(model, config, 6))
    assert [(r.step, len(r.chain.z)) for r in records[:3]] == [(0, 4), (1, 4), (3, 4)]
    first = records[0].chain
    with sampling_mode(model, "batch"):
        posterior = model.encode(first.x)
        draw = Draw(0, "chain", 0)
        draw.normal((4, model.latent_dim))  # z0
        wanted = posterior.sample(draw)
    torch.testing.assert_close(records[1].chain.z, wanted)
    assert digest(model) == before


def test_images_come_from_the_decoder_of_pythae() -> None:
    model = pythae_model("VAE")
    z = Draw(3).normal((5, 3))
    with torch.no_grad():
        own: Any = model.module
        wanted = own.eval().decoder(z).reconstruction
    with sampling_mode(model, "running"):
        torch.testing.assert_close(model.decode(z).mean, wanted)


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(2, 16)


def test_a_distribution_has_a_density_and_a_tensor_has_none() -> None:
    module = Flat()

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.flatten(1) @ module.up.weight
        return mean, torch.zeros_like(mean)

    def logits(z: Tensor) -> Bernoulli:
        return Bernoulli(module.up(z).reshape(-1, 1, 4, 4))

    config = ChainConfig(sampler=Metropolis(), record=(0, 2), sub_batch=4, batch_norm="running")
    whole = wrap(module, encode, logits, 2, (1, 4, 4))
    assert len(list(run_chain(whole, config, 4))) == 2
    points = wrap(module, encode, lambda z: logits(z).mean, 2, (1, 4, 4))
    with pytest.raises(ValueError, match="Metropolis needs a density of the decoder"):
        list(run_chain(points, config, 4))


def test_wrong_shapes_and_pixels_are_refused_at_once() -> None:
    module = Flat()

    def decode(z: Tensor) -> Tensor:
        return module.up(z).sigmoid().reshape(-1, 1, 4, 4)

    def encode(x: Tensor) -> Tensor:
        return x.flatten(1) @ module.up.weight

    with pytest.raises(ValueError, match=r"codes of shape \(B, 3\), got for_two_images=\(2, 2\)"):
        wrap(module, encode, decode, 3, (1, 4, 4))
    with pytest.raises(ValueError, match=r"images of shape \(B, 1, 2, 8\), got for_two_codes"):
        wrap(module, encode, decode, 2, (1, 2, 8))
    with pytest.raises(ValueError, match=r"pixels in .*; scale and clamp its output, got low"):
        wrap(module, encode, lambda z: 5 * decode(z) - 2, 2, (1, 4, 4))
