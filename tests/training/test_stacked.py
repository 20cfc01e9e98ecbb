"""Seeds trained as one stacked model are what each would be alone, but for rounding."""

import math
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
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.vae import VAE, VAEConfig
from genae_core.models.wae import WAEConfig
from genae_core.nets.base import ComputeConfig, compute_as, sampling_mode
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.testing.toys import images
from genae_core.training import checkpoint
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import NonFiniteLossError, Run, State, fit
from genae_core.training.stacked import Replica, Stack, Unstackable, fit_together

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
    "wae": WAEConfig(latent_dim=2, net=NET),
    "two stages, a gradient penalty": AdvAEConfig(autoencoder=AUTOENCODER, epochs=1),
    "two stages, one not stackable": FlowAEConfig(autoencoder=AUTOENCODER, epochs=1),
    "dropout, not stackable": VAEConfig(latent_dim=2, net=MLPConfig(widths=(16,), dropout=0.2)),
    "convolutions": VAEConfig(latent_dim=2, net=DCGANConfig(width=2)),
}


def shape_of(family: str) -> tuple[int, int, int]:
    return (1, 32, 32) if family == "convolutions" else (1, 8, 8)


def replica(family: str, seed: int, keeper: Any = None, poison: float = 0.0) -> Replica:
    """poison: added to the last of the images."""
    draw, shape = Draw(seed, "training"), shape_of(family)
    with draw.as_global():
        model = FAMILIES[family].build(shape)
    x = images(44, shape)
    x[-1] += poison
    labels = torch.full((len(x),), -1)

    def batch(index: Any) -> Batch:
        rows = torch.from_numpy(index)
        return Batch(x[rows], labels[rows])

    seen: list[Any] = []
    return Replica(model, model.stages(), Examples(len(x), batch), draw, seen.append, keeper)


def alone(one: Replica) -> Any:
    return fit(
        one.model, one.stages, one.examples, CONFIG, one.draw, one.on_epoch, one.keeper
    ).history


def decoded(one: Replica) -> torch.Tensor:
    """What the model makes of the same z, normalised by the batch: biases that the normalisation
    takes away again are moved by rounding alone, and so differ."""
    z = Draw(0, "z").normal((32, 2))
    with sampling_mode(one.model, "batch"):
        return one.model.decode(z).mean


@pytest.mark.parametrize("family", FAMILIES)
def test_each_is_what_it_would_be_alone(family: str) -> None:
    apart = [replica(family, seed) for seed in SEEDS]
    curves = [alone(one) for one in apart]
    stacked = [replica(family, seed) for seed in SEEDS]
    found = [trained.history for trained in fit_together(stacked, CONFIG)]
    for curve, other in zip(curves, found, strict=True):
        assert [point.step for point in curve] == [point.step for point in other]
        for point, same in zip(curve, other, strict=True):
            assert same.terms == pytest.approx(point.terms, rel=2e-2, abs=2e-2)
    for one, other in zip(apart, stacked, strict=True):
        torch.testing.assert_close(decoded(other), decoded(one), rtol=0, atol=0.02)
        assert torch.equal(one.draw.generator.get_state(), other.draw.generator.get_state())
        watched, same = one.on_epoch.__self__, other.on_epoch.__self__  # type: ignore[attr-defined]
        assert [(p.stage, p.epoch, p.done) for p in watched] == [
            (p.stage, p.epoch, p.done) for p in same
        ]
        assert not any(module.training for module in other.model.modules())
    differ = decoded(stacked[0]) - decoded(stacked[1])
    assert differ.abs().max() > 0.02  # or the comparison says nothing


def test_the_first_steps_agree_to_rounding() -> None:
    """Before chaos has had time: the weights too, but for biases before a normalisation."""
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


class Kept:
    """Keeps the state after so many steps, and at the end."""

    def __init__(self, folder: Path, after: int | None = None) -> None:
        self.folder, self.after, self.steps, self.states = folder, after, 0, 0
        self.before = len(list(folder.glob("*")))

    def found(self) -> State | None:
        paths = sorted(self.folder.glob("*"))
        return State(*checkpoint.read(paths[-1])) if paths else None

    def due(self) -> bool:
        self.steps += 1
        return self.steps == self.after

    def keep(self, state: State) -> None:
        self.states += 1
        checkpoint.write(self.folder / str(self.before + self.states), *state)
        if self.after == self.steps:
            raise KeyboardInterrupt


@pytest.mark.parametrize("family", ["aae", "two stages, a gradient penalty"])
def test_a_state_kept_together_goes_on_alone_and_together(family: str, tmp_path: Path) -> None:
    whole = [replica(family, seed) for seed in SEEDS]
    fit_together(whole, CONFIG)
    keepers = [Kept(tmp_path / str(seed), 7) for seed in SEEDS]
    with pytest.raises(KeyboardInterrupt):
        fit_together([replica(family, s, k) for s, k in zip(SEEDS, keepers, strict=True)], CONFIG)
    assert [keeper.states for keeper in keepers] == [1, 1, 1]  # all, though the first one raised
    later = [replica(family, seed, Kept(tmp_path / str(seed))) for seed in SEEDS]
    fit_together(later, CONFIG)
    for one, other in zip(whole, later, strict=True):
        torch.testing.assert_close(decoded(other), decoded(one), rtol=0, atol=0)
    done = replica(family, SEEDS[0], Kept(tmp_path / str(SEEDS[0])))
    alone(done)  # from the state at the end: there is nothing left to train
    assert torch.equal(decoded(done), decoded(later[0]))
    new = replica(family, SEEDS[1])
    finished = replica(family, SEEDS[0], Kept(tmp_path / str(SEEDS[0])))
    with pytest.raises(ValueError, match="states must stand at one step"):
        fit_together([finished, new], CONFIG)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", ["vae", "two stages, a gradient penalty"])
def test_one_that_diverges_stops_all_and_is_not_kept(
    family: str, seed: int, tmp_path: Path
) -> None:
    keepers = [Kept(tmp_path / str(one)) for one in SEEDS]
    given = [
        replica(family, one, keeper, math.nan if one == seed else 0.0)
        for one, keeper in zip(SEEDS, keepers, strict=True)
    ]
    with pytest.raises(NonFiniteLossError, match="by optimiser step"):
        fit_together(given, CONFIG)
    assert [keeper.states for keeper in keepers] == [0, 0, 0]


def check_same(made: Callable[[int], Replica], atol: float) -> None:
    """Trained in turn and together, each seed's model makes the same images."""
    apart, stacked = ([made(seed) for seed in SEEDS] for _ in range(2))
    for one in apart:
        alone(one)
    fit_together(stacked, CONFIG)
    for one, other in zip(apart, stacked, strict=True):
        torch.testing.assert_close(decoded(other), decoded(one), rtol=0, atol=atol)


class Odd(VAE):
    """Does what vmap does not know, but torch does; and leaves a parameter unused."""

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


@pytest.mark.parametrize("how", ["decides", "draws from torch", "permutes", "nothing else"])
def test_what_vmap_does_not_know_is_trained_in_turn(how: str) -> None:
    def made(seed: int) -> Replica:
        with Draw(seed, "odd").as_global():
            model = Odd(FAMILIES["vae"], shape_of("vae"), how)
        return replica("vae", seed)._replace(model=model, stages=model.stages())

    check_same(made, atol=0.02)


def test_bfloat16_is_stacked_as_well() -> None:
    def made(seed: int) -> Replica:
        one = replica("convolutions", seed)
        compute_as(one.model, ComputeConfig(precision="bf16"))
        return one

    check_same(made, atol=0.05)


def test_what_cannot_be_stacked_says_why() -> None:
    one = replica("dropout, not stackable", 0)
    run = Run(one.model, one.stages, one.examples, CONFIG, one.draw)
    run.begin(one.draw.generator.get_state())
    with pytest.raises(Unstackable, match="dropout"):
        Stack([run])


def test_each_is_said_to_have_taken_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = [0.0], Stack.step

    def step(stack: Stack, batches: Any) -> None:
        clock[0] += 3
        real(stack, batches)

    monkeypatch.setattr("genae_core.training.loop.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Stack, "step", step)
    found = fit_together([replica("vae", seed) for seed in SEEDS], CONFIG)
    steps = CONFIG.epochs * (44 // CONFIG.batch_size)
    assert [trained.seconds for trained in found] == pytest.approx([steps] * 3)


@pytest.mark.parametrize("family", [name for name in FAMILIES if "stackable" not in name])
def test_every_stage_of_a_family_is_stacked(family: str) -> None:
    """Nothing falls back to being trained in turn unseen."""
    runs = [
        Run(r.model, r.stages, r.examples, CONFIG, r.draw)
        for r in (replica(family, seed) for seed in SEEDS)
    ]
    for _ in runs[0].stages:
        for run in runs:
            run.begin(run.draw.generator.get_state())
        Stack(runs).apart()
        for run in runs:
            run.end()


def test_a_stack_shares_its_memory_with_the_models_until_it_is_taken_apart() -> None:
    given = [replica("vae", seed) for seed in SEEDS]
    runs = [Run(r.model, r.stages, r.examples, CONFIG, r.draw) for r in given]
    for run in runs:
        run.begin(run.draw.generator.get_state())
    stack = Stack(runs)
    name = next(iter(stack.parameters))
    own = dict(runs[1].model.named_parameters())[name]
    with torch.no_grad():
        stack.parameters[name][1] += 1
        assert torch.equal(own, stack.parameters[name][1])
        stack.apart()
        stack.parameters[name][1] += 1
    assert not torch.equal(own, stack.parameters[name][1])
