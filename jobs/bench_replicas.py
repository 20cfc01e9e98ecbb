"""The suite "replicas": eight seeds trained as one stacked model, against one after the other.

Needs neither Ray nor MLflow.
"""

from collections.abc import Callable

import torch
from bench_chain import interleaved
from bench_rows import Row
from bench_train import genae
from train_cases import CASES, Case, built, experiment_of, images_of, vae_step

from genae_core.data.batches import Batches
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.draw import Draw
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import ComputeConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.replicas import Replica, fit_together

SEEDS = 8
ROUNDS = 3  # of every arm in a repeat
SMALL = ImageFolderConfig(root="generated", size=32)
REPLICATED = {
    "mlp": CASES["mlp"],
    "dcgan32": Case(VAEConfig(latent_dim=200, net=DCGANConfig()), SMALL, 64, 2, vae_step),
}


def rows(repeats: int, device: str) -> list[Row]:
    """replicas_MODEL8 in training images a second over all seeds, against each in turn, and
    replicas_MODEL8_one in seconds of a step, against one seed's."""
    found = []
    for name, case in REPLICATED.items():
        images = images_of(case)
        one = genae(case, images, ComputeConfig(), device)

        def in_turn(one: Callable[[], None] = one) -> None:
            for _ in range(SEEDS):
                one()

        arms = {"one": one, "turn": in_turn, "stacked": stacked(case, device)}
        seconds = interleaved(arms, repeats * ROUNDS, device)
        work = SEEDS * case.batch * case.steps
        found += [
            Row(
                name=f"replicas_{name}{SEEDS}",
                value=work / seconds["stacked"],
                unit="images/s over all seeds",
                baseline=f"{SEEDS} seeds in turn",
                baseline_value=work / seconds["turn"],
                ratio=seconds["turn"] / seconds["stacked"],
            ),
            Row(
                name=f"replicas_{name}{SEEDS}_one",
                value=1000 * seconds["stacked"] / case.steps,
                unit=f"ms a step of {SEEDS} seeds",
                baseline="one seed",
                baseline_value=1000 * seconds["one"] / case.steps,
                ratio=seconds["one"] / seconds["stacked"],
            ),
        ]
    return found


def stacked(case: Case, device: str) -> Callable[[], None]:
    """One round of all seeds as one model; each has the same images in an order of its own."""
    images, binarize = images_of(case), getattr(case.data, "binarize", False)
    examples = Batches(images, len(images.images), binarize, torch.device(device)).examples()
    training = experiment_of(case).training
    replicas = []
    for seed in range(SEEDS):
        model = built(case, ComputeConfig(), device)
        stage = model.stages()[0]._replace(epochs=1)
        replicas.append(Replica(model, (stage,), examples, Draw(seed, device=device)))

    def run() -> None:
        fit_together(replicas, training)

    return run
