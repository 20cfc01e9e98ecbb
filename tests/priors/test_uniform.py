import math

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.priors.uniform import UniformPriorConfig
from genae_core.testing.prior import PriorContract


class TestUniform(PriorContract):
    config = UniformPriorConfig(half_width=1.5)
    reach = 2.0
    smooth = False


def test_it_fills_its_cube_and_nothing_else() -> None:
    prior = UniformPriorConfig(half_width=1.5).build(2)
    z = prior.sample(Draw(0), (100_000,))
    assert z.abs().max() <= 1.5 and z.abs().max() > 1.499
    # Var U[-a, a] = a^2 / 3; the sample variance has relative error sqrt(0.8 / n).
    assert float(z.var()) == pytest.approx(0.75, rel=5 * math.sqrt(0.8 / 2e5))
    heights = prior.log_prob(torch.tensor([[0.0, 1.4], [0.0, 1.6]]))
    assert heights.tolist() == [pytest.approx(-2 * math.log(3)), -math.inf]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="half_width must be > 0"):
        UniformPriorConfig(half_width=0.0)
