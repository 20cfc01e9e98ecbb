"""A flow fitted to codes whose distribution is known."""

import math

import pytest
import torch
from test_selected_mixture import clusters, gaussian

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.priors.early_stopping import train_on_codes
from genae_core.priors.fitted_flow import FittedFlow
from genae_core.priors.flow import FlowConfig
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig

SMALL = FlowConfig(kind="spline", transforms=2, widths=(32,))


def test_it_is_better_than_a_gaussian_on_clusters() -> None:
    """log p of the best Gaussian is its negative entropy, log det(2 pi e S) / -2."""
    fitted = FittedFlow(flow=SMALL, epochs=15).fit(clusters(3_000), Draw(0))
    fresh = clusters(2_000, seed=1)
    best_gaussian = -0.5 * torch.logdet(2 * math.pi * math.e * fresh.T.cov())
    assert float(fitted.log_prob(fresh).mean()) > float(best_gaussian) + 0.2
    assert not any(part.requires_grad for part in fitted.parameters())


def test_the_other_components_are_a_gaussian() -> None:
    codes = gaussian(2_000)
    fitted = FittedFlow(flow=SMALL, epochs=2, dimensions=2).fit(codes, Draw(0))
    z = fitted.sample(Draw(1), (5_000,))
    y = fitted.frame.coordinates(z)[:, 2:]
    torch.testing.assert_close(y.T.cov(), torch.eye(2), rtol=0, atol=5 * math.sqrt(2 / 5_000))


def test_the_training_ends_with_the_weights_that_are_best_on_held_out_codes() -> None:
    """A mean fitted to codes around 1, held out around 0.5: it stops near 0.5 on its way to 1."""
    mean = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(mean.weight)
    codes, held_out = 1 + torch.zeros(20_000, 1), 0.5 + torch.zeros(10, 1)

    def loss(z: torch.Tensor) -> torch.Tensor:
        return (z - mean.weight).square().mean()

    train_on_codes(mean, loss, codes, held_out, 60, Draw(0))
    assert float(mean.weight) == pytest.approx(0.5, abs=0.05)


def test_a_seed_gives_the_same_flow_and_the_config_survives_json() -> None:
    config = FittedFlow(flow=SMALL, epochs=1)
    one, again = (config.fit(gaussian(300), Draw(2)) for _ in range(2))
    for name, part in one.state_dict().items():
        assert torch.equal(part, again.state_dict()[name])
    chain = ChainConfig(sampler=Ancestral(), fitted_prior=config)
    assert from_json(to_json(chain)) == chain


def test_bad_input_is_refused() -> None:
    for settings in ({"epochs": 0}, {"dimensions": 0}, {"held_out": 1.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            FittedFlow(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 more that is held out, got codes=1"):
        FittedFlow().fit(torch.zeros(1, 2), Draw(0))
    with pytest.raises(ValueError, match="latent_dim >= 2"):
        FittedFlow().fit(gaussian(100)[:, :1], Draw(0))
