"""A training that continues from a snapshot ends with the bits of one that was never stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.models.aae import AAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.base import Batch, Examples
from genae_core.models.began import BEGANConfig
from genae_core.models.ex_post_ae import ExPostAEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.testing.toys import digest
from genae_core.training import checkpoint
from genae_core.training.config import TrainingConfig
from genae_core.training.curve import Point
from genae_core.training.loop import Callbacks, fit
from genae_core.training.session import Progress
from genae_core.training.snapshots import Snapshot

SHAPE, COUNT = (1, 4, 4), 22
NET = MLPConfig(widths=(8,))
CRITIC = CriticConfig(widths=(8,), dropout=0.2)
AUTOENCODER = AEConfig(latent_dim=2, net=NET)
FAMILIES: dict[str, Any] = {
    "vae": VAEConfig(latent_dim=2, net=NET, noise=0.3),
    "aae": AAEConfig(latent_dim=2, net=NET, critic=CRITIC),
    "flow": FlowAEConfig(autoencoder=AUTOENCODER, epochs=2),
    "ex post": ExPostAEConfig(autoencoder=AUTOENCODER, components=2),
    "began": BEGANConfig(latent_dim=2, net=NET, critic=NET, lambda_k=0.5),
    "convolutions": VAEConfig(latent_dim=2, net=DCGANConfig(width=2)),
}
SHAPES = {"convolutions": (1, 32, 32)}


class Stopped(Exception):
    pass


class Disk:
    """Saves a snapshot after the given number of steps, and then stops the training."""

    def __init__(self, folder: Path, after: int | None = None) -> None:
        self.folder, self.after, self.steps = folder, after, 0

    def load_latest(self) -> Snapshot | None:
        return Snapshot(*checkpoint.read(self.folder)) if self.folder.exists() else None

    def is_due(self) -> bool:
        self.steps += 1
        return self.steps == self.after

    def save(self, snapshot: Snapshot) -> None:
        if self.after is not None:
            checkpoint.write(self.folder, *snapshot)
            raise Stopped


def train(
    family: str,
    decay: Any,
    store: Disk | None,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> tuple[str, list[Point], bytes]:
    draw = Draw(0, "training")
    with draw.as_global():
        shape = SHAPES.get(family, SHAPE)
        model = FAMILIES[family].build(shape)
    # Tensors that are read from disk have another memory layout.
    compute_as(model, ComputeConfig(channels_last=True))
    x = (Draw(1).uniform((COUNT, *shape)) > 0.5).float()
    labels = torch.zeros(COUNT, dtype=torch.int64)
    examples = Examples(COUNT, lambda i: Batch(x[i], labels[i]))
    config = TrainingConfig(epochs=3, batch_size=4, decay=decay)  # 5 steps an epoch
    history, _ = fit(model, model.stages(), examples, config, draw, Callbacks(on_epoch, store))
    return digest(model), history, draw.generator.get_state().numpy().tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("decay", ["none", "linear"])
def test_a_resumed_training_ends_with_the_same_bits(
    family: str, decay: str, tmp_path: Path
) -> None:
    whole = train(family, decay, None)
    last = {"flow": 25}.get(family, 15)
    for after in (1, 5, 8, last - 2, last, last + 1):  # the last one is after the end
        folder = tmp_path / str(after)
        with pytest.raises(Stopped):
            train(family, decay, Disk(folder, after))
        assert train(family, decay, Disk(folder)) == whole, after


def test_a_training_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    """It stops after every second step and continues from the snapshot of the stop before."""
    for number in range(1, 9):
        store = Disk(tmp_path / str(number), 2)
        store.load_latest = Disk(tmp_path / str(number - 1)).load_latest  # type: ignore[method-assign]
        with pytest.raises(Stopped):
            train("aae", "linear", store)
    assert train("aae", "linear", Disk(tmp_path / "8")) == train("aae", "linear", None)


def test_the_callback_is_called_after_every_epoch(tmp_path: Path) -> None:
    epochs: list[tuple[int, float]] = []

    def watch(progress: Progress) -> None:
        epochs.append((progress.epoch, progress.done))

    with pytest.raises(Stopped):
        train("vae", "none", Disk(tmp_path / "state", 10), watch)
    train("vae", "none", Disk(tmp_path / "state"), watch)
    assert epochs == [(1, 1 / 3), (2, 2 / 3), (3, 1.0)]


def test_a_snapshot_of_another_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train("vae", "none", Disk(tmp_path / "state", 4))
    with pytest.raises(ValueError, match="the snapshot is of another model or training"):
        train("aae", "none", Disk(tmp_path / "state"))
