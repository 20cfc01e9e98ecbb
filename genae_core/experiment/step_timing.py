"""The time of an optimiser step in each way to compute, which --precision auto measures."""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from genae_core.data.base import Split
from genae_core.distributions.rng import Draw
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.least_seconds import least_seconds
from genae_core.experiment.precision import Timing, compute_choices, has_bf16, name_of
from genae_core.experiment.precision_flag import Precision
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.nets.cuda_graphs import NotCapturedWarning, Replay, can_capture
from genae_core.training.batches import Batches
from genae_core.training.checkpoint import build_model
from genae_core.training.curve import Point
from genae_core.training.loop import Callbacks, fit
from genae_core.training.session import Progress, TrainingSession
from genae_core.training.stacked import Replica, fit_together, run_step, try_to_stack

STEPS = 3  # optimiser steps of a short training, and those that warm up before any is timed
# A GPU lags behind its process, so that several steps are timed as one there.
STEPS_AT_A_TIME = {"cpu": 1, "cuda": STEPS}
ENDLESS = 10**9  # epochs of a training of which only the first steps are made
# On a CPU the seconds are those of one thread on its CPU, which do not count what other processes
# do meanwhile. Several threads wait for each other, so that on a busy machine their steps take up
# to a hundred times as long, and no measurement of these can be repeated.
CLOCKS = {"cpu": time.thread_time, "cuda": time.perf_counter}
# If a step takes longer than these seconds, one model fills the device.
DEVICE_IS_FULL_S = 0.1
# CUDA graphs may change the order of sums. This changes a loss, and the displacement of all
# parameters, by less than these relative differences. Other noise in the steps would change them
# by far more.
LOSS_TOLERANCE, PATH_TOLERANCE = 1e-3, 0.1


class ShortTraining(NamedTuple):
    """A training of a few optimiser steps.

    Attributes:
        seconds: The seconds of one step.
        history: The loss terms of each step.
        displacement: The change of all parameters, as one vector.
        generator: The state of the random stream at the end.
    """

    seconds: float
    history: list[Point]
    displacement: Tensor
    generator: Tensor


def timing_images(experiment: Experiment, split: Split) -> Split:
    """As many images of the split as a timed training uses."""
    assert experiment.training is not None
    rows = np.arange(experiment.training.batch_size * STEPS) % len(split.images)
    return Split(split.images[rows], split.labels[rows])


def time_choices(
    experiment: Experiment,
    images: Split,
    precision: Precision,
    gpu: bool,
    threads: int,
    graphs: bool = True,
) -> list[Timing]:
    """Time an optimiser step in each way to compute that a precision leaves open.

    The ways take turns to train the experiment's first stage, each step in the least time of many
    (see `least_seconds`).

    Args:
        experiment: The experiment whose model is trained.
        images: The images of `timing_images`.
        precision: The value of --precision. If it leaves only one way open, nothing is timed.
        gpu: Whether to train on this process's GPU.
        threads: The number of CPU threads beside a GPU. Without one, one thread is timed.
        graphs: Whether to try CUDA graphs too. A graph that fails, or whose result differs from
            the result of the same steps without it, counts as infinitely slow.

    Returns:
        The seconds of a step in each way, the plainest way first.
    """
    device = torch.device("cuda" if gpu else "cpu")
    ways = compute_choices(experiment, precision, has_bf16(device), graphs and can_capture(device))
    if len(ways) == 1:
        return [Timing(ways[0], 0.0)]
    with compute_with(threads if gpu else 1):
        wrong = _wrong_graphs(experiment, images, ways, device)
        steps = {
            way: start_steps(experiment, images, way, device) for way in ways if way not in wrong
        }
        seconds = dict(
            zip(steps, least_seconds(list(steps.values()), clock=CLOCKS[device.type]), strict=True)
        )
    at_a_time = STEPS_AT_A_TIME[device.type]
    return [Timing(way, seconds.get(way, math.inf) / at_a_time) for way in ways]


def time_by_name(*arguments: Any) -> dict[str, float]:
    """The seconds of `time_choices` by the names of the ways."""
    return {name_of(compute): seconds for compute, seconds in time_choices(*arguments)}


def time_seeds(
    experiment: Experiment, images: Split, seeds: int, gpu: bool, threads: int
) -> dict[str, float]:
    """Time an optimiser step of several seeds, trained in turn and as one stacked model.

    Args:
        experiment: The experiment whose model is trained.
        images: The images of `timing_images`.
        seeds: The number of seeds.
        gpu: Whether to train on this process's GPU.
        threads: The number of CPU threads beside a GPU. Without one, one thread is timed.

    Returns:
        The seconds "in turn" and "as one". If the model of one seed fills the device, stacking is
        not tried and counts as infinitely slow.
    """
    device = torch.device("cuda" if gpu else "cpu")
    compute = experiment.compute or ComputeConfig()
    at_a_time = STEPS_AT_A_TIME[device.type]
    with compute_with(threads if gpu else 1):
        alone = start_steps(experiment, images, compute, device)
        one_seed = min(_seconds_of(alone, device) for _ in range(STEPS)) / at_a_time
        if one_seed > DEVICE_IS_FULL_S:
            return {"in turn": seeds * one_seed, "as one": math.inf}
        together = start_steps(experiment, images, compute, device, seeds)
        clock = CLOCKS[device.type]
        in_turn, as_one = least_seconds([alone, together], counts=[seeds, 1], clock=clock)
    return {"in turn": in_turn / at_a_time, "as one": as_one / at_a_time}


def start_steps(
    experiment: Experiment,
    images: Split,
    compute: ComputeConfig,
    device: torch.device,
    seeds: int = 1,
) -> Callable[[], None]:
    """Begin to train the first stage, and return what makes the next few steps of it.

    With several seeds, their models are trained as one stacked model.
    """
    assert experiment.training is not None
    training = dataclasses.replace(experiment.training, max_images=None, num_labelled=None)
    sessions = []
    for seed in range(seeds):
        replica = _replica(experiment, images, compute, device, seed=seed, stacked=seeds > 1)
        stages = (replica.stages[0]._replace(epochs=ENDLESS),)
        sessions.append(
            TrainingSession(
                model=replica.model,
                stages=stages,
                examples=replica.examples,
                config=training,
                draw=replica.draw,
            )
        )
    training_steps = _train_on(sessions)

    def make_steps() -> None:
        for _ in range(STEPS_AT_A_TIME[device.type]):
            next(training_steps)
        _wait(device)

    for _ in range(STEPS):
        make_steps()
    return make_steps


def _train_on(sessions: Sequence[TrainingSession]) -> Iterator[None]:
    """Train without an end, one optimiser step for each item."""
    for session in sessions:
        session.begin_stage()
    stack = try_to_stack(sessions, lambda _: None) if len(sessions) > 1 else None
    while True:
        for session in sessions:
            session.model.train()
        for batches in zip(*(session.batches() for session in sessions), strict=True):
            run_step(sessions, batches, stack)
            yield


def _seconds_of(step: Callable[[], None], device: torch.device) -> float:
    clock = CLOCKS[device.type]
    before = clock()
    step()
    return clock() - before


def train_shortly(
    experiment: Experiment,
    images: Split,
    compute: ComputeConfig,
    device: torch.device,
    seeds: int = 1,
) -> ShortTraining:
    """Train the first stage for two epochs of a few steps, and time the second one.

    With several seeds, their models are trained as one stacked model. The first epoch includes
    what is set up once.
    """
    assert experiment.training is not None
    training = dataclasses.replace(
        experiment.training, epochs=2, max_images=None, num_labelled=None
    )
    ends: list[float] = []

    def note_end(_: Progress) -> None:
        _wait(device)
        ends.append(time.perf_counter())

    replicas = [
        _replica(experiment, images, compute, device, seed=seed, stacked=seeds > 1)
        for seed in range(seeds)
    ]
    replicas[0] = replicas[0]._replace(callbacks=Callbacks(note_end))
    first = replicas[0]
    before = _weights(first.model)
    if seeds == 1:
        result = fit(
            first.model, first.stages, first.examples, training, first.draw, first.callbacks
        )
    else:
        result, *_ = fit_together(replicas, training)
    seconds = (ends[1] - ends[0]) / (len(images.images) // training.batch_size)
    return ShortTraining(
        seconds,
        result.history,
        _weights(first.model) - before,
        first.draw.generator.get_state(),
    )


def _replica(
    experiment: Experiment,
    images: Split,
    compute: ComputeConfig,
    device: torch.device,
    *,
    seed: int,
    stacked: bool,
) -> Replica:
    """The first stage of one seed, for two epochs. Stacked models have no channels-last layout."""
    draw = Draw(seed, "measuring", device=device)
    with draw.as_global():
        model = build_model(experiment.model, experiment.data.shape).to(device)
    layout = compute.channels_last and not stacked
    compute_as(model, dataclasses.replace(compute, channels_last=layout))
    examples = Batches(images, len(images.images), experiment.data.binarize, device)
    stages = (model.stages()[0]._replace(epochs=2),)
    return Replica(model, stages, examples.examples(), draw)


def _wrong_graphs(
    experiment: Experiment, images: Split, ways: Sequence[ComputeConfig], device: torch.device
) -> set[ComputeConfig]:
    """The ways whose CUDA graph fails, or has other losses, draws or weights than plain steps.

    During the check, cuDNN always adds in the same order. Its faster convolutions do not, and
    after a few steps of a GAN the differences would exceed the tolerances.
    """
    if not any(way.cuda_graphs for way in ways):
        return set()
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        trainings = {way: _train_way(experiment, images, way, device) for way in ways}
    finally:
        torch.backends.cudnn.deterministic = before
    wrong = set()
    for way in (way for way in ways if way.cuda_graphs):
        graph, plain = trainings[way], trainings[dataclasses.replace(way, cuda_graphs=False)]
        if graph is None or plain is None or not _agree(graph, plain):
            wrong.add(way)
    return wrong


def _train_way(
    experiment: Experiment, images: Split, way: ComputeConfig, device: torch.device
) -> ShortTraining | None:
    """A short training in this way, or None for a CUDA graph that cannot be captured."""
    if not way.cuda_graphs:
        return train_shortly(experiment, images, way, device)
    if not Replay.possible:  # a capture has failed in this process
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", NotCapturedWarning)
            return train_shortly(experiment, images, way, device)
    except Exception:  # a device or its driver can raise anything
        return None


def _agree(graph: ShortTraining, plain: ShortTraining) -> bool:
    """Whether both trainings have the same result, except for what the order of sums changes."""
    same_draws = torch.equal(graph.generator, plain.generator)
    same_losses = all(
        math.isclose(point.terms[name], term, rel_tol=LOSS_TOLERANCE, abs_tol=LOSS_TOLERANCE)
        for before, point in zip(plain.history, graph.history, strict=True)
        for name, term in before.terms.items()
    )
    difference = (graph.displacement - plain.displacement).norm() / plain.displacement.norm()
    return same_draws and same_losses and bool(difference < PATH_TOLERANCE)


@contextmanager
def compute_with(threads: int) -> Iterator[None]:
    """Compute with this number of threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights(model: nn.Module) -> Tensor:
    """A copy of all parameters as one vector, which does not depend on their memory layout."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def _wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
