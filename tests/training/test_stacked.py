"""Seeds that are trained as one stacked model become what each becomes alone, but for rounding."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.base import Batch, Examples, Stage
from genae_core.models.began import BEGANConfig
from genae_core.models.cluster_aae import ClusterAAEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.image_generator import critic_like
from genae_core.models.mmd_gan import MMDGANConfig
from genae_core.models.vae import VAE, VAEConfig
from genae_core.models.wae import WAEConfig
from genae_core.nets.base import ComputeConfig, compute_as, sampling_mode
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.testing.toys import images
from genae_core.training import checkpoint
from genae_core.training.config import TrainingConfig
from genae_core.training.curve import NonFiniteLossError
from genae_core.training.loop import Callbacks, fit
from genae_core.training.session import TrainingSession
from genae_core.training.snapshots import Snapshot
from genae_core.training.stack import Stack
from genae_core.training.stacked import Replica, StageStart, fit_together
from genae_core.training.vmapped_loss import StackingError

SEEDS = (3, 1, 2)
CONFIG = TrainingConfig(epochs=2, batch_size=8, decay="linear")
NET, CRITIC = MLPConfig(widths=(16,)), CriticConfig(widths=(16,), dropout=0.2)
AUTOENCODER = AEConfig(latent_dim=2, net=NET)
FAMILIES: dict[str, Any] = {
    "vae": VAEConfig(latent_dim=2, net=NET, noise=0.3),
    "several corruptions": VAEConfig(latent_dim=2, net=NET, noise=0.3, corruptions=3),
    "aae": AAEConfig(latent_dim=2, net=NET, critic=CRITIC, posterior="gaussian"),
    "clipped weights": AAEConfig(
        latent_dim=2, net=NET, critic=CRITIC, divergence=Wasserstein(constraint="clip")
    ),
    "labels": ClusterAAEConfig(style_dim=2, clusters=2, labels=True, net=NET, critic=CRITIC),
    "wae": WAEConfig(latent_dim=2, net=NET),
    "two stages, a gradient penalty": AdvAEConfig(autoencoder=AUTOENCODER, epochs=1),
    "two stages, one not stackable": FlowAEConfig(autoencoder=AUTOENCODER, epochs=1),
    "dropout, not stackable": VAEConfig(latent_dim=2, net=MLPConfig(widths=(16,), dropout=0.2)),
    "a balance in the model": BEGANConfig(
        latent_dim=2, net=NET, critic=critic_like(NET), lambda_k=0.5
    ),
    "a penalised witness": MMDGANConfig(
        latent_dim=2, net=NET, critic=critic_like(NET), critic_steps=2
    ),
    "convolutions": VAEConfig(latent_dim=2, net=DCGANConfig(width=2)),
}


def shape_of(family: str) -> tuple[int, int, int]:
    return (1, 32, 32) if family == "convolutions" else (1, 8, 8)


def replica(family: str, seed: int, store: Any = None, poison: float = 0.0) -> Replica:
    """A small model on toy images; `poison` is added to the last image."""
    draw, shape = Draw(seed, "training"), shape_of(family)
    with draw.as_global():
        model = FAMILIES[family].build(shape)
    x = images(44, shape)
    x[-1] += poison
    labels = torch.arange(len(x)) % 3 - 1  # some are unknown

    def batch(index: Any) -> Batch:
        rows = torch.from_numpy(index)
        return Batch(x[rows], labels[rows])

    epochs: list[Any] = []
    callbacks = Callbacks(epochs.append, store)
    return Replica(model, model.stages(), Examples(len(x), batch), draw, callbacks)


def session_of(one: Replica) -> TrainingSession:
    return TrainingSession(one.model, one.stages, one.examples, CONFIG, one.draw)


def alone(one: Replica) -> Any:
    model, stages, examples, draw, callbacks = one
    return fit(model, stages, examples, CONFIG, draw, callbacks).history


def reported_epochs(one: Replica) -> list[tuple[str, int, float]]:
    epochs = one.callbacks.on_epoch.__self__  # type: ignore[attr-defined]
    return [(p.stage, p.epoch, p.done) for p in epochs]


def decoded(one: Replica) -> torch.Tensor:
    """The images that the model decodes from a fixed z, normalised by the batch.

    Weights are not compared: only rounding moves a bias that the normalisation subtracts again.
    """
    z = Draw(0, "z").normal((32, one.model.latent_dim))
    with sampling_mode(one.model, "batch"):
        return one.model.decode(z).mean


@pytest.mark.parametrize("family", FAMILIES)
def test_each_replica_becomes_what_it_becomes_alone(family: str) -> None:
    apart = [replica(family, seed) for seed in SEEDS]
    curves = [alone(one) for one in apart]
    stacked = [replica(family, seed) for seed in SEEDS]
    histories = [result.history for result in fit_together(stacked, CONFIG)]
    for curve, other in zip(curves, histories, strict=True):
        assert [point.step for point in curve] == [point.step for point in other]
        for point, same in zip(curve, other, strict=True):
            assert same.terms == pytest.approx(point.terms, rel=2e-2, abs=2e-2)
    for one, other in zip(apart, stacked, strict=True):
        torch.testing.assert_close(decoded(other), decoded(one), rtol=0, atol=0.02)
        assert torch.equal(one.draw.generator.get_state(), other.draw.generator.get_state())
        epochs, same_epochs = reported_epochs(one), reported_epochs(other)
        assert epochs == same_epochs and len(epochs) > 1
        assert not any(module.training for module in other.model.modules())
    differ = decoded(stacked[0]) - decoded(stacked[1])
    assert differ.abs().max() > 0.02  # or the comparison says nothing


def test_the_first_steps_agree_to_rounding() -> None:
    """Rounding errors have not grown yet, so that the weights agree as well, except biases that a
    normalisation subtracts again."""
    config = TrainingConfig(epochs=1, batch_size=22)
    apart = [replica("convolutions", seed) for seed in SEEDS]
    for one in apart:
        fit(one.model, one.stages, one.examples, config, one.draw)
    stacked = [replica("convolutions", seed) for seed in SEEDS]
    fit_together(stacked, config)
    for one, other in zip(apart, stacked, strict=True):
        own = dict(other.model.named_parameters())
        for name, parameter in one.model.named_parameters():
            torch.testing.assert_close(own[name], parameter, rtol=1e-3, atol=2e-5)
        buffers = dict(other.model.named_buffers())
        for name, buffer in one.model.named_buffers():
            torch.testing.assert_close(buffers[name], buffer, rtol=1e-3, atol=1e-5)


class Disk:
    """Saves a snapshot after the given number of steps, and at the end."""

    def __init__(self, folder: Path, after: int | None = None) -> None:
        self.folder, self.after, self.steps, self.saves = folder, after, 0, 0
        self.before = len(list(folder.glob("*")))

    def load_latest(self) -> Snapshot | None:
        paths = sorted(self.folder.glob("*"))
        return Snapshot(*checkpoint.read(paths[-1])) if paths else None

    def is_due(self) -> bool:
        self.steps += 1
        return self.steps == self.after

    def save(self, snapshot: Snapshot) -> None:
        self.saves += 1
        checkpoint.write(self.folder / str(self.before + self.saves), *snapshot)
        if self.after == self.steps:
            raise KeyboardInterrupt


@pytest.mark.parametrize("family", ["aae", "two stages, a gradient penalty"])
def test_a_snapshot_of_a_stack_continues_alone_and_together(family: str, tmp_path: Path) -> None:
    whole = [replica(family, seed) for seed in SEEDS]
    fit_together(whole, CONFIG)
    stores = [Disk(tmp_path / str(seed), 7) for seed in SEEDS]
    with pytest.raises(KeyboardInterrupt):
        fit_together(
            [replica(family, seed, store) for seed, store in zip(SEEDS, stores, strict=True)],
            CONFIG,
        )
    assert [store.saves for store in stores] == [
        1,
        1,
        1,
    ]  # all of them, although saving the first one raised
    later = [replica(family, seed, Disk(tmp_path / str(seed))) for seed in SEEDS]
    fit_together(later, CONFIG)
    for one, other in zip(whole, later, strict=True):
        torch.testing.assert_close(decoded(other), decoded(one), rtol=0, atol=0)
    done = replica(family, SEEDS[0], Disk(tmp_path / str(SEEDS[0])))
    alone(done)  # The snapshot is from the end, so there is nothing left to train.
    assert torch.equal(decoded(done), decoded(later[0]))
    new = replica(family, SEEDS[1])
    finished = replica(family, SEEDS[0], Disk(tmp_path / str(SEEDS[0])))
    with pytest.raises(ValueError, match="all snapshots must be of one step"):
        fit_together([finished, new], CONFIG)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", ["vae", "two stages, a gradient penalty"])
def test_a_seed_that_diverges_stops_all_and_is_not_saved(
    family: str, seed: int, tmp_path: Path
) -> None:
    stores = [Disk(tmp_path / str(one)) for one in SEEDS]
    replicas = [
        replica(family, one, store, math.nan if one == seed else 0.0)
        for one, store in zip(SEEDS, stores, strict=True)
    ]
    with pytest.raises(NonFiniteLossError, match="by optimiser step"):
        fit_together(replicas, CONFIG)
    assert [store.saves for store in stores] == [0, 0, 0]


def check_same(make: Callable[[int], Replica], atol: float) -> list[StageStart]:
    """Each seed's model makes the same images whether it is trained alone or with the others."""
    apart, stacked = ([make(seed) for seed in SEEDS] for _ in range(2))
    for one in apart:
        alone(one)
    starts: list[StageStart] = []
    fit_together(stacked, CONFIG, starts.append)
    for one, other in zip(apart, stacked, strict=True):
        torch.testing.assert_close(decoded(other), decoded(one), rtol=0, atol=atol)
    return starts


class Odd(VAE):
    """A VAE that does something which torch can do and vmap cannot, and that has an unused
    parameter."""

    def __init__(self, config: VAEConfig, shape: Any, how: str) -> None:
        super().__init__(config, shape)
        self.how, self.calls = how, 0
        self.unused = torch.nn.Parameter(torch.zeros(2))

    def stages(self) -> tuple[Stage, ...]:
        (stage,) = super().stages()
        (phase,) = stage.phases

        def loss(model: Any, batch: Batch, draw: Draw) -> Any:
            model.calls += 1
            value, terms = phase.loss(model, batch, draw)
            if model.how == "decides" and value > 0:
                value = 2 * value
            if model.how == "draws from torch":
                value = value + 0 * torch.randn(1).sum()
            if model.how == "permutes":
                value = value + 0 * draw.permutation(3).sum()
            return value, terms

        return (stage._replace(phases=(phase._replace(loss=loss),)),)


@pytest.mark.parametrize(
    ("how", "obstacle"),
    [
        ("decides", "cannot be stacked: it decides by the values of tensors .*Tensor.item"),
        ("draws from torch", "cannot be stacked: torch.func.vmap cannot compute it .*random"),
        ("permutes", "cannot be stacked: it draws a permutation"),
        ("nothing else", None),
    ],
)
def test_a_loss_that_cannot_be_stacked_is_reported_and_trained_in_turn(
    how: str, obstacle: str | None
) -> None:
    def make(seed: int) -> Replica:
        with Draw(seed, "odd").as_global():
            model = Odd(FAMILIES["vae"], shape_of("vae"), how)
        return replica("vae", seed)._replace(model=model, stages=model.stages())

    (start,) = check_same(make, atol=0.02)
    assert start.stage == "autoencoder"
    if obstacle is None:
        assert start.obstacle is None
    else:
        assert start.obstacle and re.search(obstacle, start.obstacle)
        assert "\n" not in start.obstacle and "'autoencoder'" in start.obstacle


def test_each_stage_reports_whether_it_is_stacked() -> None:
    starts: list[StageStart] = []
    replicas = [replica("two stages, one not stackable", seed) for seed in SEEDS]
    fit_together(replicas, CONFIG, starts.append)
    first, second = starts
    assert first == StageStart("autoencoder", None)
    assert second.stage == "flow" and second.obstacle and "'flow'" in second.obstacle


def test_bfloat16_is_stacked_as_well() -> None:
    def make(seed: int) -> Replica:
        one = replica("convolutions", seed)
        compute_as(one.model, ComputeConfig(precision="bf16"))
        return one

    assert check_same(make, atol=0.05) == [StageStart("autoencoder", None)]


def test_dropout_cannot_be_stacked() -> None:
    one = replica("dropout, not stackable", 0)
    session = session_of(one)
    session.begin_stage()
    with pytest.raises(StackingError, match="dropout"):
        Stack([session])


def test_each_replica_has_its_share_of_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, run_phases = [0.0], Stack.run_phases

    def step(stack: Stack, batches: Any) -> None:
        clock[0] += 3
        run_phases(stack, batches)

    monkeypatch.setattr("genae_core.training.session.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Stack, "run_phases", step)
    results = fit_together([replica("vae", seed) for seed in SEEDS], CONFIG)
    steps = CONFIG.epochs * (44 // CONFIG.batch_size)
    assert [result.seconds for result in results] == pytest.approx([steps] * 3)


@pytest.mark.parametrize("family", [name for name in FAMILIES if "stackable" not in name])
def test_every_stage_of_a_family_is_stacked(family: str) -> None:
    sessions = [session_of(replica(family, seed)) for seed in SEEDS]
    for _ in sessions[0].stages:
        for session in sessions:
            session.begin_stage()
        Stack(sessions).separate()
        for session in sessions:
            session.end_stage()


def test_a_stack_shares_its_memory_with_the_models_until_they_are_separated() -> None:
    sessions = [session_of(replica("vae", seed)) for seed in SEEDS]
    for session in sessions:
        session.begin_stage()
    stack = Stack(sessions)
    name = next(iter(stack.parameters))
    own = dict(sessions[1].model.named_parameters())[name]
    with torch.no_grad():
        stack.parameters[name][1] += 1
        assert torch.equal(own, stack.parameters[name][1])
        stack.separate()
        stack.parameters[name][1] += 1
    assert not torch.equal(own, stack.parameters[name][1])
