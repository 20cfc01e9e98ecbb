"""Snapshots of a training, from which it can continue after a stop."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from genae_core.training.curve import Point
from genae_core.training.session import TrainingSession

# The names of the session's counters that a snapshot holds.
COUNTERS = ("stage", "epoch", "batch", "step")


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


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
