"""The contract of a prior. A test derives a class with a config:

    class TestNormal(PriorContract):
        config = NormalPriorConfig(sd=2.0)

The tests use a prior only through `Prior`.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from genae_core.config import from_json, to_json
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host, Prior, PriorConfig

SAMPLES = 20_000


class Encoder(nn.Module):
    """A Gaussian encoder of images [1, 2, 3] with batch normalisation, for priors that are made of
    encodings."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ELU(),
            nn.Linear(8, 2 * latent_dim),
        )

    def encode(self, x: Tensor) -> Normal:
        mean, log_var = self.body(x).chunk(2, dim=1)
        return Normal(mean, log_var)


class PriorContract:
    """The tests of a prior. A subclass sets `config`, and other attributes if its prior needs
    them.

    Attributes:
        config: The config of the prior.
        dim: The latent dimension of the tests. Tests of the density use two dimensions instead.
        reach: Half the side of a square that holds all but 1e-6 of the mass in two dimensions.
        has_density: Whether the prior has a density.
        smooth: Whether the density is smooth, so that the midpoint rule integrates it exactly.
        exact_mean: Whether `mean` is the mean of the distribution.
    """

    config: PriorConfig
    dim: int = 3
    reach: float = 8.0
    has_density: bool = True
    smooth: bool = True
    exact_mean: bool = True

    def build(self, dim: int | None = None) -> Prior:
        """The prior, with a host."""
        dim = self.dim if dim is None else dim
        with Draw(0, "prior").as_global():
            return self.config.build(dim, Host((1, 2, 3), Encoder(dim).encode))

    def grid(self, prior: Prior) -> tuple[Tensor, Tensor]:
        """The midpoints [N, 2] of a fine grid over the square, and the mass [N] of each cell."""
        side = 400
        width = 2 * self.reach / side
        line = (torch.arange(side) + 0.5) * width - self.reach
        z = torch.cartesian_prod(line, line)
        with torch.no_grad():
            log_p = torch.cat([prior.log_prob(part) for part in torch.split(z, 20_000)])
        return z.double(), log_p.double().exp() * width**2

    def test_its_density_integrates_to_one(self) -> None:
        prior = self.build(2)
        if not self.has_density:
            with pytest.raises(TypeError, match="no density"):
                prior.log_prob(torch.zeros(1, 2))
            return
        _, mass = self.grid(prior)
        # For a smooth density, the midpoint rule is exact up to float32 rounding and the mass of
        # 1e-6 outside of the square. At an edge of the density, it errs by the width of a cell.
        assert abs(float(mass.sum()) - 1) < (1e-4 if self.smooth else 0.02)

    def test_samples_follow_the_density(self) -> None:
        """The moments up to order 2 and the mean density of samples agree with quadrature."""
        if not self.has_density:
            pytest.skip("a prior without a density: a test of its own checks its samples")
        prior = self.build(2)
        z, mass = self.grid(prior)
        with torch.no_grad():
            sample = prior.sample(Draw(0), (SAMPLES,))
            assert sample.shape == (SAMPLES, 2) and prior.mean.shape == (2,)
            p, p_drawn = prior.log_prob(z.float()).exp(), prior.log_prob(sample).exp()
        drawn = sample.double()
        if self.exact_mean:
            torch.testing.assert_close(prior.mean.double(), mass @ z, rtol=0, atol=1e-3)
        features = [
            (z, drawn),
            (z.square(), drawn.square()),
            (z.prod(1, keepdim=True), drawn.prod(1, keepdim=True)),
            (p.double()[:, None], p_drawn.double()[:, None]),
        ]
        for on_grid, of_samples in features:
            expected = mass @ on_grid
            error = of_samples.std(0) / math.sqrt(SAMPLES)
            slack = 1e-3 if self.smooth else 0.02 * expected.abs() + 1e-3
            assert ((of_samples.mean(0) - expected).abs() < 5 * error + slack).all()

    def test_samples_depend_on_the_draw_alone(self) -> None:
        prior = self.build()
        state = torch.get_rng_state()
        with torch.no_grad():
            one, other = prior.sample(Draw(0), (4,)), prior.sample(Draw(0), (4,))
            assert torch.equal(one, other) and not torch.equal(one, prior.sample(Draw(1), (4,)))
            assert prior.sample(Draw(0)).shape == (self.dim,)
            assert prior.sample(Draw(0), (2, 4)).shape == (2, 4, self.dim)
            assert prior.mean.shape == (self.dim,)
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_kl_is_the_expected_difference_of_log_densities(self) -> None:
        prior = self.build()
        q = Normal(Draw(1).normal((4, self.dim)), 0.7 * Draw(2).normal((4, self.dim)))
        n = SAMPLES
        z = q.sample(Draw(3), (n,))
        if not prior.full_support:
            with pytest.raises(TypeError):
                prior.kl(q, z[0])
            return
        with torch.no_grad():
            log_q = q.log_prob(z).double().sum(2)
            log_p = prior.log_prob(z.flatten(0, 1)).double().reshape(n, 4)
            values = log_q - log_p
            wide = Normal(q.mean.repeat(n, 1), q.log_var.repeat(n, 1))
            kl = prior.kl(wide, z.flatten(0, 1))
        assert kl.shape == (4 * n,)
        mean_kl = kl.double().reshape(n, 4).mean(0)
        error = values.std(0) / math.sqrt(n)
        # Five standard errors of the Monte-Carlo mean are allowed, and the float32 rounding of
        # sums of order 10.
        assert ((mean_kl - values.mean(0)).abs() < 5 * error + 1e-5).all()

    def test_samples_by_class_make_up_the_whole(self) -> None:
        """With equally many samples of each class, the mean of all samples is the prior's mean.

        Samples of the label -1 have the same mean. The means of the classes are different.
        """
        prior = self.build()
        classes = getattr(prior, "num_classes", 0)
        if not classes:
            pytest.skip("a prior without classes")
        labels = torch.arange(classes).repeat_interleave(2_000)
        known = prior.sample_given(labels, Draw(0))  # type: ignore[attr-defined]
        unknown = prior.sample_given(torch.full_like(labels, -1), Draw(1))  # type: ignore[attr-defined]
        assert known.shape == unknown.shape == (len(labels), self.dim)
        for samples in (known, unknown):
            error = samples.std(0) / math.sqrt(len(labels))
            assert ((samples.mean(0) - prior.mean).abs() < 5 * error).all()
        centres = known.reshape(classes, -1, self.dim).mean(1)
        assert torch.cdist(centres, centres).fill_diagonal_(9).min() > 0.5

    def test_the_config_survives_json(self) -> None:
        assert from_json(to_json(self.config)) == self.config
