"""Distributions that are fitted to the codes of a trained model (Ghosh et al. 2020, section 4).

Shapes: N codes, D latent dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from genae_core.config import register, require, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.priors.mixture import GaussianMixture


@register("fitted_prior.mixture")
@dataclass(frozen=True, kw_only=True)
class ExPostMixture:
    """A mixture of Gaussians with full covariances, fitted by expectation-maximisation
    (scikit-learn).

    Args:
        components: The number of Gaussians.

    Raises:
        ValueError: The number is not a whole number >= 1.
    """

    components: int = 10

    def __post_init__(self) -> None:
        require_positive_int(components=self.components)

    def fit(self, codes: Tensor, draw: Draw) -> GaussianMixture:
        """Fit the mixture.

        Args:
            codes: Latent codes, [N, D].
            draw: The source of randomness.

        Returns:
            The mixture, on the device of the codes.

        Raises:
            ValueError: There are fewer codes than components, or fewer than 2.
        """
        from sklearn.mixture import GaussianMixture as Estimator

        fewest = max(2, self.components)
        require(
            len(codes) >= fewest,
            f"a mixture of {self.components} Gaussians needs at least {fewest} codes",
            codes=len(codes),
        )
        seed = int(draw.permutation(2**16)[0])  # EM starts from k-means, which draws with it.
        mixture = Estimator(self.components, random_state=seed, max_iter=200).fit(
            codes.double().cpu().numpy()
        )
        parts = (mixture.weights_, mixture.means_, mixture.covariances_)
        weights, means, covariances = (torch.from_numpy(part).to(codes.device) for part in parts)
        factors = torch.linalg.cholesky(covariances)
        return GaussianMixture(weights.float(), means.float(), factors.float())
