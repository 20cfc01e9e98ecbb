"""The deviations from the papers that stand below a picture."""

from dataclasses import replace

import numpy as np
import pytest

from genae_core.data.base import Split, Splits
from genae_core.data.celeba import CelebAConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.experiment.experiment import Experiment
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.optimizers import AdamConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import GeneratorConfig, MLPConfig
from genae_core.priors.flow import FlowConfig
from genae_core.priors.mixture import RingPriorConfig
from genae_core.recipes.paper_settings import (
    creswell_deviations,
    describe_deviations,
    makhzani_deviations,
    sridhar_deviations,
)
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.training.config import TrainingConfig

CHAIN = ChainConfig(sampler=EncodeDecode())
DVAE = VAEConfig(
    latent_dim=200,
    noise=0.5,
    net=DCGANConfig(),
    optimizer=AdamConfig(learning_rate=2e-4, beta1=0.5),
)
FACES = Experiment(
    data=CelebAConfig(root="faces", crop=1.0),
    model=DVAE,
    training=TrainingConfig(epochs=20, batch_size=64),
    chains=(CHAIN,),
)
DIGITS = Experiment(
    data=MNISTConfig(root="digits"),
    model=FlowAEConfig(autoencoder=AEConfig(latent_dim=10, net=MLPConfig())),
    training=TrainingConfig(epochs=8, batch_size=200),
    chains=(CHAIN,),
)


def splits(count: int) -> Splits:
    """A training split of so many images, which need no memory."""
    images = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (count, 1, 1, 1))
    split = Split(images, np.broadcast_to(np.zeros(1, np.int64), (count,)))
    return Splits(split, split, split)


def test_the_paper_s_own_settings_are_no_deviation() -> None:
    assert list(creswell_deviations(FACES, splits(162_770))) == []
    aae = AAEConfig(latent_dim=200, net=DCGANConfig(), optimizer=DVAE.optimizer)
    assert list(creswell_deviations(replace(FACES, model=aae), splits(162_770))) == []
    assert list(sridhar_deviations(DIGITS, splits(60_000))) == []
    assert describe_deviations([]) == "No deviation from what the paper states."


def test_every_deviation_from_creswell_et_al_is_named_with_the_paper_s_value() -> None:
    ours = replace(
        FACES,
        data=CelebAConfig(root="faces"),
        # 4 x 4 positions of 8 * 32 channels are 4,096 features.
        model=replace(DVAE, net=DCGANConfig(width=32), noise=0.25, optimizer=AdamConfig()),
        training=TrainingConfig(epochs=6, batch_size=64),
        chains=(replace(CHAIN, batch_norm="running"),),
    )
    assert list(creswell_deviations(ours, splits(6_000))) == [
        "6,000 training images (paper: 162,770)",
        "a square of 83 % of the width (paper: all of it)",
        "DCGAN of width 32, M = 4,096 features (paper: 64, 8,192)",
        "6 epochs (paper: 20)",
        "Adam at 0.001, beta1 0.9 (paper: 0.0002, 0.5)",
        "noise of 0.25 (paper: 0.5)",
        "running averages in batch normalisation (paper: moments of the batch)",
    ]
    few = replace(FACES, training=replace(FACES.training, max_images=1_000))
    assert list(creswell_deviations(few, splits(6_000))) == [
        "1,000 training images (paper: 162,770)"
    ]
    other = replace(
        FACES,
        data=MNISTConfig(root="digits"),
        model=AAEConfig(
            latent_dim=10,
            net=MLPConfig(),
            posterior="gaussian",
            critic=replace(AAEConfig(latent_dim=1).critic, dropout=0.0),
            optimizer=DVAE.optimizer,
        ),
    )
    assert list(creswell_deviations(other, splits(60_000))) == [
        "mnist, 60,000 training images (paper: celeba and svhn)",
        "28 px (paper: 64)",
        "fully connected networks (paper: DCGAN)",
        "10 latent dimensions (paper: 200)",
        "no dropout in the adversary (paper: some)",
        "gaussian codes of AAEs (paper: deterministic)",
    ]


def test_every_deviation_from_sridhar_and_srivastava_is_named() -> None:
    grey = replace(
        DIGITS,
        data=MNISTConfig(root="digits", binarize=False),
        model=FlowAEConfig(
            autoencoder=AEConfig(latent_dim=8, net=MLPConfig(widths=(64,))),
            flow=FlowConfig(kind="maf"),
        ),
        training=TrainingConfig(epochs=1, batch_size=200),
    )
    assert list(sridhar_deviations(grey, splits(60_000))) == [
        "grey values (paper: binarised)",
        "other fully connected layers (paper: two with ELU and batch normalisation)",
        "8 latent dimensions (paper: 10)",
        "1 epoch (paper: 5 to 10)",
        "another flow (paper: RealNVP with 5 layers of one hidden layer each)",
    ]
    adversarial = AdvAEConfig(
        autoencoder=AEConfig(latent_dim=10, net=DCGANConfig()),
        generator=GeneratorConfig(widths=(8,)),
    )
    assert list(sridhar_deviations(replace(DIGITS, model=adversarial), splits(500))) == [
        "500 training images (paper: 60,000)",
        "DCGAN (paper: two fully connected layers)",
        "hidden layers of the generator: 1 (paper: 2)",
    ]


@pytest.mark.parametrize(
    ("labelled", "count", "deviations"),
    [
        (10_000, 60_000, []),
        (200, 1_000, ["200 of 1,000 images have labels (paper: 10,000 of 50,000)"]),
        # Fewer images than labels: all of them have one.
        (10_000, 400, ["400 of 400 images have labels (paper: 10,000 of 50,000)"]),
    ],
)
def test_noise_and_labels_are_named_for_makhzani_et_al(
    labelled: int, count: int, deviations: list[str]
) -> None:
    training = TrainingConfig(epochs=8, batch_size=100, max_images=50_000, num_labelled=labelled)
    model = AAEConfig(latent_dim=2, num_classes=10, noise=0.3, prior=RingPriorConfig())
    labels = replace(DIGITS, model=model, training=training)
    noisy = "images are trained on with noise of 0.3 (paper: none)"
    assert list(makhzani_deviations(labels, splits(count))) == [noisy, *deviations]


def test_the_line_names_a_deviation_of_several_models_once() -> None:
    line = describe_deviations(["2 epochs (paper: 20)", "28 px (paper: 64)"] * 2)
    assert line == "Deviations from the paper: 2 epochs (paper: 20); 28 px (paper: 64)."
