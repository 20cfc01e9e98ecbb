"""The MLflow runs of a sweep: their keys, and the runs of a seed from their start to their end.

A run is one combination of cell, seed and chain config, and has a key of its own.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genae_core import config
from genae_core.config.redaction import redact_values
from genae_core.data.storage import Folder
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.precision import name_of
from genae_core.experiment.recording import record_chain, record_training
from genae_core.experiment.trial import TrialResult
from genae_core.metrics.classifier import ClassifierConfig, FeaturesPrecision
from genae_core.nets.base import ComputeConfig
from genae_core.report.formatting import class_words
from genae_core.samplers.config import ChainConfig
from genae_core.sweep.cells import Params, cell_key
from genae_core.sweep.prometheus import observe
from genae_core.tracking.delivery import BackgroundSender
from genae_core.tracking.journal import Journal
from genae_core.tracking.mlflow_store import (
    PRECISION,
    PROCESSES,
    SEEDS_STACKED,
    SEEDS_TOGETHER,
    Tracker,
)
from genae_core.tracking.own_metrics import LONGEST_TAG, METRIC_FAILURES, own_metrics_tag
from genae_core.training import checkpoint
from genae_core.training.snapshot_folder import Preempted, SaveSchedule, SnapshotFolder


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What the driver passes to every trial, beside the data and the classifier.

    Args:
        name: The name of the sweep, which is a tag of its runs.
        uri: The URI of the tracking store.
        experiment_id: MLflow's id of the experiment.
        tags: The tags of every run.
        seeds: The seeds; each cell is trained with each of them.
        cells: The resolved experiments by cell_key; for a search, only the first one.
        threads: The CPU threads of each process of a trial.
        gpus: The GPUs of a trial, a fraction if several trials share one.
        memory: The bytes that a trial may use; None sets no limit.
        rungs: The fractions of a trial's optimiser steps at which it reports to a scheduler.
        states: The folder of the snapshots of trainings that have not ended.
        journals: The folder of what the tracking store does not have yet.
        mirror: The URI of a copy of the snapshots, on a store that every node can read.
        finished: The best validation FCD by run key, of the runs that are not repeated.
        linger: The longest time, in seconds, that a trial waits at its end for the delivery of its
            journals.
        checkpoint_seconds: The seconds between two snapshots of a training.
        compute: How the networks compute, if an experiment leaves it open.
        compute_from: Why they compute like this, in words.
        stack_seeds: Whether the seeds of a cell are trained as one stacked model.
        processes: The number of processes that share the training of a trial.
        classifier: The recipe of the classifier, if it is not the one of the experiments.
        features: The precision in which the classifier computes features (see `Classifier`).
        user_classes: The registered config classes of the user's own code, which a worker cannot
            find by their names.
    """

    name: str
    uri: str
    experiment_id: str
    tags: dict[str, str]
    seeds: tuple[int, ...]
    cells: dict[str, Experiment]
    threads: int
    gpus: float
    memory: int | None
    rungs: tuple[float, ...]
    states: str
    journals: str
    mirror: str | None
    finished: dict[str, float]
    linger: float
    checkpoint_seconds: float
    compute: ComputeConfig = ComputeConfig()
    compute_from: str = ""
    stack_seeds: bool = False
    processes: int = 1
    classifier: ClassifierConfig | None = None
    features: FeaturesPrecision = "fp32"
    user_classes: tuple[type, ...] = ()


@dataclass(frozen=True)
class SeedRuns:
    """The runs of one seed of a cell, one for each chain config.

    The first run also holds the training and the model.

    Args:
        experiment: The experiment with this seed.
        sweep: What all trials of the sweep share.
        journals: The journal of each run.
        warn: Called with a message if a snapshot cannot be used.
    """

    experiment: Experiment
    sweep: Sweep
    journals: dict[ChainConfig, Journal]
    warn: Callable[[str], None]

    @classmethod
    def open(cls, experiment: Experiment, sweep: Sweep, warn: Callable[[str], None]) -> "SeedRuns":
        """Open the runs of the experiment's seed, with their journals in the sweep's folder."""
        keys = {chain: run_key(sweep.name, experiment, chain) for chain in experiment.chains}
        folder = Path(sweep.journals)
        journals = {chain: Journal(folder / key, warn) for chain, key in keys.items()}
        return cls(experiment, sweep, journals, warn)

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def folders(self) -> list[Path]:
        """The journals' folders."""
        return [journal.folder for journal in self.journals.values()]

    @property
    def first(self) -> Journal:
        """The journal of the first run, whose key also names the training and the model."""
        return self.journals[self.experiment.chains[0]]

    @functools.cached_property
    def snapshots(self) -> SnapshotFolder:
        """The snapshots of the seed's training."""
        key = self.first.folder.name
        return SnapshotFolder(
            Path(self.sweep.states) / key,
            SaveSchedule(self.sweep.checkpoint_seconds),
            warn=self.warn,
            on_save=_count_snapshot,
            mirror=Folder(self.sweep.mirror) / key if self.sweep.mirror else None,
            training=key,
        )

    def best_fcd(self, finished: dict[str, float]) -> float | None:
        """The best validation FCD if all runs have finished, else None.

        finished: The best validation FCD of runs that finished earlier, by run key.
        """
        values = [
            finished.get(journal.folder.name, journal.done()) for journal in self.journals.values()
        ]
        known = [value for value in values if value is not None]
        return min(known) if len(known) == len(values) else None

    def start(self, params: Params, seeds: int) -> None:
        """Start each run, with its config and the commit, before the first optimiser step.

        seeds: The number of seeds that are trained at the same time. The runs' seconds are divided
            by it.
        """
        experiment, model = self.experiment, self.experiment.model
        for chain, journal in self.journals.items():
            one_chain = dataclasses.replace(experiment, chains=(chain,))
            label = chain_label(chain)
            tags = {
                **self.sweep.tags,
                "sweep": self.sweep.name,
                "family": model.family,
                "latent_dim": str(model.latent_dim),
                "stage": "model" if journal is self.first else "chain",
                "seed": str(self.seed),
                "cell": cell_key(params),
                "chain": label,
                "model_run": self.first.folder.name,
                **({SEEDS_TOGETHER: str(seeds)} if seeds > 1 else {}),
                **({PROCESSES: str(self.sweep.processes)} if self.sweep.processes > 1 else {}),
                **({"training": "none"} if experiment.training is None else {}),
                **precision_tag(experiment, self.sweep),
                **own_code_tag(one_chain),
                **own_metrics_tag({m.name: m.better for m in experiment.metrics}),
            }
            name = f"{model.family}-{model.latent_dim} {label} s{self.seed}"
            journal.start(name, tags, dict(config.flatten(one_chain)))
            journal.log_text(config.to_json(one_chain), "experiment.json")

    def tag_stacking(self, stacked: str) -> None:
        """Tag the runs with whether their seeds were one stacked model: "yes", "no", "in part"."""
        for journal in self.journals.values():
            journal.set_tags({SEEDS_STACKED: stacked})

    def record(self, result: TrialResult) -> None:
        """Record the training and the model in the first run, and each chain in its own run.

        The run of a recorded chain has then finished.
        """
        experiment = self.experiment
        record_training(self.first, result.training.history)
        with self.first.files() as folder:
            checkpoint.save_model(
                folder / "checkpoint",
                result.model,
                experiment.model,
                experiment.data.shape,
                result.draw,
            )
        for chain in result.chains:
            journal = self.journals[chain.config]
            record_chain(journal, chain, result.training.seconds)
            if chain.failures:
                journal.set_tags({METRIC_FAILURES: "; ".join(chain.failures)[:LONGEST_TAG]})
                for failure in chain.failures:
                    self.warn(f"seed {self.seed}, {chain_label(chain.config)}: {failure}")
            journal.finish()
            journal.mark_done(min(chain.fcd_val), chain.fcd_val)

    def end(self, status: str, reason: str) -> None:
        """End the runs that have not finished, with MLflow's status and the reason as a tag."""
        for journal in self.journals.values():
            if journal.done() is None:
                journal.finish(status, reason)


@contextlib.contextmanager
def open_runs(
    seeds: Sequence[SeedRuns], params: Params, sender: BackgroundSender
) -> Iterator[None]:
    """Start the runs of the seeds and deliver what they record. An error ends the runs."""
    for runs in seeds:
        runs.start(params, len(seeds))
        for folder in runs.folders:
            sender.add(folder)
    try:
        yield
    except BaseException as error:
        # Tune raises SystemExit in a trial that a scheduler or Ctrl-C ends, and gives it two
        # seconds. The sender continues. A preempted trial continues on another node.
        failed = isinstance(error, Exception)
        if not isinstance(error, Preempted):
            for runs in seeds:
                status = "FAILED" if failed else "KILLED"
                runs.end(status, f"{type(error).__name__}: {error}")
        linger = seeds[0].sweep.linger if failed else 0.0
        sender.flush([folder for runs in seeds for folder in runs.folders], linger)
        raise


@functools.cache
def sender_to(uri: str, experiment_id: str) -> BackgroundSender:
    """The only background sender of this process to this store."""
    return BackgroundSender(
        lambda: Tracker(uri, experiment_id),
        on_failure=lambda: observe("genae_tracking_failures", 1),
    )


def own_code_tag(experiment: Experiment) -> dict[str, str]:
    """The tag that says where the user's own classes are defined; none if all are genae's."""
    code = config.own_definitions(experiment)
    return {config.OWN_CODE: json.dumps(code)} if code else {}


def precision_tag(experiment: Experiment, sweep: Sweep) -> dict[str, str]:
    """The tag that says how the model computes and why; none for a model that is not trained, and
    if the sweep was begun by a version that did not say why."""
    if experiment.training is None or not sweep.compute_from:
        return {}
    compute = experiment.compute or sweep.compute
    origin = sweep.compute_from if compute == sweep.compute else "as the experiment says"
    return {PRECISION: f"{name_of(compute)} ({origin})"}


def run_key(sweep: str, experiment: Experiment, chain: ChainConfig) -> str:
    """The key of a run: a hash of the sweep's name and everything that decides the run's result.

    Plain fp32 is left out, because earlier versions had no other choice. CUDA graphs are left out,
    because they do not change the result, and passwords, because they are not stored. Configs are
    written as version 0.1 wrote them, so that the keys stay equal.
    """
    about = redact_values(config.identity(dataclasses.replace(experiment, chains=(chain,))))
    return key_of_identity(sweep, about)


def key_of_identity(sweep: str, identity: dict[str, Any]) -> str:
    """The key of a run whose experiment has this identity, with one chain."""
    about = dict(identity)
    compute, plain = (
        {name: value for name, value in values.items() if name != "cuda_graphs"}
        for values in (about.get("compute") or {}, config.identity(ComputeConfig()))
    )
    if compute in ({}, plain):
        about.pop("compute", None)
    else:
        about["compute"] = compute
    text = json.dumps(about, indent=2, allow_nan=False)
    return hashlib.sha256(f"{sweep}\n{text}".encode()).hexdigest()[:32]


def chain_label(chain: ChainConfig) -> str:
    """The chain config in words: "encode decode (decode=sample), ex post mixture, running BN".

    It names the sampler with its settings that are not the default, the fitted prior if there is
    one, and the batch normalisation.
    """
    sampler = chain.sampler
    settings = [
        f"{field.name}={getattr(sampler, field.name)}"
        for field in dataclasses.fields(sampler)  # type: ignore[arg-type]
        if getattr(sampler, field.name) != field.default
    ]
    name = class_words(type(sampler).__name__) + (f" ({', '.join(settings)})" if settings else "")
    prior = [] if chain.fitted_prior is None else [class_words(type(chain.fitted_prior).__name__)]
    return ", ".join([name, *prior, f"{chain.batch_norm} BN"])


def _count_snapshot(size: int) -> None:
    observe("genae_checkpoints", 1)
    observe("genae_checkpoint_bytes", size)
