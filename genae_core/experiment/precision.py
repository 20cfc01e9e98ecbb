"""How the networks of a sweep compute fastest, measured before it: --precision auto."""

import dataclasses
import math
import statistics
import time
import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from genae_core.config import require
from genae_core.data.base import Split
from genae_core.distributions.rng import Draw
from genae_core.experiment.experiment import Experiment
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.nets.cuda_graphs import NotCapturedWarning, Replay, can_capture
from genae_core.training.batches import Batches
from genae_core.training.checkpoint import build_model
from genae_core.training.curve import Point
from genae_core.training.dropout import has_dropout
from genae_core.training.loop import NO_CALLBACKS, Callbacks, fit
from genae_core.training.session import Progress
from genae_core.training.stacked import Replica, fit_together

Precision = Literal["auto", "fp32", "fp32-channels-last", "bf16"]


STEPS, ROUNDS = 3, 3  # of the optimiser in a round, and rounds that are timed
FILLED_S = 0.1  # of a step: one model that takes so long leaves a device no room for others
# What the order of sums alone may change in a few steps: of a loss, and of the way that all
# parameters have gone. Other noise in each step would turn that by far more.
ALIKE, ASTRAY = 1e-3, 0.1
WORTH = 0.95  # of the first's seconds: what is hardly faster here may be slower the next time


class Timing(NamedTuple):
    """One way to compute and the median seconds of an optimiser step; infinity for a way that
    fails here."""

    compute: ComputeConfig
    seconds: float


class Tried(NamedTuple):
    """A few optimiser steps: the seconds of one, the loss terms of each, how far all parameters
    have come, and where the draw stood."""

    seconds: float
    history: list[Point]
    moved: Tensor
    stream: Tensor


def choices(
    experiment: Experiment, precision: Precision, bf16: bool, graphs: bool = False
) -> list[ComputeConfig]:
    """What there is to choose from, the plainest first. bf16: whether the hardware computes with
    it. graphs: whether CUDA graphs are to be tried, which a training with dropout or a falling
    learning rate does not have. Raises ValueError where bf16 is asked for and the hardware does
    not have it."""
    require(
        precision != "bf16" or bf16,
        "this hardware does not compute in bfloat16: leave the choice to --precision auto",
        precision=precision,
    )
    with torch.device("meta"):
        model = experiment.model.build(experiment.data.shape)
    images = any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in model.modules())
    lower = ComputeConfig(precision="bf16", channels_last=images)
    named = {
        "fp32": ComputeConfig(),
        "fp32-channels-last": ComputeConfig(channels_last=True),
        "bf16": lower,
    }
    if precision in named:
        ways = [named[precision]]
    else:
        plain = [ComputeConfig(), *([ComputeConfig(channels_last=True)] if images else [])]
        ways = plain + ([lower] if bf16 else [])
    if not graphs or has_dropout(model) or experiment.training.decay != "none":
        return ways
    return [dataclasses.replace(way, cuda_graphs=on) for way in ways for on in (False, True)]


def flag_of(compute: ComputeConfig) -> Precision:
    """The --precision that asks for it, with or without CUDA graphs."""
    if compute.precision == "bf16":
        return "bf16"
    return "fp32-channels-last" if compute.channels_last else "fp32"


def has_bf16(device: torch.device | str = "cpu") -> bool:
    """Whether the hardware multiplies bfloat16 matrices: AVX-512 BF16 or AMX, or a GPU's."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def few_images(experiment: Experiment, split: Split) -> Split:
    """As many images as a measurement trains on."""
    rows = np.arange(experiment.training.batch_size * STEPS) % len(split.images)
    return Split(split.images[rows], split.labels[rows])


def measure(
    experiment: Experiment,
    images: Split,
    precision: Precision,
    gpu: bool,
    threads: int,
    graphs: bool = True,
) -> list[Timing]:
    """Train the experiment's first stage for a few steps each way, in turns; alone where there is
    nothing to choose. graphs: try CUDA graphs, which are passed over where they fail or do not
    give what the same steps give without."""
    device = torch.device("cuda" if gpu else "cpu")
    ways = choices(experiment, precision, has_bf16(device), graphs and can_capture(device))
    if len(ways) == 1:
        return [Timing(ways[0], 0.0)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        each: dict[ComputeConfig, list[float]] = {way: [] for way in ways}
        for number in range(1 + ROUNDS):
            found: dict[ComputeConfig, Tried] = {}
            for way, seconds in each.items():
                if way.cuda_graphs:
                    plain = found[dataclasses.replace(way, cuda_graphs=False)]
                    took = _recorded(experiment, images, way, device, plain)
                else:
                    found[way] = tried(experiment, images, way, device)
                    took = found[way].seconds
                if number or took == math.inf:  # the first warms up
                    seconds.append(took)
    finally:
        torch.set_num_threads(before)
    return [
        Timing(way, math.inf if math.inf in seconds else statistics.median(seconds))
        for way, seconds in each.items()
    ]


def measure_seeds(
    experiment: Experiment, images: Split, seeds: int, gpu: bool, threads: int
) -> tuple[float, float]:
    """The median seconds of an optimiser step of so many seeds, one after the other and as one
    stacked model; infinity for that, untried, where one seed's step alone fills the device."""
    device = torch.device("cuda" if gpu else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compute = experiment.compute or ComputeConfig()
        alone = [tried(experiment, images, compute, device).seconds for _ in range(1 + ROUNDS)]
        one = statistics.median(alone[1:])  # the first warms up
        if one > FILLED_S:
            return seeds * one, math.inf
        stacked = []
        for number in range(1 + ROUNDS):
            alone.append(tried(experiment, images, compute, device).seconds)
            took = tried(experiment, images, compute, device, seeds).seconds
            stacked += [took] if number else []
    finally:
        torch.set_num_threads(before)
    return seeds * statistics.median(alone[1:]), statistics.median(stacked)


def fastest(timings: Sequence[Timing]) -> ComputeConfig:
    """The first, or each later one that is clearly faster than what was taken before it."""
    taken = timings[0]
    for timing in timings[1:]:
        if timing.seconds < WORTH * taken.seconds:
            taken = timing
    return taken.compute


def _recorded(
    experiment: Experiment, images: Split, way: ComputeConfig, device: torch.device, plain: Tried
) -> float:
    """The seconds of a step as a CUDA graph; infinity where it fails, or where what it has come to
    is not what the plain steps have."""
    if not Replay.possible:  # one has failed in this process
        return math.inf
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", NotCapturedWarning)
            took = tried(experiment, images, way, device)
    except Exception:  # what of it fails is the device's or its driver's to say
        return math.inf
    alike = torch.equal(took.stream, plain.stream) and all(
        math.isclose(term, before.terms[name], rel_tol=ALIKE, abs_tol=ALIKE)
        for before, point in zip(plain.history, took.history, strict=True)
        for name, term in point.terms.items()
    )
    astray = (took.moved - plain.moved).norm() / plain.moved.norm()
    return took.seconds if alike and bool(astray < ASTRAY) else math.inf


def tried(
    experiment: Experiment,
    images: Split,
    compute: ComputeConfig,
    device: torch.device,
    seeds: int = 1,
) -> Tried:
    """A few optimiser steps of the first stage of so many seeds, stacked where there are several;
    timed are those of a second epoch, before which all is set up."""
    training = dataclasses.replace(
        experiment.training, epochs=2, max_images=None, num_labelled=None
    )
    ends: list[float] = []

    def at_end(_: Progress) -> None:
        _wait(device)
        ends.append(time.perf_counter())

    replicas: list[Replica] = []
    for seed in range(seeds):
        draw = Draw(seed, "measuring", device=device)
        with draw.as_global():
            model = build_model(experiment.model, experiment.data.shape).to(device)
        layout = compute.channels_last and seeds == 1
        compute_as(model, dataclasses.replace(compute, channels_last=layout))
        examples = Batches(images, len(images.images), experiment.data.binarize, device)
        stages = (model.stages()[0]._replace(epochs=2),)
        callbacks = NO_CALLBACKS if replicas else Callbacks(at_end)
        replicas.append(Replica(model, stages, examples.examples(), draw, callbacks))
    first = replicas[0]
    before = _weights(first.model)
    if seeds == 1:
        found = fit(
            first.model, first.stages, first.examples, training, first.draw, first.callbacks
        )
    else:
        found, *_ = fit_together(replicas, training)
    seconds = (ends[1] - ends[0]) / (len(images.images) // training.batch_size)
    stream = first.draw.generator.get_state()
    return Tried(seconds, found.history, _weights(first.model) - before, stream)


def _weights(model: nn.Module) -> Tensor:
    """A copy of all parameters, one after the other, whatever their layout."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
