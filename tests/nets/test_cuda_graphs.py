"""A step that is captured once and replayed gives the same results as one that is called again.

A CPU stands in for the GPU: it calls the function again, on the tensors of the capture.
"""

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
from genae_core.nets.cuda_graphs import WARM_UP_CALLS, Graph, NotCapturedWarning, Replay
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers import loop as sampling_loop
from genae_core.samplers.base import Chain
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.samplers.metropolis import Metropolis
from genae_core.testing import replays
from genae_core.testing.toys import digest, images
from genae_core.training import loop
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import Callbacks, fit
from genae_core.training.session import TrainingSession
from genae_core.training.snapshots import Snapshot
from genae_core.training.stacked import Replica, fit_together

CPU = torch.device("cpu")
CONFIG = TrainingConfig(epochs=2, batch_size=8)
COUNT = 44  # five steps per epoch


def replica(graphs: bool, seed: int = 0, store: Any = None, dropout: float = 0.0) -> Replica:
    draw = Draw(seed, "training")
    net = MLPConfig(widths=(16,), dropout=dropout)
    with draw.as_global():
        model = VAEConfig(latent_dim=2, net=net, noise=0.3).build((1, 8, 8))
    compute_as(model, ComputeConfig(cuda_graphs=graphs))
    x, labels = images(COUNT, (1, 8, 8)), torch.full((COUNT,), -1)

    def batch(index: Any) -> Batch:
        rows = torch.from_numpy(index)
        return Batch(x[rows], labels[rows])

    return Replica(model, model.stages(), Examples(COUNT, batch), draw, Callbacks(snapshots=store))


def trained(one: Replica, config: TrainingConfig = CONFIG) -> tuple[Any, str, list[int]]:
    """The learning curve, the digest of the weights and the state of the random stream."""
    model, stages, examples, draw, callbacks = one
    history = fit(model, stages, examples, config, draw, callbacks).history
    return history, digest(model), draw.generator.get_state().tolist()


def test_it_is_called_then_captured_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    captured, calls = replays.capture_on_cpu(monkeypatch), []
    draw, same = Draw(0), Draw(0)
    sums = torch.zeros(3)

    def add(x: Tensor) -> tuple[Tensor, None]:
        calls.append(x)
        sums.add_(x + draw.normal((3,)))
        return sums.clone(), None

    replay, expected = Replay(CPU, [draw]), torch.zeros(3)
    inputs = [torch.full((3,), float(n)) for n in range(5)]
    for x in inputs:
        expected += x + same.normal((3,))
        out, nothing = replay(add, x)
        assert torch.equal(out, expected) and nothing is None
    assert len(captured) == 1
    assert calls[0] is inputs[0] and calls[WARM_UP_CALLS] is calls[-1] is captured[0].inputs
    assert all(x is not calls[-1] for x in inputs)


def fails(*_: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing")


def waits(function: Callable[[Any], Any], inputs: Any, _: Any) -> tuple[Any, bool]:
    return function(inputs), True


@pytest.mark.parametrize(
    ("name", "instead", "why"),
    [("capture", fails, "not permitted"), ("warm_up", waits, "it waits for the device")],
)
def test_a_step_that_cannot_be_captured_warns_and_trains_on(
    name: str, instead: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(replica(graphs=False))
    captured = replays.capture_on_cpu(monkeypatch)
    monkeypatch.setattr(cuda_graphs, name, instead)
    with pytest.warns(NotCapturedWarning, match=f"cannot be captured.*{why}") as caught:
        result = trained(replica(graphs=True))
    assert result == expected
    assert len(caught) == 1 and not captured
    assert Replay.possible == (name == "warm_up")  # after a failure no other capture is tried


def test_a_device_without_graphs_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "warm_up", fails)
    assert trained(replica(graphs=True)) == trained(replica(graphs=False))


@pytest.mark.parametrize("why", ["dropout", "decay"])
def test_a_step_that_changes_in_python_is_not_captured(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, decay="linear") if why == "decay" else CONFIG
    dropout = 0.5 if why == "dropout" else 0.0
    expected = trained(replica(False, dropout=dropout), config)
    captured = replays.capture_on_cpu(monkeypatch)
    assert trained(replica(True, dropout=dropout), config) == expected
    assert not captured


class Memory:
    """Saves the snapshot after step `at`, from which the next training continues."""

    def __init__(self, at: int, snapshot: Snapshot | None = None) -> None:
        self.at, self.snapshot, self.steps = at, snapshot, 0

    def load_latest(self) -> Snapshot | None:
        return self.snapshot

    def is_due(self) -> bool:
        self.steps += 1
        return self.steps == self.at

    def save(self, snapshot: Snapshot) -> None:
        if self.steps == self.at:
            self.snapshot = snapshot


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_resumed_training_is_captured_again(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(replica(graphs=False))
    captured = replays.capture_on_cpu(monkeypatch)
    first = Memory(at)
    assert trained(replica(graphs=True, store=first)) == expected
    assert trained(replica(graphs=True, store=Memory(0, first.snapshot))) == expected
    assert len(captured) == 2


def test_stacked_seeds_are_captured_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def together(graphs: bool) -> list[Any]:
        each = [replica(graphs, seed) for seed in (3, 1)]
        histories = [done.history for done in fit_together(each, CONFIG)]
        streams = [one.draw.generator.get_state().tolist() for one in each]
        return [histories, [digest(one.model) for one in each], streams]

    expected = together(graphs=False)
    captured = replays.capture_on_cpu(monkeypatch)
    assert together(graphs=True) == expected
    assert len(captured) == 1


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_chains_are_the_same_replayed(norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replica(graphs=True)
    config = ChainConfig(sampler=EncodeDecode(), record=(0, 1, 4, 5), sub_batch=6, batch_norm=norm)
    monkeypatch.setattr(sampling_loop, "FEW_STEPS", 14)
    expected = list(run_chain(one.model, config, 16))
    captured = replays.capture_on_cpu(monkeypatch)
    records = list(run_chain(one.model, config, 16))  # all records are held at once
    assert len(captured) == 1
    assert [(record.step, record.first) for record in records] == [
        (record.step, record.first) for record in expected
    ]
    for record, other in zip(records, expected, strict=True):
        for name in ("z", "x", "mean"):
            assert torch.equal(getattr(record.chain, name), getattr(other.chain, name))
    later = list(run_chain(one.model, config, 4, first_chain=12))
    assert len(captured) == 1  # so short a run is not captured
    assert torch.equal(later[-1].chain.z, expected[-1].chain.z)


def test_a_sampler_that_counts_in_python_is_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    one = replica(graphs=True)
    config = ChainConfig(sampler=Metropolis(), record=(0, 4), sub_batch=6, batch_norm="running")
    monkeypatch.setattr(sampling_loop, "FEW_STEPS", 0)
    expected = [record.chain for record in run_chain(one.model, config, 6)]
    captured = replays.capture_on_cpu(monkeypatch)
    chains: list[Chain] = [record.chain for record in run_chain(one.model, config, 6)]
    assert not captured
    for chain, other in zip(chains, expected, strict=True):
        assert torch.equal(chain.z, other.z)
        assert chain.accepted is not None and other.accepted is not None
        assert torch.equal(chain.accepted, other.accepted)


def test_optimisers_are_capturable_during_a_capture_only(monkeypatch: pytest.MonkeyPatch) -> None:
    replays.capture_on_cpu(monkeypatch)
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    capturable: list[bool] = []

    def look(x: Tensor) -> Tensor:
        capturable.append(adam.param_groups[0]["capturable"])
        return x

    replay = Replay(CPU, [], [adam])
    for _ in range(WARM_UP_CALLS + 1):
        replay(look, torch.zeros(1))
    assert capturable == [False] * WARM_UP_CALLS + [True]
    monkeypatch.setattr(cuda_graphs, "capture", fails)
    failing = Replay(CPU, [], [adam])
    with pytest.warns(NotCapturedWarning):
        for _ in range(WARM_UP_CALLS + 1):
            failing(look, torch.zeros(1))
    assert capturable[-1] is False


class Stream:
    def wait_stream(self, other: Any) -> None:
        pass


class FakeCuda:
    """The part of torch.cuda that `warm_up` uses, with the mode in which torch warns about
    synchronisation."""

    mode = 0

    def current_stream(self, _: Any) -> Stream:
        return Stream()

    def get_sync_debug_mode(self) -> int:
        return self.mode

    def set_sync_debug_mode(self, mode: Any) -> None:
        self.mode = mode

    def stream(self, _: Any) -> Any:
        return warnings.catch_warnings()


def test_a_warning_about_synchronisation_is_not_passed_on_and_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda()
    monkeypatch.setattr(cuda_graphs, "_side_stream", lambda _: Stream())
    monkeypatch.setattr(cuda_graphs.torch, "cuda", cuda)

    def step(text: str) -> str:
        assert cuda.mode == "warn"  # type: ignore[comparison-overlap]
        warnings.warn(text, stacklevel=1)
        return text

    sync = "called a synchronizing CUDA operation (Triggered internally at CUDAFunctions.cpp:153.)"
    assert cuda_graphs.warm_up(step, sync, CPU) == (sync, True)
    assert cuda.mode == 0
    with pytest.warns(UserWarning, match="a table is flat"):
        assert cuda_graphs.warm_up(step, "a table is flat", CPU) == ("a table is flat", False)
    with pytest.raises(ZeroDivisionError):
        cuda_graphs.warm_up(lambda _: 1 / 0, None, CPU)
    assert cuda.mode == 0


def test_a_finished_training_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it the images, moments and graph that it has on a device are freed too."""
    replays.capture_on_cpu(monkeypatch)
    monkeypatch.setattr(cuda_graphs, "capture", lambda *_: Graph(lambda: None, [{}]))
    references: list[Any] = []

    class WatchedSession(TrainingSession):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            references.append(weakref.ref(self))

    monkeypatch.setattr(loop, "TrainingSession", WatchedSession)
    gc.disable()
    try:
        trained(replica(graphs=True))
        assert len(references) == 1 and references[0]() is None
    finally:
        gc.enable()


def test_inputs_that_hold_a_number_are_called_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = replays.capture_on_cpu(monkeypatch)
    replay, inputs = Replay(CPU, []), (torch.ones(1), 3)
    assert all(replay(lambda x: x, inputs) is inputs for _ in range(WARM_UP_CALLS + 2))
    assert not captured
