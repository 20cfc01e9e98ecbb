"""The suite "replicas": eight seeds trained as one stacked model, or one after the other."""

import statistics

import torch

from genae_core.data.image_folder import ImageFolderConfig
from genae_core.experiment.step_timing import STEPS, train_shortly
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import ComputeConfig
from genae_core.nets.dcgan import DCGANConfig

from .cases import CASES, Case, experiment_of, images_of, vae_step
from .rows import Row

SEEDS = 8
ROUNDS = 5  # rounds of every arm in a repeat
SMALL = ImageFolderConfig(root="generated", size=32)
REPLICATED = {
    "mlp": CASES["mlp"],
    "dcgan32": Case(VAEConfig(latent_dim=200, net=DCGANConfig()), SMALL, 64, STEPS, vae_step),
}


def rows(repeats: int, device: str) -> list[Row]:
    """Measure replicas_MODEL8, the training images a second over all seeds, and
    replicas_MODEL8_one, the time of a step of all seeds beside that of one seed."""
    comparisons = []
    for name, case in REPLICATED.items():
        one, stacked = measure(case, repeats * ROUNDS, device)
        work = SEEDS * case.batch
        comparisons += [
            Row(
                name=f"replicas_{name}{SEEDS}",
                value=work / stacked,
                unit="images/s over all seeds",
                baseline=f"{SEEDS} seeds in turn",
                baseline_value=work / (SEEDS * one),
                ratio=SEEDS * one / stacked,
            ),
            Row(
                name=f"replicas_{name}{SEEDS}_one",
                value=1000 * stacked,
                unit=f"ms a step of {SEEDS} seeds",
                baseline="one seed",
                baseline_value=1000 * one,
                ratio=one / stacked,
            ),
        ]
    return comparisons


def measure(case: Case, rounds: int, device: str) -> tuple[float, float]:
    """Measure the median seconds of a step of one seed and of all seeds. They take turns, and the
    first round warms up."""
    experiment, images, where = experiment_of(case), images_of(case), torch.device(device)
    compute = ComputeConfig(cuda_graphs=device == "cuda")
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for seeds, each in zip((1, SEEDS), seconds, strict=True):
            took = train_shortly(experiment, images, compute, where, seeds).seconds
            each.extend([took] if number else [])
    return statistics.median(seconds[0]), statistics.median(seconds[1])
