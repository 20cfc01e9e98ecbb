"""What every prior must keep. A prior's test is a subclass that names its config."""

import math

import torch
from torch import Tensor

from genae_core.config import from_json, to_json
from genae_core.distributions import Normal
from genae_core.draw import Draw
from genae_core.priors.base import Prior, PriorConfig

SAMPLES = 20_000


class PriorContract:
    """config: of the prior. reach: the half side of a square that holds all but 1e-6 of its mass
    in two dimensions."""

    config: PriorConfig
    reach: float = 8.0

    def grid(self, prior: Prior) -> tuple[Tensor, Tensor]:
        """Midpoints [N, 2] of a fine grid over the square, and the mass [N] of each cell."""
        side = 400
        width = 2 * self.reach / side
        line = (torch.arange(side) + 0.5) * width - self.reach
        z = torch.cartesian_prod(line, line)
        return z.double(), _log_density(prior, z).exp() * width**2

    def test_its_density_integrates_to_one(self) -> None:
        _, mass = self.grid(self.config.build(2))
        # The midpoint rule on a smooth density, 1e-6 outside the square, float32 rounding.
        assert abs(float(mass.sum()) - 1) < 1e-5

    def test_samples_follow_the_density(self) -> None:
        """First and second moments, and the log-density itself, against the quadrature."""
        prior = self.config.build(2)
        z, mass = self.grid(prior)
        sample = prior.sample(Draw(0), (SAMPLES,))
        assert sample.shape == (SAMPLES, 2) and prior.mean.shape == (2,)
        drawn = sample.double()
        torch.testing.assert_close(prior.mean.double(), mass @ z, rtol=0, atol=1e-4)
        log_p, log_p_drawn = _log_density(prior, z.float()), _log_density(prior, sample)
        features = [
            (z, drawn),
            (z.square(), drawn.square()),
            (z.prod(1, keepdim=True), drawn.prod(1, keepdim=True)),
            (log_p[:, None], log_p_drawn[:, None]),
        ]
        for expected, found in features:
            wanted = mass @ expected.nan_to_num(neginf=0.0)
            error = found.std(0) / math.sqrt(SAMPLES)
            assert ((found.mean(0) - wanted).abs() < 5 * error + 1e-4).all()

    def test_samples_depend_on_the_draw_alone(self) -> None:
        prior = self.config.build(3)
        state = torch.get_rng_state()
        one, other = prior.sample(Draw(0), (4,)), prior.sample(Draw(0), (4,))
        assert torch.equal(one, other) and not torch.equal(one, prior.sample(Draw(1), (4,)))
        assert prior.sample(Draw(0)).shape == (3,)
        assert prior.sample(Draw(0), (2, 4)).shape == (2, 4, 3)
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_kl_is_the_expected_difference_of_log_densities(self) -> None:
        prior = self.config.build(3)
        q = Normal(Draw(1).normal((4, 3)), 0.7 * Draw(2).normal((4, 3)))
        n = SAMPLES
        z = q.sample(Draw(3), (n,))
        log_q = q.log_prob(z).double().sum(2)
        log_p = _log_density(prior, z.flatten(0, 1)).reshape(n, 4)
        values = log_q - log_p
        wide = Normal(q.mean.repeat(n, 1), q.log_var.repeat(n, 1))
        kl = prior.kl(wide, z.flatten(0, 1))
        assert kl.shape == (4 * n,)
        found = kl.double().reshape(n, 4).mean(0)
        error = values.std(0) / math.sqrt(n)
        # 5 standard errors of the Monte-Carlo mean, and float32 rounding of sums of order 10.
        assert ((found - values.mean(0)).abs() < 5 * error + 1e-5).all()

    def test_the_config_survives_json(self) -> None:
        assert from_json(to_json(self.config)) == self.config


def _log_density(prior: Prior, z: Tensor) -> Tensor:
    """log p(z) [N], float64, of z [N, D]."""
    return prior.log_prob(z).double().reshape(len(z), -1).sum(1)
