"""One trial of a sweep, in its worker process: a cell's seeds, trained, sampled and tracked.

A run in MLflow is one (cell, seed, chain setting) under a key of its own; what has finished is
not run again, so a trial may be repeated.
"""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genae_core import checkpoint, config
from genae_core.data.base import Splits
from genae_core.evaluation import validation_fcd
from genae_core.experiment import Experiment, resolve
from genae_core.keeping import Generations
from genae_core.metrics.classifier import Classifier
from genae_core.progress import shown
from genae_core.samplers.base import ChainConfig
from genae_core.tracking import Tracker
from genae_core.training import Progress
from genae_core.trial import TrialResult, run_trial

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
    rungs: tuple[float, ...]  # shares of a trial's steps at which a scheduler hears of it
    states: str  # folder of the states of trainings that have not ended
    checkpoint_seconds: float  # between two states of a training
    cells: dict[str, Experiment]  # by cell_key of its params


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
        return resolve(handed, splits)
    return sweep.cells[cell_key(params)]


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


def run_cell(
    params: Params,
    sweep: Sweep,
    splits: Splits,
    classifier: Classifier,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Run the cell and report {"fcd_val": mean over seeds of the best, "finished": True}.

    A training that was cut off goes on from its last state, in the same run of MLflow. It also
    reports when the share of its steps that are done, over all seeds and stages, passes
    one of sweep.rungs and the model can be sampled: a two-stage model not before its last stage.
    """
    torch.set_num_threads(sweep.threads)
    device = device_of(sweep.gpus)
    classifier = classifier.to(device)
    tracker = Tracker(sweep.uri, sweep.experiment_id)
    cell = cell_of(params, sweep, splits)
    best = []
    rungs = list(sweep.rungs)
    for position, seed in enumerate(sweep.seeds):
        experiment = dataclasses.replace(cell, seed=seed)

        def on_epoch(
            model: torch.nn.Module,
            progress: Progress,
            experiment: Experiment = experiment,
            position: int = position,
        ) -> None:
            done = (position + progress.done) / len(sweep.seeds)
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

        keys = {chain: run_key(sweep.name, experiment, chain) for chain in experiment.chains}
        known = [_finished_value(tracker, key) for key in keys.values()]
        if None not in known:
            best.append(min(value for value in known if value is not None))
            continue
        runs = {
            chain: _start(tracker, sweep, params, experiment, chain, key)
            for chain, key in keys.items()
        }
        keeper = Generations(
            Path(sweep.states) / keys[experiment.chains[0]], sweep.checkpoint_seconds
        )
        try:
            result = run_trial(experiment, splits, classifier, device, on_epoch, keeper)
            _log(tracker, experiment, result, runs)
        except BaseException as error:
            # SystemExit is how Tune stops a trial that a scheduler or Ctrl-C has ended.
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            for run in runs.values():
                tracker.finish(run, status, f"{type(error).__name__}: {error}")
            if isinstance(error, Exception):
                keeper.forget()  # from there it would fail again
            raise
        keeper.forget()
        best.append(min(min(chain.fcd_val) for chain in result.chains))
    report({"fcd_val": sum(best) / len(best), "percent": 100, "finished": True})


def run_key(sweep: str, experiment: Experiment, chain: ChainConfig) -> str:
    """What makes a run itself: the sweep and all that decides its result."""
    alone = dataclasses.replace(experiment, chains=(chain,))
    return hashlib.sha256(f"{sweep}\n{config.to_json(alone)}".encode()).hexdigest()[:32]


def _finished_value(tracker: Tracker, key: str) -> float | None:
    """The best validation FCD of the finished run under this key, if there is one."""
    for run in tracker.find(key=key):
        if run.info.status == "FINISHED":
            return float(run.data.metrics["fcd_val_best"])
    return None


def _start(
    tracker: Tracker,
    sweep: Sweep,
    params: Params,
    experiment: Experiment,
    chain: ChainConfig,
    key: str,
) -> str:
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
    run = tracker.start(name, key, tags, dict(config.flatten(alone)))
    tracker.log_text(run, config.to_json(alone), "experiment.json")
    return run


def _log(
    tracker: Tracker, experiment: Experiment, result: TrialResult, runs: dict[ChainConfig, str]
) -> None:
    model_run = runs[experiment.chains[0]]
    tracker.log_training(model_run, result.history)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "checkpoint"
        checkpoint.save_model(
            folder, result.model, experiment.model, experiment.data.shape, result.draw
        )
        tracker.log_files(model_run, folder, "checkpoint")
    for chain in result.chains:
        tracker.log_chain(runs[chain.config], chain)
    for run in runs.values():
        tracker.finish(run)


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
