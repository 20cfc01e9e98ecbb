"""What a sweep measures before its first trial.

It measures how many trials a GPU holds, in which way the models compute fastest, and whether the
seeds of a cell train faster as one stacked model.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from genae_core.config.console import say
from genae_core.config.home import home
from genae_core.config.progress import ProgressDisplay
from genae_core.config.redaction import redact
from genae_core.data.base import Splits
from genae_core.data.shard_images import StreamedImages
from genae_core.experiment import measurements
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.gpu_packing import gpu_fraction, largest_model, measure_peak
from genae_core.experiment.hardware import identify_hardware
from genae_core.experiment.least_seconds import choose_plainest
from genae_core.experiment.precision import (
    Timing,
    compute_choices,
    fastest,
    has_bf16,
    name_of,
)
from genae_core.experiment.step_timing import time_by_name, time_seeds, timing_images
from genae_core.metrics.classifier import Classifier, FeaturesPrecision
from genae_core.nets.base import ComputeConfig
from genae_core.sweep import ray_cluster
from genae_core.sweep.options import LaunchOptions, accelerator
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.runs import Sweep
from genae_core.sweep.sweep_folder import read_manifest
from genae_core.tracking.mlflow_store import FEATURES_PRECISION

QUESTIONS = {
    "precision": "how the models compute fastest",
    "seeds": "whether the seeds of a cell train faster as one model",
}


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
        with ProgressDisplay("measuring how many trials a GPU holds"):
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


class Choice(NamedTuple):
    """How the networks compute.

    Attributes:
        compute: How the networks compute.
        origin: Why, in words; empty if the sweep was begun by a version that did not write it.
    """

    compute: ComputeConfig
    origin: str


def choose_compute(folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions) -> Choice:
    """How the networks compute under --precision, measured if it leaves a choice.

    A resumed sweep keeps the way that it began with. Raises ValueError if --precision is bf16 and
    the hardware does not compute in it.
    """
    if manifest := _manifest(folder, options):
        # A sweep of a version without this choice computed in plain fp32.
        before = ComputeConfig(**manifest.get("compute", {}))
        graphs = before.cuda_graphs and options.cuda_graphs
        return Choice(replace(before, cuda_graphs=graphs), str(manifest.get("compute_from", "")))
    if all(cell.training is None for cell in sweep.cells.values()):
        return Choice(ComputeConfig(), "")
    gpu = options.gpus > 0
    # What this process's CPU can do says nothing about a GPU, or about a cluster's other nodes.
    bf16 = gpu or options.joins or has_bf16()
    cell = _largest(sweep, splits)
    graphs = gpu and options.cuda_graphs and options.processes == 1
    ways = compute_choices(cell, options.precision, bf16=bf16, graphs=graphs)
    if len(ways) == 1:
        asked = options.precision != "auto"
        return Choice(ways[0], "as --precision says" if asked else "the only way here")
    threads = options.threads
    about = {"precision": options.precision, "graphs": graphs}
    images = timing_images(cell, splits.train)
    try:
        measured = _measure_once(
            measurements.ask("precision", cell, threads, **about),
            options,
            time_by_name,
            *(cell, images, options.precision, gpu, threads, graphs),
        )
    except Exception as error:  # a trial may fail in the same way, and then fails alone
        reason = redact(repr(error))[:300]
        print(f"warning: the measurement failed, so the models use {name_of(ways[0])}: {reason}")
        return Choice(ways[0], "the measurement failed")
    # The hardware of the trials may have fewer ways than those that this process knows.
    known = {name_of(way): way for way in ways}
    timings = [Timing(known[name], seconds) for name, seconds in measured.seconds.items()]
    return Choice(_print_choice(timings), measured.origin)


def _measure_once(
    question: measurements.Question,
    options: LaunchOptions,
    measure: Callable[..., dict[str, float]],
    *arguments: Any,
) -> measurements.Measurement:
    """Measure where a trial would run, unless this was measured before on such hardware."""
    gpu = options.gpus > 0
    # The hardware of this process is that of the trials, if they run on this machine's CPU.
    here = None if gpu or options.joins else identify_hardware(gpu=False)
    known = measurements.read_known(home(), question, here, say)
    if here is not None and known:
        measured = known[0]
    else:
        say(f"{QUESTIONS[question.name]}: this is measured once ...")
        with ProgressDisplay(f"measuring {QUESTIONS[question.name]}"):
            measured = ray_cluster.call_once(
                *(measurements.recall_or_measure, known, gpu, measure, *arguments),
                cpus=options.cpus_per_trial,
                gpus=min(1.0, options.gpus),
                accelerator_type=options.accelerator_type,
            )
    if measured.file is not None:
        say(
            f"{QUESTIONS[question.name]}: this was measured on {measured.date}. To measure it "
            f"again, delete {measured.file}"
        )
    else:
        file = measurements.keep(home(), question, measured, say)
        say(f"  kept in {file}" if file else "  not kept")
    return measured


def _print_choice(timings: list[Timing]) -> ComputeConfig:
    """Print how long a step takes in each way, and return the chosen way."""
    chosen = fastest(timings)
    for timing in timings if len(timings) > 1 else ():
        fails = "fails here, or has another result"
        step = f"{1000 * timing.seconds:.1f} ms a step" if timing.seconds < math.inf else fails
        say(f"  --precision {name_of(timing.compute)}: {step}")
    say(f"  chosen: {name_of(chosen)}")
    return chosen


def choose_features(place: SweepPlace, sweep: Sweep, options: LaunchOptions) -> FeaturesPrecision:
    """The precision in which the FCD's classifier computes features.

    A resumed sweep keeps its own, so that all its FCDs are of the same features. bf16 is for
    thresholded pixels alone, which bfloat16 holds exactly. There it changes FCDs by a fortieth of
    their standard error, and those of grey or coloured images by half of it.
    """
    # Versions without this choice computed features in fp32.
    if manifest := _manifest(place.folder, options):
        return "bf16" if manifest.get("features") == "bf16" else "fp32"
    if options.resume and (runs := place.tracker.find(sweep=place.name)):
        tags = {run.data.tags.get(FEATURES_PRECISION) for run in runs}  # the manifest is lost
        return "bf16" if tags == {"bf16"} else "fp32"
    thresholded = all(cell.data.binarize for cell in sweep.cells.values())
    here = options.gpus == 0 and not options.joins  # other nodes may have other CPUs
    wanted = options.precision in ("auto", "bf16")
    return "bf16" if thresholded and here and wanted and has_bf16() else "fp32"


def choose_stacking(folder: Path, sweep: Sweep, splits: Splits, options: LaunchOptions) -> bool:
    """Whether the seeds of a cell are trained as one stacked model (--seeds-together).

    "auto" measures which is faster, and a resumed sweep keeps its choice.
    """
    if options.processes > 1:
        return False
    if manifest := _manifest(folder, options):
        return bool(manifest.get("together", False))
    if options.until_settled or all(cell.training is None for cell in sweep.cells.values()):
        return False  # a trial has one seed, or no training
    if options.seeds_together != "auto" or len(options.seeds) == 1:
        return options.seeds_together == "yes"
    if isinstance(splits.train.images, StreamedImages):
        return False  # each seed has its own order of images, and would read the whole stream
    if 0 < options.gpus < 1:
        return False  # several trials already fill the GPU
    cell = _largest(sweep, splits)
    cell = replace(cell, compute=cell.compute or sweep.compute)
    count, threads = len(options.seeds), options.cpus_per_trial
    about = {"seeds": count, "compute": asdict(cell.compute or ComputeConfig())}
    try:
        measured = _measure_once(
            measurements.ask("seeds", cell, threads, **about),
            options,
            time_seeds,
            *(cell, timing_images(cell, splits.train), count, options.gpus > 0, threads),
        )
    except Exception as error:
        reason = redact(repr(error))[:300]
        print(f"warning: the measurement failed, so each seed trains alone: {reason}")
        return False
    in_turn, stacked = measured.seconds.values()
    together = choose_plainest([in_turn, stacked]) == 1
    as_one = f"{1000 * stacked:.1f} ms as one"
    if math.isinf(stacked):
        as_one = "one seed fills the device"
    choice = "as one" if together else "in turn"
    say(f"  a step of {count} seeds: {1000 * in_turn:.1f} ms in turn, {as_one}; chosen: {choice}")
    return together


def _manifest(folder: Path, options: LaunchOptions) -> dict[str, Any]:
    """The manifest of the sweep that is resumed; empty for a new sweep, or if it is not whole."""
    return (options.resume and read_manifest(folder)) or {}


def _largest(sweep: Sweep, splits: Splits) -> Experiment:
    """The cell with the largest model that is trained, or else the largest; it decides for all."""
    cells = sweep.cells.values()
    trained = [cell for cell in cells if cell.training is not None]
    return largest_model(trained or cells, splits.train.images.shape[1:])
