"""Distributions of the leading principal components of codes, and a Gaussian in the others.

Many latents of a model of high dimension carry nothing, and a density of all of them would need
more codes than there are. Shapes: N codes, B batch, D latent dimension, P leading components.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Prior, sampled_kl

SMALLEST_SD = 1e-4  # relative to the largest one, because a dead latent has no variance


class Frame(NamedTuple):
    """The principal components of codes, z = centre + axes (sd y), y of variance 1.

    Attributes:
        centre: The mean of the codes, [D].
        axes: The orthonormal axes as columns, the widest first, [D, D].
        sd: The standard deviations of the codes along the axes, [D].
    """

    centre: Tensor
    axes: Tensor
    sd: Tensor

    def coordinates(self, z: Tensor) -> Tensor:
        """y [B, D] of codes z [B, D]."""
        return (z - self.centre) @ self.axes / self.sd

    def codes(self, y: Tensor) -> Tensor:
        """z [..., D] at y [..., D]."""
        return self.centre + (self.sd * y) @ self.axes.T


def principal_frame(codes: Tensor) -> Frame:
    """The principal components of codes [N, D]."""
    centre = codes.double().mean(0)
    offset = codes.double() - centre
    variances, axes = torch.linalg.eigh(offset.T @ offset / len(codes))
    sd = variances.flip(0).clamp_min(0).sqrt()  # eigh has the smallest first
    sd = sd.clamp_min(max(SMALLEST_SD * float(sd[0]), 1e-12))
    return Frame(centre.float(), axes.flip(1).float(), sd.float())


class Principal(nn.Module):
    """p(z) = p(y_1, ..., y_P) prod_{j > P} N(y_j; 0, 1) / prod_j sd_j.

    Args:
        lead: The distribution of the leading components, [P].
        frame: The principal components.
    """

    centre: Tensor
    axes: Tensor
    sd: Tensor
    full_support = True
    learned = False

    def __init__(self, lead: Prior, frame: Frame) -> None:
        super().__init__()
        self.lead = lead
        for name, part in frame._asdict().items():
            self.register_buffer(name, part)

    @property
    def frame(self) -> Frame:
        """The principal components."""
        return Frame(self.centre, self.axes, self.sd)

    @property
    def mean(self) -> Tensor:
        lead = self.lead.mean
        return self.frame.codes(torch.cat([lead, lead.new_zeros(len(self.sd) - len(lead))]))

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        lead = self.lead.sample(draw, sample_shape)
        rest = draw.normal((*sample_shape, len(self.sd) - lead.shape[-1]))
        return self.frame.codes(torch.cat([lead, rest], -1))

    def log_prob(self, value: Tensor) -> Tensor:
        y = self.frame.coordinates(value)
        dims = len(self.lead.mean)
        rest = Normal(torch.zeros_like(y[:, dims:]), torch.zeros_like(y[:, dims:]))
        log_p = self.lead.log_prob(y[:, :dims]) + rest.log_prob(y[:, dims:]).sum(1)
        return log_p - self.sd.log().sum()

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        return sampled_kl(self, q, z)
