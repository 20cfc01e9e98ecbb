"""A normalizing flow in the leading principal components of the codes of a trained model.

Sridhar & Srivastava, section 4.2, fit a flow to the codes of a finished autoencoder. Here the
training ends when held-out codes no longer gain.
Shapes: N codes, D latent dimension, P leading components.
"""

from dataclasses import dataclass, field

from torch import Tensor

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.priors.early_stopping import train_on_codes
from genae_core.priors.flow import FlowConfig
from genae_core.priors.principal import Principal, principal_frame


@register("fitted_prior.flow")
@dataclass(frozen=True, kw_only=True)
class FittedFlow:
    """A flow p(y_1, ..., y_P) of the leading principal components y of the codes, each divided by
    its standard deviation, and one Gaussian in the others.

    The flow maximises the mean log-likelihood of the first codes by Adam. The last codes are held
    out: the training ends when their log-likelihood no longer grows.

    Args:
        flow: The flow; it needs P >= 2, but for a planar or radial flow.
        epochs: The most passes over the codes.
        dimensions: The largest P.
        held_out: The fraction of the codes that is held out.

    Raises:
        ValueError: A value is out of range.
    """

    flow: FlowConfig = field(default_factory=lambda: FlowConfig(kind="spline", transforms=3))
    epochs: int = 40
    dimensions: int = 32
    held_out: float = 0.2

    def __post_init__(self) -> None:
        require_positive_int(epochs=self.epochs, dimensions=self.dimensions)
        require_finite(0, held_out=self.held_out)
        require(0 < self.held_out < 1, "held_out must be in (0, 1)", held_out=self.held_out)

    def fit(self, codes: Tensor, draw: Draw) -> Principal:
        """Fit the flow.

        Args:
            codes: Latent codes, [N, D].
            draw: The source of randomness.

        Returns:
            The distribution of z, on the device of the codes.

        Raises:
            ValueError: There are fewer than 2 codes to fit or none to hold out, or the flow does
                not exist in P dimensions.
        """
        count = round(len(codes) * (1 - self.held_out))
        require(
            2 <= count < len(codes),
            "a flow needs at least 2 codes, and 1 more that is held out",
            codes=len(codes),
        )
        frame = principal_frame(codes[:count])
        lead = frame.coordinates(codes)[:, : self.dimensions]
        with draw.as_global():
            flow = self.flow.build(lead.shape[1]).to(codes.device)

        def loss(y: Tensor) -> Tensor:
            return -flow.log_prob(y).mean()

        train_on_codes(flow, loss, lead[:count], lead[count:], self.epochs, draw)
        return Principal(flow, frame)
