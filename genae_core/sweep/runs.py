"""The runs of a sweep: what makes each itself, and how a seed's are started, logged and ended.

A run in MLflow is one (cell, seed, chain setting) under a key of its own.
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
from genae_core.data.storage import Folder
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.recording import record_chain, record_training
from genae_core.experiment.trial import TrialResult
from genae_core.nets.base import ComputeConfig
from genae_core.report.formatting import class_words, format_value
from genae_core.samplers.config import ChainConfig
from genae_core.sweep.prometheus import tell
from genae_core.tracking.delivery import BackgroundSender
from genae_core.tracking.journal import Journal
from genae_core.tracking.mlflow_store import SEEDS_TOGETHER, Tracker
from genae_core.training import checkpoint
from genae_core.training.snapshot_folder import Preempted, SaveSchedule, SnapshotFolder


@functools.cache
def sender_to(uri: str, experiment_id: str) -> BackgroundSender:
    """Return the one background sender of this process to this store."""
    return BackgroundSender(
        lambda: Tracker(uri, experiment_id), on_failure=lambda: tell("genae_tracking_failures", 1)
    )


Params = dict[str, Any]
EXPERIMENT = "experiment"  # the key under which a search hands it along, as JSON


@dataclass(frozen=True)
class Sweep:
    """What every trial is told; the data and the classifier travel apart."""

    name: str
    uri: str
    experiment_id: str
    tags: dict[str, str]
    seeds: tuple[int, ...]
    threads: int
    gpus: float
    memory: int | None  # bytes that a trial may take; None without a limit
    rungs: tuple[float, ...]  # shares of a trial's steps at which a scheduler hears of it
    states: str  # folder of the states of trainings that have not ended
    mirror: str | None  # URI of the same on a store that every node sees
    journals: str  # folder of what the tracking store does not have yet
    finished: dict[str, float]  # best validation FCD by run key, of runs that a resume found done
    linger: float  # seconds that a trial waits at its end for what it logged to be delivered
    checkpoint_seconds: float  # between two states of a training
    cells: dict[str, Experiment]  # by cell_key of its params
    compute: ComputeConfig = ComputeConfig()  # of every trial that does not say
    together: bool = False  # whether the seeds of a cell are trained as one stacked model


def cell_key(params: Params) -> str:
    """The cell's coordinates as one canonical string."""
    return json.dumps(coordinates(params), sort_keys=True)


def coordinates(params: Params) -> Params:
    """The params without the experiment that a search hands along with them."""
    return {name: value for name, value in params.items() if name != EXPERIMENT}


def label(params: Params) -> str:
    """The cell's coordinates for people."""
    given = coordinates(params)
    return " ".join(
        str(given[name]) if name == "family" else f"{name}={format_value(given[name])}"
        for name in sorted(given, key=lambda name: (name != "family", name))
    )


@dataclass(frozen=True)
class Seed:
    """One seed of a cell: its journals by chain setting, and the keeper of its states."""

    experiment: Experiment
    sweep: Sweep
    journals: dict[ChainConfig, Journal]
    warn: Callable[[str], None]

    @functools.cached_property
    def keeper(self) -> SnapshotFolder:
        key = self.journals[self.experiment.chains[0]].folder.name
        return SnapshotFolder(
            Path(self.sweep.states) / key,
            SaveSchedule(self.sweep.checkpoint_seconds),
            warn=self.warn,
            on_save=_kept,
            mirror=Folder(self.sweep.mirror) / key if self.sweep.mirror else None,
        )

    def known(self, finished: dict[str, float]) -> float | None:
        """Its best validation FCD where all its runs have finished."""
        values = [
            finished.get(journal.folder.name, journal.done()) for journal in self.journals.values()
        ]
        found = [value for value in values if value is not None]
        return min(found) if len(found) == len(values) else None

    def folders(self) -> list[Path]:
        return [journal.folder for journal in self.journals.values()]


def seed_of(experiment: Experiment, sweep: Sweep, warn: Callable[[str], None]) -> Seed:
    """A seed with its journals in the sweep's folder of them. warn: hears of states that cannot be
    used."""
    keys = {chain: run_key(sweep.name, experiment, chain) for chain in experiment.chains}
    journals = {chain: Journal(Path(sweep.journals) / key) for chain, key in keys.items()}
    return Seed(experiment, sweep, journals, warn)


@contextlib.contextmanager
def tracked(
    seeds: Sequence[Seed], sweep: Sweep, params: Params, sender: BackgroundSender
) -> Iterator[None]:
    """Start the seeds' runs, and end those that an error ends."""
    for seed in seeds:
        for chain, journal in seed.journals.items():
            _start(journal, sweep, params, seed.experiment, chain, len(seeds))
            sender.add(journal.folder)
    linger = sweep.linger
    try:
        yield
    except BaseException as error:
        if isinstance(error, Preempted):
            linger = 0.0  # the run goes on elsewhere, and this process has seconds
        else:
            # SystemExit is how Tune stops a trial that a scheduler or Ctrl-C has ended.
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            for journal in (journal for seed in seeds for journal in seed.journals.values()):
                if journal.done() is None:
                    journal.finish(status, f"{type(error).__name__}: {error}")
            # Tune gives a trial that it stops two seconds; the sender goes on.
            linger = linger if isinstance(error, Exception) else 0.0
        sender.flush([folder for seed in seeds for folder in seed.folders()], linger)
        raise


def log(run: Seed, result: TrialResult) -> None:
    """Journal a seed's training and model with its first run, and each chain with its own, which
    then has finished."""
    experiment, journals = run.experiment, run.journals
    first = journals[experiment.chains[0]]
    record_training(first, result.training.history)
    with first.files() as folder:
        checkpoint.save_model(
            folder / "checkpoint",
            result.model,
            experiment.model,
            experiment.data.shape,
            result.draw,
        )
    for chain in result.chains:
        journal = journals[chain.config]
        record_chain(journal, chain, result.training.seconds)
        journal.finish()
        journal.mark_done(min(chain.fcd_val))


def _start(
    journal: Journal,
    sweep: Sweep,
    params: Params,
    experiment: Experiment,
    chain: ChainConfig,
    together: int,
) -> None:
    """The run, with its config and commit, before the first step. together: seeds trained at a
    time."""
    first = experiment.chains[0]
    alone = dataclasses.replace(experiment, chains=(chain,))
    setting = chain_label(chain)
    tags = {
        **sweep.tags,
        "sweep": sweep.name,
        "family": experiment.model.family,
        "latent_dim": str(experiment.model.latent_dim),
        "stage": "model" if chain == first else "chain",
        "seed": str(experiment.seed),
        "cell": cell_key(params),
        "chain": setting,
        "model_run": run_key(sweep.name, experiment, first),
        **({SEEDS_TOGETHER: str(together)} if together > 1 else {}),
    }
    name = f"{experiment.model.family}-{experiment.model.latent_dim} {setting} s{experiment.seed}"
    journal.start(name, tags, dict(config.flatten(alone)))
    journal.log_text(config.to_json(alone), "experiment.json")


def _kept(size: int) -> None:
    tell("genae_checkpoints", 1)
    tell("genae_checkpoint_bytes", size)


def run_key(sweep: str, experiment: Experiment, chain: ChainConfig) -> str:
    """What makes a run itself: the sweep and all that decides its result. Plain computing is left
    out, as runs had their keys before there was a choice, and CUDA graphs are, which decide
    nothing."""
    about = config.identity(dataclasses.replace(experiment, chains=(chain,)))
    compute = dataclasses.replace(experiment.compute or ComputeConfig(), cuda_graphs=False)
    if compute == ComputeConfig():
        del about["compute"]
    else:
        del about["compute"]["cuda_graphs"]
    text = json.dumps(about, indent=2, allow_nan=False)
    return hashlib.sha256(f"{sweep}\n{text}".encode()).hexdigest()[:32]


def chain_label(chain: ChainConfig) -> str:
    """The sampler with what is not its default, what z is drawn from if not the model's own law,
    and the normalisation: "encode decode (decode=sample), ex post mixture, running BN"."""
    sampler = chain.sampler
    given = [
        f"{field.name}={getattr(sampler, field.name)}"
        for field in dataclasses.fields(sampler)  # type: ignore[arg-type]
        if getattr(sampler, field.name) != field.default
    ]
    name = class_words(type(sampler).__name__) + (f" ({', '.join(given)})" if given else "")
    fitted_prior = (
        [] if chain.fitted_prior is None else [class_words(type(chain.fitted_prior).__name__)]
    )
    return ", ".join([name, *fitted_prior, f"{chain.batch_norm} BN"])
