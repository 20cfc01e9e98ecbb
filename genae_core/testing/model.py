"""The contract of a family. A test derives a class with a config:

    class TestVAE(ModelContract):
        config = VAEConfig(latent_dim=3)

The tests use a family only through GenerativeModel and Autoencoder.
"""

import math
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.models.base import Autoencoder, Batch, Phase
from genae_core.models.optimizers import AdamConfig
from genae_core.nets import cuda_graphs
from genae_core.nets.base import ComputeConfig, Net, compute_as, sampling_mode
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.testing import replays
from genae_core.testing.model_helpers import BATCH, ModelHelpers
from genae_core.testing.toys import digest
from genae_core.training.checkpoint import load_model, save_model
from genae_core.training.curve import NonFiniteLossError
from genae_core.training.dropout import has_dropout, masks_from


class ModelContract(ModelHelpers):
    """The tests of a family. A subclass sets `config`, and other attributes if its family needs
    them. The tests of the encoder are skipped for a model without an encoder.

    Attributes:
        config: A small config of the family.
        shape: (C, H, W) of the images.
        noise: The standard deviation of the corruption.
        epochs: The number of epochs, of four steps each, that lower the reconstruction error of
            the toy images by a tenth.
        size_field: The config's field that sets the size of the latent space.
        without_gradient: The names of parameters whose gradient is 0 by the formula, such as the
            bias of a Wasserstein critic's last layer.
        waits_for_gpu: Whether layers of a library wait for the GPU, as zuko's couplings do.
    """

    def test_the_build_depends_on_the_seed_alone(self) -> None:
        before = torch.get_rng_state()
        assert digest(self.build(0)) == digest(self.build(0)) != digest(self.build(1))
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_step_can_be_captured(self) -> None:
        """A step never waits for the device, and every step has the same operations."""
        model = self.build()
        if has_dropout(model):
            pytest.skip(
                "torch's dropout is seeded by a number in Python, which a graph would freeze"
            )
        draw = Draw(0)

        def step(phase: Phase, optimizer: torch.optim.Optimizer, batch: Batch) -> list[Any]:
            with replays.Watch() as watch:
                loss, _ = phase.loss(model, batch, draw)
                optimizer.zero_grad(set_to_none=True)
                loss.backward(inputs=phase.player.parameters)  # type: ignore[no-untyped-call]
                # On a CPU, an optimiser that is not fused counts its steps by new tensors.
                with nullcontext() if is_fused(optimizer) else watch.pause():
                    optimizer.step()
                if phase.project is not None:
                    phase.project(model)
            operations: list[Any] = watch.operations
            return operations

        with (
            pytest.raises(AssertionError, match="in a step")
            if self.waits_for_gpu
            else nullcontext()
        ):
            for stage in model.stages():
                batch = self.batch(stage, model)
                for phase in stage.phases:
                    optimizer = phase.player.optimizer.build(phase.player.parameters)
                    _, *later = [
                        step(phase, optimizer, batch) for _ in range(cuda_graphs.WARM_UP_CALLS + 2)
                    ]
                    assert all(operations == later[0] for operations in later)

    def test_a_step_of_the_chain_can_be_captured(self) -> None:
        model, draw, sampler = self.autoencoder(), Draw(0), EncodeDecode()
        chain = sampler.init(model, BATCH, draw)
        steps = []
        with sampling_mode(model, "batch"):
            for _ in range(2):
                with replays.Watch() as watch:
                    chain = sampler.step(model, chain, draw)
                steps.append(watch.operations)
        assert steps[0] == steps[1]

    def test_a_captured_training_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain, other = self.build(), self.build()
        before = self.train(plain, plain.stages(), 2)
        captured = replays.capture_on_cpu(monkeypatch)
        compute_as(other, ComputeConfig(cuda_graphs=True))
        assert self.train(other, other.stages(), 2) == before
        assert digest(other) == digest(plain)
        stages = [stage for stage in plain.stages() if stage.phases]
        has_nets = any(isinstance(module, Net) for module in plain.modules())
        assert len(captured) == (len(stages) if has_nets and not has_dropout(plain) else 0)

    def test_the_config_describes_the_model(self) -> None:
        assert self.build().latent_dim == self.config.latent_dim
        assert self.config.family and isinstance(self.config.family, str)

    def test_the_config_survives_json(self) -> None:
        assert from_json(to_json(self.config)) == self.config

    def test_the_config_refuses_an_empty_latent_space(self) -> None:
        text = to_json(self.config)
        size = re.search(rf'"{self.size_field}": \d+', text)
        assert size
        with pytest.raises(ValueError, match=self.size_field):
            from_json(text.replace(size[0], f'"{self.size_field}": 0'))

    def test_shapes_of_the_prior_and_the_decoder(self) -> None:
        model = self.build().eval()
        prior = model.latent_prior()
        z = prior.sample(Draw(0), (5,))
        assert prior.mean.shape == (self.config.latent_dim,)
        assert z.shape == (5, self.config.latent_dim) and z.dtype == torch.float32
        assert prior.sample(Draw(0)).shape == (self.config.latent_dim,)
        mean = model.decode(z).mean
        assert mean.shape == (5, *self.shape)
        assert mean.min() >= 0 and mean.max() <= 1
        assert model.decode(z).sample(Draw(0)).shape == (5, *self.shape)

    def test_shapes_of_the_encoder(self) -> None:
        model = self.autoencoder().eval()
        x = self.images(5)
        distribution = model.encode(x)
        assert distribution.mean.shape == (5, self.config.latent_dim)
        assert distribution.sample(Draw(0)).shape == (5, self.config.latent_dim)
        assert distribution.sample(Draw(0), (2,)).shape == (2, 5, self.config.latent_dim)
        assert len(torch.unique(distribution.mean[:4], dim=0)) == 4  # four patterns, four latents

    def test_corruption_has_the_noise_of_the_config(self) -> None:
        model = self.autoencoder()
        x = self.images(500)
        draw = Draw(0)
        before = draw.generator.get_state()
        corrupted = model.corrupt(x, draw)
        if self.noise == 0:
            assert torch.equal(corrupted, x)
            assert torch.equal(draw.generator.get_state(), before)
            return
        assert torch.equal(model.corrupt(x, Draw(0)), corrupted)
        error = (corrupted - x).double()
        # For n independent samples of N(0, noise^2), the standard error of the mean is
        # noise / sqrt(n), and the standard error of the standard deviation is noise / sqrt(2 n).
        # Five standard errors are allowed.
        n = error.numel()
        assert abs(error.mean()) < 5 * self.noise / math.sqrt(n)
        assert abs(error.std() - self.noise) < 5 * self.noise / math.sqrt(2 * n)

    def test_losses_are_pure_finite_scalars(self) -> None:
        model, twin = self.build().train(), self.build().train()
        parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
        state = torch.get_rng_state()
        assert self.phases(model)
        for stage, other in zip(model.stages(), twin.stages(), strict=True):
            batch = self.batch(stage, model)
            self.batch(other, twin)
            before = batch.x.clone()
            for phase, same in zip(stage.phases, other.phases, strict=True):
                with masks_from(Draw(1), has_dropout(model)):
                    loss, terms = phase.loss(model, batch, Draw(0))
                assert loss.shape == () and loss.isfinite() and loss.requires_grad
                assert terms and all(t.shape == () and t.isfinite() for t in terms.values())
                with masks_from(Draw(1), has_dropout(twin)):
                    again, _ = same.loss(twin, batch, Draw(0))
                assert torch.equal(again, loss)
            assert torch.equal(batch.x, before)
        assert torch.equal(torch.get_rng_state(), state)
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, parameters[name]) and parameter.grad is None

    def test_a_phase_changes_only_its_own_player(self) -> None:
        stages = self.build().stages()
        for stage_index, stage in enumerate(stages):
            for phase_index in range(len(stage.phases)):
                self._check_phase(stage_index, phase_index)

    def _check_phase(self, stage_index: int, phase_index: int) -> None:
        """Train one phase of a new model, and check which parameters it changes."""
        model = self.build()
        stage = model.stages()[stage_index]
        phase = stage.phases[phase_index]
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        own = {id(p) for p in phase.player.parameters}
        alone = stage._replace(phases=(phase._replace(repeats=1),), epochs=None)
        self.train(model, (alone,), 1, self.images(BATCH))
        changed = {name for name, p in model.named_parameters() if not p.equal(before[name])}
        inside = {name for name, p in model.named_parameters() if id(p) in own}
        assert changed and changed <= inside

    def test_every_parameter_belongs_to_a_player_and_is_trained(self) -> None:
        model = self.build()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        trained = {id(p) for phase in self.phases(model) for p in phase.player.parameters}
        assert trained == {id(p) for p in model.parameters()}
        self.train(model, model.stages(), 1)
        equal = {name for name, p in model.named_parameters() if p.equal(before[name])}
        assert equal <= set(self.without_gradient)

    def test_training_lowers_the_reconstruction_error(self) -> None:
        model = self.autoencoder()
        x = self.images()

        def error() -> float:
            with sampling_mode(model, "batch"):
                return float((model.decode(model.encode(x).mean).mean - x).square().mean())

        before = error()
        self.train(model, model.stages(), self.epochs)
        # An untrained decoder gives about 1/2 everywhere, which is an error of 1/4. The error of a
        # model that learns nothing varies by much less than the required tenth.
        assert error() < 0.9 * before

    def test_training_ends_in_evaluation_mode_with_finite_terms(self) -> None:
        model = self.build()
        history = self.train(model, model.stages(), 1)
        assert not any(module.training for module in model.modules())
        assert history and all(math.isfinite(v) for p in history for v in p.terms.values())

    def test_the_same_seed_gives_the_same_training_bit_for_bit(self) -> None:
        models = [self.build(), self.build(), self.build()]
        seeds = (0, 0, 1)
        histories = [
            self.train(model, model.stages(), 2, seed=seed)
            for model, seed in zip(models, seeds, strict=True)
        ]
        digests = [digest(model) for model in models]
        assert histories[0] == histories[1] and digests[0] == digests[1]
        assert histories[0] != histories[2] and digests[0] != digests[2]

    def test_pixels_that_are_not_finite_are_refused_with_the_terms(self) -> None:
        model = self.build()
        with pytest.raises(NonFiniteLossError, match=r"step \d+: .*\w+=(nan|inf|-inf)"):
            self.train(model, model.stages(), 1, images=self.images() * math.nan)

    def test_a_huge_learning_rate_is_refused_with_the_terms(self) -> None:
        model = self.build()
        # With this rate the weights are near 1e37, and their products exceed the largest float32,
        # 3.4e38.
        huge = AdamConfig(learning_rate=1e37)
        stages = []
        for stage in model.stages():
            players = [phase.player._replace(optimizer=huge) for phase in stage.phases]
            phases = zip(stage.phases, players, strict=True)
            changed = tuple(phase._replace(player=player) for phase, player in phases)
            stages.append(stage._replace(phases=changed))
        with pytest.raises(NonFiniteLossError, match=r"step \d+: .*\w+=(nan|inf|-inf)"):
            self.train(model, tuple(stages), 2)

    def test_a_saved_model_decodes_bit_for_bit(self, tmp_path: Path) -> None:
        model = self.build()
        self.train(model, model.stages(), 1)
        save_model(tmp_path / "model", model, self.config, self.shape, draw=Draw(0))
        loaded = load_model(tmp_path / "model")
        assert not any(module.training for module in loaded.modules())
        assert digest(loaded) == digest(model)
        z = model.latent_prior().sample(Draw(0), (4,))
        assert torch.equal(loaded.decode(z).mean, model.decode(z).mean)

    @pytest.mark.parametrize("batch_norm", ["batch", "running"])
    def test_chains_run_on_it(self, batch_norm: str) -> None:
        model = self.build()
        self.train(model, model.stages(), 1)
        before = digest(model)
        sampler = EncodeDecode() if isinstance(model, Autoencoder) else Ancestral()
        config = ChainConfig(sampler=sampler, record=(0, 1, 3), sub_batch=4, batch_norm=batch_norm)  # type: ignore[arg-type]
        records = list(run_chain(model, config, 6))
        order = [(record.step, record.first) for record in records]
        assert order == [(0, 0), (1, 0), (3, 0), (0, 4), (1, 4), (3, 4)]
        for record in records:
            mean = record.chain.mean
            assert mean.shape[1:] == self.shape and mean.min() >= 0 and mean.max() <= 1
            assert record.chain.z.isfinite().all()
        assert digest(model) == before


def is_fused(optimizer: torch.optim.Optimizer) -> bool:
    """Whether one kernel makes the whole step of an optimiser."""
    return all(group.get("fused") for group in optimizer.param_groups)
