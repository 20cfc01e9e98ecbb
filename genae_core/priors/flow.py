"""Normalizing flows as priors: log p(z) = log N(T(z); 0, I) + log |det dT/dz|.

Sridhar & Srivastava, section 4.2 and eq. 4. They print the log-determinant with the wrong sign:
the negative log-likelihood contains -log |det|. The planar and the radial flow (Rezende & Mohamed
2015) are implemented here, because zuko does not have them; the other flows are zuko's.
Shapes: B batch, D latent dimension.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.nn import functional as F

from genae_core.config import register, require, require_positive_int
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host, sampled_kl

KINDS = ("realnvp", "spline", "maf", "planar", "radial")
BISECTIONS = 40  # An interval is halved this often, down to the resolution of float32.


@register("flow")
@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """A normalizing flow.

    "realnvp" has affine couplings (Dinh et al. 2017). "spline" has autoregressive
    rational-quadratic splines (Durkan et al. 2019), which are the identity outside [-5, 5]. "maf"
    has autoregressive affine transforms (Papamakarios et al. 2017). "planar" and "radial" have no
    networks. To draw samples, "spline" and "maf" need D passes; the other kinds need one pass or
    the root of one equation.

    Args:
        kind: The kind of the transforms.
        transforms: The number of transforms that are composed.
        widths: The widths of the hidden layers of each transform's network.

    Raises:
        ValueError: A value is out of range.
    """

    kind: Literal["realnvp", "spline", "maf", "planar", "radial"] = "realnvp"
    transforms: int = 5
    widths: tuple[int, ...] = (128,)

    def __post_init__(self) -> None:
        require(self.kind in KINDS, f"kind must be one of {', '.join(KINDS)}", kind=self.kind)
        require_positive_int(transforms=self.transforms)
        require(len(self.widths) > 0, "widths must name at least one layer", widths=self.widths)
        for width in self.widths:
            require_positive_int(width=width)

    def build(self, latent_dim: int) -> "FlowDistribution":
        """Build the flow.

        Args:
            latent_dim: D.

        Returns:
            The distribution of z [D]; its weights are drawn from torch's global random state.

        Raises:
            ValueError: The flow needs more than one dimension.
        """
        require(
            latent_dim >= 2 or self.kind in ("planar", "radial"),
            "a flow needs latent_dim >= 2",
            latent_dim=latent_dim,
        )
        # zuko computes its masks from the values of tensors, which the device "meta" does not
        # have.
        with torch.device("cpu"):
            return FlowDistribution(self, latent_dim)


class FlowDistribution(nn.Module):
    """z = T^-1(eps) with eps ~ N(0, I). eps comes from `draw` and never from zuko's sampler."""

    centre: Tensor
    full_support = True
    learned = True

    def __init__(self, config: FlowConfig, latent_dim: int) -> None:
        super().__init__()
        self.flow = _build_flow(config, latent_dim)
        self.register_buffer("centre", torch.zeros(latent_dim), persistent=False)

    @property
    def mean(self) -> Tensor:
        """T^-1(0), the image of the mean of eps, because the mean of z has no closed form."""
        z: Tensor = self.flow().transform.inv(self.centre)
        return z

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        dim = len(self.centre)
        z: Tensor = self.flow().transform.inv(draw.normal((*sample_shape, dim)).reshape(-1, dim))
        return z.reshape(*sample_shape, dim)

    def log_prob(self, value: Tensor) -> Tensor:
        log_p: Tensor = self.flow().log_prob(value)
        return log_p

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        return sampled_kl(self, q, z)


def _build_flow(config: FlowConfig, latent_dim: int) -> Any:
    """zuko's module of the flow, which gives the distribution when it is called."""
    settings: dict[str, Any] = {
        "features": latent_dim,
        "transforms": config.transforms,
        "hidden_features": config.widths,
    }
    if config.kind == "realnvp":
        return zuko.flows.RealNVP(**settings)
    if config.kind == "spline":
        return zuko.flows.NSF(**settings)
    if config.kind == "maf":
        return zuko.flows.MAF(**settings)
    transform = _planar if config.kind == "planar" else _radial
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal,
        torch.zeros(latent_dim),
        torch.ones(latent_dim),
        buffer=True,
    )
    return zuko.lazy.Flow([transform(latent_dim) for _ in range(config.transforms)], base)


def _planar(dim: int) -> Any:
    parameters = [torch.randn(dim) / dim**0.5, torch.randn(dim) / dim**0.5, torch.zeros(())]
    return zuko.lazy.UnconditionalTransform(PlanarTransform, *parameters)


def _radial(dim: int) -> Any:
    parameters = [torch.randn(dim), torch.zeros(()), torch.zeros(())]
    return zuko.lazy.UnconditionalTransform(RadialTransform, *parameters)


class PlanarTransform(Transform):
    """y = x + u tanh(w . x + b) (Rezende & Mohamed 2015, eq. 10 to 12 and appendix A.1).

    u is shifted so that w . u > -1, which makes the map invertible.

    Args:
        w: [D].
        u: [D], before the shift.
        b: A scalar.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, w: Tensor, u: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w, self.b = w, b
        along = w @ u
        self.along: Tensor = F.softplus(along) - 1
        self.u = u + (self.along - along) * w / (w @ w)

    def _call(self, x: Tensor) -> Tensor:
        return x + self.u * torch.tanh(x @ self.w + self.b)[..., None]

    def _inverse(self, y: Tensor) -> Tensor:
        # Bisection solves w . y = a + (w . u) tanh(a + b), which increases in a = w . x.
        w_y = y @ self.w
        low, high = w_y - self.along.abs(), w_y + self.along.abs()
        for _ in range(BISECTIONS):
            a = (low + high) / 2
            below = a + self.along * torch.tanh(a + self.b) < w_y
            low, high = torch.where(below, a, low), torch.where(below, high, a)
        return y - self.u * torch.tanh((low + high) / 2 + self.b)[..., None]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        slope: Tensor = 1 - torch.tanh(x @ self.w + self.b).square()
        return torch.log1p(self.along * slope)


class RadialTransform(Transform):
    """y = x + beta (x - c) / (alpha + |x - c|) (Rezende & Mohamed 2015, eq. 14 and appendix A.2).

    beta > -alpha makes the map invertible.

    Args:
        centre: c, [D].
        log_alpha: The logarithm of alpha, a scalar.
        beta: A scalar; beta of the formula is softplus(beta) - alpha.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, centre: Tensor, log_alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.centre = centre
        self.alpha: Tensor = log_alpha.exp()
        self.beta: Tensor = F.softplus(beta) - self.alpha

    def _call(self, x: Tensor) -> Tensor:
        offset = x - self.centre
        r: Tensor = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
        return x + self.beta * offset / (self.alpha + r)

    def _inverse(self, y: Tensor) -> Tensor:
        # For R = |y - c| and r = |x - c|, R = r + beta r / (alpha + r) is quadratic in r.
        offset = y - self.centre
        big_r: Tensor = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
        half = (self.alpha + self.beta - big_r) / 2
        r = (half.square() + self.alpha * big_r).sqrt() - half
        return self.centre + offset * r / big_r.clamp_min(torch.finfo(big_r.dtype).tiny)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        offset = x - self.centre
        h = 1 / (self.alpha + torch.linalg.vector_norm(offset, dim=-1))
        radial = torch.log1p(self.beta * self.alpha * h.square())
        return (x.shape[-1] - 1) * torch.log1p(self.beta * h) + radial


@register("prior.flow")
@dataclass(frozen=True, kw_only=True)
class FlowPriorConfig:
    """A flow that is trained together with the model, by the KL term of the model's loss.

    Args:
        flow: The flow.
    """

    flow: FlowConfig = field(default_factory=FlowConfig)

    def build(self, latent_dim: int, host: Host | None = None) -> FlowDistribution:
        return self.flow.build(latent_dim)
