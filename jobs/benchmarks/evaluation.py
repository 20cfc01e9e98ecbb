"""The suite "evaluation": what the evaluation of a default MNIST trial takes beside its training.

The trial is that of `latent_dim.py --dataset mnist`: a VAE with 10 latent dimensions, 8 epochs,
10,000 chains of 20 steps, nine of them recorded, all metrics; on one thread, as in the sweep. The
images are random, which does not change the time. Two hundred training steps are timed, and
scaled to all steps of the recipe.
"""

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from genae_core.data.base import Split, Splits
from genae_core.data.mnist import MNISTConfig
from genae_core.evaluation.chains import evaluate
from genae_core.evaluation.references import ReferenceData, References, fit_references
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.experiment.precision import has_bf16
from genae_core.experiment.trial import replica_of
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.classifier_cache import load_classifier
from genae_core.metrics.classifier_features import features_of
from genae_core.metrics.classifier_shipped import SHIPPED
from genae_core.models.vae import VAEConfig
from genae_core.recipes.datasets import recipe_of
from genae_core.training.loop import fit

from .chain import automatic_compute, time_interleaved, wait
from .rows import Row

SIZES = (60_000, 5_000, 5_000)  # images of train, val and test
STEPS = 200  # timed training steps
GOAL = 0.15
FEATURES = 2_000  # images whose features are timed


def rows(repeats: int, device: str) -> list[Row]:
    """Measure evaluation_share_mnist, a fraction of the trial, and features_mnist, in images/s."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rows(repeats, device)
    finally:
        torch.set_num_threads(threads)


def _rows(repeats: int, device: str) -> list[Row]:
    recipe, splits = recipe_of(MNISTConfig(root="generated")), random_splits()
    classifier = load_classifier(SHIPPED / "mnist").to(device)
    plain = load_classifier(SHIPPED / "mnist").to(device)
    classifier.precision = "bf16" if device == "cpu" and has_bf16() else "fp32"
    experiment = Experiment(
        data=recipe.data,
        model=VAEConfig(latent_dim=10, net=recipe.net, optimizer=recipe.optimizer),
        training=replace(recipe.training, epochs=1, max_images=STEPS * recipe.training.batch_size),
        chains=(recipe.chain(),),
        classifier=classifier.config,
        compute=automatic_compute("mlp", device),
    )
    experiment = resolve(experiment, splits)
    data = ReferenceData(splits, classifier, recipe.data.binarize, device)
    references = fit_references(data, SIZES[1])  # once in each process of a sweep
    times = [time_trial(experiment, data, references) for _ in range(repeats + 1)][1:]
    step, evaluation = (statistics.median(each) for each in zip(*times, strict=True))
    steps = recipe.training.epochs * SIZES[0] // recipe.training.batch_size
    share = evaluation / (evaluation + steps * step)
    return [
        Row(
            name="evaluation_share_mnist",
            value=share,
            unit=f"of a trial: {evaluation:.1f} s, beside {steps * step:.1f} s for {steps:,} "
            f"training steps (scaled from {STEPS})",
            baseline=f"the most allowed, {GOAL}",
            baseline_value=GOAL,
            ratio=GOAL / share,
        ),
        features_row(classifier, plain, data, repeats),
    ]


def random_splits() -> Splits:
    random = np.random.default_rng(0)

    def split(count: int) -> Split:
        pixels = random.integers(0, 256, (count, 1, 28, 28), np.uint8)
        return Split(pixels, random.integers(0, 10, count))

    train, val, test = map(split, SIZES)
    return Splits(train, val, test)


def time_trial(
    experiment: Experiment, data: ReferenceData, references: References
) -> tuple[float, float]:
    """The seconds of a training step and of the evaluation."""
    device: Any = data.device
    model, stages, examples, draw, callbacks = replica_of(experiment, data.splits, device)
    assert experiment.training is not None
    wait(device)
    began = time.perf_counter()
    fit(model, stages, examples, experiment.training, draw, callbacks)
    wait(device)
    trained = time.perf_counter()
    evaluate(model, experiment.chains[0], data, references)
    steps = (experiment.training.max_images or 0) // experiment.training.batch_size
    return (trained - began) / steps, time.perf_counter() - trained


def features_row(
    classifier: Classifier, plain: Classifier, data: ReferenceData, repeats: int
) -> Row:
    """The speed of the classifier's features in the precision that a sweep chooses."""
    images = data.pixels(data.splits.test, np.arange(min(FEATURES, len(data.splits.test.images))))
    arms: dict[str, Any] = {
        "genae": lambda: features_of(classifier, images),
        "plain": lambda: features_of(plain, images),
    }
    seconds = time_interleaved(arms, 5 * repeats, str(data.device))
    return Row(
        name="features_mnist",
        value=len(images) / seconds["genae"],
        unit=f"images/s, {classifier.precision}",
        baseline="the classifier's modules in fp32",
        baseline_value=len(images) / seconds["plain"],
        ratio=seconds["plain"] / seconds["genae"],
    )
