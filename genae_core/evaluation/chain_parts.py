"""A chain of many samples, cut into parts that workers run on their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from genae_core.config import require
from genae_core.distributions.base import Distribution
from genae_core.models.base import GenerativeModel
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import ChainRecord, run_chain
from genae_core.training import checkpoint


class Part(NamedTuple):
    """The chains first, ..., last - 1 of all chains; first is a multiple of the sub-batch."""

    number: int
    first: int
    last: int

    @property
    def num_chains(self) -> int:
        """The number of chains in the part."""
        return self.last - self.first


class PortableChain(NamedTuple):
    """A trained model and a chain over it, in a form that can be sent to workers.

    It holds the content of the checkpoint, so that the workers need no access to its folder.

    Attributes:
        tensors: The tensors of the checkpoint by name.
        description: The description in the checkpoint.
        chain: The chain's config.
        fitted_prior: The fitted prior, if the chain's config has one.
        device: The device of the workers.
    """

    tensors: dict[str, Tensor]
    description: dict[str, Any]
    chain: ChainConfig
    fitted_prior: Distribution | None = None
    device: str = "cpu"

    def load(self) -> "LoadedChain":
        """Build the model on the worker's device."""
        model = checkpoint.restore_model(self.tensors, self.description, "the job").to(self.device)
        prior = self.fitted_prior
        if isinstance(prior, nn.Module):
            prior = prior.to(self.device)
        return LoadedChain(self, model, prior)


class LoadedChain(NamedTuple):
    """A portable chain with its model and fitted prior on the worker's device."""

    source: PortableChain
    model: GenerativeModel
    fitted_prior: Distribution | None

    def run(self, part: Part) -> Iterator[ChainRecord]:
        """Run the chains of a part; see `run_chain`."""
        return run_chain(
            self.model,
            self.source.chain,
            part.num_chains,
            fitted_prior=self.fitted_prior,
            first_chain=part.first,
        )


def read_portable_chain(
    folder: Path,
    chain: ChainConfig,
    fitted_prior: Distribution | None = None,
    device: str = "cpu",
) -> PortableChain:
    """Read the checkpoint of a model that a chain will run over.

    Args:
        folder: The folder of the checkpoint.
        chain: The chain's config.
        fitted_prior: The fitted prior, if the chain's config has one.
        device: The device of the workers.

    Returns:
        The model and the chain, in a form that can be sent to workers.

    Raises:
        ValueError: The chain starts from images, or the checkpoint is missing, broken or not of a
            generative model.
    """
    check_starts_from_prior(chain)
    tensors, description = checkpoint.read(folder)
    checkpoint.warn_of_changed_code(description, str(folder))
    checkpoint.restore_model(
        tensors, description, str(folder)
    )  # raises if it is another checkpoint
    return PortableChain(
        tensors=tensors,
        description=description,
        chain=chain,
        fitted_prior=fitted_prior,
        device=device,
    )


def check_starts_from_prior(chain: ChainConfig) -> None:
    """Raise ValueError for a chain that starts from images."""
    require(
        chain.sampler.starts_from == "prior",
        "samples start from the prior, but this chain starts from images",
        sampler=type(chain.sampler).__name__,
    )


def split_into_parts(num_chains: int, sub_batch: int, most: int) -> list[Part]:
    """Cut chains into parts of whole sub-batches; only the last sub-batch may be incomplete.

    most: the largest number of chains in a part, unless a single sub-batch is larger.
    """
    size = max(1, most // sub_batch) * sub_batch
    return [
        Part(number, first, min(first + size, num_chains))
        for number, first in enumerate(range(0, num_chains, size))
    ]
