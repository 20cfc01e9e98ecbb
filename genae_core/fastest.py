"""How the networks of a sweep compute fastest, measured before it: --precision auto."""

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from genae_core.config import require
from genae_core.data.base import Split
from genae_core.data.batches import Batches
from genae_core.draw import Draw
from genae_core.experiment import Experiment
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.options import Precision
from genae_core.replicas import Replica, fit_together
from genae_core.training import Progress, fit

STEPS, ROUNDS = 3, 3  # of the optimiser in a round, and rounds that are timed
FILLED_S = 0.1  # of a step: one model that takes so long leaves a device no room for others
WORTH = 0.95  # of the first's seconds: what is hardly faster here may be slower the next time


class Timing(NamedTuple):
    """One way to compute and the median seconds of an optimiser step."""

    compute: ComputeConfig
    seconds: float


def choices(experiment: Experiment, precision: Precision, bf16: bool) -> list[ComputeConfig]:
    """What there is to choose from, the plainest first. bf16: whether the hardware computes with
    it. Raises ValueError where it is asked for and the hardware does not."""
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
        return [named[precision]]
    plain = [ComputeConfig(), *([ComputeConfig(channels_last=True)] if images else [])]
    return plain + ([lower] if bf16 else [])


def flag_of(compute: ComputeConfig) -> Precision:
    """The --precision that asks for it."""
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
    experiment: Experiment, images: Split, precision: Precision, gpu: bool, threads: int
) -> list[Timing]:
    """Train the experiment's first stage for a few steps each way, in turns; alone where there is
    nothing to choose."""
    device = torch.device("cuda" if gpu else "cpu")
    ways = choices(experiment, precision, has_bf16(device))
    if len(ways) == 1:
        return [Timing(ways[0], 0.0)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        each: dict[ComputeConfig, list[float]] = {way: [] for way in ways}
        for number in range(1 + ROUNDS):
            for way, seconds in each.items():
                took = step_seconds(experiment, images, way, device)
                if number:  # the first warms up
                    seconds.append(took)
    finally:
        torch.set_num_threads(before)
    return [Timing(way, statistics.median(seconds)) for way, seconds in each.items()]


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
        alone = [step_seconds(experiment, images, compute, device) for _ in range(1 + ROUNDS)]
        one = statistics.median(alone[1:])  # the first warms up
        if one > FILLED_S:
            return seeds * one, math.inf
        stacked = []
        for number in range(1 + ROUNDS):
            alone.append(step_seconds(experiment, images, compute, device))
            took = step_seconds(experiment, images, compute, device, seeds)
            stacked += [took] if number else []
    finally:
        torch.set_num_threads(before)
    return seeds * statistics.median(alone[1:]), statistics.median(stacked)


def fastest(timings: Sequence[Timing]) -> ComputeConfig:
    """The fastest, or the first where none is clearly faster."""
    first, best = timings[0], min(timings, key=lambda timing: timing.seconds)
    return best.compute if best.seconds < WORTH * first.seconds else first.compute


def step_seconds(
    experiment: Experiment,
    images: Split,
    compute: ComputeConfig,
    device: torch.device,
    seeds: int = 1,
) -> float:
    """Of an optimiser step of the first stage of so many seeds, stacked where there are several:
    of a second epoch, before which all is set up."""
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
            model = experiment.model.build(experiment.data.shape).to(device)
        layout = compute.channels_last and seeds == 1
        compute_as(model, dataclasses.replace(compute, channels_last=layout))
        examples = Batches(images, len(images.images), experiment.data.binarize, device)
        stages = (model.stages()[0]._replace(epochs=2),)
        watch = (lambda _: None) if replicas else at_end
        replicas.append(Replica(model, stages, examples.examples(), draw, watch))
    if seeds == 1:
        (only,) = replicas
        fit(only.model, only.stages, only.examples, training, only.draw, at_end)
    else:
        fit_together(replicas, training)
    return (ends[1] - ends[0]) / (len(images.images) // training.batch_size)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
