"""The config of a sampler and of its chains."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from genae_core.config import register, require, require_int, require_positive_int
from genae_core.config.types import check_members
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.samplers.base import Sampler


class FittedPriorConfig(Protocol):
    """A prior that is fitted to the latent codes of the training images after the training."""

    def fit(self, codes: Tensor, draw: Draw) -> Distribution:
        """Fit the prior.

        Args:
            codes: Latent codes, [N, D].
            draw: The source of randomness.

        Returns:
            The fitted distribution; its mean has the shape [D].

        Raises:
            ValueError: There are too few codes.
        """


@register("chain")
@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """A sampler and how its chains are run.

    Args:
        sampler: The transition of the chains.
        record: The steps whose samples are evaluated, ascending from 0. The chain ends at the
            last one.
        num_chains: The number of chains. None takes the number of reference images that the
            chains are compared with.
        sub_batch: The number of chains that run together. With batch_norm="batch" they share the
            statistics of their batch, so the size is part of the result.
        batch_norm: "batch" normalises by the statistics of the sub-batch (Creswell et al. 2017,
            section 4.3), "running" by the running averages of the training.
        fitted_prior: A prior for z that is fitted to the codes of the training images. None takes
            the model's own prior.
        seed: The seed of the chains. It is independent of the seed of the training, so that all
            trials start from the same z_0.

    Raises:
        ValueError: A value is out of range, or the sampler needs batch_norm="running".
    """

    sampler: Sampler
    record: tuple[int, ...] = (0, 1, 2, 5, 10, 20)
    num_chains: int | None = None
    sub_batch: int = 500
    batch_norm: Literal["batch", "running"] = "batch"
    fitted_prior: FittedPriorConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_members("ChainConfig.sampler", self.sampler, Sampler)
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
            f'{type(self.sampler).__name__} needs batch_norm="running": the statistics of a batch '
            "couple its chains",
            batch_norm=self.batch_norm,
        )
        require_int(seed=self.seed)
        if self.num_chains is not None:
            require_positive_int(num_chains=self.num_chains)

    @property
    def coupled(self) -> int:
        """The number of consecutive chains that depend on one another."""
        return self.sub_batch if self.batch_norm == "batch" else 1

    def round_up(self, num_chains: int) -> int:
        """Round a number of chains up to whole sub-batches.

        A start from images needs this number of images.

        Args:
            num_chains: The number of chains.

        Returns:
            The smallest multiple of `sub_batch` that is not below `num_chains`.
        """
        return -(-num_chains // self.sub_batch) * self.sub_batch
