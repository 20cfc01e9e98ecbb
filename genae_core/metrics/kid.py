"""The kernel distance of features, with its standard error.

Binkowski et al. 2018, section 4 (the KID, there of Inception features; here of the classifier's,
so its scale is the classifier's as the FCD's is). Shapes: N and M images, F features.
"""

import torch
from torch import Tensor

from genae_core.metrics.estimate import Estimate, blocks, mean_of


def kernel_distance(real: Tensor, made: Tensor, coupled: int = 1) -> Estimate:
    """MMD^2 with k(x, y) = (x . y / F + 1)^3, the mean over disjoint blocks of [N, F] and [M, F].

    Unbiased, so it may be negative, and unlike the FCD it does not depend on the number of images.
    coupled: see `blocks`, which raises ValueError.
    """
    pairs = blocks(real, made, "a kernel distance", coupled)
    return mean_of(torch.stack([polynomial_mmd(a, b) for a, b in pairs]))


def polynomial_mmd(a: Tensor, b: Tensor) -> Tensor:
    """The unbiased MMD^2 of features [N, F] and [M, F], a scalar in float64."""
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.diagonal().sum()) / (len(x) * (len(x) - 1))

    return within(a) + within(b) - 2 * kernel(a, b).mean()
