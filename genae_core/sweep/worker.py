"""One trial of a sweep, in its worker process: it trains, samples and records a cell's seeds.

A trial may be repeated, because it does not run again what has finished.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from genae_core.config.messages import print_warning
from genae_core.config.registry import adopt
from genae_core.data.base import Splits
from genae_core.data.shard_images import StreamedImages
from genae_core.evaluation.chains import validation_fcd
from genae_core.evaluation.references import ReferenceData
from genae_core.experiment.trial import replica_of, run_trial
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import ComputeConfig
from genae_core.sweep.cells import ONE_SEED, Params, cell_experiment, cell_label, seeds_of
from genae_core.sweep.memory_limit import limit_memory
from genae_core.sweep.progress import write_progress
from genae_core.sweep.prometheus import observe
from genae_core.sweep.reports import CURVE
from genae_core.sweep.runs import SeedRuns, Sweep, chain_label, open_runs, sender_to
from genae_core.sweep.trial_processes import Assistants, device_of
from genae_core.tracking.mlflow_store import StoreError, Tracker
from genae_core.training.session import Progress
from genae_core.training.snapshots import Snapshot, SnapshotStore
from genae_core.training.stacked import Replica, StageStart, fit_together

# The folder with the fraction of its steps that each running trial has done.
PROGRESS = "progress"
# The key in a trial's last report of the seconds of a step of each chain.
STEP_SECONDS = "chain_step_seconds"


def run_cell(
    params: Params,
    sweep: Sweep,
    splits: Splits,
    classifier: Classifier,
    report: Callable[[dict[str, Any]], None],
    warn: Callable[[str], None] = print_warning,
) -> None:
    """Train and sample every seed of a cell, or the only one of the trial, and report the result.

    An interrupted training continues from its last snapshot, in the same MLflow run. When the
    fraction of the trial's steps that are done, over all seeds and stages, passes one of
    sweep.rungs, the trial reports its present FCD to the scheduler. A two-stage model cannot be
    sampled before its last stage, so it reports no FCD before.

    Args:
        params: The cell.
        sweep: What all trials share.
        splits: The images.
        classifier: The classifier whose features the FCD compares.
        report: Called with {"fcd_val", "percent", "finished", ...}. At the end, "fcd_val" is the
            best FCD averaged over the seeds, and "finished" is true.
        warn: Called with each warning for people.

    Raises:
        RuntimeError: The trial needs a GPU, and torch sees none; or another process of the trial
            has failed.
        FloatingPointError: A training or a chain left the range of floating-point numbers.
    """
    adopt(sweep.user_classes)
    if ONE_SEED in params:
        sweep = dataclasses.replace(sweep, seeds=(params[ONE_SEED],))
    torch.set_num_threads(sweep.threads)
    limit_gpu_memory(sweep.gpus)
    device = device_of(sweep.gpus)
    classifier = classifier.to(device)
    classifier.precision = sweep.features
    assistants = Assistants(sweep)
    try:
        with limit_memory(sweep.memory):
            _CellTrial(params, sweep, splits, classifier, device, assistants, report, warn).run()
    finally:
        assistants.end()


def limit_gpu_memory(gpus: float) -> None:
    """Make this process fail alone if it uses more than its fraction of a GPU's memory."""
    if 0 < gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpus)


@dataclasses.dataclass
class _CellTrial:
    """The trial while it runs.

    Attributes:
        best_fcds: The best FCDs of the seeds that have finished.
        curve: The validation FCD at each recorded step of the first chain of the last seed; empty
            if this node does not have it.
        step_seconds: The seconds of a step of each chain that ran here.
        rungs: The rungs that have not been reported yet.
    """

    params: Params
    sweep: Sweep
    splits: Splits
    classifier: Classifier
    device: torch.device
    assistants: Assistants
    report: Callable[[dict[str, Any]], None]
    warn: Callable[[str], None]

    def __post_init__(self) -> None:
        sweep = self.sweep
        self.sender = sender_to(sweep.uri, sweep.experiment_id)
        self.cell = cell_experiment(self.params, sweep.cells, self.splits, sweep.compute)
        if sweep.classifier is not None:
            self.cell = dataclasses.replace(self.cell, classifier=sweep.classifier)
        self.best_fcds: list[float] = []
        self.curve: list[float] = []
        self.step_seconds: list[float] = []
        self.rungs = list(sweep.rungs)

    def run(self) -> None:
        unfinished = self._unfinished_seeds()
        if self._stacks(unfinished):
            with open_runs(unfinished, self.params, self.sender):
                snapshots = self._train_stacked(unfinished)
                for runs in unfinished:
                    self._run_seed(runs, snapshots.pop(runs.seed))
        else:
            for runs in unfinished:
                with open_runs([runs], self.params, self.sender):
                    runs.snapshots.back_off()
                    self._run_seed(runs, runs.snapshots)
        # The driver observes these values, since this worker may end before Ray collects metrics.
        self.report(
            {
                "fcd_val": sum(self.best_fcds) / len(self.best_fcds),
                "percent": 100,
                "finished": True,
                "family": self.cell.model.family,
                STEP_SECONDS: self.step_seconds,
                **({CURVE: self.curve} if ONE_SEED in self.params and self.curve else {}),
            }
        )

    def _unfinished_seeds(self) -> list[SeedRuns]:
        """The seeds that must still be run. Keeps the best FCDs of the others."""
        finished = finished_runs(self.sweep)
        unfinished = []
        for seed in seeds_of(self.cell, self.sweep.seeds):
            experiment = dataclasses.replace(self.cell, seed=seed)
            runs = SeedRuns.open(experiment, self.sweep, self.warn)
            best = runs.best_fcd(finished)
            if best is None:
                unfinished.append(runs)
            else:
                self.best_fcds.append(best)
                self.curve = runs.first.curve()
        return unfinished

    def _stacks(self, seeds: Sequence[SeedRuns]) -> bool:
        """Whether the seeds are trained as one model.

        They are not if they stream their images: each seed has its own order, and the seeds would
        push each other's images out of memory.
        """
        streamed = isinstance(self.splits.train.images, StreamedImages)
        return self.sweep.stack_seeds and len(seeds) > 1 and not streamed

    def _run_seed(self, runs: SeedRuns, snapshots: SnapshotStore) -> None:
        """Continue or begin the training of a seed, run its chains, and record both."""
        try:
            with self.assistants.training(runs.experiment, self.device):
                result = run_trial(
                    runs.experiment,
                    self.splits,
                    self.classifier,
                    self.device,
                    on_epoch=self._epoch_watcher(1),
                    snapshots=snapshots,
                )
            if runs.snapshots.resumed_step is not None:
                self.warn(
                    f"the training of seed {runs.seed} was interrupted: it continued from step "
                    f"{runs.snapshots.resumed_step}"
                )
            runs.record(result)
            if result.failed:
                chain, error = next(iter(result.failed.items()))
                raise FloatingPointError(f"{chain_label(chain)}: {error}")
        except (ValueError, ArithmeticError):
            runs.snapshots.delete()  # from this snapshot it would fail again
            raise
        linger = self.sweep.linger
        if self.sender.flush(runs.folders, linger) or not linger:
            runs.snapshots.delete()
        else:
            self.warn(
                "the tracking store did not take what was logged, and only this node has it: "
                "the training's last snapshot is kept, from which --resume logs it again"
            )
        self.best_fcds.append(min(min(chain.fcd_val) for chain in result.chains))
        self.curve = result.chains[0].fcd_val
        self.step_seconds += [chain.step_seconds for chain in result.chains]

    def _train_stacked(self, seeds: Sequence[SeedRuns]) -> dict[int, SnapshotStore]:
        """Train the seeds as one stacked model, and return their snapshots by seed.

        From its snapshot, each seed then continues alone: with its chains or, if the seeds could
        not be trained together, with its training.
        """
        snapshots: dict[int, SnapshotStore] = {
            runs.seed: _InMemory(runs.snapshots) for runs in seeds
        }
        replicas: list[Replica] = []
        seeds[0].snapshots.back_off()
        for runs in seeds:
            # vmap does not know the channels-last layout.
            compute = dataclasses.replace(
                runs.experiment.compute or ComputeConfig(), channels_last=False
            )
            replicas.append(
                replica_of(
                    dataclasses.replace(runs.experiment, compute=compute),
                    self.splits,
                    self.device,
                    on_epoch=(lambda *_: None) if replicas else self._epoch_watcher(len(seeds)),
                    snapshots=snapshots[runs.seed],
                    # Without sharing, each seed would hold its own copy of the images.
                    examples=replicas[0].examples if replicas else None,
                )
            )
        stages: list[StageStart] = []
        training = seeds[0].experiment.training
        assert training is not None
        try:
            fit_together(replicas, training, stages.append)
        except Exception as error:
            self.warn(f"from here the seeds are trained one after the other: {error}")
            self._tag_stacking(seeds, "no")
        else:
            self._report_stacking(seeds, stages)
        return snapshots

    def _report_stacking(self, seeds: Sequence[SeedRuns], stages: Sequence[StageStart]) -> None:
        """Warn of stages in which the seeds were not stacked, and tag what happened. A training
        that had nothing left to do keeps the tag that it has."""
        in_turn = [stage for stage in stages if stage.obstacle is not None]
        for stage in in_turn:
            self.warn(
                f"in the stage {stage.stage} the seeds were not one stacked model, but took their "
                f"steps in turn: {stage.obstacle}"
            )
        if stages:
            stacked = "yes" if not in_turn else "no" if len(in_turn) == len(stages) else "in part"
            self._tag_stacking(seeds, stacked)

    def _tag_stacking(self, seeds: Sequence[SeedRuns], stacked: str) -> None:
        for runs in seeds:
            runs.tag_stacking(stacked)

    def _epoch_watcher(self, seeds: int) -> Callable[[torch.nn.Module, Progress], None]:
        """A callback for the epochs of a training, of `seeds` seeds at once.

        It writes the progress, observes the seconds, and reports an FCD at each rung.
        """
        began = time.monotonic()

        def on_epoch(model: torch.nn.Module, progress: Progress) -> None:
            nonlocal began
            family = self.cell.model.family
            observe("genae_epoch_seconds", time.monotonic() - began, family=family)
            fraction = (len(self.best_fcds) + seeds * progress.done) / len(self.sweep.seeds)
            fractions = Path(self.sweep.states).parent / PROGRESS
            write_progress(fractions, cell_label(self.params), fraction)
            if progress.last_stage and self.rungs and self.rungs[0] <= fraction < 1:
                self._report_rung(model, fraction)
            began = time.monotonic()

        return on_epoch

    def _report_rung(self, model: torch.nn.Module, fraction: float) -> None:
        """Report the present FCD to the scheduler."""
        self.rungs = [rung for rung in self.rungs if rung > fraction]
        binarize = self.cell.data.binarize
        data = ReferenceData(self.splits, self.classifier, binarize, self.device)
        fcd = validation_fcd(model, self.cell.chains[0], data)
        self.report({"fcd_val": fcd, "percent": int(100 * fraction), "finished": False})


class _InMemory:
    """A snapshot store that also keeps the latest snapshot in memory, in case the disk is full."""

    def __init__(self, store: SnapshotStore) -> None:
        self.store = store
        self.latest: Snapshot | None = None

    def load_latest(self) -> Snapshot | None:
        return self.latest or self.store.load_latest()

    def is_due(self) -> bool:
        return self.store.is_due()

    def save(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self.store.save(snapshot)


def finished_runs(sweep: Sweep) -> dict[str, float]:
    """The best validation FCD of finished runs, by run key.

    These are the runs that had finished when the sweep was resumed. If a node that is gone may
    have trained seeds, the tracking store is also asked. If it does not answer, they are trained
    again.
    """
    if not sweep.linger or len(sweep.seeds) == 1:
        return sweep.finished
    with contextlib.suppress(StoreError):
        return Tracker(sweep.uri, sweep.experiment_id).finished_fcds(sweep.name)
    return sweep.finished
