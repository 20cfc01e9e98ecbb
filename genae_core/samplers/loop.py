"""The loop over the steps of a chain, which is the same for every sampler.

Shapes: B chains of a sub-batch, M images, D latent dimension, C channels, H rows, W columns.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from genae_core.config import require
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.nets.cuda_graphs import Replay, uses_cuda_graphs
from genae_core.samplers.base import Chain, ModelWithPrior, Sampleable, Sampler, Start
from genae_core.samplers.config import ChainConfig

# The capture of a CUDA graph takes longer than it saves for this number of steps or fewer.
FEW_STEPS = 50


class ChainRecord(NamedTuple):
    """Consecutive chains at one recorded step.

    Attributes:
        step: The step, one of `ChainConfig.record`.
        first: The number of the first of these chains; the others follow it.
        chain: The chains, without the sampler's state.
    """

    step: int
    first: int
    chain: Chain


def run_chain(
    model: Any,  # an nn.Module that is Sampleable
    config: ChainConfig,
    num_chains: int,
    start: Tensor | None = None,
    fitted_prior: Distribution | None = None,
    first_chain: int = 0,
) -> Iterator[ChainRecord]:
    """Run chains on the model's device and yield them at each recorded step, sub-batch by
    sub-batch.

    Each sub-batch has its own random stream, and the last one is run at full size and then cut. So
    the first chains stay the same if more chains are run.

    Args:
        model: An nn.Module with the methods of `Sampleable`. It is in sampling mode during the
            steps only; while the caller uses a record, it is in its own mode.
        config: The sampler and how its chains are run.
        num_chains: The number of chains.
        start: Where the chains start: latent codes z [num_chains, D], or images [M, C, H, W] with
            M >= config.round_up(num_chains). None lets the sampler draw the start, unless it
            needs images.
        fitted_prior: The result of `config.fitted_prior.fit`; None if the config has none.
        first_chain: The number of the first chain, a multiple of config.sub_batch. The chains are
            the same as if all chains from number 0 on were run.

    Yields:
        At most config.sub_batch chains at one recorded step.

    Raises:
        ValueError: The start or the fitted prior is missing or does not fit.
        FloatingPointError: A chain is not finite at a recorded step.
    """
    target = _with_prior(model, config, fitted_prior)
    _check_start(model, config, num_chains, start)
    require(
        first_chain >= 0 and first_chain % config.sub_batch == 0,
        f"first_chain must be a multiple of the sub-batch, {config.sub_batch}",
        first_chain=first_chain,
    )
    device = _device_of(model)
    num_steps = config.record[-1] * config.round_up(num_chains) // config.sub_batch
    captured = uses_cuda_graphs(model, device) and num_steps > FEW_STEPS
    stepper = _Stepper(config.sampler, target, device, captured)
    for first in range(0, num_chains, config.sub_batch):
        sub_batch = (first_chain + first) // config.sub_batch
        draw = Draw(config.seed, "chain", sub_batch, device=device)
        own_start = _start_of(config, start, first, num_chains=num_chains, device=device)
        with sampling_mode(model, config.batch_norm):
            chain = config.sampler.init(target, own_start, draw)
        stepper.draw_from(draw)
        for previous, step in pairwise((0, *config.record)):
            with sampling_mode(model, config.batch_norm):
                for _ in range(previous, step):
                    chain = stepper.step(chain)
            _check_finite(chain, step)
            chains = _first_rows(chain, min(config.sub_batch, num_chains - first))
            if captured:  # The next step overwrites the chain.
                chains = tree_map(lambda leaf: leaf if leaf is None else leaf.clone(), chains)
            yield ChainRecord(step, first_chain + first, chains)


class _Stepper:
    """Steps the chains of the sub-batches, by replaying a CUDA graph if `captured`."""

    def __init__(
        self, sampler: Sampler, model: Sampleable, device: torch.device, captured: bool
    ) -> None:
        self.sampler, self.model, self.captured = sampler, model, captured
        # A captured step always draws from this stream, so `draw_from` sets its state.
        self.draw = Draw(0, "chain", device=device)
        self.replay = Replay(device, [self.draw])

    def draw_from(self, draw: Draw) -> None:
        """Draw from the stream of another sub-batch from now on."""
        if self.captured:
            self.draw.generator.set_state(draw.generator.get_state())
        else:
            self.draw = draw

    def step(self, chain: Chain) -> Chain:
        if not self.captured:
            return self._transition(chain)
        after: Chain = self.replay(self._transition, chain)
        return after

    def _transition(self, chain: Chain) -> Chain:
        return self.sampler.step(self.model, chain, self.draw)


def _with_prior(model: Any, config: ChainConfig, fitted_prior: Distribution | None) -> Sampleable:
    """The model, whose z is drawn from the fitted prior if there is one."""
    require(
        (fitted_prior is None) == (config.fitted_prior is None),
        "run_chain needs fitted_prior if the config has one, and only then",
        configured=config.fitted_prior,
        fitted_prior=fitted_prior,
    )
    target: Sampleable = model
    return target if fitted_prior is None else ModelWithPrior(model, fitted_prior)


def _check_start(model: Any, config: ChainConfig, num_chains: int, start: Tensor | None) -> None:
    """Raise ValueError unless the start fits the number of chains, the model and the sampler."""
    if start is not None and start.ndim != 4:
        dim = model.latent_prior().mean.shape[-1]
        require(
            start.shape == (num_chains, dim),
            f"start must be {num_chains} codes of latent dimension {dim}, or images",
            shape=tuple(start.shape),
        )
        return
    padded, images = config.round_up(num_chains), 0 if start is None else len(start)
    require(
        images >= padded or (start is None and config.sampler.starts_from == "prior"),
        f"{type(config.sampler).__name__} needs {padded} images to start from",
        images=images,
    )


def _start_of(
    config: ChainConfig, start: Tensor | None, first: int, num_chains: int, device: torch.device
) -> Start:
    """The start of the sub-batch whose first chain is number `first`."""
    if start is None:
        return config.sub_batch
    if start.ndim == 4:
        return start[first : first + config.sub_batch].to(device)
    # Copies of the last row fill up the last sub-batch.
    rows = torch.arange(first, first + config.sub_batch).clamp_max(num_chains - 1)
    return start[rows].to(device)


def _device_of(model: Any) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU for a model without any."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def _first_rows(chain: Chain, count: int) -> Chain:
    """The first `count` chains, without the sampler's state."""
    accepted = None if chain.accepted is None else chain.accepted[:count]
    return Chain(chain.z[:count], chain.x[:count], chain.mean[:count], accepted=accepted)


def _check_finite(chain: Chain, step: int) -> None:
    """Raise FloatingPointError if a chain holds a number that is not finite."""
    if (chain.z.sum() + chain.mean.sum()).isfinite():
        return  # No term of a finite sum is infinite or NaN, and a sum is fast.
    finite = chain.z.isfinite().all(1) & chain.mean.flatten(1).isfinite().all(1)
    lost = len(finite) - int(finite.sum())
    if lost:
        raise FloatingPointError(
            f"{lost} of {len(finite)} chains are not finite by step {step}: the model maps them "
            "further and further away; record fewer steps"
        )
