"""The datasets by the names that they have on the command line, and their configs."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genae_core.data.arrays import arrays_config
from genae_core.data.base import DataConfig
from genae_core.data.celeba import CelebAConfig
from genae_core.data.cifar import CIFAR10Config, CIFAR100Config
from genae_core.data.emnist import EMNISTConfig
from genae_core.data.fashion_mnist import FashionMNISTConfig
from genae_core.data.huggingface import HuggingFaceConfig
from genae_core.data.idx_sets import EMNIST
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.kmnist import KMNISTConfig
from genae_core.data.mnist import MNISTConfig, recognise_mnist
from genae_core.data.svhn import SVHNConfig


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How the images of a dataset are read.

    Args:
        size: The images are resized to size x size pixels; None takes the dataset's own choice.
        grey: Whether colour images become grey ones.
        crop: The side of the central square that is used, as a fraction of the shorter side; None
            takes the dataset's own choice.
        extra: Whether SVHN's additional images join the training split.
        split_seed: The seed of the splits of a dataset that has none.
        download: Whether missing official files are downloaded.
    """

    size: int | None = None
    grey: bool = False
    crop: float | None = None
    extra: bool = False
    split_seed: int = 0
    download: bool = False


# The config of each dataset, and the settings that it takes.
CONFIGS: dict[str, tuple[Callable[..., DataConfig], tuple[str, ...]]] = {
    "mnist": (MNISTConfig, ("download",)),
    "fashion_mnist": (FashionMNISTConfig, ("download",)),
    "kmnist": (KMNISTConfig, ("download",)),
    "emnist": (EMNISTConfig, ("download",)),  # "emnist_" and the subset on the command line
    "cifar10": (CIFAR10Config, ("size", "download")),
    "cifar100": (CIFAR100Config, ("size", "download")),
    "svhn": (SVHNConfig, ("size", "extra", "download")),
    "celeba": (CelebAConfig, ("size", "crop", "split_seed", "download")),
    "image_folder": (ImageFolderConfig, ("size", "grey", "crop", "split_seed")),
    "arrays": (arrays_config, ("size", "grey", "split_seed")),
    "huggingface": (HuggingFaceConfig, ("size", "grey", "crop", "split_seed")),
}
LENIENT = ("split_seed", "download")  # They change nothing where a dataset does not take them.


def dataset_config(dataset: str, root: str, settings: ImageSettings) -> DataConfig:
    """The config of a dataset.

    Files that lie where MNIST's are expected, but are those of another dataset by their digests,
    give the config of that dataset.

    Args:
        dataset: The name, one of `FileDataset`.
        root: The folder, file or URI of its files.
        settings: How its images are read.

    Returns:
        The config.

    Raises:
        ValueError: The dataset does not take one of the settings, or refuses its value.
    """
    if dataset == "mnist":
        dataset = _recognise(root)
    fields: dict[str, Any] = {"root": root}
    name, _, subset = dataset.partition("_")
    if name == "emnist" and subset in EMNIST:
        fields["subset"] = subset
    kind, accepted = CONFIGS[name if "subset" in fields else dataset]
    for setting, default in vars(ImageSettings()).items():
        value = getattr(settings, setting)
        if value == default:
            continue
        if setting in accepted:
            fields[setting] = value
        elif setting not in LENIENT:
            takers = [other for other, (_, takes) in CONFIGS.items() if setting in takes]
            raise ValueError(
                f"--{setting} is only for {', '.join(takers)}, got --{setting} {value} for the "
                f"dataset {dataset}"
            )
    return kind(**fields)


@functools.lru_cache(maxsize=64)  # A study asks once for each cell, and a store answers slowly.
def _recognise(root: str) -> str:
    """The dataset whose files lie where MNIST's are expected."""
    return recognise_mnist(root)
