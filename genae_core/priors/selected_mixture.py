"""A mixture of Gaussians in the leading principal components of the codes; held-out codes choose
the number of Gaussians.

It goes on from Ghosh et al. 2020, section 4. Shapes: N codes, D latent dimension, K Gaussians, P
leading principal components.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.priors.mixture import GaussianMixture
from genae_core.priors.principal import Principal, principal_frame

CODES_EACH = 20  # fewest codes for each Gaussian
# Later iterations raise the likelihood of the fitted codes, and no longer that of held-out codes.
TOLERANCE = 1e-2


@register("fitted_prior.selected_mixture")
@dataclass(frozen=True, kw_only=True)
class SelectedMixture:
    """A mixture of K Gaussians with full covariances in the P leading principal components y of
    the codes, each divided by its standard deviation, and one Gaussian in the others:

        p(y) = sum_k w_k N(y_1, ..., y_P; m_k, S_k) prod_{j > P} N(y_j; 0, 1).

    The mixture is fitted by expectation-maximisation (scikit-learn) to the first codes. The last
    codes are held out: K is doubled while their mean log-likelihood grows, and the last K before
    it falls is taken. A K so large that codes are copied would have a low likelihood there.

    Args:
        first: The first K.
        most: The largest K. There are always at least 20 codes for each Gaussian.
        dimensions: The largest P.
        held_out: The fraction of the codes that is held out.

    Raises:
        ValueError: A value is out of range.
    """

    first: int = 10
    most: int = 320
    dimensions: int = 32
    held_out: float = 0.2

    def __post_init__(self) -> None:
        require_positive_int(first=self.first, most=self.most, dimensions=self.dimensions)
        require(self.first <= self.most, f"first must be <= most={self.most}", first=self.first)
        require_finite(0, held_out=self.held_out)
        require(0 < self.held_out < 1, "held_out must be in (0, 1)", held_out=self.held_out)

    def fit(self, codes: Tensor, draw: Draw) -> Principal:
        """Fit the mixture.

        Args:
            codes: Latent codes, [N, D].
            draw: The source of randomness.

        Returns:
            The distribution of z, on the device of the codes.

        Raises:
            ValueError: There are too few codes for `first` Gaussians.
        """
        count = round(len(codes) * (1 - self.held_out))
        require(
            CODES_EACH * self.first <= count < len(codes),
            f"a mixture of {self.first} Gaussians or more, chosen by held-out codes, needs at "
            f"least {CODES_EACH} codes for each",
            codes=len(codes),
        )
        frame = principal_frame(codes[:count])
        lead = frame.coordinates(codes)[:, : self.dimensions].double().cpu().numpy()
        seed = int(draw.permutation(2**16)[0])  # EM starts from k-means, which draws with it.
        best, best_score, components = None, -float("inf"), self.first
        while components <= min(self.most, count // CODES_EACH):
            fitted = _fit_em(lead[:count], components, seed)
            score = float(fitted.score(lead[count:]))
            if score <= best_score:
                break
            best, best_score, components = fitted, score, 2 * components
        assert best is not None
        parts = (best.weights_, best.means_, best.covariances_)
        weights, means, covariances = (torch.from_numpy(part).to(codes.device) for part in parts)
        factors = torch.linalg.cholesky(covariances)
        return Principal(GaussianMixture(weights.float(), means.float(), factors.float()), frame)


def _fit_em(codes: Any, components: int, seed: int) -> Any:
    """Scikit-learn's mixture of Gaussians with full covariances, fitted to codes [N, P]."""
    from sklearn.mixture import GaussianMixture as Estimator

    return Estimator(components, random_state=seed, tol=TOLERANCE).fit(codes)
