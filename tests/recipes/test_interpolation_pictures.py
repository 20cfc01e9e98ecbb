"""Interpolations as in the papers: spherical paths, normalised as the config of the chain says."""

import numpy as np
import pytest
import torch

from genae_core.data.base import Split
from genae_core.distributions.rng import Draw
from genae_core.models.aae import AAE, AAEConfig
from genae_core.nets.base import sampling_mode
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes.interpolation_pictures import (
    POINTS,
    interpolated_images,
    interpolations,
    path_ends,
)
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode


@pytest.fixture
def model() -> AAE:
    with Draw(0, "weights").as_global():
        return AAEConfig(latent_dim=3, net=MLPConfig(widths=(8,))).build((1, 8, 8)).eval()


def chain(**changes: object) -> ChainConfig:
    return ChainConfig(sampler=EncodeDecode(), sub_batch=20, **changes)  # type: ignore[arg-type]


def test_paths_are_great_circles_that_the_batch_normalises(model: AAE) -> None:
    """The first row decodes z(t) = (sin((1 - t) a) z1 + sin(t a) z2) / sin a with the moments of
    all points, and the next one decodes the codes of these images."""
    ends = Draw(1).uniform((2, 4, 1, 8, 8))
    images = interpolated_images(model, ends, chain())
    with torch.no_grad():
        first, second = (model.encode(x).mean for x in ends)
    angle = torch.acos((first * second).sum(1) / first.norm(dim=1) / second.norm(dim=1))[:, None]
    z = torch.stack(
        [
            (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * second) / torch.sin(angle)
            for t in np.linspace(0, 1, POINTS)
        ],
        1,
    )
    with sampling_mode(model, "batch"):
        start = model.decode(z.flatten(0, 1)).mean
        later = model.decode(model.encode(start).mean).mean
    assert images.shape == (4, 4, POINTS, 1, 8, 8)
    torch.testing.assert_close(images[0].flatten(0, 1), start, rtol=0, atol=1e-4)
    torch.testing.assert_close(images[1].flatten(0, 1), later, rtol=0, atol=1e-3)
    with sampling_mode(model, "running"):
        running = model.decode(z.flatten(0, 1)).mean
    assert (running - start).abs().max() > 0.01
    images = interpolated_images(model, ends, chain(batch_norm="running"))
    torch.testing.assert_close(images[0].flatten(0, 1), running, rtol=0, atol=1e-4)


def test_the_ends_are_the_first_images_and_fill_a_batch(model: AAE) -> None:
    images = np.arange(14, dtype=np.uint8)[:, None, None, None].repeat(8, 2).repeat(8, 3)
    split = Split(images, np.zeros(14, np.int64))

    def numbers(sub_batch: int, shown: int) -> list[list[int]]:
        config = ChainConfig(sampler=EncodeDecode(), sub_batch=sub_batch)
        ends = path_ends(split, config, shown, binarize=False)
        return (ends[:, :, 0, 0, 0] * 255).round().int().tolist()  # type: ignore[no-any-return]

    assert numbers(sub_batch=3 * POINTS, shown=2) == [[0, 1, 2], [3, 4, 5]]
    assert numbers(sub_batch=5, shown=2) == [[0, 1], [2, 3]]
    assert numbers(sub_batch=500, shown=2)[1] == [7, 8, 9, 10, 11, 12, 13]
    # Four pairs are drawn, each with four rows of ten images of 48 px.
    picture = interpolations(model, path_ends(split, chain(), 6, binarize=False), chain())
    assert picture.shape == (2 + 4 * 4 * 50, 56 + 2 + 10 * 50, 3)
