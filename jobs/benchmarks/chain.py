"""The suite "chain": the speed and memory of chain steps, beside a bare decode-encode loop.

The bare loop runs the same modules in inference mode at the same precision, keeps nothing and
checks nothing. It is the least that any sampler must do. On a GPU there is also one whose step is
captured as a CUDA graph by hand, in the precision that --precision auto chooses.
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
from torch import Tensor

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
from .captured import capture_by_hand
from .rows import Row


class Case(NamedTuple):
    """A network as the studies train it, and the size of a round.

    Attributes:
        net: The config of the network.
        shape: The shape of an image.
        latent_dim: The dimension of a latent code.
        batch: Chains that run at once.
        steps: Chain steps in a round.
        rounds: Rounds in a repeat.
        batches: Batches of chains in a round, which run one after the other.
    """

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
    """Measure chain_mlp and chain_dcgan64, in chain steps x images a second, and
    memory_200_vs_5. If --precision auto does not choose plain fp32, its speed is a row too, and on
    a GPU chain_MODEL_graph compares it with a bare loop as a CUDA graph."""
    comparisons = []
    for name, case in CASES.items():
        if device == "cuda":  # as in an evaluation, which replays a recorded step often
            case = case._replace(steps=20, batches=20)
        model = case.model().to(device)
        arms: dict[str, Callable[[], None]] = {
            "bare": partial(bare, model, case, device),
            "plain": partial(ours, model, case),
        }
        auto = automatic_compute(name, device)
        if auto != ComputeConfig():
            other = case.model().to(device)
            compute_as(other, auto)
            arms["auto"] = partial(ours, other, case)
            if device == "cuda":
                arms["graph"] = bare_graph(other, case, device)
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
            if arm in ("plain", "auto")
        ]
        if "graph" in arms:
            comparisons.append(
                Row(
                    name=f"chain_{name}_graph",
                    value=work / seconds["auto"],
                    unit="chain steps x images/s",
                    baseline=f"a bare loop as a CUDA graph by hand, {auto.precision}",
                    baseline_value=work / seconds["graph"],
                    ratio=seconds["graph"] / seconds["auto"],
                )
            )
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
    """Measure what --precision auto chooses for the model of this name in the suite "train"."""
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
    """Decode and encode in turn, without a sampler, a distribution object or a record."""
    with torch.inference_mode():
        for _ in range(case.batches):
            z = torch.randn(case.batch, case.latent_dim, device=device)
            x = torch.sigmoid(model.decoder(z))
            for _ in range(case.steps):
                mean, log_var = model.encoder(x).chunk(2, 1)
                z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
                x = torch.sigmoid(model.decoder(z))


def bare_graph(model: VAE, case: Case, device: str) -> Callable[[], None]:
    """The bare loop as a function that replays a captured step: encode and decode."""

    def decode(z: Tensor) -> Tensor:
        return torch.sigmoid(model.decoder(z))

    def step(x: Tensor) -> None:
        mean, log_var = model.encoder(x).chunk(2, 1)
        x.copy_(decode(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)))

    def start() -> Tensor:
        return decode(torch.randn(case.batch, case.latent_dim, device=device))

    with torch.inference_mode():
        captured = capture_by_hand(step, start())

    def run() -> None:
        with torch.inference_mode():
            for _ in range(case.batches):
                captured.inputs.copy_(start())
                for _ in range(case.steps):
                    captured.replay()

    return run


def time_interleaved(
    arms: Mapping[str, Callable[[], None]], rounds: int, device: str
) -> dict[str, float]:
    """Measure the median seconds of each arm. The order of the arms differs from round to round,
    and the first round warms up."""
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
    """Measure the peak memory of `steps` chain steps of two sub-batches, in bytes."""
    return run_alone(_peak, steps, device)


def run_alone(measure: Callable[..., int], *arguments: Any) -> float:
    """Call a function that measures bytes in a process of its own."""
    # Otherwise glibc raises this threshold, and memory that it keeps for later counts as used.
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
    drain(model, case._replace(batch=2), 1)  # torch loads libraries at first
    before = high_water()
    drain(model, case, steps)
    return high_water() - before


def drain(model: Any, case: Case, steps: int) -> None:
    for _ in run_chain(model, case.chain(steps), 2 * case.batch):
        pass


def high_water() -> int:
    """The peak memory of this process in bytes (Linux). The value of getrusage would include the
    peak of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
