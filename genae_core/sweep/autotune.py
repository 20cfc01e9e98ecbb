"""What a sweep measures before its first trial.

It measures how many trials a GPU holds, in which way the models compute fastest, and whether the
seeds of a cell train faster as one stacked model.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from genae_core.config.redaction import redact
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
from genae_core.metrics.classifier import Classifier, FeaturesPrecision
from genae_core.nets.base import ComputeConfig
from genae_core.sweep import ray_cluster
from genae_core.sweep.options import LaunchOptions, accelerator
from genae_core.sweep.runs import Sweep
from genae_core.sweep.sweep_folder import read_manifest


def choose_gpu_fraction(
    folder: Path, sweep: Sweep, splits: Splits, classifier: Classifier, options: LaunchOptions
) -> float:
    """The fraction of a GPU that --gpus-per-trial auto gives to a trial.

    A resumed sweep keeps the fraction that it began with. Raises ValueError if the measured trial
    fails.
    """
    before = _manifest(folder, options).get("gpus_per_trial")
    if before is not None:
        return float(before)
    print("measuring how many trials a GPU holds, once ...", flush=True)
    cell = _largest(sweep, splits)
    # A captured graph has memory of its own.
    graphs = replace(cell.compute or ComputeConfig(), cuda_graphs=options.cuda_graphs)
    cell = replace(cell, compute=graphs)
    try:
        kind = options.accelerator_type
        arguments = (cell, splits, classifier)
        peak = ray_cluster.call_once(measure_peak, *arguments, gpus=1, accelerator_type=kind)
    except RuntimeError as error:  # torch sees no GPU, or its memory is too small
        raise ValueError(
            f"--gpus-per-trial auto: the measured trial failed: {error}; give a number, such as 1"
        ) from None
    cpus = options.cpus_per_trial
    wanted = accelerator(kind) if kind else "GPU"
    most = max(
        node["CPU"] // (cpus * node["GPU"])
        for node in ray_cluster.nodes()
        if node.get("GPU") and node.get(wanted)
    )
    fraction = gpu_fraction(peak, int(most))
    print(
        f"a trial uses {peak.used / 2**30:.2f} of the GPU's {peak.total / 2**30:.2f} GiB: "
        f"trials on a GPU at a time: {1 / fraction:.0f}"
    )
    return fraction


def choose_compute(
    folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions
) -> ComputeConfig:
    """How the networks compute under --precision, measured if it leaves a choice.

    A resumed sweep keeps the way that it began with. Raises ValueError if --precision is bf16 and
    the hardware does not compute in it.
    """
    if manifest := _manifest(folder, options):
        # A sweep of a version without this choice computed in plain fp32.
        before = ComputeConfig(**manifest.get("compute", {}))
        return replace(before, cuda_graphs=before.cuda_graphs and options.cuda_graphs)
    if all(cell.training is None for cell in sweep.cells.values()):
        return ComputeConfig()
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
            time_choices,
            *arguments,
            cpus=threads,
            gpus=min(1.0, options.gpus),
            accelerator_type=options.accelerator_type,
        )
    except Exception as error:  # a trial may fail in the same way, and then fails alone
        name = _name_of(ways[0])
        reason = redact(repr(error))[:300]
        print(f"warning: the measurement failed, so the models use {name}: {reason}")
        return ways[0]
    return _print_choice(timings)


def _print_choice(timings: list[Timing]) -> ComputeConfig:
    """Print how long a step takes in each way, and return the chosen way."""
    chosen = fastest(timings)
    for timing in timings if len(timings) > 1 else ():
        fails = "fails here, or has another result"
        step = f"{1000 * timing.seconds:.1f} ms a step" if timing.seconds < math.inf else fails
        print(f"  --precision {_name_of(timing.compute)}: {step}")
    print(f"  chosen: {_name_of(chosen)}")
    return chosen


def choose_features(folder: Path, sweep: Sweep, options: LaunchOptions) -> FeaturesPrecision:
    """The precision in which the FCD's classifier computes features.

    A resumed sweep keeps its own, so that all its FCDs are of the same features. bf16 is for
    thresholded pixels alone, which bfloat16 holds exactly. There it changes FCDs by a fortieth of
    their standard error, and those of grey or coloured images by half of it.
    """
    if manifest := _manifest(folder, options):
        # Versions without this choice computed features in fp32.
        return "bf16" if manifest.get("features") == "bf16" else "fp32"
    thresholded = all(cell.data.binarize for cell in sweep.cells.values())
    here = options.gpus == 0 and not options.joins  # other nodes may have other CPUs
    wanted = options.precision in ("auto", "bf16")
    return "bf16" if thresholded and here and wanted and has_bf16() else "fp32"


def choose_stacking(folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions) -> bool:
    """Whether the seeds of a cell are trained as one stacked model (--seeds-together).

    "auto" measures which is faster, and a resumed sweep keeps its choice.
    """
    if manifest := _manifest(folder, options):
        return bool(manifest.get("together", False))
    if all(cell.training is None for cell in sweep.cells.values()):
        return False
    if options.seeds_together != "auto" or len(options.seeds) == 1:
        return options.seeds_together == "yes"
    if isinstance(splits.train.images, StreamedImages):
        return False  # each seed has its own order of images, and would read the whole stream
    if 0 < options.gpus < 1:
        return False  # several trials already fill the GPU
    cell = _largest(sweep, splits)
    cell = replace(cell, compute=cell.compute or sweep.compute)
    count, threads = len(options.seeds), options.cpus_per_trial
    print(f"measuring whether {count} seeds train faster as one model, once ...", flush=True)
    arguments = (cell, timing_images(cell, splits.train), count, options.gpus > 0, threads)
    try:
        in_turn, stacked = ray_cluster.call_once(
            time_seeds,
            *arguments,
            cpus=threads,
            gpus=min(1.0, options.gpus),
            accelerator_type=options.accelerator_type,
        )
    except Exception as error:
        reason = redact(repr(error))[:300]
        print(f"warning: the measurement failed, so each seed trains alone: {reason}")
        return False
    together = bool(stacked < CLEARLY_FASTER * in_turn)
    as_one = f"{1000 * stacked:.1f} ms as one"
    if math.isinf(stacked):
        as_one = "one seed fills the device"
    choice = "as one" if together else "in turn"
    print(f"  a step of all seeds: {1000 * in_turn:.1f} ms in turn, {as_one}; chosen: {choice}")
    return together


def _manifest(folder: Path, options: LaunchOptions) -> dict[str, Any]:
    """The manifest of the sweep that is resumed; empty for a new sweep, or if it is not whole."""
    return (options.resume and read_manifest(folder)) or {}


def _largest(sweep: Sweep, splits: Splits) -> Experiment:
    """The cell with the largest model that is trained, or else the largest; it decides for all."""
    cells = sweep.cells.values()
    trained = [cell for cell in cells if cell.training is not None]
    return largest_model(trained or cells, splits.train.images.shape[1:])


def _name_of(compute: ComputeConfig) -> str:
    return flag_of(compute) + (" as CUDA graphs" if compute.cuda_graphs else "")
