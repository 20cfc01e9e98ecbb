"""What a sweep measures before its first trial: how many trials fill a GPU, how its models compute
fastest, and whether its seeds are trained as one."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from genae_core.data.base import Splits
from genae_core.data.shard_images import StreamedImages
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.gpu_packing import gpu_fraction, largest_model, measure_peak
from genae_core.experiment.precision import (
    CLEARLY_FASTER,
    Timing,
    compute_choices,
    fastest,
    flag_of,
    has_bf16,
)
from genae_core.experiment.step_timing import time_choices, time_seeds, timing_images
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import ComputeConfig
from genae_core.sweep import ray_cluster
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import Sweep
from genae_core.sweep.sweep_folder import MANIFEST


def choose_gpu_fraction(
    folder: Path, sweep: Sweep, splits: Splits, classifier: Classifier, options: LaunchOptions
) -> float:
    """The fraction of a GPU that --gpus-per-trial auto gives a trial: measured now, or what the
    resumed sweep began with. Raises ValueError if the measured trial fails."""
    if options.resume:
        before = _manifest(folder).get("gpus_per_trial")
        if before is not None:
            return float(before)
    print("measuring how many trials a GPU holds, once ...", flush=True)
    cell = _largest(sweep, splits)
    # A recording has memory of its own.
    graphs = replace(cell.compute or ComputeConfig(), cuda_graphs=options.cuda_graphs)
    cell = replace(cell, compute=graphs)
    try:
        peak = ray_cluster.call_once(measure_peak, cell, splits, classifier, gpus=1)
    except RuntimeError as error:  # torch sees no GPU, or its memory is too small
        raise ValueError(
            f"--gpus-per-trial auto: the trial that was to be measured failed: {error}"
        ) from None
    cpus = options.cpus_per_trial
    most = max(
        node["CPU"] // (cpus * node["GPU"]) for node in ray_cluster.nodes() if node.get("GPU")
    )
    fraction = gpu_fraction(peak, int(most))
    print(
        f"a trial takes {peak.used / 2**30:.2f} of {peak.total / 2**30:.2f} GiB: "
        f"{1 / fraction:.0f} on a GPU"
    )
    return fraction


def choose_compute(
    folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions
) -> ComputeConfig:
    """How the networks compute under --precision: measured now if there is a choice, or what the
    resumed sweep began with.

    Raises ValueError if bf16 is asked for and the hardware does not have it.
    """
    if options.resume:
        # A sweep from before there was a choice computed plainly.
        before = ComputeConfig(**_manifest(folder).get("compute", {}))
        return replace(before, cuda_graphs=before.cuda_graphs and options.cuda_graphs)
    gpu = options.gpus > 0
    # What this process's CPU can do says nothing about a GPU, or about a cluster's other nodes.
    bf16 = gpu or options.joins or has_bf16()
    cell = _largest(sweep, splits)
    ways = compute_choices(cell, options.precision, bf16=bf16, graphs=gpu and options.cuda_graphs)
    if len(ways) == 1:
        return ways[0]
    print("measuring how the models compute fastest, once ...", flush=True)
    threads = options.cpus_per_trial
    images, graphs = timing_images(cell, splits.train), options.cuda_graphs
    arguments = (cell, images, options.precision, gpu, threads, graphs)
    try:
        timings = ray_cluster.call_once(
            time_choices, *arguments, cpus=threads, gpus=min(1.0, options.gpus)
        )
    except Exception as error:  # a trial may fail in the same way, and then fails alone
        name = _name_of(ways[0])
        print(f"warning: it could not be measured, so it is plain {name}: {error!r:.300}")
        return ways[0]
    return _print_choice(timings)


def _print_choice(timings: list[Timing]) -> ComputeConfig:
    """Print what each way takes, and which of them is chosen."""
    chosen = fastest(timings)
    for timing in timings if len(timings) > 1 else ():
        fails = "fails here, or comes to something else"
        step = f"{1000 * timing.seconds:.1f} ms a step" if timing.seconds < math.inf else fails
        print(f"  --precision {_name_of(timing.compute)}: {step}")
    print(f"  taken: {_name_of(chosen)}")
    return chosen


def choose_stacking(folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions) -> bool:
    """Whether --seeds-together trains the seeds of a cell as one model: measured now if there is a
    choice, or what the resumed sweep began with."""
    if options.resume:
        return bool(_manifest(folder).get("together", False))
    if options.seeds_together != "auto" or len(options.seeds) == 1:
        return options.seeds_together == "yes"
    if isinstance(splits.train.images, StreamedImages):
        return False  # each seed has an order of its own and would read the stream whole
    if 0 < options.gpus < 1:
        return False  # the trials that share a GPU fill it
    cell = _largest(sweep, splits)
    cell = replace(cell, compute=cell.compute or sweep.compute)
    count, threads = len(options.seeds), options.cpus_per_trial
    print(f"measuring whether {count} seeds train faster as one model, once ...", flush=True)
    arguments = (cell, timing_images(cell, splits.train), count, options.gpus > 0, threads)
    try:
        in_turn, stacked = ray_cluster.call_once(
            time_seeds, *arguments, cpus=threads, gpus=min(1.0, options.gpus)
        )
    except Exception as error:
        print(f"warning: it could not be measured, so each trains alone: {error!r:.300}")
        return False
    together = bool(stacked < CLEARLY_FASTER * in_turn)
    one = f"{1000 * stacked:.1f} ms as one" if math.isfinite(stacked) else "one fills the device"
    choice = "as one" if together else "in turn"
    print(f"  a step of each: {1000 * in_turn:.1f} ms in turn, {one}; taken: {choice}")
    return together


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def _largest(sweep: Sweep, splits: Splits) -> Experiment:
    """The cell with the largest model, which decides for all."""
    return largest_model(sweep.cells.values(), splits.train.images.shape[1:])


def _name_of(compute: ComputeConfig) -> str:
    return flag_of(compute) + (" as CUDA graphs" if compute.cuda_graphs else "")
