"""Normalizing flows as latent laws: log p(z) = log N(T(z); 0, I) + log |det dT/dz|.

Sridhar & Srivastava, section 4.2 and eq. 4, whose printed sign of the determinant is wrong: the
negative log-likelihood holds -log |det|. The flows are zuko's, but for the planar and the radial
one (Rezende & Mohamed 2015), which it lacks. Shapes: B batch, D latent dimension.
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
BISECTIONS = 40  # halvings of an interval, down to float32's resolution


@register("flow")
@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """transforms: how many in turn. widths: of the hidden layers of each one's network.

    "realnvp": affine couplings (Dinh et al. 2017). "spline": autoregressive rational-quadratic
    splines (Durkan et al. 2019), which are the identity outside [-5, 5]. "maf": autoregressive
    affine (Papamakarios et al. 2017). "planar" and "radial" have no networks. To sample, "spline"
    and "maf" take D passes, the others one, or one root of an equation.
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
        require(
            latent_dim >= 2 or self.kind in ("planar", "radial"),
            "a flow needs latent_dim >= 2",
            latent_dim=latent_dim,
        )
        with torch.device("cpu"):  # zuko builds its masks from values, which "meta" has not
            return FlowDistribution(self, latent_dim)


class FlowDistribution(nn.Module):
    """The law of T^-1(eps), eps ~ N(0, I); eps comes from `draw`, never from zuko's sampler."""

    centre: Tensor
    full_support = True
    learned = True

    def __init__(self, config: FlowConfig, latent_dim: int) -> None:
        super().__init__()
        self.flow = _flow(config, latent_dim)
        self.register_buffer("centre", torch.zeros(latent_dim), persistent=False)

    @property
    def mean(self) -> Tensor:
        """T^-1(0), the image of eps's mean: the law's own has no closed form."""
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


def _flow(config: FlowConfig, latent_dim: int) -> Any:
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
    one = _planar if config.kind == "planar" else _radial
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal,
        torch.zeros(latent_dim),
        torch.ones(latent_dim),
        buffer=True,
    )
    return zuko.lazy.Flow([one(latent_dim) for _ in range(config.transforms)], base)


def _planar(dim: int) -> Any:
    start = [torch.randn(dim) / dim**0.5, torch.randn(dim) / dim**0.5, torch.zeros(())]
    return zuko.lazy.UnconditionalTransform(PlanarTransform, *start)


def _radial(dim: int) -> Any:
    start = [torch.randn(dim), torch.zeros(()), torch.zeros(())]
    return zuko.lazy.UnconditionalTransform(RadialTransform, *start)


class PlanarTransform(Transform):
    """y = x + u tanh(w . x + b), with u moved so that w . u > -1 and the map is invertible
    (Rezende & Mohamed 2015, eq. 10 to 12 and appendix A.1). w, u: [D]; b: scalar."""

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
        # w . y = a + (w . u) tanh(a + b), increasing in a = w . x, solved by bisection.
        wanted = y @ self.w
        low, high = wanted - self.along.abs(), wanted + self.along.abs()
        for _ in range(BISECTIONS):
            a = (low + high) / 2
            below = a + self.along * torch.tanh(a + self.b) < wanted
            low, high = torch.where(below, a, low), torch.where(below, high, a)
        return y - self.u * torch.tanh((low + high) / 2 + self.b)[..., None]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        slope: Tensor = 1 - torch.tanh(x @ self.w + self.b).square()
        return torch.log1p(self.along * slope)


class RadialTransform(Transform):
    """y = x + beta (x - c) / (alpha + |x - c|), with beta > -alpha so that it is invertible
    (Rezende & Mohamed 2015, eq. 14 and appendix A.2). c: [D]; log_alpha, beta: scalars."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, centre: Tensor, log_alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.centre = centre
        self.alpha: Tensor = log_alpha.exp()
        self.beta: Tensor = F.softplus(beta) - self.alpha

    def _call(self, x: Tensor) -> Tensor:
        away = x - self.centre
        r: Tensor = torch.linalg.vector_norm(away, dim=-1, keepdim=True)
        return x + self.beta * away / (self.alpha + r)

    def _inverse(self, y: Tensor) -> Tensor:
        # R = r + beta r / (alpha + r), a quadratic in r = |x - c| for R = |y - c|.
        away = y - self.centre
        far: Tensor = torch.linalg.vector_norm(away, dim=-1, keepdim=True)
        half = (self.alpha + self.beta - far) / 2
        near = (half.square() + self.alpha * far).sqrt() - half
        return self.centre + away * near / far.clamp_min(torch.finfo(far.dtype).tiny)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        away = x - self.centre
        h = 1 / (self.alpha + torch.linalg.vector_norm(away, dim=-1))
        radial = torch.log1p(self.beta * self.alpha * h.square())
        return (x.shape[-1] - 1) * torch.log1p(self.beta * h) + radial


@register("prior.flow")
@dataclass(frozen=True, kw_only=True)
class FlowPriorConfig:
    """A flow learned together with the model, by its KL."""

    flow: FlowConfig = field(default_factory=FlowConfig)

    def build(self, latent_dim: int, host: Host | None = None) -> FlowDistribution:
        return self.flow.build(latent_dim)
