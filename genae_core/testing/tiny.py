"""A whole trial that takes a second: a few digits, a small VAE and two chains."""

import hashlib

import numpy as np

from genae_core.data.base import Splits, load, take
from genae_core.data.digits import DigitsConfig
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.experiment.trial import TrialResult, run_trial
from genae_core.metrics.classifier import Classifier, ClassifierConfig
from genae_core.metrics.classifier_training import train_classifier
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.reconstruction import Reconstruction
from genae_core.training.config import TrainingConfig

TRAIN, HALF = 120, 40  # the numbers of training images and of images of a reference half


def splits() -> Splits:
    """The first digits of each split."""
    sizes = (TRAIN, HALF, HALF)
    data = load(DigitsConfig())
    loaded = (data.train, data.val, data.test)
    train, val, test = (
        take(split, np.arange(size)) for split, size in zip(loaded, sizes, strict=True)
    )
    return Splits(train, val, test)


def experiment(binarize: bool = False, seed: int = 0) -> Experiment:
    """An experiment that is not resolved yet. Its sub-batches of 16 do not divide a half of 40."""
    chains = tuple(
        ChainConfig(sampler=sampler, record=(0, 1, 3), sub_batch=16)
        for sampler in (EncodeDecode(), Reconstruction())
    )
    return Experiment(
        data=DigitsConfig(binarize=binarize),
        model=VAEConfig(latent_dim=2, net=MLPConfig(widths=(16,)), noise=0.2),
        training=TrainingConfig(epochs=2, batch_size=20),
        chains=chains,
        classifier=ClassifierConfig(
            channels=(4,), feature_width=6, training=TrainingConfig(epochs=2, batch_size=20)
        ),
        seed=seed,
    )


def classifier(data: Splits, binarize: bool = False) -> Classifier:
    """The classifier of the FCD, trained on the digits."""
    return train_classifier(experiment().classifier, data, binarize)


def run(seed: int = 0) -> TrialResult:
    """Run the trial."""
    data = splits()
    return run_trial(resolve(experiment(seed=seed), data), data, classifier(data))


def fingerprint(result: TrialResult) -> str:
    """The sha256 of the weights, loss terms, random stream and results of the chains."""
    hasher = hashlib.sha256()
    for name, tensor in result.model.state_dict().items():
        hasher.update(name.encode() + tensor.numpy().tobytes())
    hasher.update(result.draw.generator.get_state().numpy().tobytes())
    hasher.update(repr(result.training.history).encode())
    for chain in result.chains:
        hasher.update(repr((chain.config, chain.fcd_val, chain.fcd, chain.floor)).encode())
        for image in (*chain.grids, chain.strip):
            hasher.update(image.tobytes())
    return hasher.hexdigest()


if __name__ == "__main__":
    print(fingerprint(run()))
