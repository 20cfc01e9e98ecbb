"""Ex-post density estimation: a Gaussian mixture that is fitted to the codes of an autoencoder.

Ghosh et al. 2020, section 4. Shapes: K components, D latent dimension.
"""

from dataclasses import dataclass

import numpy as np
import torch

from genae_core.config import register, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.models.base import Examples, Stage
from genae_core.models.two_stage import TwoStage, TwoStageConfig, cache_codes
from genae_core.nets.base import Shape
from genae_core.priors.ex_post import ExPostMixture
from genae_core.priors.mixture import GaussianMixture


@register("ex_post_ae")
@dataclass(frozen=True, kw_only=True)
class ExPostAEConfig(TwoStageConfig):
    """The config of an autoencoder with a Gaussian mixture.

    It has the arguments of `TwoStageConfig` and this one:

    Args:
        components: The number K of components, each with a full covariance; 1 gives a Gaussian.

    Raises:
        ValueError: A value is out of range.
    """

    components: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive_int(components=self.components)

    @property
    def family(self) -> str:
        return f"{self.autoencoder.family} + GMM"

    def build(self, shape: Shape) -> "ExPostAE":
        return ExPostAE(self, shape)


class ExPostAE(TwoStage):
    """z ~ sum_k w_k N(m_k, L_k L_k^T), fitted by the expectation-maximisation of scikit-learn.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape.
    """

    def __init__(self, config: ExPostAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.config = config
        count, dim = config.components, config.latent_dim
        self.mixture = GaussianMixture(
            torch.full((count,), 1 / count),
            torch.zeros(count, dim),
            torch.eye(dim).repeat(count, 1, 1),
        )

    def code_distribution(self) -> GaussianMixture:
        return self.mixture

    def code_stage(self) -> Stage:
        return Stage("mixture", (), fit_mixture)


def fit_mixture(model: ExPostAE, examples: Examples, draw: Draw) -> Examples:
    """Cache the codes, fit the mixture to them, and return the codes as examples."""
    codes = cache_codes(model, examples, draw)
    u = codes.batch(np.arange(codes.count)).x
    fitted = ExPostMixture(components=model.config.components).fit(u, draw)
    model.mixture.load_state_dict(fitted.state_dict())
    return codes
