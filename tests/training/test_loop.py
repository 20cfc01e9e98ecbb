import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genae_core.distributions.rng import Draw
from genae_core.models.base import Examples, Phase, Player, Stage
from genae_core.models.optimizers import AdamConfig
from genae_core.training.config import TrainingConfig
from genae_core.training.curve import NUM_POINTS, NonFiniteLossError, Point
from genae_core.training.loop import Callbacks, fit
from genae_core.training.session import Progress
from genae_core.training.snapshots import Snapshot


class Weights(nn.Module):
    """Two weights, each a player."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(1))
        self.b = nn.Parameter(torch.zeros(1))

    def player(self, name: str) -> Player:
        return Player(name, [getattr(self, name)], AdamConfig(learning_rate=0.1))


Term = Callable[[int], float]


def _counting(term: Term = float) -> Any:
    """A loss of constant gradient 1 whose term is term(1), term(2), ... at its calls."""
    calls = 0

    def loss(model: Weights, batch: Any, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        nonlocal calls
        calls += 1
        return model.a.sum() + model.b.sum(), {"term": torch.tensor(term(calls))}

    return loss


def _fit(
    model: Weights,
    stages: tuple[Stage, ...],
    examples: int = 10,
    batch: Any = lambda i: i,
    epochs: int = 1,
    size: int = 2,
    **settings: Any,
) -> list[Point]:
    on_epoch = settings.pop("on_epoch", lambda _: None)
    config = TrainingConfig(epochs=epochs, batch_size=size, **settings)
    training_set, callbacks = Examples(examples, batch), Callbacks(on_epoch)
    return fit(model, stages, training_set, config, Draw(0), callbacks).history


def _stage(model: Weights, loss: Any, repeats: int = 1) -> Stage:
    return Stage("one", (Phase(model.player("a"), loss, repeats),))


def test_phases_run_in_order_and_repeat() -> None:
    model, calls = Weights(), []

    def loss(name: str) -> Any:
        def run(model: Weights, batch: Any, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
            calls.append((name, tuple(batch), float(model.a.detach()), float(model.b.detach())))
            total = model.a.sum() + model.b.sum()
            return total, {name: total}

        return run

    phases = (Phase(model.player("a"), loss("a"), 2), Phase(model.player("b"), loss("b")))
    _fit(model, (Stage("first", phases), Stage("second", phases[1:])), examples=4)
    assert "".join(name for name, *_ in calls) == "aabaab" + "bb"
    # One batch a step for all phases, and each call sees what the call before it did: Adam moves
    # by the learning rate where the gradient is constant.
    assert calls[0][1] == calls[1][1] == calls[2][1] != calls[3][1]
    np.testing.assert_allclose(
        [a for _, _, a, _ in calls], np.array([0, -1, -2, -2, -3, -4, -4, -4]) / 10, atol=1e-6
    )
    np.testing.assert_allclose(
        [b for _, _, _, b in calls], np.array([0, 0, 0, -1, -1, -1, -2, -3]) / 10, atol=1e-6
    )


def test_a_phase_leaves_the_other_players_gradients_alone() -> None:
    model = Weights()
    _fit(model, (_stage(model, _counting()),))
    assert float(model.b.detach()) == 0 and model.b.grad is None


def test_the_seconds_are_those_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 1 second, saving a snapshot 10 and the callback of an epoch 100."""
    clock = [0.0]
    monkeypatch.setattr("genae_core.training.session.time.perf_counter", lambda: clock[0])

    def loss(model: Weights, batch: Any, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        clock[0] += 1
        return model.a.sum(), {"a": model.a.detach().sum()}

    def watch(_: Progress) -> None:
        clock[0] += 100

    model, config = Weights(), TrainingConfig(epochs=3, batch_size=2)
    examples, snapshots = Examples(10, lambda i: i), list[Snapshot]()

    def save(snapshot: Snapshot) -> None:
        clock[0] += 10
        snapshots.append(snapshot)

    store: Any = SimpleNamespace(load_latest=lambda: None, is_due=lambda: True, save=save)
    stages = (_stage(model, loss),)
    result = fit(model, stages, examples, config, Draw(0), Callbacks(watch, store))
    assert result.seconds == 3 * 5
    again: Any = SimpleNamespace(
        load_latest=lambda: snapshots[3], is_due=lambda: False, save=lambda _: None
    )
    clock[0] += 1000
    resumed = fit(model, stages, examples, config, Draw(0), Callbacks(watch, again))
    assert resumed.seconds == 3 * 5  # 4 of them before


@pytest.mark.parametrize("epochs", [1, 20, 65])
def test_a_point_is_the_mean_over_the_steps_since_the_last(epochs: int) -> None:
    """5 steps an epoch; the term at step s is s^2, so every window has its own mean."""
    model = Weights()
    history = _fit(model, (_stage(model, _counting(lambda s: float(s * s))),), epochs=epochs)
    last = 0
    for point in history:
        window = range(last + 1, point.step + 1)
        assert point.terms["term"] == pytest.approx(np.mean([s * s for s in window]), rel=1e-6)
        last = point.step
    assert last == 5 * epochs
    assert (
        len(history) == 5 * epochs if epochs < 20 else NUM_POINTS <= len(history) <= 2 * NUM_POINTS
    )


def test_a_point_of_a_repeated_phase_is_the_mean_over_its_repeats() -> None:
    """A term that is always 3 has mean 3, however often its phase runs a step."""
    model = Weights()
    history = _fit(model, (_stage(model, _counting(lambda _: 3.0), repeats=4),))
    assert [point.terms["term"] for point in history] == [3.0] * 5


def test_a_point_of_a_later_stage_is_the_mean_of_its_own_steps() -> None:
    """65 epochs of 5 steps in two stages: a window of 6 steps does not divide the first's 325."""
    model = Weights()
    stages = (_stage(model, _counting(lambda _: 3.0)), _stage(model, _counting(lambda _: 3.0)))
    history = _fit(model, stages, epochs=65)
    steps = [point.step for point in history]
    assert steps == sorted(set(steps)) and 325 in steps and steps[-1] == 650
    assert {point.terms["term"] for point in history} == {3.0}


@pytest.mark.parametrize(
    ("decay", "factor"), [("none", lambda step: 1.0), ("linear", lambda step: 1 - step / 20)]
)
def test_the_learning_rate_at_each_step(decay: str, factor: Callable[[int], float]) -> None:
    """Adam moves a weight of constant gradient by the learning rate: 0.1 times 1, 19/20, ...,
    1/20 in 20 steps, so that the next would be 0."""
    model, places = Weights(), [0.0]

    def batch(index: Any) -> Any:
        places.append(float(model.a.detach()))
        return index

    _fit(model, (_stage(model, _counting()),), batch=batch, epochs=4, decay=decay)
    moves = -np.diff([*places[1:], float(model.a.detach())])
    # float32 weights of order 1 are right to 1e-7, Adam's epsilon is 1e-8.
    np.testing.assert_allclose(moves, [0.1 * factor(step) for step in range(20)], atol=1e-6)


def test_every_image_is_used_once_per_epoch_in_a_new_order() -> None:
    model, calls = Weights(), []
    _fit(model, (_stage(model, _counting()),), batch=lambda i: calls.append(i) or i, epochs=3)
    assert all(len(index) == 2 and index.dtype == np.int64 for index in calls)
    epochs = np.concatenate(calls).reshape(3, 10)
    assert (np.sort(epochs) == np.arange(10)).all()
    assert len(np.unique(epochs, axis=0)) == 3


def test_images_that_do_not_fill_a_batch_are_left_out_of_the_epoch() -> None:
    model, calls = Weights(), []
    _fit(
        model,
        (_stage(model, _counting()),),
        examples=11,
        size=4,
        epochs=20,
        batch=lambda i: calls.append(i) or i,
    )
    assert len(calls) == 40
    for epoch in np.concatenate(calls).reshape(20, 8):
        assert len(set(epoch)) == 8
    # An image is left out of an epoch with chance 3/11: out of all 20 below 1e-10.
    assert set(np.concatenate(calls)) == set(range(11))


def test_the_callback_of_an_epoch_may_change_the_mode() -> None:
    model, calls = Weights(), []

    def on_epoch(progress: Progress) -> None:
        calls.append(progress)
        model.eval()

    modes = []
    _fit(
        model,
        (_stage(model, _counting()),),
        epochs=3,
        on_epoch=on_epoch,
        batch=lambda i: modes.append(model.training) or i,
    )
    assert [(p.epoch, p.epochs) for p in calls] == [(1, 3), (2, 3), (3, 3)]
    assert [p.terms for p in calls] == [{"term": 5.0}, {"term": 10.0}, {"term": 15.0}]
    assert all(modes) and not model.training


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_term_that_is_not_finite_is_named_with_the_others(value: float) -> None:
    model = Weights()

    def loss(model: Weights, batch: Any, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        return model.a.sum(), {"good": torch.tensor(1.5), "bad": torch.tensor(value)}

    with pytest.raises(NonFiniteLossError, match=rf"step 1: good=1.5, bad={value}; a smaller"):
        _fit(model, (_stage(model, loss),))


def test_a_batch_larger_than_the_data_is_refused() -> None:
    model = Weights()
    with pytest.raises(ValueError, match="at most the 10 training images, got batch_size=11"):
        _fit(model, (_stage(model, _counting()),), size=11)
    assert len(_fit(model, (_stage(model, _counting()),), size=10)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must"),
        ({"epochs": True}, "epochs must"),
        ({"epochs": 1.0}, "epochs must"),
        ({"batch_size": 0}, "batch_size must"),
        ({"batch_size": 1}, "batch_size must be >= 2"),
        ({"decay": "cosine"}, "decay must"),
        ({"max_images": 0}, "max_images must"),
        ({"max_images": 3}, "max_images must be >= batch_size 4, got max_images=3"),
    ],
)
def test_a_config_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{"epochs": 1, "batch_size": 4, **settings})


def test_stages_have_their_own_epochs_and_report_the_progress() -> None:
    """5 steps an epoch: 2 epochs, a stage without phases, then 3 epochs of its own inputs."""
    model, calls, made = Weights(), [], []

    def inputs(model: Weights, examples: Examples, draw: Draw) -> Examples:
        made.append(float(model.a.detach()))
        return Examples(examples.count, lambda index: ("codes", index))

    def loss(model: Weights, batch: Any, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(batch, tuple) == (len(made) == 2)
        return model.a.sum(), {"a": model.a.sum()}

    phase = Phase(model.player("a"), loss)
    stages = (
        Stage("first", (phase,)),
        Stage("fitted", (), inputs),
        Stage("last", (phase,), inputs, epochs=3),
    )
    history = _fit(model, stages, epochs=2, on_epoch=calls.append)
    assert [(p.stage, p.epoch, p.epochs) for p in calls] == [
        ("first", 1, 2),
        ("first", 2, 2),
        ("last", 1, 3),
        ("last", 2, 3),
        ("last", 3, 3),
    ]
    assert [p.done for p in calls] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [p.last_stage for p in calls] == [False, False, True, True, True]
    assert made == pytest.approx([-1.0, -1.0])  # after 10 steps of Adam at 0.1
    assert history[-1].step == 25


def test_a_phase_is_projected_after_each_of_its_steps() -> None:
    model, calls = Weights(), []

    def project(model: Weights) -> None:
        calls.append(float(model.a.detach()))
        with torch.no_grad():
            model.a.clamp_(min=-0.15)

    phase = Phase(model.player("a"), _counting(), repeats=2, project=project)
    _fit(model, (Stage("one", (phase,)),), examples=4)
    assert len(calls) == 4 and calls[0] == pytest.approx(-0.1)
    assert all(value < -0.15 for value in calls[1:])
    assert float(model.a.detach()) == pytest.approx(-0.15)
