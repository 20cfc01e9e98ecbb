"""The measurements of claims, on small models whose values are known."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genae_core.data.base import Split, Splits
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.evaluation.claim_measures import (
    CLAIM_MEASURES,
    denoising_gain,
    forgetting,
    measure_claims,
    novelty,
    psnr,
    ratio_of,
)
from genae_core.evaluation.comparison import EvaluatedChain
from genae_core.evaluation.nearest import NearestTraining, nearest_distance
from genae_core.evaluation.own_metrics import read_real_pair
from genae_core.evaluation.realism_measures import (
    REALISM_MEASURES,
    measure_realism,
    movement,
    path_realism,
    rank_correlation,
    realism_of,
)
from genae_core.evaluation.references import ReferenceData
from genae_core.metrics.estimate import Estimate
from genae_core.models.vae import VAEConfig
from genae_core.models.wrapped import wrap
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.testing import tiny

CHAIN = ChainConfig(sampler=EncodeDecode(), sub_batch=100, batch_norm="running")


class PairClassifier(nn.Module):
    """Images of two pixels; the brighter pixel is the class, surer with the difference."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Linear(2, 2, bias=False)
        self.top.weight.data = 3 * torch.eye(2)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def split(images: np.ndarray) -> Split:
    """Images of the shape [1, 1, 2] with both classes."""
    return Split(images.reshape(-1, 1, 1, 2).astype(np.uint8), np.arange(len(images)) % 2)


def subject(
    encode: Any, decode: Any, images: np.ndarray | None = None, latent_dim: int = 1
) -> EvaluatedChain:
    """A model of images of two pixels."""
    if images is None:
        images = np.random.default_rng(0).integers(256, size=(2_200, 2))
    data = Splits(*(split(images) for _ in range(3)))
    model = wrap(nn.Linear(1, 1), encode, decode, latent_dim=latent_dim, shape=(1, 1, 2))
    return EvaluatedChain(model, CHAIN, ReferenceData(data, PairClassifier()), None)  # type: ignore[arg-type]


def pair(s: Tensor) -> Tensor:
    """The image (s, 1 - s) of each value [N, 1]."""
    return torch.cat([s, 1 - s], 1).reshape(-1, 1, 1, 2)


def squash(z: Tensor) -> Tensor:
    return pair(z.sigmoid())


def first_pixel(x: Tensor) -> Tensor:
    return x.flatten(1)[:, :1].clamp(1e-6, 1 - 1e-6)


def test_good_samples_stay_if_only_poor_ones_are_moved() -> None:
    def stays(x: Tensor) -> Tensor:
        """A pixel at the end of its range stays; one in the middle is moved most."""
        s = first_pixel(x)
        return (s + 0.3 * (1 - (2 * s - 1).abs())).clamp(1e-6, 1 - 1e-6).logit()

    def flees(x: Tensor) -> Tensor:
        """Every image becomes the least realistic one."""
        return torch.zeros(len(x), 1)

    for encode, correlation in ((stays, -1), (flees, 1)):
        one = subject(encode, squash)
        assert movement(one, realism_of(one.data)).value == pytest.approx(correlation, abs=1e-3)


def test_without_classes_an_image_is_realistic_if_it_is_among_the_training_images() -> None:
    rng = np.random.default_rng(0)
    dark = rng.integers(100, size=(500, 2))  # both pixels are below 0.4
    one = subject(lambda x: first_pixel(x).logit(), squash, dark)
    unlabelled = np.zeros(500, dtype=np.int64)
    turns = Splits(*(part._replace(labels=unlabelled) for part in one.data.splits[:3]))
    realism = realism_of(dataclasses.replace(one.data, splits=turns))
    x = torch.tensor([[0.2, 0.2], [0.5, 0.5], [0.9, 0.9]]).reshape(-1, 1, 1, 2)
    inside, near, far = realism(x).tolist()
    assert inside > 3 * near > 3 * far > 0
    surest = realism_of(one.data)(x)  # with classes, only the difference of the pixels counts
    assert surest.tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_the_rank_correlation_sees_order_alone() -> None:
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(a, a.exp()) == pytest.approx(1)
    assert rank_correlation(a, torch.tensor([2.0, 1.0, 4.0, 3.0])) == pytest.approx(0.6)
    assert math.isnan(rank_correlation(a, torch.zeros(4)))


def test_the_error_of_a_ratio_is_that_of_its_logarithm() -> None:
    value, error = ratio_of(Estimate(6.0, 0.3), Estimate(2.0, 0.2))
    assert value == pytest.approx(3)
    assert error == pytest.approx(3 * math.hypot(0.05, 0.1))
    assert math.isnan(ratio_of(Estimate(1.0, 0.1), Estimate(0.0, 0.1)).value)


def test_a_chain_that_forgets_its_start_and_one_that_keeps_it() -> None:
    def redraw(x: Tensor) -> Normal:
        """The code does not depend on the image."""
        return Normal(torch.zeros(len(x), 1), torch.zeros(len(x), 1))

    forgets = forgetting(subject(redraw, squash))
    assert 0.2 < forgets["start_gap"].value < 8  # the largest of three, divided by one
    assert 0.2 < forgets["codes_gap"].value < 5
    keeps = forgetting(subject(lambda x: first_pixel(x).logit(), squash))
    # z from N(0, 9) and from 0 are 9 apart, and two sets of 1,000 from N(0, 1) about 0.01.
    assert keeps["start_gap"].value > 100


def test_the_signal_to_noise_ratio_in_decibels() -> None:
    x = torch.full((2, 1, 1, 2), 0.5)
    assert psnr(x, x + 0.1).tolist() == pytest.approx([20, 20], abs=1e-4)


@pytest.mark.parametrize("kept, gain", [(1.0, 0.0), (0.5, 20 * math.log10(2)), (0.1, 20.0)])
def test_a_denoiser_that_keeps_a_part_of_the_noise(kept: float, gain: float) -> None:
    def shrink(z: Tensor) -> Tensor:
        return (0.5 + kept * (z - 0.5)).clamp(0, 1).reshape(-1, 1, 1, 2)

    model = wrap(nn.Linear(1, 1), lambda x: x.flatten(1), shrink, latent_dim=2, shape=(1, 1, 2))
    x = torch.full((400, 1, 1, 2), 0.5)
    measured = denoising_gain(model, x, 0.01, Draw(0, "noise"))
    assert measured.value == pytest.approx(gain, abs=1e-3)


def test_the_nearest_image_is_looked_for_in_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genae_core.evaluation.nearest.BLOCK", 3)
    images = np.array([[0, 0], [255, 0], [0, 255], [255, 255], [51, 51]])
    one = subject(lambda x: first_pixel(x).logit(), squash, images)
    x = torch.tensor([[0.2, 0.2], [0.9, 1.0], [0.2, 0.5]]).reshape(-1, 1, 1, 2)
    nearest = nearest_distance(x, one.data.splits.train, one.data.binarize)
    assert nearest.tolist() == pytest.approx([0, 0.1, 0.3], abs=1e-5)


def test_samples_that_copy_are_at_distance_0_and_new_images_at_1() -> None:
    data, splits = tiny.experiment().data, tiny.splits()
    metric = NearestTraining(data=data, images=50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genae_core.evaluation.nearest._read", lambda *_: splits)
        train, test = read_real_pair(splits, 60, data.binarize, "cpu")
        assert metric.measure(train, test, Draw(0)) == pytest.approx(0, abs=0.01)
        assert metric.measure(test, test, Draw(0)) == pytest.approx(1)
        assert metric.measure(1 - test, test, Draw(0)) > 1
    with pytest.raises(ValueError, match="images must be a whole number"):
        NearestTraining(data=data, images=0)


def test_a_model_that_copies_is_as_near_as_its_training_images() -> None:
    values = np.repeat(np.arange(0, 256, 5), 2)
    images = np.stack([values, 255 - values], 1)
    copies = novelty(subject(lambda x: first_pixel(x).logit(), squash, images))
    assert copies["nearest_copied"].value == pytest.approx(0, abs=1e-3)
    assert copies["nearest_real"].value == pytest.approx(0, abs=1e-3)
    # Values between two training images, 5 / 255 apart in both pixels, are 5 / 255 / 4 from the
    # nearer one on average.
    assert copies["nearest_chain"].value == pytest.approx(math.sqrt(2) * 5 / 255 / 4, rel=0.1)


def test_paths_become_more_realistic_if_the_chain_sharpens() -> None:
    def sharpen(x: Tensor) -> Tensor:
        return 2 * first_pixel(x).logit()

    one = subject(sharpen, squash)
    paths = path_realism(one, realism_of(one.data))
    sure = 1 / (1 + math.exp(-3))
    assert paths["path_start"].value < paths["path_later"].value <= sure + 1e-6
    one = subject(lambda x: first_pixel(x).logit(), squash)
    same = path_realism(one, realism_of(one.data))
    assert same["path_start"].value == pytest.approx(same["path_later"].value, abs=1e-5)
    # In one dimension, an arc between codes with the same or opposite signs is a straight line.
    assert same["path_start"].value == pytest.approx(same["path_straight"].value, abs=1e-5)


def test_a_straight_path_leaves_the_circle_of_the_codes() -> None:
    def onto_circle(x: Tensor) -> Tensor:
        angle = math.pi * first_pixel(x)
        return torch.cat([angle.cos(), angle.sin()], 1)

    def surer_outside(z: Tensor) -> Tensor:
        """The image is the surer, the farther z is from 0."""
        return pair(0.5 + z.square().sum(1, keepdim=True).clamp(max=1) / 2)

    one = subject(onto_circle, surer_outside, latent_dim=2)
    paths = path_realism(one, realism_of(one.data))
    assert paths["path_start"].value == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-4)
    assert paths["path_straight"].value < paths["path_start"].value - 0.02


@pytest.mark.slow
def test_everything_is_measured_of_a_model_with_an_encoder() -> None:
    with Draw(0, "weights").as_global():
        model = VAEConfig(latent_dim=2, net=MLPConfig(widths=(8,))).build((1, 8, 8))
    splits = tiny.splits()
    data = ReferenceData(splits, tiny.classifier(splits))
    chain = ChainConfig(sampler=EncodeDecode(), record=(0, 1), sub_batch=20)
    one = EvaluatedChain(model, chain, data, None)
    values = {**measure_claims(one), **measure_realism(one)}
    assert set(values) == {*CLAIM_MEASURES, *REALISM_MEASURES}
    assert all(math.isfinite(one.value) and one.error >= 0 for one in values.values())
