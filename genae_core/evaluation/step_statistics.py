"""StepStatistics: what an evaluation keeps in memory of one recorded step of the chains."""

import torch
from torch import Tensor

from genae_core.evaluation.comparison import COMPARED, GeneratedSet
from genae_core.metrics.fcd import Gaussian
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import ChainRecord

SHOWN = 64  # samples in a grid
BLOCKS = 10  # blocks of each half of the chains, for the standard errors of the FCD


class StepStatistics:
    """The moments of all chains' features at one step, and the first chains themselves.

    The features of each half are divided into ten blocks. If the chains of a sub-batch share a
    batch's statistics, they depend on one another, and a block has whole sub-batches. Metrics
    that cannot be computed from moments use the first chains of each half.

    Args:
        width: The number of features.
        count: The number of chains in each half.
        chain: The chain's config.
    """

    def __init__(self, width: int, count: int, chain: ChainConfig) -> None:
        self.count, self.chain = count, chain
        self.compared = min(COMPARED, count)
        self.halves = [[Gaussian(width) for _ in range(BLOCKS)] for _ in range(2)]
        self.grid_images: list[Tensor] = []
        self.images: list[list[Tensor]] = [[], []]
        self.features: list[Tensor] = []
        self.z: list[Tensor] = []
        self.accepted: list[Tensor] = []

    def add(self, record: ChainRecord, features: Tensor) -> None:
        """Add the chains of a record, and the features of their images."""
        chain, first = record.chain, record.first
        if first < SHOWN:
            self.grid_images.append(chain.mean[: SHOWN - first].cpu().clone())
        if chain.accepted is not None:
            self.accepted.append(chain.accepted)
        for half in range(2):
            start = half * self.count - first  # where the half begins in this record
            self._add_features(half, start, features, first)
            rows = slice(max(0, start), max(0, start + self.compared))
            if len(chain.z[rows]) == 0:
                continue  # even an empty view would keep the whole sub-batch alive
            self.images[half].append(chain.mean[rows].clone())
            if half:
                self.features.append(features[rows].clone())
                self.z.append(chain.z[rows].clone())

    def _add_features(self, half: int, start: int, features: Tensor, first: int) -> None:
        """Update the blocks of a half, which begins at row `start` of these features."""
        blocks = self.halves[half]
        if self.chain.coupled > 1:
            rows = features[max(0, start) : max(0, start + self.count)]
            blocks[first // self.chain.sub_batch % BLOCKS].update(rows)
            return
        for number, gaussian in enumerate(blocks):
            low = start + number * self.count // BLOCKS
            high = start + (number + 1) * self.count // BLOCKS
            gaussian.update(features[max(0, low) : max(0, high)])

    def generated(self) -> GeneratedSet:
        """The first samples of each half, to compare them one by one."""
        val, test = (torch.cat(images) for images in self.images)
        return GeneratedSet(
            val=val,
            test=test,
            features=torch.cat(self.features),
            z=torch.cat(self.z),
            accepted=torch.cat(self.accepted) if self.accepted else None,
        )
