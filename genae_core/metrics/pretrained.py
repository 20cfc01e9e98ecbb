"""Pretrained networks whose features a Frechet distance compares, beside those of the classifier.

The weights are a file of the user's: nothing is downloaded. Shapes: B batch, C channels, H rows,
W columns, F features.
"""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from genae_core.config import require
from genae_core.config.errors import reason_of
from genae_core.data.sealed import sha256_of
from genae_core.metrics.pretrained_nets import NETWORKS, Kind, Weights

BATCH = 50  # images that pass a network at once; their maps need less than a gigabyte


class FeatureExtractor(Protocol):
    """What computes the features of images that a Frechet distance compares."""

    @property
    def num_features(self) -> int:
        """F."""

    def features(self, x: Tensor) -> Tensor:
        """The features [B, F] of images [B, C, H, W] in [0, 1]."""


class DistanceName(NamedTuple):
    """The names of a Frechet distance: `key` in files, `label` for people."""

    key: str
    label: str


NAMES: dict[Kind, DistanceName] = {
    "inception": DistanceName("fid", "FID"),
    "dinov2": DistanceName("fd_dinov2", "FD-DINOv2"),
}
LABELS = {name.key: name.label for name in NAMES.values()}


class Pretrained(nn.Module):
    """A pretrained network. A copy that is sent to a worker builds the network there.

    Args:
        kind: Which network, as --features names it.
        weights: The tensors of the user's file by name.
        where: The file, for messages.

    Raises:
        ValueError: The weights are of another network, or a package is missing.
    """

    def __init__(self, kind: Kind, weights: Weights, where: str) -> None:
        super().__init__()
        self._made_of = (kind, weights, where)
        self.names = NAMES[kind]
        self.network = NETWORKS[kind](weights, where).eval().requires_grad_(False)

    @property
    def num_features(self) -> int:
        """F."""
        return int(self.network.num_features)

    def features(self, x: Tensor) -> Tensor:
        """The features [B, F] of images [B, C, H, W] in [0, 1].

        Pixels are rounded to 0..255, as in a file, and a grey channel becomes all three.
        """
        pixels = (x.clamp(0, 1) * 255).round().expand(-1, 3, -1, -1)
        with torch.no_grad():
            return torch.cat([self.network(part) for part in torch.split(pixels, BATCH)])

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker cannot unpickle the classes of a library whose import needs care.
        return Pretrained, self._made_of


class PretrainedFile(NamedTuple):
    """A pretrained network, and the sha256 (hex) of the file of its weights."""

    extractor: Pretrained
    sha256: str


def load_pretrained(kind: Kind, file: Path) -> PretrainedFile:
    """Build a pretrained network from a file of its weights.

    Args:
        kind: "inception" for the FID, or "dinov2" for the FD-DINOv2.
        file: A .safetensors file.

    Returns:
        The network, on the CPU, and the digest of the file.

    Raises:
        ValueError: The file is missing, is no .safetensors file, or holds the weights of another
            network; or a package is missing.
    """
    return PretrainedFile(Pretrained(kind, _read_weights(file), str(file)), sha256_of(file))


def _read_weights(file: Path) -> Weights:
    """The tensors of a .safetensors file by name. No pickle is read, since it may run code."""
    require(file.is_file(), "--weights: there is no such file", weights=str(file))
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"--weights: {file} is damaged, or no .safetensors file ({reason_of(error):.200}). "
            "docs/metrics.md has a line that makes one of a .pth file"
        ) from None
