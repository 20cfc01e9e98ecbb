"""fit_together() trains several seeds of one model as one stacked model.

A small model leaves most of a GPU idle. Here one call with parameters of shape [S, ...] computes a
loss for all replicas. Each replica has its own weights, data order, noise, loss curve and
snapshots. Except for rounding, `fit` would give it the same weights, and `fit` can continue from
its snapshots.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.models.base import Examples, GenerativeModel, Stage
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import NO_CALLBACKS, Callbacks
from genae_core.training.processes import current_peers
from genae_core.training.session import TrainingResult, TrainingSession
from genae_core.training.snapshots import restore
from genae_core.training.stack import Stack
from genae_core.training.vmapped_loss import StackingError


class Replica(NamedTuple):
    """The training of one seed. All replicas share the other argument of `fit`, the config.

    Attributes:
        model: As in `fit`.
        stages: As in `fit`.
        examples: As in `fit`.
        draw: As in `fit`.
        callbacks: As in `fit`.
    """

    model: GenerativeModel
    stages: tuple[Stage, ...]
    examples: Examples
    draw: Draw
    callbacks: Callbacks = NO_CALLBACKS


class StageStart(NamedTuple):
    """The way in which the replicas are trained in a stage.

    Attributes:
        stage: The name of the stage.
        obstacle: The reason why the replicas are trained one after the other; None if they are
            stacked.
    """

    stage: str
    obstacle: str | None


def fit_together(
    replicas: Sequence[Replica],
    config: TrainingConfig,
    on_stage: Callable[[StageStart], None] = lambda _: None,
) -> list[TrainingResult]:
    """Train several replicas of one model at the same time, as one stacked model if possible.

    If a stage has a loss that cannot be computed for all replicas at once, the replicas make each
    optimiser step one after the other. When the snapshot of one replica is due, the snapshots of
    all replicas are saved.

    Args:
        replicas: The replicas, which differ in their seeds only.
        config: The config of all trainings.
        on_stage: Is called when a stage with optimiser steps begins or continues. Its argument
            says whether the replicas are stacked in this stage, and if not, why.

    Returns:
        The loss curve of each replica, and its part of the seconds.

    Raises:
        NonFiniteLossError: A loss term of a replica is NaN or infinite. All snapshots are then of
            steps before this one.
        ValueError: The snapshots of the replicas are of different steps, or several processes
            share the training; or as in `fit`.
    """
    require(
        current_peers().size == 1,
        "a stacked model is trained by one process: train its seeds one after the other",
        processes=current_peers().size,
    )
    sessions = [
        TrainingSession(
            model=replica.model,
            stages=replica.stages,
            examples=replica.examples,
            config=config,
            draw=replica.draw,
        )
        for replica in replicas
    ]
    for session, replica in zip(sessions, replicas, strict=True):
        snapshot = replica.callbacks.load_latest()
        if snapshot is not None:
            restore(session, snapshot)
    places = {(session.stage, session.epoch, session.batch) for session in sessions}
    require(len(places) == 1, "all snapshots must be of one step", places=sorted(places))
    while not sessions[0].is_finished:
        for session in sessions:
            if not session.stage_has_begun:
                session.begin_stage()
        _train_stage(replicas, sessions, on_stage)
        for session in sessions:
            session.end_stage()
    _save_snapshots(replicas, sessions)
    for session in sessions:
        session.model.eval()
    return [session.result() for session in sessions]


def _train_stage(
    replicas: Sequence[Replica],
    sessions: Sequence[TrainingSession],
    on_stage: Callable[[StageStart], None],
) -> None:
    """Make all optimiser steps of the current stage."""
    if sessions[0].stage_is_trained:
        return
    stack = try_to_stack(sessions, on_stage)
    while not sessions[0].stage_is_trained:
        for session in sessions:
            session.model.train()  # on_epoch may have set evaluation mode.
        # batches() finishes the epoch at its end, so every one of these iterators must be
        # exhausted.
        for batches in zip(*(session.batches() for session in sessions), strict=True):
            run_step(sessions, batches, stack)
            if any(replica.callbacks.snapshot_is_due() for replica in replicas):
                _save_snapshots(replicas, sessions)
        for session, replica in zip(sessions, replicas, strict=True):
            replica.callbacks.on_epoch(session.progress())
    if stack is not None:
        stack.separate()


def run_step(
    sessions: Sequence[TrainingSession], batches: Sequence[Any], stack: Stack | None
) -> None:
    """Make an optimiser step of every session: stacked, or without a stack one after the other."""
    if stack is not None:
        stack.run_phases(batches)
    else:
        for session, batch in zip(sessions, batches, strict=True):
            session.run_phases(batch)
    for session in sessions:
        session.finish_step(1 / len(sessions))


def try_to_stack(
    sessions: Sequence[TrainingSession], on_stage: Callable[[StageStart], None]
) -> Stack | None:
    """Stack the sessions, and tell `on_stage`. Return None if a loss cannot be stacked."""
    stage = sessions[0].stages[sessions[0].stage].name
    try:
        stack = Stack(sessions)
    except StackingError as error:
        on_stage(StageStart(stage, str(error)))
        return None
    on_stage(StageStart(stage, None))
    return stack


def _save_snapshots(replicas: Sequence[Replica], sessions: Sequence[TrainingSession]) -> None:
    """Save the snapshots of all replicas, even if saving one of them raises an exception."""
    with ExitStack() as exits:
        for session, replica in zip(sessions, replicas, strict=True):
            exits.callback(replica.callbacks.save_snapshot, session)
    for session in sessions:
        session.restart_clock()
