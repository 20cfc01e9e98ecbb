"""The kernel distance between features of real and generated images, with its standard error.

Binkowski et al. 2018, section 4, define it as the KID on Inception features. Here the features
are the classifier's, so the scale depends on the classifier, as the FCD's scale does.
Shapes: N and M images, F features.
"""

import torch
from torch import Tensor

from genae_core.metrics.estimate import Estimate, blocks, mean_of


def kernel_distance(real: Tensor, generated: Tensor, coupled: int = 1) -> Estimate:
    """MMD^2 with the kernel k(x, y) = (x . y / F + 1)^3, the mean over disjoint blocks.

    It is unbiased, so it may be negative, and unlike the FCD its mean does not depend on the
    number of images.

    Args:
        real: Features [N, F] of real images.
        generated: Features [M, F] of generated images.
        coupled: The number of consecutive images that depend on one another.

    Returns:
        The mean and its standard error over the blocks.

    Raises:
        ValueError: A side has fewer than ten images.
    """
    pairs = blocks(real, generated, "a kernel distance", coupled)
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
