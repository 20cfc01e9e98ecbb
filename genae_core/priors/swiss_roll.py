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

KNOTS = 10_001  # The number of rows of the table that maps arc lengths to angles.


class SwissRoll(nn.Module):
    """z = pitch t (cos t, sin t) + sd eps, [2], with eps ~ N(0, I) and t uniform by arc length.

    The axis of the roll is divided into `num_classes` parts of equal length, and class k has the
    k-th part. The distribution can be sampled, but it has no density.
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
        # The arc length of the spiral r = t from its centre, in units of the pitch.
        length = (t * (1 + t.square()).sqrt() + t.asinh()) / 2
        fraction = (length - length[0]) / (length[-1] - length[0])
        self.register_buffer("angles", t.float(), persistent=False)
        self.register_buffer("lengths", fraction.float(), persistent=False)
        # E[z] = (integral of z ds) / (integral of ds) with ds = sqrt(1 + t^2) dt
        speed = (1 + t.square()).sqrt()
        total = torch.trapezoid(speed, t)
        xy = [
            torch.trapezoid(t * direction * speed, t) / total for direction in (t.cos(), t.sin())
        ]
        self.register_buffer("mean", config.pitch * torch.stack(xy).float(), persistent=False)

    def axis(self, fraction: Tensor) -> Tensor:
        """The points [..., 2] of the axis at fractions [...] of its length."""
        knot = torch.searchsorted(self.lengths, fraction).clamp(1, len(self.lengths) - 1)
        low, high = self.lengths[knot - 1], self.lengths[knot]
        between = (fraction - low) / (high - low)
        t = torch.lerp(self.angles[knot - 1], self.angles[knot], between)
        return self.config.pitch * t[..., None] * torch.stack([t.cos(), t.sin()], -1)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self._add_noise(self.axis(draw.uniform(sample_shape)), draw)

    def sample_given(self, labels: Tensor, draw: Draw) -> Tensor:
        """z [B, 2] by the classes int64 [B]; -1 draws from the whole roll."""
        fraction = draw.uniform(tuple(labels.shape))
        in_part = (labels + fraction) / self.num_classes
        return self._add_noise(self.axis(torch.where(labels < 0, fraction, in_part)), draw)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError(
            "a swiss roll can be sampled, but it has no density: log_prob is undefined"
        )

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """Raise TypeError, because there is no density."""
        return self.log_prob(z)

    def _add_noise(self, axis: Tensor, draw: Draw) -> Tensor:
        return axis + self.config.sd * draw.normal(tuple(axis.shape))


@register("prior.swiss_roll")
@dataclass(frozen=True, kw_only=True)
class SwissRollPriorConfig:
    """The swiss roll in two dimensions.

    Args:
        pitch: The radius of the spiral divided by the angle in radians.
        first_turn: The turn at which the roll begins.
        last_turn: The turn at which the roll ends.
        sd: The standard deviation of the Gaussian around the axis.
        classes: The number of classes. The axis is divided into parts of equal length, one for
            each class in order.

    Raises:
        ValueError: A value is out of range.
    """

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
