"""fit(), the training loop of every model that lists its stages and phases."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from genae_core.distributions.rng import Draw
from genae_core.models.base import Examples, Stage
from genae_core.training.config import TrainingConfig
from genae_core.training.processes import share
from genae_core.training.session import Progress, TrainingResult, TrainingSession
from genae_core.training.snapshots import Snapshot, SnapshotStore, restore, take_snapshot


@dataclass(frozen=True)
class Callbacks:
    """The functions that a training calls while it runs.

    Attributes:
        on_epoch: Is called after each epoch. It may sample from the model.
        snapshots: The store of the training's snapshots. The training continues from the newest
            one, and saves new ones. None saves nothing.
    """

    on_epoch: Callable[[Progress], None] = lambda _: None
    snapshots: SnapshotStore | None = None

    def load_latest(self) -> Snapshot | None:
        """The snapshot that the training continues from, if there is one."""
        return None if self.snapshots is None else self.snapshots.load_latest()

    def snapshot_is_due(self) -> bool:
        """Whether to save a snapshot now."""
        return self.snapshots is not None and self.snapshots.is_due()

    def save_snapshot(self, session: TrainingSession) -> None:
        """Save a snapshot of the session if there is a store.

        The seconds of the training do not include the time that this takes.
        """
        if self.snapshots is not None:
            self.snapshots.save(take_snapshot(session))
            session.restart_clock()


NO_CALLBACKS = Callbacks()


def fit(
    model: nn.Module,
    stages: tuple[Stage, ...],
    examples: Examples,
    config: TrainingConfig,
    draw: Draw,
    callbacks: Callbacks = NO_CALLBACKS,
) -> TrainingResult:
    """Train a model through its stages and leave it in evaluation mode.

    An optimiser step runs the phases of the stage in their order, all on the same batch. A phase
    computes its loss and the gradient, and makes one step of its player's optimiser. Examples that
    do not fill a batch are left out of the epoch. On a CPU, a training that continues from a
    snapshot ends with the same bits as a training without a stop. It may call `on_epoch` a second
    time for the same epoch. In a block of `data_parallel`, several processes share the training.

    Args:
        model: The model.
        stages: Its stages, usually `model.stages()`.
        examples: The training set.
        config: The number of epochs, the batch size and the decay of the learning rates.
        draw: The random stream of the order of the examples and of the noise in the losses.
        callbacks: The function to call after each epoch, and the store of the snapshots.

    Returns:
        The loss curve and the seconds of the training.

    Raises:
        NonFiniteLossError: A loss term is NaN or infinite.
        ValueError: The snapshot is of another model or training, or a batch is larger than the
            training set or does not divide among the processes that share it.
    """
    session = TrainingSession(
        model=model, stages=stages, examples=examples, config=config, draw=draw
    )
    if session.peers.rank > 0:
        callbacks = NO_CALLBACKS
    snapshot = share(session.peers, callbacks.load_latest())
    if snapshot is not None:
        restore(session, snapshot)
    session.copy_first()
    start = (session.stage, session.step)
    while not session.is_finished:
        if not session.stage_has_begun:
            session.begin_stage()
        while not session.stage_is_trained:
            model.train()  # on_epoch may have set evaluation mode.
            for batch in session.batches():
                session.run_phases(batch)
                session.finish_step()
                if callbacks.snapshot_is_due():
                    callbacks.save_snapshot(session)
            callbacks.on_epoch(session.progress())
        session.end_stage()
    if snapshot is None or start != (session.stage, session.step):
        callbacks.save_snapshot(session)
    model.eval()
    return session.result()
