"""The import of torchvision, and the downloads through it (no test needs a network)."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import URLError

import pytest

from genae_core.data import download, torchvision_import
from genae_core.data.base import DataConfig, load
from genae_core.data.celeba import CelebAConfig
from genae_core.data.cifar import CIFAR10Config, CIFAR100Config
from genae_core.data.emnist import EMNISTConfig
from genae_core.data.fashion_mnist import FashionMNISTConfig
from genae_core.data.kmnist import KMNISTConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.data.svhn import SVHNConfig
from genae_core.data.torchvision_import import torchvision_datasets

MISSING = "operator torchvision::nms does not exist"


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    here = Path(__file__).parents[2]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=here)
    return done.stdout


@pytest.mark.slow
def test_a_fresh_process_gets_the_datasets() -> None:
    out = run(
        "from genae_core.data.torchvision_import import torchvision_datasets as get\n"
        "import sys\n"
        "assert 'torchvision' not in sys.modules, 'imported before it was asked for'\n"
        "assert get() is get()\n"
        "print(get().MNIST.__name__, get().SVHN.__name__, get().CelebA.__name__)"
    )
    assert out.split() == ["MNIST", "SVHN", "CelebA"]


@pytest.mark.slow
def test_the_declared_operators_have_their_schemas() -> None:
    out = run(
        "import torch\n"
        "from genae_core.data import torchvision_import as t\n"
        "t._declare_operators(); t._declare_operators()\n"
        "print(torch.ops.torchvision.nms.default._schema)\n"
        "print(torch.ops.torchvision.qnms.default._schema)"
    )
    arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert out.splitlines() == [f"torchvision::nms{arguments}", f"torchvision::qnms{arguments}"]


def test_only_the_known_failure_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise RuntimeError("another trouble")

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(torchvision_import, "_declare_operators", lambda: pytest.fail("declared"))
    with pytest.raises(RuntimeError, match="another trouble"):
        torchvision_datasets()


def test_the_known_failure_is_mended_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    wanted = ModuleType("torchvision.datasets")
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def first_fail(name: str) -> ModuleType:
        calls.append(name)
        if calls == ["torchvision.datasets"]:
            sys.modules["torchvision.extension"] = ModuleType("half imported")
            sys.modules["torchvisionary"] = ModuleType("of another package")
            raise RuntimeError(MISSING)
        assert "torchvision.extension" not in sys.modules
        assert "torchvisionary" in sys.modules
        return wanted

    monkeypatch.setattr(importlib, "import_module", first_fail)
    monkeypatch.setattr(torchvision_import, "_declare_operators", lambda: calls.append("declare"))
    assert torchvision_datasets() is wanted
    assert calls == ["torchvision.datasets", "declare", "torchvision.datasets"]


def no_network(*args: object, **kwargs: object) -> None:
    raise URLError("no route to host")


@pytest.mark.parametrize(
    "config",
    [
        *(MNISTConfig, FashionMNISTConfig, KMNISTConfig, EMNISTConfig),
        *(CIFAR10Config, CIFAR100Config, SVHNConfig, CelebAConfig),
    ],
)
def test_a_failing_download_says_why_and_where(
    config: Callable[..., DataConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torchvision's own downloaders, with the network cut under them."""
    datasets = torchvision_datasets()
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr(datasets.celeba, "download_file_from_google_drive", no_network)
    root = tmp_path / "new"
    dataset = config(root=str(root), download=True)
    name = "emnist" if dataset.name.startswith("emnist") else dataset.name
    with pytest.raises(ValueError, match=f"could not download {name}: ") as caught:
        load(dataset)
    assert "no route to host" in str(caught.value)
    assert str(root / name) in str(caught.value)


def test_without_torchvision_the_download_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> ModuleType:
        raise ModuleNotFoundError("No module named 'torchvision'")

    monkeypatch.setattr(download, "torchvision_datasets", absent)
    with pytest.raises(ValueError, match="could not download svhn: .*No module named"):
        load(SVHNConfig(root=str(tmp_path), download=True))


def test_the_files_land_where_the_loaders_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def svhn(root: str, *, split: str, download: bool) -> None:
        asked.append((split, download))
        Path(root).mkdir(exist_ok=True)
        (Path(root) / f"{split}_32x32.mat").write_bytes(b"what arrived")

    monkeypatch.setattr(download, "torchvision_datasets", lambda: SimpleNamespace(SVHN=svhn))
    config = SVHNConfig(root=str(tmp_path), download=True)
    for _ in range(2):  # the second finds the files and asks for nothing
        with pytest.raises(ValueError, match="svhn/train_32x32.mat is not a whole MATLAB 5 file"):
            load(config)
    assert asked == [("train", True), ("test", True)]


def test_a_download_that_brings_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = SimpleNamespace(MNIST=lambda root, download: None)
    monkeypatch.setattr(download, "torchvision_datasets", lambda: nothing)
    with pytest.raises(ValueError, match="mnist: .* lacks train-images-idx3-ubyte"):
        load(MNISTConfig(root=str(tmp_path), download=True))
