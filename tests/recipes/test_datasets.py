"""The recipe of each dataset: the networks fit the shape of its images, and old keys stay."""

import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.idx import idx

from genae_core.data import idx_files
from genae_core.data.arrays import ArraysConfig
from genae_core.data.celeba import CelebAConfig
from genae_core.data.cifar import CIFAR10Config
from genae_core.data.huggingface import HuggingFaceConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.load import LoadOptions, load_splits
from genae_core.data.mnist import MNISTConfig
from genae_core.data.preparation import prepare
from genae_core.data.storage import Folder
from genae_core.data.svhn import SVHNConfig
from genae_core.metrics.classifier import Classifier, ClassifierConfig
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.recipes.dataset_configs import CONFIGS, ImageSettings, dataset_config
from genae_core.recipes.dataset_names import FileDataset
from genae_core.recipes.datasets import Recipe, dataset_recipe, recipe_of
from genae_core.recipes.options import DataOptions, StudyOptions
from genae_core.recipes.study import study_parts
from genae_core.training.config import TrainingConfig


def recipe(dataset: Any, root: Path | str = "/nowhere", **flags: Any) -> Recipe:
    return dataset_recipe(DataOptions(dataset=dataset, data_root=str(root), **flags))


def test_the_recipes_of_version_0_1_are_the_same() -> None:
    """Their fields are part of run keys; these are the values of that version."""
    mnist = Recipe(
        data=MNISTConfig(root="/nowhere"),
        net=MLPConfig(),
        critic=CriticConfig(dropout=0.0),
        optimizer=AdamConfig(),
        training=TrainingConfig(epochs=8, batch_size=200),
        classifier=ClassifierConfig(
            kernel_size=5,
            dropout=0.25,
            training=TrainingConfig(epochs=12, batch_size=100, decay="linear"),
        ),
        latent_dims=(2, 10, 50, 200),
        record=(0, 1, 2, 3, 5, 7, 10, 15, 20),
        sub_batch=500,
    )
    assert recipe("mnist") == mnist
    colour = {
        "net": DCGANConfig(width=64),
        "critic": CriticConfig(),
        "optimizer": AdamConfig(learning_rate=2e-4, beta1=0.5),
        "classifier": ClassifierConfig(
            channels=(16, 32, 64, 64),
            training=TrainingConfig(epochs=10, batch_size=32, decay="linear"),
        ),
        "latent_dims": (50, 100, 200),
        "sub_batch": 100,
    }
    for name, data, batch_size in (
        ("svhn", SVHNConfig(root="/nowhere"), 64),
        ("celeba", CelebAConfig(root="/nowhere"), 64),
        ("image_folder", ImageFolderConfig(root="/nowhere"), 32),
    ):
        training = TrainingConfig(epochs=20, batch_size=batch_size)
        assert recipe(name) == Recipe(data=data, training=training, **colour)  # type: ignore[arg-type]


def test_the_smoke_recipes_of_version_0_1_are_the_same() -> None:
    training = TrainingConfig(epochs=6, batch_size=32, max_images=1600)
    longer = TrainingConfig(epochs=15, batch_size=32, decay="linear", max_images=6000)
    svhn = recipe("svhn", smoke=True)
    assert (svhn.net, svhn.training) == (DCGANConfig(width=16), training)
    assert svhn.classifier.training == longer and svhn.num_chains == 200
    assert recipe("celeba", smoke=True).classifier.training.epochs == 2
    folder = recipe("image_folder", smoke=True)
    assert folder.data == ImageFolderConfig(root="/nowhere", max_images=2400)
    assert folder.training == TrainingConfig(epochs=6, batch_size=16, max_images=1600)
    assert folder.classifier.training == TrainingConfig(
        epochs=15, batch_size=16, decay="linear", max_images=6000
    )
    assert (folder.num_chains, folder.latent_dims) == (None, (50,))
    assert folder.optimizer == AdamConfig(learning_rate=1e-3, beta1=0.5)
    mnist = recipe("mnist", smoke=True)
    assert mnist.training == TrainingConfig(epochs=1, batch_size=200, max_images=6000)
    assert (mnist.latent_dims, mnist.num_chains) == ((10,), 2000)


@pytest.mark.parametrize(
    ("shape", "net"),
    [
        ((1, 28, 28), MLPConfig()),
        ((1, 32, 32), MLPConfig()),
        ((1, 64, 64), DCGANConfig(width=64)),
        ((3, 28, 28), DCGANConfig(width=64)),
        ((3, 32, 32), DCGANConfig(width=64)),
        ((3, 40, 40), DCGANConfig(width=64)),
        ((3, 8, 8), DCGANConfig(width=64)),
        ((3, 30, 30), MLPConfig()),
        ((1, 50, 50), MLPConfig()),
    ],
)
@pytest.mark.parametrize("smoke", [False, True])
def test_the_nets_fit_the_shape(shape: tuple[int, int, int], net: Any, smoke: bool) -> None:
    chosen = recipe_of(ArraysConfig(root="own.npz", shape=shape), smoke)
    assert type(chosen.net) is type(net) and (smoke or chosen.net == net)
    chosen.net.build_encoder(shape, 3)
    config = ClassifierConfig(channels=chosen.classifier.channels, feature_width=4)
    Classifier(config, shape, 2)
    side = shape[1] >> len(config.channels)
    assert 3 <= side <= 8


def test_every_dataset_has_a_recipe(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=np.zeros((9, 40, 40, 3), np.uint8))
    names = typing.get_args(FileDataset)
    assert {name.partition("_")[0] if name.startswith("emnist") else name for name in names} == {
        *CONFIGS
    }
    for name in names:
        root = tmp_path / "own.npz" if name == "arrays" else tmp_path
        data = recipe(name, root).data
        assert data.name == name
    assert recipe("arrays", tmp_path / "own.npz").data.shape == (3, 40, 40)
    assert recipe("cifar10").data == CIFAR10Config(root="/nowhere")


def test_size_and_grey_reach_the_config(tmp_path: Path) -> None:
    folder = recipe("image_folder", size=28, grey=True)
    assert folder.data == ImageFolderConfig(root="/nowhere", size=28, grey=True)
    assert folder.net == MLPConfig()
    assert recipe("svhn", size=32).data.shape == (3, 32, 32)
    tables = recipe("huggingface", size=128).data
    assert tables == HuggingFaceConfig(root="/nowhere", size=128)


@pytest.mark.parametrize(
    ("dataset", "flags", "message"),
    [
        (
            "mnist",
            {"size": 32},
            "--size is only for cifar10, .*, got --size 32 for",
        ),
        ("cifar10", {"grey": True}, "--grey is only for image_folder, arrays, huggingface, got"),
        ("svhn", {"size": 30}, "size must be 28 or a multiple of 8"),
        ("svhn", {"crop": 0.5}, "--crop is only for celeba, image_folder, huggingface, got"),
        ("digits", {"size": 28}, "digits takes no --size"),
        ("digits", {"crop": 0.0}, "digits takes no --crop"),
    ],
)
def test_settings_that_a_dataset_does_not_take(
    dataset: Any, flags: dict[str, Any], message: str
) -> None:
    root = None if dataset == "digits" else "/nowhere"
    with pytest.raises(ValueError, match=message):
        dataset_recipe(DataOptions(dataset=dataset, data_root=root, **flags))


def test_mnists_place_is_named_for_what_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((4, 28, 28), np.uint8)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(4, dtype=np.uint8)))
    settings = ImageSettings()
    assert dataset_config("mnist", str(folder.parent), settings).name == "mnist"
    (fashion,) = (one for one in idx_files.ALL if one.name == "fashion_mnist")
    monkeypatch.setattr("genae_core.data.mnist.recognise", lambda location: fashion)
    data = dataset_config("mnist", str(tmp_path), settings)
    assert data.name == "fashion_mnist" and not data.binarize
    assert recipe("mnist", tmp_path).data == data


def test_prepared_arrays_need_no_file(tmp_path: Path) -> None:
    own, shards = tmp_path / "own.npz", tmp_path / "shards"
    np.savez(own, images=np.random.default_rng(0).random((9, 8, 8)))
    before = recipe("arrays", own).data
    prepare(before, Folder(shards))
    own.unlink()
    options = DataOptions(dataset="arrays", shards=str(shards))
    data = dataset_recipe(options).data
    assert data == ArraysConfig(root=str(shards), shape=(1, 8, 8))
    splits = load_splits(data, tmp_path, LoadOptions(shards=str(shards)))
    assert splits.train.images.shape == (7, 1, 8, 8)
    with pytest.raises(ValueError, match=r"of shape \(1, 8, 8\): leave out --size and --grey"):
        dataset_recipe(DataOptions(dataset="arrays", shards=str(shards), size=16))
    with pytest.raises(ValueError, match=r"and --crop, or prepare them again, .*crop=0\.5"):
        dataset_recipe(DataOptions(dataset="arrays", shards=str(shards), crop=0.5))


def test_the_flag_crop_is_that_of_the_config_and_changes_nothing_by_default() -> None:
    assert recipe("celeba", crop=1.0).data == CelebAConfig(root="/nowhere", crop=1.0)
    assert recipe("celeba").data == CelebAConfig(root="/nowhere")


def test_the_net_can_be_chosen() -> None:
    def net(**flags: Any) -> Any:
        options = StudyOptions(
            dataset="fashion_mnist", data_root="/nowhere", families=("vae",), **flags
        )
        return study_parts(options, "vae").net

    assert net() == MLPConfig()
    assert net(net="dcgan") == DCGANConfig()
    assert net(net="dcgan", net_width=8) == DCGANConfig(width=8)
    with pytest.raises(ValueError, match="--net-width is only for DCGANs, .*--net dcgan changes"):
        net(net_width=8)
