"""One trial of a sweep, in its worker process: a cell's seeds, trained, sampled and tracked.

What has finished is not run again, so a trial may be repeated.
"""

import contextlib
import dataclasses
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from genae_core import config
from genae_core.data.base import Splits
from genae_core.data.shard_images import StreamedImages
from genae_core.evaluation.chains import validation_fcd
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.experiment.trial import TrialResult, replica_of, run_trial
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import ComputeConfig
from genae_core.sweep.progress import note_share
from genae_core.sweep.prometheus import tell
from genae_core.sweep.runs import (
    EXPERIMENT,
    Params,
    Seed,
    Sweep,
    cell_key,
    chain_label,
    label,
    log,
    seed_of,
    sender_to,
    tracked,
)
from genae_core.tracking.mlflow_store import StoreError, Tracker
from genae_core.training.session import Progress
from genae_core.training.snapshot_folder import warn
from genae_core.training.snapshots import Snapshot, SnapshotStore
from genae_core.training.stacked import Replica, fit_together

SHARES = "progress"  # beside a sweep's states: what of each running trial is done
STEP_SECONDS = "chain_step_seconds"  # of each chain of a trial, in its last report


def cell_of(params: Params, sweep: Sweep, splits: Splits) -> Experiment:
    """The trial's experiment, complete: of the grid, or the one that a search handed along."""
    if EXPERIMENT in params:
        handed: Experiment = config.from_json(params[EXPERIMENT])
        cell = resolve(handed, splits)
    else:
        cell = sweep.cells[cell_key(params)]
    return dataclasses.replace(cell, compute=cell.compute or sweep.compute)


def device_of(gpus: float) -> torch.device:
    """The trial's device. Raises RuntimeError where a GPU was asked for and torch has none."""
    if gpus > 0 and not torch.cuda.is_available():
        raise RuntimeError("a GPU was asked for, but this torch sees none: install a CUDA build")
    return torch.device("cuda" if gpus > 0 else "cpu")


def guard_memory(limit: int | None, gpus: float) -> None:
    """Let this process fail alone where it takes too much: `limit` bytes of memory of its own, and
    of a shared GPU its share."""
    if limit is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    if 0 < gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpus)


def run_cell(
    params: Params,
    sweep: Sweep,
    splits: Splits,
    classifier: Classifier,
    report: Callable[[dict[str, Any]], None],
    warn: Callable[[str], None] = warn,
) -> None:
    """Run the cell and report {"fcd_val": mean over seeds of the best, "finished": True}, with
    the seconds of a step of each chain that ran here.

    A training that was cut off goes on from its last state, in the same run of MLflow. It also
    reports when the share of its steps that are done, over all seeds and stages, passes
    one of sweep.rungs and the model can be sampled: a two-stage model not before its last stage.
    """
    torch.set_num_threads(sweep.threads)
    guard_memory(sweep.memory, sweep.gpus)
    device = device_of(sweep.gpus)
    classifier = classifier.to(device)
    sender = sender_to(sweep.uri, sweep.experiment_id)
    cell = cell_of(params, sweep, splits)
    family, finished = cell.model.family, _finished(sweep)
    best, left, steps = [], [], []
    for seed in sweep.seeds:
        run = seed_of(dataclasses.replace(cell, seed=seed), sweep, warn)
        known = run.known(finished)
        best += [] if known is None else [known]
        left += [run] if known is None else []
    rungs = list(sweep.rungs)

    def watching(seeds: int) -> Callable[[torch.nn.Module, Progress], None]:
        """Sees the epochs of so many seeds, trained at once; the others are in `best` or wait."""
        began = time.monotonic()

        def on_epoch(model: torch.nn.Module, progress: Progress) -> None:
            nonlocal began
            tell("genae_epoch_seconds", time.monotonic() - began, family=family)
            done = (len(best) + seeds * progress.done) / len(sweep.seeds)
            note_share(Path(sweep.states).parent / SHARES, label(params), done)
            if progress.last_stage and rungs and rungs[0] <= done < 1:
                rungs[:] = [rung for rung in rungs if rung > done]
                now = validation_fcd(
                    model, cell.chains[0], splits, classifier, cell.data.binarize, device
                )
                report({"fcd_val": now, "percent": int(100 * done), "finished": False})
            began = time.monotonic()

        return on_epoch

    # Seeds that read a stream in orders of their own would push each other's images out.
    streamed = isinstance(splits.train.images, StreamedImages)
    together = sweep.together and len(left) > 1 and not streamed
    keepers: dict[int, SnapshotStore] = {}  # by seed, with what was trained together
    with contextlib.ExitStack() as opened:
        if together:
            opened.enter_context(tracked(left, sweep, params, sender))
            keepers = _train_together(left, splits, device, watching(len(left)), warn)
        for run in left:
            with contextlib.nullcontext() if together else tracked([run], sweep, params, sender):
                if not together:
                    run.keeper.back_off()
                keeper = keepers.pop(run.experiment.seed, run.keeper)
                result = _sampled(run, keeper, splits, classifier, device, watching(1), warn)
            if sender.flush(run.folders(), sweep.linger) or not sweep.linger:
                run.keeper.delete()
            else:
                warn(
                    "the tracking store did not take what was logged, which only this node has: "
                    "the training's last state is kept, from which --resume logs it again"
                )
            best.append(min(min(chain.fcd_val) for chain in result.chains))
            steps += [chain.step_seconds for chain in result.chains]
    value = sum(best) / len(best)
    # The driver tells these: this worker may end before Ray has heard of them.
    last = {"fcd_val": value, "percent": 100, "finished": True}
    report({**last, "family": family, STEP_SECONDS: steps})


def _sampled(
    run: Seed,
    keeper: SnapshotStore,
    splits: Splits,
    classifier: Classifier,
    device: torch.device,
    on_epoch: Callable[[torch.nn.Module, Progress], None],
    warn: Callable[[str], None],
) -> TrialResult:
    """Train a seed, from where its keeper has it, run its chains and log both."""
    try:
        result = run_trial(run.experiment, splits, classifier, device, on_epoch, keeper)
        if run.keeper.resumed_step is not None:
            warn(
                f"seed {run.experiment.seed} was not trained at once: it went on from step "
                f"{run.keeper.resumed_step}"
            )
        log(run, result)
        if result.failed:
            chain, why = next(iter(result.failed.items()))
            raise FloatingPointError(f"{chain_label(chain)}: {why}")
    except (ValueError, ArithmeticError):
        run.keeper.delete()  # from there it would fail again
        raise
    return result


def _train_together(
    seeds: Sequence[Seed],
    splits: Splits,
    device: torch.device,
    on_epoch: Callable[[torch.nn.Module, Progress], None],
    warn: Callable[[str], None],
) -> dict[int, SnapshotStore]:
    """Train the seeds as one model. Their keepers then have each one's state, from which it goes
    on alone: to its chains, or where one could not be trained so, with its training."""
    keepers: dict[int, SnapshotStore] = {s.experiment.seed: _Remembering(s.keeper) for s in seeds}
    replicas: list[Replica] = []
    seeds[0].keeper.back_off()
    for run in seeds:
        compute = run.experiment.compute or ComputeConfig()
        rows = dataclasses.replace(compute, channels_last=False)  # the layout that vmap knows
        experiment = dataclasses.replace(run.experiment, compute=rows)
        keeper = keepers[experiment.seed]
        examples = replicas[0].examples if replicas else None  # or each would hold the images
        watch = (lambda *_: None) if replicas else on_epoch
        replicas.append(replica_of(experiment, splits, device, watch, keeper, examples))
    try:
        fit_together(replicas, seeds[0].experiment.training)
    except Exception as error:
        warn(f"from here the seeds are trained one after the other: {error}")
    return keepers


class _Remembering:
    """A keeper that has the newest state at hand, also where the disk did not take it."""

    def __init__(self, keeper: SnapshotStore) -> None:
        self.keeper = keeper
        self.state: Snapshot | None = None

    def load_latest(self) -> Snapshot | None:
        return self.state or self.keeper.load_latest()

    def is_due(self) -> bool:
        return self.keeper.is_due()

    def save(self, state: Snapshot) -> None:
        self.state = state
        self.keeper.save(state)


def _finished(sweep: Sweep) -> dict[str, float]:
    """The best validation FCD of finished runs by their key: those that a resume found, and where
    seeds may have been trained on a node that is gone, what the store says."""
    if not sweep.linger or len(sweep.seeds) == 1:
        return sweep.finished
    with contextlib.suppress(StoreError):  # then they are trained again
        return Tracker(sweep.uri, sweep.experiment_id).finished_fcds(sweep.name)
    return sweep.finished
