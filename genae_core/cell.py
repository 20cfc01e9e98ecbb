"""One trial of a sweep, in its worker process: a cell's seeds, trained, sampled and tracked.

A run in MLflow is one (cell, seed, chain setting) under a key of its own; what has finished is
not run again, so a trial may be repeated.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genae_core import checkpoint, config
from genae_core.data.base import Splits
from genae_core.data.folder import Folder
from genae_core.data.reading import StreamedImages
from genae_core.delivery import Courier, courier_of
from genae_core.evaluation import validation_fcd
from genae_core.experiment import Experiment, resolve
from genae_core.journal import Journal, record_chain, record_training
from genae_core.keeping import Generations, Preempted, warn
from genae_core.meters import tell
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import ComputeConfig
from genae_core.progress import note_share, shown
from genae_core.replicas import Replica, fit_together
from genae_core.samplers.base import ChainConfig
from genae_core.tracking import SEEDS_TOGETHER, StoreError, Tracker
from genae_core.training import Keeper, Progress, State
from genae_core.trial import TrialResult, replica_of, run_trial

Params = dict[str, Any]
SHARES = "progress"  # beside a sweep's states: what of each running trial is done
STEP_SECONDS = "chain_step_seconds"  # of each chain of a trial, in its last report
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


def cell_of(params: Params, sweep: Sweep, splits: Splits) -> Experiment:
    """The trial's experiment, complete: of the grid, or the one that a search handed along."""
    if EXPERIMENT in params:
        handed: Experiment = config.from_json(params[EXPERIMENT])
        cell = resolve(handed, splits)
    else:
        cell = sweep.cells[cell_key(params)]
    return dataclasses.replace(cell, compute=cell.compute or sweep.compute)


def label(params: Params) -> str:
    """The cell's coordinates for people."""
    given = coordinates(params)
    return " ".join(
        str(given[name]) if name == "family" else f"{name}={shown(given[name])}"
        for name in sorted(given, key=lambda name: (name != "family", name))
    )


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
    courier = courier_of(sweep.uri, sweep.experiment_id)
    cell = cell_of(params, sweep, splits)
    family, finished = cell.model.family, _finished(sweep)
    best, left, steps = [], [], []
    for seed in sweep.seeds:
        run = _seed_of(dataclasses.replace(cell, seed=seed), sweep, warn)
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
    keepers: dict[int, Keeper] = {}  # by seed, with what was trained together
    with contextlib.ExitStack() as tracked:
        if together:
            tracked.enter_context(_tracked(left, sweep, params, courier))
            keepers = _train_together(left, splits, device, watching(len(left)), warn)
        for run in left:
            with contextlib.nullcontext() if together else _tracked([run], sweep, params, courier):
                if not together:
                    run.keeper.back_off()
                keeper = keepers.pop(run.experiment.seed, run.keeper)
                result = _sampled(run, keeper, splits, classifier, device, watching(1), warn)
            if courier.settle(run.folders(), sweep.linger) or not sweep.linger:
                run.keeper.forget()
            else:
                warn(
                    "the tracking store did not take what was logged, which only this node has: "
                    "the training's last state is kept, from which --resume logs it again"
                )
            best.append(min(min(chain.fcd_val) for chain in result.chains))
            steps += [chain.step_seconds for chain in result.chains]
    value = sum(best) / len(best)
    # The driver tells these: this worker may end before Ray has heard of them.
    told = {"family": family, STEP_SECONDS: steps}
    report({"fcd_val": value, "percent": 100, "finished": True, **told})


@dataclass(frozen=True)
class _Seed:
    """One seed of a cell: its journals by chain setting, and the keeper of its states."""

    experiment: Experiment
    sweep: Sweep
    journals: dict[ChainConfig, Journal]
    warn: Callable[[str], None]

    @functools.cached_property
    def keeper(self) -> Generations:
        key = self.journals[self.experiment.chains[0]].folder.name
        return Generations(
            Path(self.sweep.states) / key,
            self.sweep.checkpoint_seconds,
            warn=self.warn,
            kept=_kept,
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


def _seed_of(experiment: Experiment, sweep: Sweep, warn: Callable[[str], None]) -> _Seed:
    keys = {chain: run_key(sweep.name, experiment, chain) for chain in experiment.chains}
    journals = {chain: Journal(Path(sweep.journals) / key) for chain, key in keys.items()}
    return _Seed(experiment, sweep, journals, warn)


@contextlib.contextmanager
def _tracked(
    seeds: Sequence[_Seed], sweep: Sweep, params: Params, courier: Courier
) -> Iterator[None]:
    """Start the seeds' runs, and end those that an error ends."""
    for seed in seeds:
        for chain, journal in seed.journals.items():
            _start(journal, sweep, params, seed.experiment, chain, len(seeds))
            courier.add(journal.folder)
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
            # Tune gives a trial that it stops two seconds; the courier goes on.
            linger = linger if isinstance(error, Exception) else 0.0
        courier.settle([folder for seed in seeds for folder in seed.folders()], linger)
        raise


def _sampled(
    run: _Seed,
    keeper: Keeper,
    splits: Splits,
    classifier: Classifier,
    device: torch.device,
    on_epoch: Callable[[torch.nn.Module, Progress], None],
    warn: Callable[[str], None],
) -> TrialResult:
    """Train a seed, from where its keeper has it, run its chains and log both."""
    try:
        result = run_trial(run.experiment, splits, classifier, device, on_epoch, keeper)
        if run.keeper.went_on is not None:
            warn(
                f"seed {run.experiment.seed} was not trained at once: it went on from step "
                f"{run.keeper.went_on}"
            )
        _log(run, result)
        if result.failed:
            chain, why = next(iter(result.failed.items()))
            raise FloatingPointError(f"{chain_label(chain)}: {why}")
    except (ValueError, ArithmeticError):
        run.keeper.forget()  # from there it would fail again
        raise
    return result


def _train_together(
    seeds: Sequence[_Seed],
    splits: Splits,
    device: torch.device,
    on_epoch: Callable[[torch.nn.Module, Progress], None],
    warn: Callable[[str], None],
) -> dict[int, Keeper]:
    """Train the seeds as one model. Their keepers then have each one's state, from which it goes
    on alone: to its chains, or where one could not be trained so, with its training."""
    keepers: dict[int, Keeper] = {s.experiment.seed: _Remembering(s.keeper) for s in seeds}
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

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.state: State | None = None

    def found(self) -> State | None:
        return self.state or self.keeper.found()

    def due(self) -> bool:
        return self.keeper.due()

    def keep(self, state: State) -> None:
        self.state = state
        self.keeper.keep(state)


def _finished(sweep: Sweep) -> dict[str, float]:
    """The best validation FCD of finished runs by their key: those that a resume found, and where
    seeds may have been trained on a node that is gone, what the store says."""
    if not sweep.linger or len(sweep.seeds) == 1:
        return sweep.finished
    with contextlib.suppress(StoreError):  # then they are trained again
        return Tracker(sweep.uri, sweep.experiment_id).finished(sweep.name)
    return sweep.finished


def _kept(size: int) -> None:
    tell("genae_checkpoints", 1)
    tell("genae_checkpoint_bytes", size)


def run_key(sweep: str, experiment: Experiment, chain: ChainConfig) -> str:
    """What makes a run itself: the sweep and all that decides its result. Plain computing is left
    out, as runs had their keys before there was a choice."""
    about = config.to_dict(dataclasses.replace(experiment, chains=(chain,)))
    if experiment.compute in (None, ComputeConfig()):
        del about["compute"]
    text = json.dumps(about, indent=2, allow_nan=False)
    return hashlib.sha256(f"{sweep}\n{text}".encode()).hexdigest()[:32]


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


def _log(run: _Seed, result: TrialResult) -> None:
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
        took = {"training_seconds": result.training.seconds, "evaluation_seconds": chain.seconds}
        record_chain(journal, chain, **took)
        journal.finish()
        journal.mark_done(min(chain.fcd_val))


def chain_label(chain: ChainConfig) -> str:
    """The sampler with what is not its default, what z is drawn from if not the model's own law,
    and the normalisation: "encode decode (decode=sample), ex post mixture, running BN"."""
    sampler = chain.sampler
    given = [
        f"{field.name}={getattr(sampler, field.name)}"
        for field in dataclasses.fields(sampler)  # type: ignore[arg-type]
        if getattr(sampler, field.name) != field.default
    ]
    name = _words(sampler) + (f" ({', '.join(given)})" if given else "")
    law = [] if chain.law is None else [_words(chain.law)]
    return ", ".join([name, *law, f"{chain.batch_norm} BN"])


def _words(part: object) -> str:
    """EncodeDecode() -> encode decode."""
    name = type(part).__name__
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
