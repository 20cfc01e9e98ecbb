"""The images of chains by recorded step.

Shapes: N chains, C channels, H rows, W columns, D latent dimension.
"""

from typing import Any

import torch
from torch import Tensor

from genae_core.distributions.base import Distribution
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import run_chain


def chain_means(
    model: Any,
    config: ChainConfig,
    num_chains: int,
    start: Tensor | None = None,
    fitted_prior: Distribution | None = None,
) -> dict[int, Tensor]:
    """Run chains, and keep the means of p(x|z) at each recorded step.

    Args:
        model: As in `run_chain`, like all other arguments.
        config: The sampler and how its chains are run.
        num_chains: N.
        start: Where the chains start: latent codes z [N, D], or images.
        fitted_prior: The result of `config.fitted_prior.fit`.

    Returns:
        The means [N, C, H, W] in [0, 1], by step.

    Raises:
        ValueError: The start or the fitted prior is missing or does not fit.
        FloatingPointError: A chain is not finite at a recorded step.
    """
    parts: dict[int, list[Tensor]] = {step: [] for step in config.record}
    for one in run_chain(model, config, num_chains, start=start, fitted_prior=fitted_prior):
        parts[one.step].append(one.chain.mean.clone())
    return {step: torch.cat(means) for step, means in parts.items()}
