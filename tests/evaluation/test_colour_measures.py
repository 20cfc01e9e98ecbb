"""The saturation and the contrast of images, by their definitions."""

import colorsys
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genae_core.data.base import Split, Splits
from genae_core.distributions.rng import Draw
from genae_core.evaluation.colour_measures import contrast, measure_colours, saturation
from genae_core.evaluation.comparison import EvaluatedChain
from genae_core.evaluation.references import ReferenceData
from genae_core.models.wrapped import wrap
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode


def test_the_saturation_is_that_of_hsv() -> None:
    x = Draw(0, "colours").uniform((3, 3, 4, 4))
    x[0, :, 0, 0] = 0  # black
    expected = [
        np.mean([colorsys.rgb_to_hsv(*pixel)[1] for pixel in image.flatten(1).T.tolist()])
        for image in x
    ]
    assert saturation(x).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_contrast_of_half_black_and_half_white_is_a_half() -> None:
    x = torch.zeros(2, 3, 4, 4)
    x[0, :, :2] = 1
    assert contrast(x).tolist() == pytest.approx([0.5, 0])
    green = torch.zeros(1, 3, 2, 1)
    green[0, 1, 0] = 1
    assert contrast(green).tolist() == pytest.approx([0.587 / 2])


def subject(channels: int) -> EvaluatedChain:
    """A model of single pixels whose samples are red."""

    def encode(x: Tensor) -> Tensor:
        return x[:, 0].flatten(1)[:, :1] / 2

    def decode(z: Tensor) -> Tensor:
        red = z.abs().clamp(max=1)
        rest = torch.zeros_like(red)
        return torch.cat([red, *[rest] * (channels - 1)], 1)[:, :, None, None]

    model: Any = wrap(nn.Linear(1, 1), encode, decode, latent_dim=1, shape=(channels, 1, 1))
    images = np.full((40, channels, 1, 1), 255, np.uint8)
    splits = Splits(*[Split(images, np.zeros(40, np.int64))] * 3)
    chain = ChainConfig(sampler=EncodeDecode(), sub_batch=100, batch_norm="running")
    return EvaluatedChain(model, chain, ReferenceData(splits, nn.Identity()), None)  # type: ignore[arg-type]


def test_each_step_has_its_colours() -> None:
    values = measure_colours(subject(3))
    names = {f"{name}@{step}" for name in ("saturation", "contrast") for step in (0, 1, 5, 10)}
    assert set(values) == names | {"saturation_real", "contrast_real"}
    assert values["saturation_real"].value == 0  # white
    assert values["saturation@0"].value == 1  # red, whatever its brightness
    assert values["contrast@0"].value == 0  # of one pixel
    assert all(math.isfinite(one.error) for one in values.values())


def test_grey_images_have_no_colours() -> None:
    assert measure_colours(subject(1)) == {}
