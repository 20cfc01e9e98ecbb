"""The Markov chain: what a sampler is, and the loop over its steps, written once.

Shapes: B chains of a sub-batch, D latent dimension, C channels, H rows, W columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from genae_core.config import register, require, require_int, require_positive_int
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.nets.cuda_graphs import Replay, replays

Start = int | Tensor
RECORDED = 50  # steps that a run has at least where it is worth to record one (CUDA graphs)


class Chain(NamedTuple):
    """B chains at one step.

    z: [B, D]. x: [B, C, H, W], what the next step encodes. mean: [B, C, H, W], the mean of
    p(x|z), which the metrics see. state: whatever else the sampler carries. accepted: [B], the
    share of each chain's proposals so far that were accepted; None where none is refused.
    """

    z: Tensor
    x: Tensor
    mean: Tensor
    state: Any = None
    accepted: Tensor | None = None


class Sampleable(Protocol):
    """What a sampler needs of a model, genae's or not."""

    def latent_prior(self) -> Distribution: ...
    def decode(self, z: Tensor) -> Distribution: ...
    def encode(self, x: Tensor) -> Distribution: ...
    def corrupt(self, x: Tensor, draw: Draw) -> Tensor: ...


class Sampler(Protocol):
    """A frozen dataclass of the law's settings."""

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        """What `run_chain` gives `init`: a number of chains, or images."""

    @property
    def couples(self) -> bool:
        """Whether its chains may share the statistics of a batch."""

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        """The chain at step 0. start: a number of chains, images [B, C, H, W], or z [B, D]."""

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        """One transition; pure."""


class FittedPriorConfig(Protocol):
    """A law of codes that is fitted after the training."""

    def fit(self, codes: Tensor, draw: Draw) -> Distribution:
        """The law of codes [N, D]; its mean is [D]."""


class WithPrior:
    """The model, with z drawn from another law."""

    def __init__(self, model: Sampleable, fitted_prior: Distribution) -> None:
        self.fitted_prior = fitted_prior
        self.decode, self.encode, self.corrupt = model.decode, model.encode, model.corrupt

    def latent_prior(self) -> Distribution:
        return self.fitted_prior


@register("chain")
@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """A sampler and how its chains are run.

    record: the steps at which the chain is looked at, ascending from 0; the last ends it.
    num_chains: None takes as many as there are reference images to compare with.
    sub_batch: chains that run together. With batch_norm="batch" they share its statistics, so
    the size is part of the result.
    batch_norm: "batch" normalises by the sub-batch (Creswell et al. 2017, section 4.3),
    "running" by the averages of training.
    law: what z is drawn from, if not the model's own latent law: one fitted to its codes of the
    training images.
    seed: of the chains, apart from the training's, so that trials start from the same z0.
    """

    sampler: Sampler
    record: tuple[int, ...] = (0, 1, 2, 5, 10, 20)
    num_chains: int | None = None
    sub_batch: int = 500
    batch_norm: Literal["batch", "running"] = "batch"
    fitted_prior: FittedPriorConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.record, self.record[1:], strict=False))
        whole = all(type(step) is int and step >= 0 for step in self.record)
        require(
            whole and ascending and self.record[:1] == (0,),
            "record must be whole steps ascending from 0",
            record=self.record,
        )
        require_positive_int(sub_batch=self.sub_batch)
        require(self.sub_batch >= 2, "sub_batch must be >= 2", sub_batch=self.sub_batch)
        require(
            self.batch_norm in ("batch", "running"),
            'batch_norm must be "batch" or "running"',
            batch_norm=self.batch_norm,
        )
        require(
            self.batch_norm == "running" or self.sampler.couples,
            f'{type(self.sampler).__name__} needs batch_norm="running": a batch\'s own statistics '
            "couple its chains",
            batch_norm=self.batch_norm,
        )
        require_int(seed=self.seed)
        if self.num_chains is not None:
            require_positive_int(num_chains=self.num_chains)

    @property
    def coupled(self) -> int:
        """Chains in a row that depend on one another."""
        return self.sub_batch if self.batch_norm == "batch" else 1

    def padded(self, num_chains: int) -> int:
        """num_chains rounded up to whole sub-batches: the images a start from images takes."""
        return -(-num_chains // self.sub_batch) * self.sub_batch


class Recorded(NamedTuple):
    """Chains first, first + 1, ... of the run, at one recorded step."""

    step: int
    first: int
    chain: Chain


def run_chain(
    model: Any,  # an nn.Module that is Sampleable
    config: ChainConfig,
    num_chains: int,
    images: Tensor | None = None,
    device: torch.device | str = "cpu",
    fitted_prior: Distribution | None = None,
    z: Tensor | None = None,
    first_chain: int = 0,
) -> Iterator[Recorded]:
    """Run `num_chains` chains and yield them at each recorded step, sub-batch by sub-batch.

    Each sub-batch draws from its own stream of (config.seed, its index); the last is run full
    and cut, so more chains change none of the earlier ones.
    images: for a sampler that starts from images, [M, C, H, W], M >= config.padded(num_chains).
    law: the fitted `config.law`. z: [num_chains, D], where each chain starts; the last sub-batch
    is filled up with the last of them. first_chain: run only those from this one on, a multiple
    of the sub-batch: they are the same as in a run of all.
    Raises ValueError where the images or the law are missing or do not fit, FloatingPointError
    where a chain is not finite at a recorded step.
    """
    require(
        (fitted_prior is None) == (config.fitted_prior is None),
        "a chain whose config has a law needs it fitted, and no other does",
        configured=config.fitted_prior,
        fitted_prior=fitted_prior,
    )
    if fitted_prior is not None:
        target: Sampleable = WithPrior(model, fitted_prior)
    else:
        target = model
    if z is not None:
        dim = model.latent_prior().mean.shape[-1]
        require(
            z.shape == (num_chains, dim),
            f"z must be {num_chains} starts of latent dimension {dim}",
            shape=tuple(z.shape),
        )
    require(
        first_chain >= 0 and first_chain % config.sub_batch == 0,
        f"first_chain must be a multiple of the sub-batch, {config.sub_batch}",
        first_chain=first_chain,
    )
    needs_images = z is None and config.sampler.starts_from == "images"
    padded = config.padded(num_chains)
    given = 0 if images is None else len(images)
    require(
        not needs_images or given >= padded,
        f"{type(config.sampler).__name__} starts from images and needs {padded} of them",
        images=given,
    )
    # A recorded step draws from one stream, which is put where each sub-batch's begins.
    recorded = Draw(config.seed, "chain", device=device)
    replay = Replay(recorded.device, [recorded])
    steps = config.record[-1] * -(-num_chains // config.sub_batch)
    replayed = replays(model, recorded.device) and steps > RECORDED

    def step_of(chain: Chain) -> Chain:
        return config.sampler.step(target, chain, recorded)

    for first in range(0, num_chains, config.sub_batch):
        index = (first_chain + first) // config.sub_batch
        draw = Draw(config.seed, "chain", index, device=device)
        start: Start = config.sub_batch
        if needs_images and images is not None:
            start = images[first : first + config.sub_batch]
        if z is not None:
            rows = torch.arange(first, first + config.sub_batch).clamp_max(num_chains - 1)
            start = z[rows].to(device)
        keep = min(config.sub_batch, num_chains - first)
        with sampling_mode(model, config.batch_norm):
            chain = config.sampler.init(target, start, draw)
        if replayed:
            recorded.generator.set_state(draw.generator.get_state())
        for before, step in pairwise((0, *config.record)):
            with sampling_mode(model, config.batch_norm):
                for _ in range(before, step):
                    if replayed:
                        chain = replay(step_of, chain)
                    else:
                        chain = config.sampler.step(target, chain, draw)
            _check_finite(chain, step)
            accepted = None if chain.accepted is None else chain.accepted[:keep]
            parts = Chain(chain.z[:keep], chain.x[:keep], chain.mean[:keep], accepted=accepted)
            if replayed:  # the next step overwrites it
                parts = tree_map(lambda leaf: leaf if leaf is None else leaf.clone(), parts)
            # The model is in its own mode while whoever asked looks at the record.
            yield Recorded(step, first_chain + first, parts)


def _check_finite(chain: Chain, step: int) -> None:
    """Raise FloatingPointError where a chain has left the numbers a float can hold."""
    finite = chain.z.isfinite().all(1) & chain.mean.flatten(1).isfinite().all(1)
    lost = len(finite) - int(finite.sum())
    if lost:
        raise FloatingPointError(
            f"{lost} of {len(finite)} chains are not finite by step {step}: the model maps them "
            "further and further away; record fewer steps"
        )


def start_latents(model: Sampleable, start: Start, draw: Draw) -> Tensor:
    """z0 [B, D] from a number of chains (z ~ p(z)), images (z ~ q(z|x~)), or z itself."""
    if isinstance(start, int):
        return model.latent_prior().sample(draw, (start,))
    if start.ndim == 2:
        return start
    require(
        start.ndim == 4,
        "start must be a number, z [B, D] or images [B, C, H, W]",
        shape=tuple(start.shape),
    )
    check_images(model, start)
    return model.encode(model.corrupt(start, draw)).sample(draw)


def check_images(model: Sampleable, images: Tensor) -> None:
    """Raise ValueError unless images [..., C, H, W] are of the shape that the model makes."""
    dim = model.latent_prior().mean.shape[-1]
    # Two: normalising by the batch refuses one.
    made = model.decode(torch.zeros(2, dim, device=images.device)).mean.shape[1:]
    require(
        images.shape[-3:] == made,
        f"images must be of the model's shape, {list(made)}",
        shape=list(images.shape),
    )


def decoded(
    model: Sampleable,
    z: Tensor,
    decode: Literal["mean", "sample"],
    draw: Draw,
    state: Any = None,
) -> Chain:
    """The chain at z: x is the mean of p(x|z), or a sample of it."""
    pixels = model.decode(z)
    mean = pixels.mean
    return Chain(z, pixels.sample(draw) if decode == "sample" else mean, mean, state)


def nats(distribution: Distribution, value: Tensor) -> Tensor:
    """log p(value) of each row, [B]: summed where the distribution gives it element by element."""
    return distribution.log_prob(value).reshape(len(value), -1).sum(1)


def check_decode(decode: str) -> None:
    """Raise ValueError unless decode is "mean" or "sample"."""
    require(decode in ("mean", "sample"), 'decode must be "mean" or "sample"', decode=decode)
