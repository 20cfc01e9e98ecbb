"""Which family, latent dimension, prior, noise and weights give the lowest FCD together?

TPE proposes cells and learns from their validation FCD at the best step of the chain; ASHA stops
those that are behind at a ninth and a third of their steps. A parameter is searched only where it
means something: a prior for families that have one, the noise for denoising ones. A search finds a
good cell and compares nothing: for that see the studies.

  python sweeps/search.py --dataset mnist --data-root DIR --minutes 20
  python sweeps/search.py ... --against model_family-20260101-000000-abcd   # from there, further
"""

import json
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import optuna

from genae_core import config
from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.config.home import default_store, home
from genae_core.experiment.experiment import Experiment
from genae_core.models.base import AdamConfig
from genae_core.recipes.families import DENOISING, TAKES, Family
from genae_core.recipes.recipes import StudyOptions, chain_of, experiment, parts_of, recipe
from genae_core.sweep.cells import coordinates
from genae_core.sweep.launcher import launch
from genae_core.sweep.optuna_search import SearchSpace, search
from genae_core.tracking.mlflow_store import StoredRun, Tracker

LOW, HIGH = 4, 64  # of the latent dimension
RATES = (5e-4, 5e-3)  # of Adam
RECORD = (0, 1, 2, 5, 10)  # fewer than the studies': half of a cell's minutes is its evaluation
PLANAR = ("swiss_roll",)  # priors of two dimensions alone, which no other cell could compare with


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this search."""

    families: tuple[Family, ...] = get_args(Family)
    """Model families to choose from."""
    asha: bool = True
    """Have trials that are behind the others wait, and go on from their state once they are among
    the best third (ASHA)."""
    minutes: float = 20.0
    """Of trials, after the data and the classifier are there; running trials then end."""
    trials: int | None = None
    """At most so many trials."""
    against: str | None = None
    """A finished sweep of model_family.py in the same store: the search learns from its cells, and
    then its best one on validation is trained with fresh seeds beside the one that was found, and
    both are compared on test."""
    fresh_seeds: tuple[int, ...] = (100, 101, 102)
    """Seeds of that comparison."""


def suggest(options: Options, trial: optuna.trial.BaseTrial) -> None:
    """The coordinates of one trial; conditional ones only where they mean something."""
    family = trial.suggest_categorical("family", list(options.families))
    trial.suggest_int("latent_dim", LOW, HIGH, log=True)
    trial.suggest_float("learning_rate", *RATES, log=True)
    priors = [prior for prior in TAKES.get(family, ()) if prior not in PLANAR]
    if priors:
        # One parameter for each set of choices: Optuna's categories are fixed.
        trial.suggest_categorical(f"prior of {'a KL' if 'flow' in priors else 'samples'}", priors)
    if family in DENOISING:
        trial.suggest_float("noise", 0.1, 1.0)
    if family in ("vae", "dvae"):
        trial.suggest_float("beta", 0.1, 2.0, log=True)
    if family in ("wae_mmd", "wae_gan"):
        trial.suggest_float("wae_weight", 1.0, 1000.0, log=True)


def cell_of(options: Options, params: dict[str, Any]) -> Experiment:
    """The experiment of these coordinates."""
    family = params["family"]
    found = recipe(options)
    parts = parts_of(options, family)
    optimizer = AdamConfig(learning_rate=params["learning_rate"], beta1=parts.optimizer.beta1)
    given = {name: params[name] for name in ("noise", "beta", "wae_weight") if name in params}
    (prior,) = [v for name, v in params.items() if name.startswith("prior of")] or ["normal"]
    chain = chain_of(found, record=RECORD)
    parts = replace(parts, optimizer=optimizer, prior=prior, **given)
    return experiment(options, family, params["latent_dim"], (chain,), parts)


def usual(options: Options, family: str, latent_dim: int) -> dict[str, Any]:
    """All coordinates of a family's cell as the other studies train it."""
    parts = parts_of(options, family)
    trial = optuna.trial.FixedTrial(
        {
            "family": family,
            "latent_dim": latent_dim,
            "learning_rate": parts.optimizer.learning_rate,
            "prior of a KL": parts.prior,
            "prior of samples": parts.prior,
            "noise": parts.noise,
            "beta": parts.beta,
            "wae_weight": parts.wae_weight,
        }
    )
    suggest(options, trial)
    return trial.params


def best_of(curves: list[StoredRun], sweep: str) -> StoredRun:
    """The finished run with the lowest validation FCD at its best step."""
    finished = [run for run in curves if run.status == "FINISHED"]
    require(bool(finished), "no finished run in the sweep", sweep=sweep)
    return min(finished, key=lambda run: run.scalars["fcd_val_best"])


def stored_experiment(tracker: Tracker, run: StoredRun) -> Experiment:
    with tempfile.TemporaryDirectory() as scratch:
        text = tracker.fetch(run.run_id, "experiment.json", Path(scratch)).read_text()
    stored: Experiment = config.from_json(text)
    return stored


def told(run: StoredRun) -> str:
    cell = coordinates(json.loads(run.tags["cell"]))
    return ", ".join(f"{name} {value}" for name, value in sorted(cell.items()))


def main(options: Options) -> int:
    """Search, say what was found, and compare it on test where asked."""
    found: dict[str, Experiment] = {}

    def on_end(tracker: Tracker, sweep: str, folder: Path) -> None:
        run = best_of(tracker.read_runs(sweep), sweep)
        found["search"] = stored_experiment(tracker, run)
        (folder / "best.json").write_text(config.to_json(found["search"]) + "\n")
        print(
            f"\nbest:   {told(run)}\n        FCD {run.scalars['fcd_val_best']:.1f} on validation "
            f"at step {run.scalars['fcd_best_step']:g}; its config is {folder / 'best.json'}"
        )
        if options.against is not None:
            other = Tracker.create(tracker.uri, "model_family", home() / "mlartifacts")
            rival = best_of(other.read_runs(options.against), options.against)
            found["against"] = stored_experiment(other, rival)
            print(f"against: {told(rival)}, FCD {rival.scalars['fcd_val_best']:.1f} on validation")

    first = usual(options, options.families[0], 10)
    known = []
    if options.against is not None and not options.print:
        known = known_from(options)
    space = SearchSpace(
        first=first,
        suggest=partial(suggest, options),
        experiment=partial(cell_of, options),
        known=known,
    )
    code = search("search", space, options, options.minutes, options.trials, on_end)
    if code != 0 or "against" not in found:
        return code
    print("\nBoth with fresh seeds, each at the step chosen on validation, compared on test:")
    fresh = replace(options, seeds=options.fresh_seeds, name=None, asha=False)
    return launch("confirm", {"cell": tuple(found)}, lambda p: found[p["cell"]], fresh)


def known_from(options: Options) -> list[tuple[dict[str, Any], float]]:
    """The other sweep's cells that this search could propose, with their validation FCD.

    Raises ValueError, before the search, where that sweep has nothing to compare with.
    """
    uri = options.tracking_uri or default_store()
    home().mkdir(parents=True, exist_ok=True)
    tracker = Tracker.create(uri, "model_family", home() / "mlartifacts")
    assert options.against is not None
    curves = tracker.read_runs(options.against)
    dataset = recipe(options).data.name
    there = best_of(curves, options.against).tags["dataset"]
    require(there == dataset, f"--against must name a sweep on {dataset}", dataset=there)
    known = []
    for run in curves:
        cell = coordinates(json.loads(run.tags["cell"]))
        searched = LOW <= cell["latent_dim"] <= HIGH and cell["family"] in options.families
        if run.status == "FINISHED" and searched:
            params = usual(options, cell["family"], cell["latent_dim"])
            known.append((params, run.scalars["fcd_val_best"]))
    return known


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
