"""Draws of a fitted mixture, resampled by a density ratio that a classifier of codes estimates.

Azadi et al. 2019 (discriminator rejection sampling), with importance resampling (Rubin 1987) in
place of rejection, so that every draw costs the same. Shapes: N codes, D latent dimension, P
leading principal components, M candidates.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.priors.early_stopping import train_on_codes
from genae_core.priors.principal import Principal
from genae_core.priors.selected_mixture import SelectedMixture

WIDTH = 256  # of the classifier's two hidden layers


@register("fitted_prior.resampled_mixture")
@dataclass(frozen=True, kw_only=True)
class ResampledMixture:
    """z is one of M draws z_1, ..., z_M of a fitted mixture p, chosen with the probabilities

        r(z_i) / sum_j r(z_j),  r = D / (1 - D),

    where D(z) is the probability that z is a code and not a draw, by a classifier. If r = q / p is
    the exact ratio to the density q of the codes, z has the density q for M -> infinity; the
    density for a finite M has no closed form, so `Langevin` cannot target it. Only codes are
    classified: a draw needs no decoder.

    Args:
        mixture: The mixture. The codes that it holds out also end the classifier's training.
        candidates: M; 1 gives the mixture.
        epochs: The most passes of the classifier over the codes.

    Raises:
        ValueError: A value is out of range.
    """

    mixture: SelectedMixture = field(default_factory=SelectedMixture)
    candidates: int = 16
    epochs: int = 40

    def __post_init__(self) -> None:
        require_positive_int(candidates=self.candidates, epochs=self.epochs)

    def fit(self, codes: Tensor, draw: Draw) -> "Resampled":
        """Fit the mixture, and the classifier.

        Args:
            codes: Latent codes, [N, D].
            draw: The source of randomness.

        Returns:
            The distribution of z, on the device of the codes.

        Raises:
            ValueError: There are too few codes for the mixture.
        """
        proposal = self.mixture.fit(codes, draw)
        dims = len(proposal.lead.mean)
        count = round(len(codes) * (1 - self.mixture.held_out))
        with draw.as_global():
            classifier = nn.Sequential(
                nn.Linear(dims, WIDTH),
                nn.ReLU(),
                nn.Linear(WIDTH, WIDTH),
                nn.ReLU(),
                nn.Linear(WIDTH, 1),
            ).to(codes.device)
        lead = proposal.frame.coordinates(codes)[:, :dims]

        def loss(y: Tensor) -> Tensor:
            """The cross-entropy of codes and as many draws."""
            drawn = proposal.lead.sample(draw, (len(y),))
            return F.softplus(-classifier(y)).mean() + F.softplus(classifier(drawn)).mean()

        train_on_codes(classifier, loss, lead[:count], lead[count:], self.epochs, draw)
        return Resampled(proposal, classifier, self.candidates)


class Resampled(nn.Module):
    """The distribution of one of M draws, chosen by their density ratios.

    Args:
        proposal: The distribution of the draws.
        log_ratio: log r up to a constant, from the leading components [..., P] to [..., 1].
        candidates: M.
    """

    def __init__(self, proposal: Principal, log_ratio: nn.Module, candidates: int) -> None:
        super().__init__()
        self.proposal, self.log_ratio, self.candidates = proposal, log_ratio, candidates

    @property
    def mean(self) -> Tensor:
        """The mean of the proposal, because that of the resampled z has no closed form."""
        return self.proposal.mean

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        z = self.proposal.sample(draw, (*sample_shape, self.candidates))
        dims = len(self.proposal.lead.mean)
        logits = self.log_ratio(self.proposal.frame.coordinates(z)[..., :dims])[..., 0]
        # The largest of the logits plus Gumbel noise has the probabilities of the softmax.
        tiny = torch.finfo(logits.dtype).tiny
        gumbel = -(-draw.uniform(tuple(logits.shape)).clamp_min(tiny).log()).log()
        chosen = (logits + gumbel).argmax(-1)[..., None, None]
        return z.take_along_dim(chosen, -2)[..., 0, :]

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("the density of resampled draws has no closed form")
