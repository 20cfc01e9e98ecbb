"""The suite "train": genae's training loop against plain loops over the same modules.

Needs neither Ray nor MLflow. A plain loop holds its images as floats, keeps no curve and no state,
and checks nothing. Two of them: as one writes it (fp32, Adam as it comes), and as one writes it
who knows this hardware (what --precision auto chose, fused Adam).
"""

import importlib.util
import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import numpy as np
import torch
from bench_chain import interleaved
from bench_rows import Row
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.data.base import Split
from genae_core.data.batches import Batches
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.draw import Draw
from genae_core.experiment import Experiment
from genae_core.fastest import fastest, measure
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.base import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.training import TrainingConfig, fit

ROUNDS = 5  # of every arm in a repeat
PLAIN = ComputeConfig()


class Case(NamedTuple):
    """A model as the studies train it, and the step of its plain loop. steps: in a round."""

    model: Any
    data: Any
    batch: int
    steps: int
    plain: Callable[[Any, Tensor, dict[str, torch.optim.Adam]], None]


def vae_step(model: Any, x: Tensor, adams: dict[str, torch.optim.Adam]) -> None:
    mean, log_var = model.encoder(x).chunk(2, 1)
    z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    logits = model.decoder(z)
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1).mean()
    move(adams["autoencoder"], error + kl)


def aae_step(model: Any, x: Tensor, adams: dict[str, torch.optim.Adam]) -> None:
    """Reconstruct, tell codes from the prior, answer (Makhzani et al. 2016, section 2)."""
    draw = Draw(0, device=x.device)
    logits = model.decoder(model.encoder(x))
    move(
        adams["autoencoder"],
        F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x),
    )
    with torch.no_grad():
        codes = model.encoder(x)
    real = model.critic(torch.randn_like(codes), draw)
    made = model.critic(codes, draw)
    move(adams["critic"], F.softplus(-real).mean() + F.softplus(made).mean())
    move(adams["encoder"], F.softplus(-model.critic(model.encoder(x), draw)).mean())


def reconstruction_step(model: Any, x: Tensor, adams: dict[str, torch.optim.Adam]) -> None:
    autoencoder = model.autoencoder
    logits = autoencoder.decoder(autoencoder.encoder(x))
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    move(adams["autoencoder"], error)


def move(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad(set_to_none=True)
    loss.backward(inputs=[p for group in adam.param_groups for p in group["params"]])  # type: ignore[no-untyped-call]
    adam.step()


DIGITS = MNISTConfig(root="generated")
FACES = ImageFolderConfig(root="generated", size=64)
CASES = {
    "mlp": Case(VAEConfig(latent_dim=10, net=MLPConfig()), DIGITS, 200, 10, vae_step),
    "aae_mlp": Case(AAEConfig(latent_dim=10, net=MLPConfig()), DIGITS, 200, 10, aae_step),
    "adv_ae_mlp": Case(
        AdvAEConfig(autoencoder=AEConfig(latent_dim=10, net=MLPConfig())),
        DIGITS,
        200,
        10,
        reconstruction_step,
    ),
    "dcgan64": Case(VAEConfig(latent_dim=200, net=DCGANConfig()), FACES, 64, 1, vae_step),
}


def rows(repeats: int, device: str) -> list[Row]:
    """train_MODEL_auto against the plain loop, train_MODEL_best against the best one, and the MLP
    against Pythae's trainer where it is installed; all in images a second."""
    found = []
    for name, case in CASES.items():
        images = images_of(case)
        timings = measure(
            experiment_of(case), images, "auto", device == "cuda", torch.get_num_threads()
        )
        auto = fastest(timings)
        arms = {
            "genae": genae(case, images, auto, device),
            "plain": loop(case, images, PLAIN, device, fused=False),
            "best": loop(case, images, auto, device, fused=True),
        }
        if name == "mlp" and device == "cpu" and importlib.util.find_spec("pythae"):
            arms["pythae"] = pythae(case, images)
        seconds = interleaved(arms, repeats * ROUNDS, device)
        found += [
            row(name, arm, title, case, seconds)
            for arm, title in (
                ("plain", "a plain fp32 loop over the same modules"),
                ("best", f"the best plain loop, {told(auto)}, fused Adam"),
                ("pythae", "Pythae's trainer on the same layers"),
            )
            if arm in seconds
        ]
    return found


def row(name: str, arm: str, title: str, case: Case, seconds: dict[str, float]) -> Row:
    images = case.batch * case.steps
    suffix = {"plain": "auto", "best": "best", "pythae": "pythae"}[arm]
    return Row(
        name=f"train_{name}_{suffix}",
        value=images / seconds["genae"],
        unit="images/s",
        baseline=title,
        baseline_value=images / seconds[arm],
        ratio=seconds[arm] / seconds["genae"],
    )


def told(compute: ComputeConfig) -> str:
    return f"{compute.precision}{', channels last' if compute.channels_last else ''}"


def images_of(case: Case) -> Split:
    shape = (case.batch * case.steps, *case.data.shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Split(pixels, np.zeros(len(pixels), np.int64))


def experiment_of(case: Case) -> Experiment:
    return Experiment(
        data=case.data,
        model=case.model,
        training=TrainingConfig(epochs=1, batch_size=case.batch),
        chains=(ChainConfig(sampler=EncodeDecode()),),
    )


def built(case: Case, compute: ComputeConfig, device: str) -> Any:
    with Draw(0).as_global():
        model = case.model.build(case.data.shape).to(device)
    compute_as(model, compute)
    return model.train()


def genae(case: Case, images: Split, compute: ComputeConfig, device: str) -> Callable[[], None]:
    """One round by genae's loop, of the model's first stage."""
    model, draw = built(case, compute, device), Draw(0, device=device)
    binarize = getattr(case.data, "binarize", False)
    examples = Batches(images, len(images.images), binarize, torch.device(device)).examples()
    config = TrainingConfig(epochs=1, batch_size=case.batch)
    stage = model.stages()[0]._replace(epochs=1)

    def run() -> None:
        fit(model, (stage,), examples, config, draw)

    return run


def loop(
    case: Case, images: Split, compute: ComputeConfig, device: str, fused: bool
) -> Callable[[], None]:
    """One round by a plain loop."""
    model = built(case, compute, device)
    x = torch.from_numpy(images.images).to(device)
    binarize = getattr(case.data, "binarize", False)
    x = (x > 127).float() if binarize else x.float() / 255
    players = {phase.player.name: phase.player for phase in model.stages()[0].phases}
    adams = {
        name: torch.optim.Adam(
            player.parameters,
            lr=player.optimizer.learning_rate,
            betas=(player.optimizer.beta1, player.optimizer.beta2),
            fused=fused,
        )
        for name, player in players.items()
    }

    def run() -> None:
        for rows in torch.split(torch.randperm(len(x), device=device), case.batch):
            case.plain(model, x[rows], adams)

    return run


def pythae(case: Case, images: Split) -> Callable[[], None]:
    """One round by Pythae's own trainer, of a VAE of the same layers."""
    models = importlib.import_module("pythae.models")
    trainers = importlib.import_module("pythae.trainers")
    base = importlib.import_module("pythae.models.nn")
    output = importlib.import_module("pythae.models.base.base_utils").ModelOutput
    ours = built(case, PLAIN, "cpu")
    latent_dim = case.model.latent_dim

    class Encoder(base.BaseEncoder):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = ours.encoder

        def forward(self, x: Tensor) -> Any:
            mean, log_var = self.layers(x).chunk(2, 1)
            return output(embedding=mean, log_covariance=log_var)

    class Decoder(base.BaseDecoder):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(ours.decoder, nn.Sigmoid())

        def forward(self, z: Tensor) -> Any:
            return output(reconstruction=self.layers(z))

    config = models.VAEConfig(
        input_dim=case.data.shape, latent_dim=latent_dim, reconstruction_loss="bce"
    )
    model = models.VAE(config, encoder=Encoder(), decoder=Decoder())
    data = (torch.from_numpy(images.images) > 127).float()

    def run() -> None:
        with tempfile.TemporaryDirectory() as scratch, redirect_stdout(io.StringIO()):
            training = trainers.BaseTrainerConfig(
                output_dir=scratch,
                num_epochs=1,
                per_device_train_batch_size=case.batch,
                learning_rate=1e-3,
                no_cuda=True,
            )
            dataset = importlib.import_module("pythae.data.datasets").BaseDataset(
                data, torch.zeros(len(data))
            )
            trainer = trainers.BaseTrainer(
                model=model, train_dataset=dataset, training_config=training
            )
            trainer.prepare_training()
            trainer.train_step(1)

    return run
