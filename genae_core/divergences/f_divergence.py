"""Divergences between two samples as a training signal, estimated by a critic.

Logits are log-odds that a latent vector came from the prior.
"""

from torch import Tensor
from torch.nn import functional as F


def jensen_shannon_critic_loss(prior_logits: Tensor, encoded_logits: Tensor) -> Tensor:
    """The critic's loss, -E_p[log D(z)] - E_q[log(1 - D(z))], D = sigmoid(logit), in nats.

    At the optimal critic it is 2 log 2 - 2 JS(p, q). logits: [B] each; returns a scalar.
    Creswell et al. 2017, section 2.1 (the inner maximisation, negated); Goodfellow et al. 2014.
    """
    return F.softplus(-prior_logits).mean() + F.softplus(encoded_logits).mean()


def non_saturating_loss(encoded_logits: Tensor) -> Tensor:
    """The encoder's loss, -E_q[log D(z)], in nats: same fixed point, stronger gradients.

    logits: [B]; returns a scalar. Creswell et al. 2017, section 2.1.
    """
    return F.softplus(-encoded_logits).mean()
