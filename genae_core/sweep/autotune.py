"""What a sweep measures before its first trial: how many trials fill a GPU, how its models compute
fastest, whether its seeds are trained as one."""

import json
import math
from dataclasses import replace
from pathlib import Path

from genae_core.data.base import Splits
from genae_core.data.shard_images import StreamedImages
from genae_core.experiment import gpu_packing
from genae_core.experiment.precision import (
    WORTH,
    choices,
    fastest,
    few_images,
    flag_of,
    has_bf16,
    measure,
    measure_seeds,
)
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import ComputeConfig
from genae_core.sweep import ray_cluster
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import Sweep
from genae_core.sweep.sweep_folder import MANIFEST


def gpu_share(
    folder: Path, sweep: Sweep, splits: Splits, classifier: Classifier, options: LaunchOptions
) -> float:
    """What --gpus-per-trial auto comes to: as the sweep began, or measured now."""
    if options.resume:
        before = json.loads((folder / MANIFEST).read_text()).get("gpus_per_trial")
        if before is not None:
            return float(before)
    print("measuring how many trials a GPU holds, once ...", flush=True)
    cell = gpu_packing.largest(sweep.cells.values(), splits.train.images.shape[1:])
    # What is recorded has memory of its own.
    graphs = replace(cell.compute or ComputeConfig(), cuda_graphs=options.cuda_graphs)
    cell = replace(cell, compute=graphs)
    try:
        peak = ray_cluster.once(gpu_packing.measure, cell, splits, classifier, gpus=1)
    except RuntimeError as error:  # torch's: no GPU it can use, or too small a one
        raise ValueError(
            f"--gpus-per-trial auto: the trial that was to be measured failed: {error}"
        ) from None
    cpus = options.cpus_per_trial
    most = max(
        have["CPU"] // (cpus * have["GPU"]) for have in ray_cluster.nodes() if have.get("GPU")
    )
    found = gpu_packing.share(peak, int(most))
    print(
        f"a trial takes {peak.used / 2**30:.2f} of {peak.total / 2**30:.2f} GiB: "
        f"{1 / found:.0f} on a GPU"
    )
    return found


def compute_of(
    folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions
) -> ComputeConfig:
    """What --precision comes to: as the sweep began, or measured now where there is a choice.

    Raises ValueError where bf16 is asked for and the hardware does not have it.
    """
    if options.resume:
        before = json.loads((folder / MANIFEST).read_text()).get("compute", {})
        found = ComputeConfig(**before)  # of a sweep from before there was a choice: plain
        return replace(found, cuda_graphs=found.cuda_graphs and options.cuda_graphs)
    gpu = options.gpus > 0
    # What this process's CPU can says nothing of a GPU, or of a cluster's other nodes.
    bf16 = gpu or options.joins or has_bf16()
    cell = gpu_packing.largest(sweep.cells.values(), splits.train.images.shape[1:])
    ways = choices(cell, options.precision, bf16, graphs=gpu and options.cuda_graphs)
    if len(ways) == 1:
        return ways[0]
    print("measuring how the models compute fastest, once ...", flush=True)
    threads = options.cpus_per_trial
    images, graphs = few_images(cell, splits.train), options.cuda_graphs
    given = (cell, images, options.precision, gpu, threads, graphs)
    try:
        timings = ray_cluster.once(measure, *given, cpus=threads, gpus=min(1.0, options.gpus))
    except Exception as error:  # a trial may fail so, and then fails alone
        told = _told(ways[0])
        print(f"warning: it could not be measured, so it is plain {told}: {error!r:.300}")
        return ways[0]
    chosen = fastest(timings)
    for timing in timings if len(timings) > 1 else ():
        fails = "fails here, or comes to something else"
        took = f"{1000 * timing.seconds:.1f} ms a step" if timing.seconds < math.inf else fails
        print(f"  --precision {_told(timing.compute)}: {took}")
    print(f"  taken: {_told(chosen)}")
    return chosen


def _told(compute: ComputeConfig) -> str:
    return flag_of(compute) + (" as CUDA graphs" if compute.cuda_graphs else "")


def together_of(folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions) -> bool:
    """What --seeds-together comes to: as the sweep began, or measured now where there is a
    choice."""
    if options.resume:
        return bool(json.loads((folder / MANIFEST).read_text()).get("together", False))
    if options.seeds_together != "auto" or len(options.seeds) == 1:
        return options.seeds_together == "yes"
    if isinstance(splits.train.images, StreamedImages):
        return False  # seeds with orders of their own would each read it whole
    if 0 < options.gpus < 1:
        return False  # the trials that share a GPU fill it
    cell = gpu_packing.largest(sweep.cells.values(), splits.train.images.shape[1:])
    cell = replace(cell, compute=cell.compute or sweep.compute)
    count, threads = len(options.seeds), options.cpus_per_trial
    print(f"measuring whether {count} seeds train faster as one model, once ...", flush=True)
    given = (cell, few_images(cell, splits.train), count, options.gpus > 0, threads)
    try:
        apart, stacked = ray_cluster.once(
            measure_seeds, *given, cpus=threads, gpus=min(1.0, options.gpus)
        )
    except Exception as error:
        print(f"warning: it could not be measured, so each trains alone: {error!r:.300}")
        return False
    together = bool(stacked < WORTH * apart)
    one = f"{1000 * stacked:.1f} ms as one" if math.isfinite(stacked) else "one fills the device"
    taken = "as one" if together else "in turn"
    print(f"  a step of each: {1000 * apart:.1f} ms in turn, {one}; taken: {taken}")
    return together
