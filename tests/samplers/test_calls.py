"""The calls of the networks, against those that each sampler's docstring implies."""

from typing import Any

import pytest
import torch

from genae_core.priors.mixture import GaussianMixture
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.annealed import Annealed
from genae_core.samplers.calls import Calls, count_calls
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.langevin import Langevin
from genae_core.testing.toys import Toy, digest


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [
        (Ancestral(), Calls(1, 1)),
        (EncodeDecode(), Calls(1, 2)),
        (Annealed(), Calls(1, 2)),
        (Langevin(moves=7), Calls(1, 1)),  # a move needs the density of z and no network
    ],
)
def test_calls_of_the_decoder_and_the_encoder(sampler: Any, calls: Calls) -> None:  # noqa: ANN401
    model = Toy()
    before = digest(model)
    assert count_calls(model, ChainConfig(sampler=sampler, batch_norm="running")) == calls
    assert digest(model) == before and model.training


def test_a_fitted_prior_costs_no_call() -> None:
    prior = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    chain = ChainConfig(sampler=EncodeDecode())
    assert count_calls(Toy(), chain, prior).until(3) == 7
