"""The measures of the table of an InfoGAN, by images and codes whose values are known."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.data.base import Split, Splits
from genae_core.distributions.rng import Draw
from genae_core.models.info_gan import InfoGAN, InfoGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes import infogan_table
from genae_core.recipes.infogan_table import (
    best_correlation,
    class_error,
    measure,
    slants,
    stroke_widths,
    with_fitted_q,
)
from genae_core.recipes.options import StudyOptions


def test_a_class_has_the_label_of_most_of_its_fitted_images() -> None:
    """Class 0 is named 7, class 1 is named 2, and class 2 has no name: 3 of 5 are errors."""
    fitted = (np.array([0, 0, 0, 1, 1]), np.array([7, 7, 2, 2, 2]))
    tested = (np.array([0, 0, 1, 1, 2]), np.array([7, 2, 2, 7, 2]))
    assert class_error(fitted, tested) == 3 / 5
    renamed = (1 - fitted[0], fitted[1])  # the numbers of the classes have no meaning
    assert class_error(renamed, (1 - fitted[0], fitted[1])) == 1 / 5


def test_the_slant_is_the_shear_of_an_upright_bar() -> None:
    x = torch.zeros(3, 1, 21, 40)
    rows = torch.arange(2, 19)
    for image, shear in enumerate((0, 1, -1)):
        x[image, 0, rows, 20 + shear * (rows - 10)] = 1
    assert slants(x) == pytest.approx([0, 1, -1], abs=1e-12)


def test_the_width_of_a_bar_is_its_smaller_side_but_for_its_ends() -> None:
    """A bar of L x w has the outline 2 L + 2 w, so the width is L w / (L + w)."""
    x = torch.zeros(2, 1, 28, 28)
    x[0, 0, 4:24, 10:11] = 1
    x[1, 0, 4:24, 10:13] = 0.5  # grey strokes are as wide as white ones
    assert stroke_widths(x) == pytest.approx([20 / 21, 60 / 23])


def test_the_correlation_is_that_of_ranks_within_classes() -> None:
    """Each class has an offset, which hides a monotone relation from the correlation over all."""
    rng = np.random.default_rng(0)
    codes = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
    classes = np.arange(400) % 4
    values = 100.0 * classes - np.exp(3 * codes[:, 1].astype(np.float64))
    assert best_correlation(codes, values, classes) == pytest.approx(1)
    assert best_correlation(codes[:, :1], values, classes) < 0.2
    assert best_correlation(codes, np.zeros_like(values), classes) == 0


def untrained() -> InfoGAN:
    net = MLPConfig(widths=(16,))
    config = InfoGANConfig(latent_dim=14, net=net, critic=net, features=8)
    with Draw(0).as_global():
        return config.build((1, 8, 8)).eval()


@pytest.mark.parametrize(
    ("tells", "low", "high"), [(True, 0.9 * math.log(10), math.log(10)), (False, -0.1, 0.05)]
)
def test_a_fitted_q_finds_what_the_images_tell(
    tells: bool, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of log 10 nats if each class has a pixel of its own, and nothing if they are noise."""
    monkeypatch.setattr(infogan_table, "FITTED_STEPS", 300)
    model = untrained()
    images = torch.eye(10, 64).reshape(10, 1, 8, 8)

    def decode(z: Tensor) -> DecoderMean:
        if tells:
            return DecoderMean(images[z[:, 2:12].argmax(1)])
        return DecoderMean(z[:, :1, None, None].expand(-1, 1, 8, 8).sigmoid())

    monkeypatch.setattr(model, "decode", decode)
    before = [parameter.clone() for parameter in model.parameters()]
    z = model.prior.sample(Draw(1), (1_000,))
    with torch.no_grad():
        bound = float(with_fitted_q(model).information(decode(z).mean, z).classes)
    assert low < bound <= high
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


class DecoderMean(NamedTuple):
    mean: Tensor


def test_the_plain_gan_has_the_networks_of_the_infogan_and_no_weights() -> None:
    options = StudyOptions(dataset="mnist", data_root="folder")
    table = infogan_table.infogan_table(options)
    assert table.axes == {"model": ("info_gan", "gan")}
    info_gan, gan = (table.experiment({"model": model}) for model in table.axes["model"])
    assert (info_gan.model.class_weight, info_gan.model.continuous_weight) == (1, 0.1)
    weights = {"class_weight": 0.0, "continuous_weight": 0.0}
    assert gan == replace(info_gan, model=replace(info_gan.model, **weights))


def test_an_untrained_model_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of an untrained Q is near 0, and its classes miss most digits."""
    monkeypatch.setattr(infogan_table, "GENERATED", 200)
    monkeypatch.setattr(infogan_table, "FITTED_STEPS", 0)
    model = untrained()
    rng = np.random.default_rng(0)
    splits = [
        Split(rng.integers(0, 256, (300, 1, 8, 8), np.uint8), rng.integers(0, 10, 300))
        for _ in range(3)
    ]
    measures = measure(model, Splits(*splits))
    assert abs(measures.information) < 0.1
    assert 75 < measures.error <= 100  # chance is 90 %
    assert 0 <= measures.slant < 0.5 and 0 <= measures.width < 0.5
