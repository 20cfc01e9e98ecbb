"""Snapshots of a training, from which it can continue after a stop."""

import math
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from genae_core.config import require, require_finite, require_int
from genae_core.training.curve import Point
from genae_core.training.session import TrainingSession

# The names of the session's counters that a snapshot holds.
COUNTERS = ("stage", "epoch", "batch", "step")
# The names of the tensors that every snapshot holds.
STREAMS = ("stream", "stream of stage", "stream of epoch")


class Snapshot(NamedTuple):
    """Everything that a training needs to continue from an optimiser step.

    Attributes:
        tensors: The weights, moments, sums of loss terms and random streams, by name.
        values: The counters, loss curve and learning-rate schedules, as values that JSON can hold.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class SnapshotStore(Protocol):
    """Holds the snapshots of one training, so that the training can continue after a stop."""

    def load_latest(self) -> Snapshot | None:
        """Load the newest snapshot.

        Returns:
            The snapshot that the training continues from. None begins a new training.
        """

    def is_due(self) -> bool:
        """Whether `fit`, which asks after every optimiser step, should save a snapshot now."""

    def save(self, snapshot: Snapshot) -> None:
        """Save a snapshot. If this raises an exception, the training ends.

        Args:
            snapshot: The snapshot.
        """


def take_snapshot(session: TrainingSession) -> Snapshot:
    """Copy the state of a training, so that later steps do not change it."""
    tensors = {
        **_prefixed("model", session.model.state_dict()),
        **_prefixed("adam", session.optimizers.tensors()),
        **_prefixed("window", session.curve.sums),
        "stream": session.draw.generator.get_state(),
        "stream of stage": session.stage_stream,
        "stream of epoch": session.epoch_stream,
    }
    values = {
        **{name: getattr(session, name) for name in COUNTERS},
        "since": session.curve.steps,
        "decays": session.optimizers.schedule_states(),
        "history": [[point.step, point.terms] for point in session.curve.points],
        "seconds": session.seconds,
    }
    return Snapshot({name: tensor.clone() for name, tensor in tensors.items()}, values)


def check_values(snapshot: Snapshot) -> None:
    """Check that a snapshot has all values and random streams, each of the right type.

    Raises:
        ValueError: A value is missing or has another type.
    """
    tensors, values = snapshot
    try:
        for name in (*COUNTERS, "since"):
            require_int(**{name: values[name]})
            require(values[name] >= 0, f"{name} must be >= 0", **{name: values[name]})
        for step, terms in values["history"]:
            require_int(step_of_a_point=step)
            require_finite(-math.inf, **terms)
        for schedule in values["decays"].values():
            for rate in schedule["_last_lr"]:
                require_finite(0, learning_rate=rate)
            require_int(steps_of_a_schedule=schedule["last_epoch"])
        require_finite(0, seconds=values.get("seconds", 0.0))  # Old snapshots have no seconds.
        for name in STREAMS:
            require(tensors[name].ndim == 1, f"{name} must be the state of a random stream")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a value is missing or has another type: {error!r}") from None


def restore(session: TrainingSession, snapshot: Snapshot) -> None:
    """Set a new session to the state of a snapshot.

    Raises:
        ValueError: The snapshot is of another model or training.
    """
    tensors, values = snapshot
    weights = _without_prefix("model", tensors)
    sums = _without_prefix("window", tensors)
    try:
        for name in COUNTERS:
            setattr(session, name, int(values[name]))
        _check_counters(session)
        session.model.load_state_dict(weights)
        if not session.is_finished:
            session.begin_stage(tensors["stream of stage"])
            # The inputs of the stage may have set buffers of the model.
            session.model.load_state_dict(weights)
            session.optimizers.load(_without_prefix("adam", tensors), values["decays"])
        session.curve.steps = int(values["since"])
        session.curve.points = [Point(step, terms) for step, terms in values["history"]]
        session.seconds = float(values.get("seconds", 0.0))  # Old snapshots have no seconds.
    except (KeyError, IndexError, RuntimeError, TypeError) as error:
        raise ValueError(f"the snapshot is of another model or training: {error}") from None
    session.curve.sums = {name: term.to(session.draw.device) for name, term in sums.items()}
    session.epoch_stream = tensors["stream of epoch"]
    session.draw.generator.set_state(tensors["stream"])


def _check_counters(session: TrainingSession) -> None:
    """Raise ValueError if the counters of a restored session contradict each other."""
    finished = session.epochs[: session.stage]
    steps = session.steps_per_epoch * (sum(finished) + session.epoch) + session.batch
    epochs = 0 if session.is_finished else session.epochs[session.stage]
    require(
        session.stage <= len(session.stages)
        and session.epoch <= epochs
        and session.batch <= session.steps_per_epoch
        and session.step == steps,
        "the snapshot is of another training: its counters do not agree with this one",
        **{name: getattr(session, name) for name in COUNTERS},
    )


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
