"""Laws fitted after the training to a model's codes (Ghosh et al. 2020, section 4).

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
    """A mixture of Gaussians with full covariances, by expectation-maximisation (scikit-learn).

    components: 1 is a single Gaussian.
    """

    components: int = 10

    def __post_init__(self) -> None:
        require_positive_int(components=self.components)

    def fit(self, codes: Tensor, draw: Draw) -> GaussianMixture:
        """The mixture of codes [N, D]. Raises ValueError for fewer codes than components."""
        from sklearn.mixture import GaussianMixture as Estimator

        require(
            len(codes) >= max(2, self.components),
            f"a mixture of {self.components} needs as many codes, and at least 2",
            codes=len(codes),
        )
        seed = int(draw.permutation(2**16)[0])  # of the k-means that EM starts from
        found = Estimator(self.components, random_state=seed, max_iter=200).fit(
            codes.double().cpu().numpy()
        )
        parts = (found.weights_, found.means_, found.covariances_)
        weights, means, covariances = (torch.from_numpy(part).to(codes.device) for part in parts)
        factors = torch.linalg.cholesky(covariances)
        return GaussianMixture(weights.float(), means.float(), factors.float())
