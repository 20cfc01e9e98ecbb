"""The download of official files, with torchvision's downloaders."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from genae_core.config.make_once import make_alone
from genae_core.data.torchvision_import import torchvision_datasets


def _mnist(datasets: ModuleType, root: Path) -> None:
    datasets.MNIST(str(root), download=True)


def _fashion_mnist(datasets: ModuleType, root: Path) -> None:
    datasets.FashionMNIST(str(root), download=True)


def _kmnist(datasets: ModuleType, root: Path) -> None:
    datasets.KMNIST(str(root), download=True)


def _emnist(datasets: ModuleType, root: Path) -> None:
    datasets.EMNIST(str(root), split="balanced", download=True)  # One archive holds all subsets.


def _cifar10(datasets: ModuleType, root: Path) -> None:
    datasets.CIFAR10(str(root), download=True)


def _cifar100(datasets: ModuleType, root: Path) -> None:
    datasets.CIFAR100(str(root), download=True)


def _svhn(datasets: ModuleType, root: Path) -> None:
    for split in ("train", "test"):
        if (root / "svhn" / f"{split}_32x32.mat").exists():
            continue  # torchvision would overwrite a file that is not the official one.
        datasets.SVHN(str(root / "svhn"), split=split, download=True)


def _celeba(datasets: ModuleType, root: Path) -> None:
    datasets.CelebA(str(root), split="all", download=True)


DOWNLOADERS: dict[str, Callable[[ModuleType, Path], None]] = {
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "kmnist": _kmnist,
    "emnist": _emnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "celeba": _celeba,
}


def fetch(name: str, root: Path, expected: str) -> None:
    """Download the dataset `name` into the folder `root`, which is created if it is missing.

    Args:
        name: A key of DOWNLOADERS.
        root: The data root.
        expected: Which files belong where, in words, for the error message.

    Raises:
        ValueError: The download failed. There may be no network, no torchvision, a full disk, or a
            quota of the host.
    """
    try:
        with make_alone(root / name):  # torchvision passes over files that are complete
            DOWNLOADERS[name](torchvision_datasets(), root)
    except Exception as error:
        raise ValueError(
            f"could not download {name}: {type(error).__name__}: {error}; put the files in their "
            f"place yourself: {expected}"
        ) from error
