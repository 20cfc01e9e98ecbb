"""What the studies share: their flags, and how each dataset is trained and sampled by default.

A dict of names lives here because Optuna's categories, and flags, are primitives.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import tyro

from genae_core.config import require
from genae_core.data.base import DataConfig
from genae_core.data.celeba import CelebAConfig
from genae_core.data.digits import DigitsConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.data.svhn import SVHNConfig
from genae_core.experiment.experiment import Experiment
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.models.base import AdamConfig
from genae_core.nets.base import NetConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.recipes.families import DENOISING, Family, Parts, model
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.options import LaunchOptions, ShardOptions
from genae_core.training.config import TrainingConfig

PAPER: tuple[Family, ...] = ("vae", "dvae", "aae", "daae")  # of Creswell et al. 2017
Dataset = Literal["digits", "mnist", "svhn", "celeba", "image_folder"]


@dataclass(frozen=True, kw_only=True)
class DataOptions(ShardOptions):
    """The flags about data."""

    dataset: Dataset = "digits"
    """digits comes with scikit-learn and needs no files; the others are read from --data-root."""
    data_root: Annotated[str | None, tyro.conf.arg(aliases=["--raw"])] = None
    """Folder or URI of the dataset's official files, or of your own images."""
    split_seed: int = 0
    """Seed of the cut into training and held-out images where a dataset has none of its own."""
    download: bool = False
    """Fetch missing official files into --data-root with torchvision's downloaders."""
    smoke: bool = False
    """A few minutes at most: fewer images, epochs and cells. Shows that it runs, not how well."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(DataOptions, LaunchOptions):
    """The flags of every study."""

    epochs: int | None = None
    """Passes over the training images (default: the dataset's recipe)."""
    learning_rate: float | None = None
    """Adam's, for the reconstruction or the ELBO (default: the dataset's recipe)."""
    net_width: int | None = None
    """Channels of the DCGAN's first layer, each further one twice as many (default: 64)."""
    families: tuple[Family, ...] = PAPER
    """Model families to compare."""
    noise: float = 0.5
    """Standard deviation of the corruption in dvae and daae."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a dataset is trained and sampled."""

    data: DataConfig
    net: NetConfig
    critic: CriticConfig
    optimizer: AdamConfig
    training: TrainingConfig
    classifier: ClassifierConfig
    latent_dims: tuple[int, ...]
    record: tuple[int, ...]
    sub_batch: int
    num_chains: int | None = None
    code_epochs: int | None = None  # of the second stage of a two-stage family


def recipe(options: DataOptions) -> Recipe:
    """The dataset's recipe, cut down by --smoke. Raises ValueError for flags that do not fit."""
    smoke = options.smoke
    if options.dataset == "digits":
        require(
            options.data_root is None,
            "digits takes no --data-root: it comes with scikit-learn",
            data_root=options.data_root,
        )
        return Recipe(
            data=DigitsConfig(),
            net=MLPConfig(widths=(256, 256)),
            critic=CriticConfig(),
            optimizer=AdamConfig(),
            training=TrainingConfig(epochs=10 if smoke else 80, batch_size=50),
            classifier=ClassifierConfig(
                optimizer=AdamConfig(learning_rate=3e-3),
                training=TrainingConfig(epochs=60, batch_size=50, decay="linear"),
            ),
            latent_dims=(2, 8) if smoke else (2, 8, 32),
            record=(0, 1, 2, 5, 10),
            sub_batch=120,
        )
    root = options.data_root or options.shards
    if root is None:
        raise ValueError(
            f"--dataset {options.dataset} reads files: give --data-root FOLDER, or --shards"
        )
    if options.dataset == "mnist":
        # The published practice for MNIST (Sridhar & Srivastava, section 5): binarised, fully
        # connected, up to ten epochs; the critic here has no dropout.
        return Recipe(
            data=MNISTConfig(root=root, download=options.download),
            net=MLPConfig(),
            critic=CriticConfig(dropout=0.0),
            optimizer=AdamConfig(),
            training=TrainingConfig(
                epochs=1 if smoke else 8, batch_size=200, max_images=6000 if smoke else None
            ),
            classifier=ClassifierConfig(
                kernel_size=5,
                dropout=0.25,
                training=TrainingConfig(epochs=1 if smoke else 12, batch_size=100, decay="linear"),
            ),
            latent_dims=(10,) if smoke else (2, 10, 50, 200),
            record=(0, 1, 2, 5, 10) if smoke else (0, 1, 2, 3, 5, 7, 10, 15, 20),
            sub_batch=500,
            num_chains=2000 if smoke else None,
        )
    seed, download = options.split_seed, options.download
    data: DataConfig
    if options.dataset == "celeba":
        data = CelebAConfig(root=root, size=64, split_seed=seed, download=download)
    elif options.dataset == "svhn":
        data = SVHNConfig(root=root, size=64, download=download)
    else:
        most = 2400 if smoke else None
        data = ImageFolderConfig(root=root, size=64, split_seed=seed, max_images=most)
    # A user's own folder may be small.
    batch, own = 64, options.dataset == "image_folder"
    if smoke or own:
        batch = 16 if smoke and own else 32
    # Creswell et al. 2017, section 4.3: 64 px, 20 epochs, Adam 2e-4 with beta1 0.5. In a smoke
    # run the network is narrower and takes larger steps, to be recognisable in minutes.
    quick = AdamConfig(learning_rate=1e-3, beta1=0.5)
    return Recipe(
        data=data,
        net=DCGANConfig(width=16 if smoke else 64),
        critic=CriticConfig(),
        optimizer=quick if smoke else AdamConfig(learning_rate=2e-4, beta1=0.5),
        training=TrainingConfig(
            epochs=6 if smoke else 20,
            batch_size=batch,
            max_images=1600 if smoke else None,
        ),
        classifier=ClassifierConfig(
            channels=(16, 32, 64, 64),
            training=TrainingConfig(
                epochs=(2 if options.dataset == "celeba" else 15) if smoke else 10,
                batch_size=min(batch, 32),
                max_images=6000 if smoke else None,
                decay="linear",
            ),
        ),
        latent_dims=(50,) if smoke else (50, 100, 200),
        record=(0, 1, 2, 5, 10),
        sub_batch=100,
        num_chains=200 if smoke and not own else None,
    )


def chain_of(found: Recipe, **settings: Any) -> ChainConfig:
    """The encode/decode chain as the recipe runs it, but for these settings."""
    usual: dict[str, Any] = {
        "sampler": EncodeDecode(),
        "record": found.record,
        "sub_batch": found.sub_batch,
        "num_chains": found.num_chains,
    }
    return ChainConfig(**{**usual, **settings})


def parts_of(options: StudyOptions, family: str) -> Parts:
    """What a study's flags and the dataset's recipe say about the family's parts."""
    found = recipe(options)
    optimizer = found.optimizer
    if options.learning_rate is not None:
        optimizer = AdamConfig(learning_rate=options.learning_rate, beta1=optimizer.beta1)
    noise = options.noise if family in DENOISING else 0.0
    net = found.net
    if options.net_width is not None:
        convolutional = isinstance(net, DCGANConfig)
        require(
            convolutional,
            f"--net-width is the DCGAN's, and {options.dataset} takes an MLP",
            net_width=options.net_width,
        )
        net = DCGANConfig(width=options.net_width)
    return Parts(
        net=net,
        critic=found.critic,
        optimizer=optimizer,
        noise=noise,
        code_epochs=found.code_epochs,
    )


def experiment(
    options: StudyOptions,
    family: str,
    latent_dim: int,
    chains: tuple[ChainConfig, ...],
    parts: Parts | None = None,
) -> Experiment:
    """One cell of a study. Raises ValueError for a value that a config refuses."""
    found = recipe(options)
    training = found.training
    if options.epochs is not None:
        training = replace(training, epochs=options.epochs)
    return Experiment(
        data=found.data,
        model=model(family, latent_dim, parts or parts_of(options, family)),
        training=training,
        chains=chains,
        classifier=found.classifier,
    )
