"""The suite "chain": steps of the chain against a bare decode-encode loop, and their memory.

Needs neither Ray nor MLflow. The bare loop runs the same modules under inference mode at the same
precision, keeps nothing and checks nothing; it is the least that any sampler must do.
"""

import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genae_core.distributions.rng import Draw
from genae_core.experiment.precision import fastest
from genae_core.experiment.step_timing import time_choices, timing_images
from genae_core.models.vae import VAE, VAEConfig
from genae_core.nets.base import ComputeConfig, NetConfig, Shape, compute_as
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain

from . import cases
from .rows import Row


class Case(NamedTuple):
    """As the studies train it: MNIST's network, and the published one for 64 px. rounds: of every
    arm in a repeat. batches: of chains, one after the other."""

    net: NetConfig
    shape: Shape
    latent_dim: int
    batch: int
    steps: int
    rounds: int
    batches: int = 1

    def model(self) -> VAE:
        config = VAEConfig(latent_dim=self.latent_dim, net=self.net)
        with Draw(0).as_global():
            return config.build(self.shape).eval()

    def chain(self, steps: int) -> ChainConfig:
        return ChainConfig(
            sampler=EncodeDecode(),
            record=(0, steps),
            sub_batch=self.batch,
            batch_norm="running",
        )


CASES = {
    "mlp": Case(MLPConfig(), (1, 28, 28), 10, 500, 20, rounds=35),
    "dcgan64": Case(DCGANConfig(width=64), (3, 64, 64), 200, 100, 5, rounds=7),
}


def rows(repeats: int, device: str) -> list[Row]:
    """chain_mlp and chain_dcgan64, in chain steps x images a second, and the same computed as
    --precision auto has it where that is not plain fp32; memory_200_vs_5."""
    comparisons = []
    for name, case in CASES.items():
        if device == "cuda":  # as an evaluation has it: what it records once it replays often
            case = case._replace(steps=20, batches=20)
        model = case.model().to(device)
        arms = {"bare": partial(bare, model, case, device)}
        arms["plain"] = partial(ours, model, case)
        auto = automatic_compute(name, device)
        if auto != ComputeConfig():
            other = case.model().to(device)
            compute_as(other, auto)
            arms["auto"] = partial(ours, other, case)
        seconds = time_interleaved(arms, repeats * case.rounds, device)
        work = case.batches * case.batch * case.steps
        comparisons += [
            Row(
                name=f"chain_{name}{'_auto' if arm == 'auto' else ''}",
                value=work / seconds[arm],
                unit="chain steps x images/s",
                baseline="a bare fp32 decode-encode loop on the same modules, in inference mode",
                baseline_value=work / seconds["bare"],
                ratio=seconds["bare"] / seconds[arm],
            )
            for arm in arms
            if arm != "bare"
        ]
    peaks = {steps: [peak(steps, device) for _ in range(repeats)] for steps in (5, 200)}
    few, many = (statistics.median(peaks[steps]) for steps in (5, 200))
    comparisons.append(
        Row(
            name="memory_200_vs_5",
            value=many / 2**20,
            unit="MiB at the peak of 200 steps, beyond what the model takes",
            baseline="5 steps",
            baseline_value=few / 2**20,
            ratio=few / many,
        )
    )
    return comparisons


def automatic_compute(name: str, device: str) -> ComputeConfig:
    """What --precision auto is for the model that the suite "train" has of this name."""
    case = cases.CASES[name]
    experiment = cases.experiment_of(case)
    images = timing_images(experiment, cases.images_of(case))
    gpu, threads = device == "cuda", torch.get_num_threads()
    return fastest(time_choices(experiment, images, "auto", gpu, threads))


def ours(model: VAE, case: Case) -> None:
    chains = case.batches * case.batch
    for _ in run_chain(model, case.chain(case.steps), chains):
        pass


def bare(model: VAE, case: Case, device: str) -> None:
    """The least that does the job: no sampler, no law, no record."""
    with torch.inference_mode():
        for _ in range(case.batches):
            z = torch.randn(case.batch, case.latent_dim, device=device)
            x = torch.sigmoid(model.decoder(z))
            for _ in range(case.steps):
                mean, log_var = model.encoder(x).chunk(2, 1)
                z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
                x = torch.sigmoid(model.decoder(z))


def time_interleaved(
    arms: Mapping[str, Callable[[], None]], rounds: int, device: str
) -> dict[str, float]:
    """The median seconds of each arm, each round in another order; the first warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    names, order = list(arms), random.Random(0)
    for number in range(rounds + 1):
        order.shuffle(names)
        for name in names:
            wait(device)
            began = time.perf_counter()
            arms[name]()
            wait(device)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak(steps: int, device: str) -> float:
    """Bytes that so many steps of two sub-batches take at most."""
    return run_alone(_peak, steps, device)


def run_alone(measure: Callable[..., int], *arguments: Any) -> float:
    """The bytes that a function measures, in a process of its own."""
    # Else glibc raises this by itself, and what it keeps for later counts as used.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return float(pool.apply(measure, arguments))
    finally:
        del os.environ["MALLOC_MMAP_THRESHOLD_"]


def _peak(steps: int, device: str) -> int:
    torch.set_num_threads(1)
    case = CASES["dcgan64"]._replace(net=DCGANConfig(width=16), batch=100)
    model = case.model().to(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        drain(model, case, steps)
        return int(torch.cuda.max_memory_allocated()) - before
    drain(model, case._replace(batch=2), 1)  # what torch loads when it first works
    before = high_water()
    drain(model, case, steps)
    return high_water() - before


def drain(model: Any, case: Case, steps: int) -> None:
    for _ in run_chain(model, case.chain(steps), 2 * case.batch):
        pass


def high_water() -> int:
    """Bytes of memory that this process has had at most (Linux). Not getrusage's, which begins at
    what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
