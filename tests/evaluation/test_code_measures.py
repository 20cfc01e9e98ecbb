"""The measurements of codes, on codes whose values are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.evaluation.code_measures import (
    CELLS,
    CODE_MEASURES,
    empty_cells,
    equal_cells,
    measure_codes,
    measure_density,
    purity,
    silhouette,
)
from genae_core.evaluation.comparison import EvaluatedChain
from genae_core.evaluation.references import ReferenceData
from genae_core.models.ae import AEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.gmmn_ae import GMMNAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.flow import FlowConfig
from genae_core.priors.mixture import RingPriorConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.testing import tiny

CHAIN = ChainConfig(sampler=EncodeDecode(), sub_batch=20)


def grid() -> torch.Tensor:
    """The centres of the cells of U[0, 1]^2, [CELLS^2, 2]."""
    centres = (torch.arange(CELLS) + 0.5) / CELLS
    return torch.cartesian_prod(centres, centres)


def test_a_code_in_each_cell_leaves_none_empty() -> None:
    edges = equal_cells(Draw(0, "cells").uniform((200_000, 2)))
    assert torch.allclose(edges[0], torch.arange(1, CELLS) / CELLS, atol=0.01)
    assert empty_cells(grid(), edges).value == 0
    half = grid()[grid()[:, 0] < 0.5]
    assert empty_cells(half, edges).value == pytest.approx(0.5)
    assert empty_cells(grid()[:1], edges).value == pytest.approx(1 - CELLS**-2)


@pytest.mark.parametrize("count", [100, 400, 2_000])
def test_draws_of_the_prior_itself_leave_as_many_cells_empty_as_chance(count: int) -> None:
    prior = RingPriorConfig().build(2)
    edges = equal_cells(prior.sample(Draw(0, "edges"), (200_000,)))
    share = empty_cells(prior.sample(Draw(1, "codes"), (count,)), edges)
    expected = (1 - CELLS**-2) ** count
    assert share.value == pytest.approx(expected, abs=4 * math.sqrt(expected / CELLS**2))
    assert share.error >= 0


def test_the_purity_of_separate_and_of_mixed_classes() -> None:
    labels = torch.arange(400) % 4
    corners = 100.0 * torch.stack([labels % 2, labels // 2], 1)
    noise = Draw(0, "purity").normal((400, 2))
    assert purity(corners + noise, labels).value == 1
    mixed = purity(noise, labels)
    assert mixed.value == pytest.approx(0.25, abs=0.03)  # as if the label were drawn
    assert 0 < mixed.error < 0.02


def test_the_silhouette_of_two_pairs_of_points() -> None:
    codes = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    value = silhouette(codes, torch.tensor([0, 0, 1, 1])).value
    # a = 1; b = 10.5 for the outer points and 9.5 for the inner ones
    assert value == pytest.approx((2 * (1 - 1 / 10.5) + 2 * (1 - 1 / 9.5)) / 4)
    assert math.isnan(silhouette(codes, torch.tensor([0, 0, 0, 0])).value)


def subject(config: Any) -> EvaluatedChain:
    """An untrained model of the tiny digits."""
    with Draw(0, "weights").as_global():
        model = config.build((1, 8, 8))
    splits = tiny.splits()
    return EvaluatedChain(model, CHAIN, ReferenceData(splits, tiny.classifier(splits)), None)


@pytest.mark.slow
def test_everything_is_measured_of_codes_in_two_dimensions() -> None:
    values = measure_codes(subject(VAEConfig(latent_dim=2, net=MLPConfig(widths=(8,)))))
    assert set(values) == set(CODE_MEASURES)
    assert all(math.isfinite(one.value) for one in values.values())
    assert 0 <= values["active_dims"].value <= 2


def test_the_likelihood_of_codes_under_an_untrained_flow() -> None:
    autoencoder = AEConfig(latent_dim=2, net=MLPConfig(widths=(8,)))
    flow = FlowConfig(kind="planar", transforms=1)
    one = subject(FlowAEConfig(autoencoder=autoencoder, flow=flow))
    values = measure_density(one)
    with torch.no_grad():
        one.model.eval()
        x = one.data.pixels(one.data.splits.test, np.arange(len(one.data.splits.test.images)))
        expected = -one.model.latent_prior().log_prob(one.model.encode(x).mean).mean()
    assert values["code_nll"].value == pytest.approx(float(expected), rel=1e-5)
    assert values["sampling_seconds"].value > 0
    implicit = measure_density(subject(GMMNAEConfig(autoencoder=autoencoder)))
    assert set(implicit) == {"sampling_seconds"}
