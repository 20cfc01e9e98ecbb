"""The contract of a sampler. A test derives a class with a sampler:

    class TestAncestral(SamplerContract):
        sampler = Ancestral()

The tests run the sampler on a small autoencoder that belongs to no family.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.samplers.base import Chain, Sampler, Start
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import ChainRecord, run_chain
from genae_core.testing.toys import LATENT, SHAPE, Toy, digest, images

BatchNorm = Literal["batch", "running"]
MODES = ("batch", "running")
STARTS: dict[str, Start] = {"number": 5, "z": Draw(7).normal((5, LATENT)), "images": images(5)}


class SamplerContract:
    """The tests of a sampler. A subclass sets `sampler`, and other attributes if it needs them.
    The sampler is a frozen dataclass with a field `decode`.

    Attributes:
        sampler: The sampler with its default settings.
        starts: The kinds of start that `init` accepts: some of "number", "z" and "images".
        rejects: Whether a step may reject a proposal, so that z stays the same.
    """

    sampler: Any
    starts: tuple[str, ...] = ("number", "z", "images")
    rejects: bool = False

    def chains(
        self, model: Toy, count: int = 7, sampler: Sampler | None = None, **settings: Any
    ) -> list[ChainRecord]:  # noqa: ANN401
        """The records of a short run with these settings of `ChainConfig`."""
        return list(self.iterate(model, count, sampler, **settings))

    def iterate(
        self, model: Toy, count: int = 7, sampler: Sampler | None = None, **settings: Any
    ) -> Iterator[ChainRecord]:  # noqa: ANN401
        """Start a short run with these settings of `ChainConfig`."""
        defaults: dict[str, Any] = {
            "sampler": sampler or self.sampler,
            "record": (0, 1, 3),
            "sub_batch": 4,
        }
        if not self.sampler.couples:
            if settings.get("batch_norm") == "batch":
                pytest.skip("its chains must not share the statistics of a batch")
            defaults["batch_norm"] = "running"
        config = ChainConfig(**{**defaults, **settings})
        start = images(20) if self.sampler.starts_from == "images" else None
        return run_chain(model, config, count, start)

    def begin(self, model: Toy, sampler: Sampler | None = None, seed: int = 0) -> Chain:
        """The chain of a sampler at step 0."""
        start = STARTS["images" if self.sampler.starts_from == "images" else "number"]
        return (sampler or self.sampler).init(model, start, Draw(seed))

    @pytest.fixture
    def model(self) -> Toy:
        return Toy().train()

    @pytest.fixture
    def quiet(self) -> Iterator[Toy]:
        """A model in sampling mode."""
        model = Toy()
        with sampling_mode(model, "running"):
            yield model

    def test_shapes_of_every_start(self, quiet: Toy) -> None:
        for name in self.starts:
            draw = Draw(0)
            chain = self.sampler.init(quiet, STARTS[name], draw)
            for _ in range(2):
                assert chain.z.shape == (5, LATENT)
                assert chain.x.shape == chain.mean.shape == (5, *SHAPE)
                assert torch.equal(chain.mean, quiet.decode(chain.z).mean)
                chain = self.sampler.step(quiet, chain, draw)

    def test_a_start_of_another_kind_is_refused(self, quiet: Toy) -> None:
        starts: list[Start] = [torch.zeros(5, 2, 3)]
        starts += [start for name, start in STARTS.items() if name not in self.starts]
        for start in starts:
            with pytest.raises(ValueError, match="start"):
                self.sampler.init(quiet, start, Draw(0))

    def test_a_start_at_z_keeps_z(self, quiet: Toy) -> None:
        if "z" not in self.starts:
            pytest.skip("this sampler starts elsewhere")
        z = Draw(7).normal((5, LATENT))
        assert torch.equal(self.sampler.init(quiet, z, Draw(0)).z, z)

    def test_a_step_is_pure(self, quiet: Toy) -> None:
        chain = self.begin(quiet)
        before = [part.clone() for part in chain[:3]]
        state, weights = torch.get_rng_state(), digest(quiet)
        one = self.sampler.step(quiet, chain, Draw(1))
        other = self.sampler.step(quiet, chain, Draw(1))
        for part, old in zip(chain[:3], before, strict=True):
            assert torch.equal(part, old)
        for part, again in zip(one[:3], other[:3], strict=True):
            assert torch.equal(part, again)
        assert torch.equal(torch.get_rng_state(), state) and digest(quiet) == weights

    def test_a_step_moves_the_latents(self, quiet: Toy) -> None:
        chain = self.begin(quiet)
        after = self.sampler.step(quiet, chain, Draw(1))
        changed = (after.z != chain.z).any(1)
        assert changed.any() if self.rejects else changed.all()

    def test_batch_statistics_are_refused_for_chains_that_must_not_couple(self) -> None:
        if self.sampler.couples:
            ChainConfig(sampler=self.sampler, batch_norm="batch")
            return
        with pytest.raises(ValueError, match=r'needs batch_norm="running".*couple'):
            ChainConfig(sampler=self.sampler, batch_norm="batch")

    def test_accepted_is_the_fraction_of_steps_that_moved(self, quiet: Toy) -> None:
        chain, draw = self.begin(quiet), Draw(1)
        if not self.rejects:
            assert self.sampler.step(quiet, chain, draw).accepted is None
            return
        moves = torch.zeros(len(chain.z))
        for steps in range(1, 6):
            after = self.sampler.step(quiet, chain, draw)
            moves += (after.z != chain.z).any(1)
            torch.testing.assert_close(after.accepted, moves / steps)
            chain = after

    @pytest.mark.parametrize("batch_norm", MODES)
    def test_a_run_leaves_the_model_as_it_was(self, model: Toy, batch_norm: BatchNorm) -> None:
        model.encoder.eval()  # The modes of submodules may differ, and each is restored.
        modes = {name: module.training for name, module in model.named_modules()}
        before, state = digest(model), torch.get_rng_state()
        records = self.chains(model, batch_norm=batch_norm)
        assert digest(model) == before
        assert {name: module.training for name, module in model.named_modules()} == modes
        assert all(norm.track_running_stats for norm in _norms(model))
        assert torch.equal(torch.get_rng_state(), state)  # Dropout was off and drew nothing.
        assert not any(part.requires_grad for r in records for part in r.chain[:3])

    @pytest.mark.parametrize("batch_norm", MODES)
    def test_a_caller_that_stops_early_leaves_the_model_as_it_was(
        self, model: Toy, batch_norm: BatchNorm
    ) -> None:
        before = digest(model)
        run = self.iterate(model, 12, batch_norm=batch_norm)
        next(run)
        assert all(module.training for module in model.modules())
        assert all(norm.track_running_stats for norm in _norms(model))
        assert torch.is_grad_enabled()
        run.close()  # type: ignore[attr-defined]
        assert all(module.training for module in model.modules()) and digest(model) == before

    @pytest.mark.parametrize("batch_norm", MODES)
    def test_a_model_that_raises_is_left_as_it_was(self, batch_norm: BatchNorm) -> None:
        model = _BrokenToy().train()
        before = digest(model)
        with pytest.raises(RuntimeError, match="broken"):
            self.chains(model, batch_norm=batch_norm)
        assert all(module.training for module in model.modules()) and digest(model) == before
        assert all(norm.track_running_stats for norm in _norms(model))
        assert torch.is_grad_enabled()

    @pytest.mark.parametrize("batch_norm", MODES)
    def test_the_seed_decides_bit_for_bit(self, model: Toy, batch_norm: BatchNorm) -> None:
        first = _rows_by_step(self.chains(model, batch_norm=batch_norm))
        again = _rows_by_step(self.chains(model, batch_norm=batch_norm))
        other = _rows_by_step(self.chains(model, batch_norm=batch_norm, seed=1))
        for step, one in first.items():
            assert torch.equal(one, again[step])
            assert not torch.equal(one, other[step])

    def test_the_mode_of_the_model_does_not_matter(self, model: Toy) -> None:
        training = _rows_by_step(self.chains(model))
        evaluation = _rows_by_step(self.chains(model.eval()))
        assert all(torch.equal(training[step], evaluation[step]) for step in training)

    @pytest.mark.parametrize("batch_norm", MODES)
    def test_more_chains_change_none_of_the_earlier_ones(
        self, model: Toy, batch_norm: BatchNorm
    ) -> None:
        few = _rows_by_step(self.chains(model, 7, batch_norm=batch_norm))
        many = _rows_by_step(self.chains(model, 15, batch_norm=batch_norm))
        for step in few:
            assert len(few[step]) == 7 and len(many[step]) == 15
            assert torch.equal(few[step], many[step][:7])

    def test_sub_batches_draw_apart(self, model: Toy) -> None:
        for rows in _rows_by_step(self.chains(model, 12)).values():
            assert len(torch.unique(rows, dim=0)) == 12

    def test_records_come_by_sub_batch_then_step(self, model: Toy) -> None:
        records = self.chains(model, 7)
        order = [(r.step, r.first, len(r.chain.z)) for r in records]
        assert order == [(0, 0, 4), (1, 0, 4), (3, 0, 4), (0, 4, 3), (1, 4, 3), (3, 4, 3)]

    def test_recording_less_changes_nothing_that_is_recorded(self, model: Toy) -> None:
        all_steps = _rows_by_step(self.chains(model, record=(0, 1, 2, 3)))
        some_steps = _rows_by_step(self.chains(model, record=(0, 3)))
        assert some_steps.keys() == {0, 3}
        assert all(torch.equal(rows, all_steps[step]) for step, rows in some_steps.items())

    def test_decode_by_the_mean_or_by_a_sample(self, quiet: Toy) -> None:
        with pytest.raises(ValueError, match="decode must be"):
            dataclasses.replace(self.sampler, decode="mode")
        if self.sampler.decode == "sample":
            pytest.skip("it always draws a sample")
        mean = dataclasses.replace(self.sampler, decode="mean")
        sample = dataclasses.replace(self.sampler, decode="sample")
        by_mean, by_sample = self.begin(quiet, mean), self.begin(quiet, sample)
        for _ in range(2):
            assert torch.equal(by_mean.x, by_mean.mean)
            assert set(by_sample.x.flatten().tolist()) <= {0.0, 1.0}
            assert not torch.equal(by_sample.x, by_sample.mean)
            by_mean = mean.step(quiet, by_mean, Draw(1))
            by_sample = sample.step(quiet, by_sample, Draw(1))

    def test_it_survives_json(self) -> None:
        sampler = dataclasses.replace(self.sampler, decode="sample")
        config = ChainConfig(sampler=sampler, batch_norm="running")
        assert from_json(to_json(config)) == config
        assert from_json(to_json(self.sampler)) == self.sampler


class _BrokenToy(Toy):
    def decode(self, z: Tensor) -> Any:  # noqa: ANN401
        super().decode(z)
        raise RuntimeError("broken")


def _norms(model: Toy) -> list[Any]:
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms
    return norms


def _rows_by_step(records: list[ChainRecord]) -> dict[int, Tensor]:
    """The chains of each step, as rows that hold z, x and mean."""
    rows: dict[int, list[Tensor]] = {}
    for record in records:
        chain = record.chain
        row = torch.cat([chain.z, chain.x.flatten(1), chain.mean.flatten(1)], dim=1)
        rows.setdefault(record.step, []).append(row)
    return {step: torch.cat(parts) for step, parts in rows.items()}
