"""Two processes that share a training get the weights of one, but for rounding."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.base import Batch, Examples
from genae_core.models.began import BEGANConfig
from genae_core.models.bigan import BiGANConfig
from genae_core.models.cluster_aae import ClusterAAEConfig
from genae_core.models.eb_gan import EBGANConfig
from genae_core.models.ex_post_ae import ExPostAEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.gan import GANConfig
from genae_core.models.gmmn_ae import GMMNAEConfig
from genae_core.models.image_generator import critic_like
from genae_core.models.info_gan import InfoGANConfig
from genae_core.models.mmd_gan import MMDGANConfig
from genae_core.models.style_aae import StyleAAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.models.wae import WAEConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.nets.peers import Peers
from genae_core.nets.uncompiled import Uncompiled
from genae_core.priors.codes import CodesConfig
from genae_core.priors.vamp import VampPriorConfig
from genae_core.testing.toys import images
from genae_core.training import checkpoint
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import NO_CALLBACKS, Callbacks, fit
from genae_core.training.processes import data_parallel, process_group
from genae_core.training.snapshots import Snapshot

pytestmark = pytest.mark.slow  # a second process imports torch


class PlainSGD(Uncompiled, torch.optim.SGD):
    step = torch.no_grad()(torch.optim.SGD.step.__wrapped__)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class SGDConfig:
    """Adam and RMSProp hide a gradient that is wrong by a factor; gradient descent does not."""

    learning_rate: float = 1e-3

    def build(self, parameters: Any) -> PlainSGD:
        return PlainSGD(parameters, lr=self.learning_rate)


SGD: Any = SGDConfig()
NET, CRITIC = MLPConfig(widths=(16,)), CriticConfig(widths=(16,), dropout=0.2)
PLAIN = MLPConfig(widths=(16,), batch_norm=False)
AUTOENCODER = AEConfig(latent_dim=2, net=NET)
VAES: dict[str, Any] = {"latent_dim": 2, "net": NET, "optimizer": SGD}
GENERATOR: dict[str, Any] = {
    "latent_dim": 3,
    "net": NET,
    "critic": critic_like(NET),
    "optimizer": SGD,
    "critic_optimizer": SGD,
}
FAMILIES: dict[str, Any] = {
    "VAE": VAEConfig(**{**VAES, "net": PLAIN}, noise=0.3),
    "batch normalisation": VAEConfig(**VAES),
    "several corruptions": VAEConfig(**VAES, noise=0.3, corruptions=3),
    "rows that do not divide": VAEConfig(**VAES, prior=VampPriorConfig(components=5)),
    "dropout": VAEConfig(**{**VAES, "net": MLPConfig(widths=(16,), dropout=0.2)}),
    "convolutions": VAEConfig(**{**VAES, "net": DCGANConfig(width=2)}),
    "AAE": AAEConfig(latent_dim=2, net=NET, critic=CRITIC, posterior="universal"),
    "labels": StyleAAEConfig(style_dim=2, num_classes=3, net=NET, critic=CRITIC),
    "labelled images beside": ClusterAAEConfig(
        style_dim=2, clusters=3, labels=True, noise=0.3, net=NET, critic=CRITIC
    ),
    "WAE-MMD": WAEConfig(**VAES, weight=1.0),
    "GAN": GANConfig(**{**GENERATOR, "net": PLAIN}, average=0.9),
    "WGAN": GANConfig(**GENERATOR, divergence=Wasserstein(constraint="clip")),
    "WGAN-GP": GANConfig(**GENERATOR, divergence=Wasserstein(critic_steps=2)),
    "GMMN": GANConfig(**GENERATOR, divergence=MMD(estimator="biased", root=True)),
    "MMD GAN": MMDGANConfig(**GENERATOR, critic_steps=2),
    "BEGAN": BEGANConfig(**GENERATOR, lambda_k=0.5),
    "EBGAN": EBGANConfig(**GENERATOR),
    "InfoGAN": InfoGANConfig(
        **{**GENERATOR, "latent_dim": 5}, prior=CodesConfig(classes=3, continuous=1), features=8
    ),
    "BiGAN": BiGANConfig(**GENERATOR, joint=CriticConfig(widths=(16,), dropout=0.0)),
    "AdvAE": AdvAEConfig(autoencoder=AUTOENCODER, epochs=1),
    "FlowAE": FlowAEConfig(autoencoder=AUTOENCODER, epochs=1),
    "GMMN+AE": GMMNAEConfig(autoencoder=AUTOENCODER, epochs=1),
    "AE + GMM": ExPostAEConfig(autoencoder=AUTOENCODER, components=2),
}
Training = tuple[dict[str, Tensor], list[Any]]  # the weights, and the loss curve


@contextmanager
def float64() -> Iterator[None]:
    """In double precision, rounding is far below what another gradient would change."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def train(
    family: str, callbacks: Callbacks = NO_CALLBACKS, batch_size: int = 8, loss: Any = None
) -> Training:
    """The weights of a small model after its training on toy images, and its loss curve.

    loss: Wraps the loss of each phase of the first stage.
    """
    draw, shape = Draw(0, "training"), (1, 16, 16) if family == "convolutions" else (1, 6, 6)
    with draw.as_global():
        model = FAMILIES[family].build(shape)
    x = images(28, shape).to(torch.get_default_dtype())
    labels = torch.arange(28) % 4 - 1  # some are unknown

    def batch(index: Any) -> Batch:
        rows = torch.from_numpy(index)
        return Batch(x[rows], labels[rows])

    stages = model.stages()
    if loss is not None:
        phases = tuple(phase._replace(loss=loss(phase.loss)) for phase in stages[0].phases)
        stages = (stages[0]._replace(phases=phases), *stages[1:])
    config = TrainingConfig(epochs=1, batch_size=batch_size, decay="linear")
    result = fit(model, stages, Examples(28, batch), config, draw, callbacks)
    return dict(model.state_dict()), result.history


class Stopped(Exception):
    pass


class Disk:
    """Saves a snapshot after two steps if there is none yet, and then stops the training."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.steps, self.saves = folder, 0, not folder.exists()

    def load_latest(self) -> Snapshot | None:
        return None if self.saves else Snapshot(*checkpoint.read(self.folder))

    def is_due(self) -> bool:
        self.steps += 1
        return self.saves and self.steps == 2

    def save(self, snapshot: Snapshot) -> None:
        if self.saves:
            checkpoint.write(self.folder, *snapshot)
            raise Stopped


def killed_in_step_two(loss: Any) -> Any:
    """The loss, which kills its process when it is called a second time."""
    calls = 0

    def last(model: Any, batch: Batch, draw: Draw) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(model, batch, draw)

    return last


class Shared(NamedTuple):
    """What happened to two processes.

    Attributes:
        families: What each family became.
        resumed: What became of a training that one process had begun.
        refusal: What was said of a batch that does not divide.
        killed: The seconds until the death of the other process was an error, and the error.
    """

    families: dict[str, Training]
    resumed: Training
    refusal: str
    killed: tuple[float, str]


def share_trainings(folder: Path, rank: int) -> Shared:
    """Train in two groups of processes; the first process stops in the first one, and the second
    is killed in the second one."""
    torch.set_num_threads(1)
    peers, cpu = Peers(rank, 2), torch.device("cpu")
    disk = {name: Callbacks(snapshots=Disk(folder / name)) for name in ("of one", "of two")}
    with float64():
        ends: Any = Stopped if rank == 0 else RuntimeError
        with pytest.raises(ends), process_group(folder / "group", peers, cpu):
            families = {family: train(family) for family in FAMILIES}
            resumed = train("FlowAE", disk["of one"])
            with pytest.raises(ValueError, match="multiple of the 2 processes") as refusal:
                train("VAE", batch_size=7)
            train("FlowAE", disk["of two"])
        begun = time.monotonic()
        with pytest.raises(RuntimeError) as killed:
            with process_group(folder / "group of the killed one", peers, cpu):
                train("GAN", loss=killed_in_step_two if rank == 1 else None)
    seconds = time.monotonic() - begun
    return Shared(families, resumed, str(refusal.value), (seconds, str(killed.value)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Shared]:
    with float64(), pytest.raises(Stopped):
        train("FlowAE", Callbacks(snapshots=Disk(folder / "of one")))
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=share_trainings, args=(folder, 1), daemon=True)
    process.start()
    try:
        yield share_trainings(folder, 0)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL


def check_equal(training: Training, expected: Training) -> None:
    for name, weight in expected[0].items():
        torch.testing.assert_close(training[0][name], weight, rtol=1e-7, atol=1e-9)
    assert [step for step, _ in training[1]] == [step for step, _ in expected[1]]
    for (_, terms), (_, others) in zip(training[1], expected[1], strict=True):
        assert terms == pytest.approx(others, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_train_what_one_trains(family: str, shared: Shared) -> None:
    with float64():
        check_equal(shared.families[family], train(family))


def test_two_processes_continue_what_one_began(shared: Shared) -> None:
    check_equal(shared.resumed, shared.families["FlowAE"])


def test_one_process_continues_what_two_began(shared: Shared, folder: Path) -> None:
    with float64():
        training = train("FlowAE", Callbacks(snapshots=Disk(folder / "of two")))
    check_equal(training, shared.families["FlowAE"])


def test_a_batch_that_does_not_divide_is_refused(shared: Shared) -> None:
    assert "take 6, or another number of processes, got batch_size=7" in shared.refusal


def test_the_death_of_a_process_is_an_error_of_the_other(shared: Shared) -> None:
    seconds, error = shared.killed
    assert seconds < 60
    assert "by peer" in error  # "closed" or "reset"


def test_a_training_is_shared_by_processes_of_torch_only() -> None:
    with pytest.raises(ValueError, match="call torch.distributed.init_process_group first"):
        with data_parallel():
            pass
