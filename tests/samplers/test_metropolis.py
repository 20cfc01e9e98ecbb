import re

import pytest
import torch
from torch import Tensor

from genae_core.distributions.base import Delta
from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.samplers.metropolis import Metropolis
from genae_core.testing.sampler import SamplerContract
from genae_core.testing.toys import Toy, images


class TestMetropolis(SamplerContract):
    sampler = Metropolis()
    rejects = True


class Pointed(Toy):
    """Its encoder has no density."""

    def encode(self, x: Tensor) -> Delta:  # type: ignore[override]
        return Delta(super().encode(x).mean)


def test_an_encoder_without_a_density_is_refused() -> None:
    model = Pointed()
    with (
        sampling_mode(model, "running"),
        pytest.raises(ValueError, match=r"density of the encoder, which has none"),
    ):
        Metropolis().init(model, 5, Draw(0))


def test_the_mean_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape('decode must be "sample"')):
        Metropolis(decode="mean")  # type: ignore[arg-type]


def test_a_ratio_by_hand() -> None:
    """One step against the formula with torch's own distributions; noise drawn afresh."""
    model = Toy(noise=0.3)
    x = images(400)
    with sampling_mode(model, "running"):
        chain = Metropolis().init(model, x, Draw(0))
        moved = Metropolis().step(model, chain, Draw(5))
        draw = Draw(5)
        noisy = chain.x + 0.3 * draw.normal(tuple(chain.x.shape))
        distribution = model.encode(noisy)
        q = torch.distributions.Normal(distribution.mean, (0.5 * distribution.log_var).exp())
        proposed = distribution.mean + (0.5 * distribution.log_var).exp() * draw.normal(
            tuple(distribution.mean.shape)
        )
        p = torch.distributions.Normal(0.0, 1.0)

        def log_joint(z: Tensor) -> Tensor:
            logits = model.decoder(z)
            pixels = torch.distributions.Bernoulli(logits=logits).log_prob(chain.x)
            return p.log_prob(z).sum(1) + pixels.flatten(1).sum(1)

        ratio = log_joint(proposed) - log_joint(chain.z)
        ratio += q.log_prob(chain.z).sum(1) - q.log_prob(proposed).sum(1)
        accepted = draw.uniform((400,)).log() < ratio
    assert 0.1 < float(accepted.float().mean()) < 0.99
    torch.testing.assert_close(moved.z, torch.where(accepted[:, None], proposed, chain.z))
    torch.testing.assert_close(moved.accepted, accepted.float())
