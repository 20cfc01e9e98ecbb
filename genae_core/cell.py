"""One trial of a sweep, in its worker process: a cell's seeds, trained, sampled and tracked.

A run in MLflow is one (cell, seed, chain setting) under a key of its own; what has finished is
not run again, so a trial may be repeated.
"""

import contextlib
import dataclasses
import hashlib
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genae_core import checkpoint, config
from genae_core.data.base import Splits
from genae_core.data.folder import Folder
from genae_core.delivery import courier_of
from genae_core.evaluation import validation_fcd
from genae_core.experiment import Experiment, resolve
from genae_core.journal import Journal, record_chain, record_training
from genae_core.keeping import Generations, Preempted, warn
from genae_core.meters import tell
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import ComputeConfig
from genae_core.progress import note_share, shown
from genae_core.samplers.base import ChainConfig
from genae_core.tracking import StoreError, Tracker
from genae_core.training import Progress
from genae_core.trial import TrialResult, run_trial

Params = dict[str, Any]
SHARES = "progress"  # beside a sweep's states: what of each running trial is done
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
    """Run the cell and report {"fcd_val": mean over seeds of the best, "finished": True}.

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
    finished = _finished(sweep)
    best = []
    rungs = list(sweep.rungs)
    for position, seed in enumerate(sweep.seeds):
        experiment = dataclasses.replace(cell, seed=seed)

        family, began = experiment.model.family, time.monotonic()

        def on_epoch(
            model: torch.nn.Module,
            progress: Progress,
            experiment: Experiment = experiment,
            position: int = position,
            family: str = family,
        ) -> None:
            nonlocal began
            tell("genae_epoch_seconds", time.monotonic() - began, family=family)
            done = (position + progress.done) / len(sweep.seeds)
            note_share(Path(sweep.states).parent / SHARES, label(params), done)
            if progress.last_stage and rungs and rungs[0] <= done < 1:
                rungs[:] = [rung for rung in rungs if rung > done]
                now = validation_fcd(
                    model,
                    experiment.chains[0],
                    splits,
                    classifier,
                    experiment.data.binarize,
                    device,
                )
                report({"fcd_val": now, "percent": int(100 * done), "finished": False})
            began = time.monotonic()

        keys = {chain: run_key(sweep.name, experiment, chain) for chain in experiment.chains}
        journals = {chain: Journal(Path(sweep.journals) / key) for chain, key in keys.items()}
        known = [finished.get(key, journals[chain].done()) for chain, key in keys.items()]
        if None not in known:
            best.append(min(value for value in known if value is not None))
            continue
        for chain, journal in journals.items():
            _start(journal, sweep, params, experiment, chain)
            courier.add(journal.folder)
        model_key, linger = keys[experiment.chains[0]], sweep.linger
        keeper = Generations(
            Path(sweep.states) / model_key,
            sweep.checkpoint_seconds,
            warn=warn,
            kept=_kept,
            mirror=Folder(sweep.mirror) / model_key if sweep.mirror else None,
        )
        try:
            keeper.back_off()
            result = run_trial(experiment, splits, classifier, device, on_epoch, keeper)
            if keeper.went_on is not None:
                warn(f"seed {seed} was not trained at once: it went on from step {keeper.went_on}")
            _log(experiment, result, journals)
            if result.failed:
                chain, why = next(iter(result.failed.items()))
                raise FloatingPointError(f"{chain_label(chain)}: {why}")
        except Preempted:
            linger = 0.0  # the run goes on elsewhere, and this process has seconds
            raise
        except BaseException as error:
            # SystemExit is how Tune stops a trial that a scheduler or Ctrl-C has ended.
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            for journal in journals.values():
                if journal.done() is None:
                    journal.finish(status, f"{type(error).__name__}: {error}")
            if isinstance(error, ValueError | ArithmeticError):
                keeper.forget()  # from there it would fail again
            if not isinstance(error, Exception):
                linger = 0.0  # Tune gives a trial that it stops two seconds; the courier goes on
            raise
        finally:
            delivered = courier.settle([journal.folder for journal in journals.values()], linger)
        for found in result.chains:
            tell("genae_chain_step_seconds", found.step_seconds, family=family)
        if delivered or not sweep.linger:
            keeper.forget()
        else:
            warn(
                "the tracking store did not take what was logged, which only this node has: the "
                "training's last state is kept, from which --resume logs it again"
            )
        best.append(min(min(chain.fcd_val) for chain in result.chains))
    value = sum(best) / len(best)
    report({"fcd_val": value, "percent": 100, "finished": True, "family": cell.model.family})


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
) -> None:
    """The run, with its config and commit, before the first step."""
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
    }
    name = f"{experiment.model.family}-{experiment.model.latent_dim} {setting} s{experiment.seed}"
    journal.start(name, tags, dict(config.flatten(alone)))
    journal.log_text(config.to_json(alone), "experiment.json")


def _log(
    experiment: Experiment, result: TrialResult, journals: dict[ChainConfig, Journal]
) -> None:
    first = journals[experiment.chains[0]]
    record_training(first, result.history)
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
        record_chain(journal, chain)
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
