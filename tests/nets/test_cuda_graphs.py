"""What is recorded once and replayed gives what it would give called again and again. A CPU stands
in for the GPU: it calls the function again, on the tensors that were recorded."""

import dataclasses
import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Examples
from genae_core.models.vae import VAEConfig
from genae_core.nets import cuda_graphs
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.nets.cuda_graphs import WARM, NotRecorded, Recording, Replay
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers import base
from genae_core.samplers.base import Chain, ChainConfig, run_chain
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.metropolis import Metropolis
from genae_core.testing import replays
from genae_core.testing.toys import digest, images
from genae_core.training import loop
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import Run, State, fit
from genae_core.training.stacked import Replica, fit_together

CPU = torch.device("cpu")
CONFIG = TrainingConfig(epochs=2, batch_size=8)
COUNT = 44  # five steps an epoch


def replica(graphs: bool, seed: int = 0, keeper: Any = None, dropout: float = 0.0) -> Replica:
    draw = Draw(seed, "training")
    net = MLPConfig(widths=(16,), dropout=dropout)
    with draw.as_global():
        model = VAEConfig(latent_dim=2, net=net, noise=0.3).build((1, 8, 8))
    compute_as(model, ComputeConfig(cuda_graphs=graphs))
    x, labels = images(COUNT, (1, 8, 8)), torch.full((COUNT,), -1)

    def batch(index: Any) -> Batch:
        rows = torch.from_numpy(index)
        return Batch(x[rows], labels[rows])

    return Replica(model, model.stages(), Examples(COUNT, batch), draw, keeper=keeper)


def trained(one: Replica, config: TrainingConfig = CONFIG) -> tuple[Any, str, list[int]]:
    """The curve, the weights and where the stream stands."""
    model, stages, examples, draw, on_epoch, keeper = one
    history = fit(model, stages, examples, config, draw, on_epoch, keeper).history
    return history, digest(model), draw.generator.get_state().tolist()


def test_it_is_called_recorded_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, calls = replays.on_cpu(monkeypatch), []
    draw, same = Draw(0), Draw(0)
    sums = torch.zeros(3)

    def add(x: Tensor) -> tuple[Tensor, None]:
        calls.append(x)
        sums.add_(x + draw.normal((3,)))
        return sums.clone(), None

    replay, expected = Replay(CPU, [draw]), torch.zeros(3)
    given = [torch.full((3,), float(n)) for n in range(5)]
    for x in given:
        expected += x + same.normal((3,))
        out, nothing = replay(add, x)
        assert torch.equal(out, expected) and nothing is None
    assert len(recorded) == 1
    assert calls[0] is given[0] and calls[WARM] is calls[-1] is recorded[0].inputs
    assert all(x is not calls[-1] for x in given)


def fails(*_: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing")


def waits(function: Callable[[Any], Any], inputs: Any, _: Any) -> tuple[Any, bool]:
    return function(inputs), True


@pytest.mark.parametrize(
    ("name", "instead", "why"),
    [("record", fails, "not permitted"), ("aside", waits, "it waits for the device")],
)
def test_what_cannot_be_recorded_is_said_and_trains_on(
    name: str, instead: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(replica(graphs=False))
    recorded = replays.on_cpu(monkeypatch)
    monkeypatch.setattr(cuda_graphs, name, instead)
    with pytest.warns(NotRecorded, match=f"cannot be recorded.*{why}") as said:
        found = trained(replica(graphs=True))
    assert found == expected
    assert len(said) == 1 and not recorded
    assert Replay.possible == (name == "aside")  # after a failure no other is tried


def test_a_device_that_records_nothing_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "aside", fails)
    assert trained(replica(graphs=True)) == trained(replica(graphs=False))


@pytest.mark.parametrize("why", ["dropout", "decay"])
def test_what_changes_in_python_is_not_recorded(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, decay="linear") if why == "decay" else CONFIG
    dropout = 0.5 if why == "dropout" else 0.0
    expected = trained(replica(False, dropout=dropout), config)
    recorded = replays.on_cpu(monkeypatch)
    assert trained(replica(True, dropout=dropout), config) == expected
    assert not recorded


class Keeper:
    """Keeps the state after step `at`, from which the next one goes on."""

    def __init__(self, at: int, state: State | None = None) -> None:
        self.at, self.state, self.steps = at, state, 0

    def found(self) -> State | None:
        return self.state

    def due(self) -> bool:
        self.steps += 1
        return self.steps == self.at

    def keep(self, state: State) -> None:
        if self.steps == self.at:
            self.state = state


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_training_that_goes_on_is_recorded_anew(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(replica(graphs=False))
    recorded = replays.on_cpu(monkeypatch)
    first = Keeper(at)
    assert trained(replica(graphs=True, keeper=first)) == expected
    assert trained(replica(graphs=True, keeper=Keeper(0, first.state))) == expected
    assert len(recorded) == 2


def test_seeds_trained_as_one_are_recorded_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def together(graphs: bool) -> list[Any]:
        each = [replica(graphs, seed) for seed in (3, 1)]
        histories = [done.history for done in fit_together(each, CONFIG)]
        streams = [one.draw.generator.get_state().tolist() for one in each]
        return [histories, [digest(one.model) for one in each], streams]

    expected = together(graphs=False)
    recorded = replays.on_cpu(monkeypatch)
    assert together(graphs=True) == expected
    assert len(recorded) == 1


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_chains_are_the_same_replayed(norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replica(graphs=True)
    config = ChainConfig(sampler=EncodeDecode(), record=(0, 1, 4, 5), sub_batch=6, batch_norm=norm)
    monkeypatch.setattr(base, "RECORDED", 14)
    expected = list(run_chain(one.model, config, 16))
    recorded = replays.on_cpu(monkeypatch)
    found = list(run_chain(one.model, config, 16))  # kept, as whoever compares steps does
    assert len(recorded) == 1
    assert [(record.step, record.first) for record in found] == [
        (record.step, record.first) for record in expected
    ]
    for record, other in zip(found, expected, strict=True):
        for name in ("z", "x", "mean"):
            assert torch.equal(getattr(record.chain, name), getattr(other.chain, name))
    later = list(run_chain(one.model, config, 4, first_chain=12))
    assert len(recorded) == 1  # so short a run is not worth it
    assert torch.equal(later[-1].chain.z, expected[-1].chain.z)


def test_a_sampler_that_counts_in_python_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    one = replica(graphs=True)
    config = ChainConfig(sampler=Metropolis(), record=(0, 4), sub_batch=6, batch_norm="running")
    monkeypatch.setattr(base, "RECORDED", 0)
    expected = [record.chain for record in run_chain(one.model, config, 6)]
    recorded = replays.on_cpu(monkeypatch)
    found: list[Chain] = [record.chain for record in run_chain(one.model, config, 6)]
    assert not recorded
    for chain, other in zip(found, expected, strict=True):
        assert torch.equal(chain.z, other.z)
        assert chain.accepted is not None and other.accepted is not None
        assert torch.equal(chain.accepted, other.accepted)


def test_optimisers_are_told_before_they_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    replays.on_cpu(monkeypatch)
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    told: list[bool] = []

    def look(x: Tensor) -> Tensor:
        told.append(adam.param_groups[0]["capturable"])
        return x

    replay = Replay(CPU, [], [adam])
    for _ in range(WARM + 1):
        replay(look, torch.zeros(1))
    assert told == [False] * WARM + [True]
    monkeypatch.setattr(cuda_graphs, "record", fails)
    failing = Replay(CPU, [], [adam])
    with pytest.warns(NotRecorded):
        for _ in range(WARM + 1):
            failing(look, torch.zeros(1))
    assert told[-1] is False


class Waiting:
    """torch.cuda as far as a call aside asks it: it says that a value was waited for."""

    mode = 0

    def __getattr__(self, name: str) -> Any:
        stream: Any = type("Stream", (), {"wait_stream": lambda *_: None})
        return {"current_stream": lambda _: stream(), "Stream": lambda _: stream()}[name]

    def get_sync_debug_mode(self) -> int:
        return self.mode

    def set_sync_debug_mode(self, mode: Any) -> None:
        self.mode = mode

    def stream(self, _: Any) -> Any:
        return warnings.catch_warnings()


def test_a_step_that_waits_is_told_from_one_that_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Waiting()
    monkeypatch.setattr(cuda_graphs.torch, "cuda", cuda)

    def step(text: str) -> str:
        assert cuda.mode == "warn"  # type: ignore[comparison-overlap]
        warnings.warn(text, stacklevel=1)
        return text

    sync = "called a synchronizing CUDA operation (Triggered internally at CUDAFunctions.cpp:153.)"
    assert cuda_graphs.aside(step, sync, CPU) == (sync, True)
    assert cuda.mode == 0
    with pytest.warns(UserWarning, match="a table is flat"):
        assert cuda_graphs.aside(step, "a table is flat", CPU) == ("a table is flat", False)
    with pytest.raises(ZeroDivisionError):
        cuda_graphs.aside(lambda _: 1 / 0, None, CPU)
    assert cuda.mode == 0


def test_a_finished_training_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor with it the images, the moments and the recording that it has on a device."""
    replays.on_cpu(monkeypatch)
    monkeypatch.setattr(cuda_graphs, "record", lambda *_: Recording(lambda: None, [{}]))
    seen: list[Any] = []

    class Seen(Run):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            seen.append(weakref.ref(self))

    monkeypatch.setattr(loop, "Run", Seen)
    gc.disable()
    try:
        trained(replica(graphs=True))
        assert len(seen) == 1 and seen[0]() is None
    finally:
        gc.enable()


def test_inputs_that_are_no_tensors_are_called_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = replays.on_cpu(monkeypatch)
    replay, given = Replay(CPU, []), (torch.ones(1), 3)
    assert all(replay(lambda x: x, given) is given for _ in range(WARM + 2))
    assert not recorded
