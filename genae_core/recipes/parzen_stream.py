"""Parzen windows over a stream of samples, which continue after a kill from a small file.

The file has the running sums of kernels and the number of blocks behind them. Blocks are drawn by
their number, so a stream that was killed ends with the same bits as one that was not.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from genae_core.config.progress import ProgressDisplay
from genae_core.data import durable
from genae_core.metrics.parzen import KernelSums

SAVE_SECONDS = 30.0  # between two saved states


def stream_densities(
    block: Callable[[int], Tensor],
    sizes: Sequence[int],
    images: Tensor,
    bandwidths: Sequence[float],
    state: Path,
) -> Tensor:
    """log 1/N sum_n N(x_m; s_n, sigma_k^2 I) in nats, float64 [K, M].

    Args:
        block: The samples [*, D] of the block with this number. The same number must give the
            same samples in every process.
        sizes: The number of samples in each block.
        images: The images x [M, D].
        bandwidths: The K values of sigma, in units of the pixels.
        state: The file of the model's running sums. The end of its name is made of the images,
            bandwidths and sizes, so the file of another question is never continued.

    Raises:
        ValueError: There are no samples or no images, or a bandwidth is not positive and finite.
    """
    sums = KernelSums(images, bandwidths)
    path = state.with_name(f"{state.name}-{_question(sizes, images, bandwidths)}.safetensors")
    first = _restore(sums, path)
    if 0 < first < len(sizes):
        print(f"{path.name}: continues after {sums.count:,} samples")
    saved = time.monotonic()
    with ProgressDisplay(f"Parzen windows, {path.name}", unit="samples") as progress:
        progress.begin(sum(sizes), sums.count)
        for number in range(first, len(sizes)):
            sums.add(block(number))
            progress.update(sizes[number])
            if number + 1 == len(sizes) or time.monotonic() - saved >= SAVE_SECONDS:
                _save(sums, number + 1, path)
                saved = time.monotonic()
    return sums.log_densities()


def _question(sizes: Sequence[int], images: Tensor, bandwidths: Sequence[float]) -> str:
    """A digest of the images, the bandwidths and the sizes of the blocks."""
    digest = hashlib.sha256(repr((tuple(sizes), tuple(bandwidths))).encode())
    digest.update(images.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _restore(sums: KernelSums, path: Path) -> int:
    """Fill the sums from the file if there is one; the number of blocks that are in them."""
    if not path.exists():
        return 0
    stored = load(path.read_bytes())
    sums.total.copy_(stored["total"])
    sums.count = int(stored["count"])
    return int(stored["blocks"])


def _save(sums: KernelSums, blocks: int, path: Path) -> None:
    """Write the sums, so that a kill leaves either the former file or the new one."""
    numbers = {"count": torch.tensor(sums.count), "blocks": torch.tensor(blocks)}
    durable.write(path, save({"total": sums.total.cpu(), **numbers}))
