"""The swiss roll: "a conditional Gaussian distribution whose mean is uniformly distributed along
the length of a swiss roll axis" (Makhzani et al. 2016, section 3.1 and figure 4c)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host

KNOTS = 10_001  # of the table that turns a length into an angle


class SwissRoll(nn.Module):
    """z = pitch t (cos t, sin t) + sd eps over [2], with the length along the spiral uniform.

    It can be sampled, by class too (class k takes the k-th of `num_classes` equal lengths), and
    has no density.
    """

    angles: Tensor
    lengths: Tensor
    mean: Tensor
    full_support = False
    learned = False

    def __init__(self, config: "SwissRollPriorConfig") -> None:
        super().__init__()
        self.config = config
        self.num_classes = config.classes
        first, last = 2 * math.pi * config.first_turn, 2 * math.pi * config.last_turn
        t = torch.linspace(first, last, KNOTS, dtype=torch.float64)
        # The arc length of r = t, from 0 (in units of the pitch).
        length = (t * (1 + t.square()).sqrt() + t.asinh()) / 2
        share = (length - length[0]) / (length[-1] - length[0])
        self.register_buffer("angles", t.float(), persistent=False)
        self.register_buffer("lengths", share.float(), persistent=False)
        # E[z] = integral of z ds / integral of ds, ds = sqrt(1 + t^2) dt
        speed = (1 + t.square()).sqrt()
        xy = [
            torch.trapezoid(t * turn * speed, t) / torch.trapezoid(speed, t)
            for turn in (t.cos(), t.sin())
        ]
        self.register_buffer("mean", config.pitch * torch.stack(xy).float(), persistent=False)

    def axis(self, share: Tensor) -> Tensor:
        """The points [..., 2] of the roll's axis at these shares [...] of its length."""
        place = torch.searchsorted(self.lengths, share).clamp(1, len(self.lengths) - 1)
        low, high = self.lengths[place - 1], self.lengths[place]
        between = (share - low) / (high - low)
        t = torch.lerp(self.angles[place - 1], self.angles[place], between)
        return self.config.pitch * t[..., None] * torch.stack([t.cos(), t.sin()], -1)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self._around(self.axis(draw.uniform(sample_shape)), draw)

    def sample_given(self, labels: Tensor, draw: Draw) -> Tensor:
        """z [B, 2] from the lengths of the classes int64 [B]; from the whole roll where -1."""
        share = draw.uniform(tuple(labels.shape))
        part = (labels + share) / self.num_classes
        return self._around(self.axis(torch.where(labels < 0, share, part)), draw)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("a swiss roll can be sampled and has no density: log_prob is undefined")

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """Raises TypeError: there is no density."""
        return self.log_prob(z)

    def _around(self, axis: Tensor, draw: Draw) -> Tensor:
        return axis + self.config.sd * draw.normal(tuple(axis.shape))


@register("prior.swiss_roll")
@dataclass(frozen=True, kw_only=True)
class SwissRollPriorConfig:
    """pitch: the radius by the angle, in radians. first_turn, last_turn: where the roll begins
    and ends, in turns. sd: of the Gaussian around the axis. classes: equal lengths, in order."""

    pitch: float = 0.5
    first_turn: float = 0.75
    last_turn: float = 2.25
    sd: float = 0.15
    classes: int = 10

    def __post_init__(self) -> None:
        require_positive_int(classes=self.classes)
        for name in ("pitch", "sd"):
            value = getattr(self, name)
            require_finite(0, **{name: value})
            require(value > 0, f"{name} must be > 0", **{name: value})
        require_finite(0, first_turn=self.first_turn, last_turn=self.last_turn)
        require(
            self.first_turn < self.last_turn,
            "last_turn must be > first_turn",
            first_turn=self.first_turn,
            last_turn=self.last_turn,
        )

    def build(self, latent_dim: int, host: Host | None = None) -> SwissRoll:
        require(latent_dim == 2, "a swiss roll needs latent_dim 2", latent_dim=latent_dim)
        return SwissRoll(self)
