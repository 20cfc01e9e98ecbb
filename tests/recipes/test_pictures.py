"""What the papers' pictures show: the right codes, the right images, in the right places."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from genae_core.data.base import Split
from genae_core.distributions.rng import Draw
from genae_core.models.aae import AAEConfig
from genae_core.models.style_aae import StyleAAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.mixture import RingPriorConfig
from genae_core.priors.swiss_roll import SwissRollPriorConfig
from genae_core.recipes import pictures

SHAPE = (1, 48, 48)  # not enlarged by a grid
NET = MLPConfig(widths=(8,))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The codes that a picture decodes."""
    decoded_codes: list[Tensor] = []
    monkeypatch.setattr(pictures, "decode_grid", lambda model, z, columns: decoded_codes.append(z))
    return decoded_codes


def test_a_manifold_is_at_the_percentiles_of_its_gaussian(asked: list[Tensor]) -> None:
    """Mahalanobis coordinates of the corners, and 20 even steps in probability between them."""
    mean, covariance = torch.tensor([3.0, -1.0]), torch.tensor([[2.0, 0.6], [0.6, 0.5]])
    pictures.manifold(None, mean, covariance)  # type: ignore[arg-type]
    z = asked[0]
    assert z.shape == (400, 2)
    variances, axes = torch.linalg.eigh(covariance)
    shares = norm.cdf(((z - mean) @ axes / variances.sqrt()).double().numpy())
    for along in (0, 1):
        np.testing.assert_allclose(
            np.unique(shares[:, along].round(4)), np.linspace(0.025, 0.975, 20), atol=1e-4
        )
    # A plot's directions: the first coordinate rises to the right, the second falls downwards.
    pictures.manifold(None, torch.zeros(2), torch.eye(2))  # type: ignore[arg-type]
    left, right, below = asked[1][0], asked[1][19], asked[1][380]
    assert right[0] > left[0] and right[1] == left[1] == -below[1]


def test_a_walk_gives_each_class_ten_even_places_on_its_part(asked: list[Tensor]) -> None:
    roll = SwissRollPriorConfig().build(2)
    pictures.roll_walk(None, roll)  # type: ignore[arg-type]
    line = roll.axis(torch.linspace(0, 1, 20_001))
    at = torch.cdist(asked[0], line).argmin(1) / 20_000
    np.testing.assert_allclose(at.numpy(), (np.arange(100) + 0.5) / 100, atol=2e-4)


def test_neighbours_are_the_closest_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that copies training images (with a little noise) has those below its samples; the
    set is read in blocks, and the last counts too."""
    monkeypatch.setattr(pictures, "BLOCK", 7)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, *SHAPE), dtype=np.uint8)
    split = Split(images, np.zeros(30, np.int64))
    copied = [29, 0, 13]
    x = torch.from_numpy(images[copied]).float() / 255
    distribution = SimpleNamespace(mean=(x + 0.01 * Draw(0).normal(tuple(x.shape))).clamp(0, 1))
    model: Any = SimpleNamespace(
        latent_prior=lambda: SimpleNamespace(sample=lambda draw, shape: torch.zeros(*shape, 2)),
        decode=lambda z: distribution,
    )
    picture = pictures.neighbours(model, split, False, 3)
    for column, row in enumerate(copied):
        left = 2 + 50 * column
        np.testing.assert_array_equal(picture[52:100, left : left + 48, 0], images[row, 0])


def test_codes_are_the_encoder_s_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AAEConfig(latent_dim=2, prior=RingPriorConfig(), net=NET).build((1, 8, 8)).eval()
    images = np.random.default_rng(0).integers(0, 256, (11, 1, 8, 8), dtype=np.uint8)
    split = Split(images, np.zeros(11, np.int64))
    whole = pictures.codes(model, split, False)
    monkeypatch.setattr("genae_core.models.base.ENCODING_BATCH", 4)
    torch.testing.assert_close(pictures.codes(model, split, False), whole)
    direct = model.encode(torch.from_numpy(images).float() / 255).mean
    torch.testing.assert_close(whole, direct.detach())


def test_a_style_grid_keeps_the_style_of_a_row_and_the_class_of_a_column() -> None:
    model = StyleAAEConfig(style_dim=3, num_classes=4, net=NET).build(SHAPE).eval()
    x = Draw(0).uniform((2, *SHAPE))
    picture = pictures.styles(model, x)
    assert picture.shape == (2 + 2 * 50, 2 + 5 * 50, 3)
    shown = picture[2:50, 2:50, 0]
    np.testing.assert_array_equal(shown, (x[0, 0] * 255).round().byte().numpy())
    z = torch.cat([model.encoder(x[1:]), torch.eye(4)[2:3]], 1)
    made = (model.decode(z).mean[0, 0] * 255).round().byte()
    np.testing.assert_allclose(
        picture[52:100, 152:200, 0].astype(int), made.numpy().astype(int), atol=1
    )
