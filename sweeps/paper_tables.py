"""The papers' tables, measured again: paper beside measured, mean and 95 % interval over seeds.

flowae: Table 1 of Sridhar & Srivastava, the Fréchet Classifier Distance on binarised MNIST,
k = 10, fully connected, of samples of the prior or of what was fitted to the codes, normalised by
the running statistics of training. The FCD's scale is the classifier's: compare the order, and
fcd_ratio.

parzen: the MNIST column of Table 1 of Makhzani et al. 2016 (see recipes/parzen_table.py), in nats
an image; higher is better, and the measure rewards blur.

  python sweeps/paper_tables.py --table flowae --seeds 3 --data-root DIR --json table.json
"""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from genae_core.config import require, require_positive_int
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.load import LoadOptions, load_splits
from genae_core.data.mnist import MNISTConfig
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.flowae_table import LATENT_DIM, TABLE, draw_codes, flowae_rows
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_rows import print_rows, write_rows
from genae_core.recipes.parzen_table import parzen_experiment, parzen_rows
from genae_core.recipes.study import study_experiment
from genae_core.samplers.ancestral import Ancestral
from genae_core.sweep.launcher import launch
from genae_core.sweep.options import LaunchOptions
from genae_core.tracking.mlflow_store import Tracker


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this study."""

    table: Literal["flowae", "parzen"] = "flowae"
    """The table to measure again."""
    samples: int = 10_000
    """parzen: samples of each model; more than 10,000 are made and used in blocks."""
    data_root: str
    """Folder or URI of MNIST's official files."""
    seeds: int = 3
    """Number of seeds, which are 0, 1, ..."""
    json: Path | None = None
    """File for the rows."""
    smoke: bool = False
    """Fewer images and epochs. Shows that it runs, not how well."""
    shards: str | None = None
    """Folder or URI of shards that jobs/prepare_data.py made."""
    download: bool = False
    """Fetch missing official files into --data-root."""
    trials_in_parallel: int | None = None
    """Trials at a time (default: as many as the CPUs and GPUs hold)."""
    cpus_per_trial: int = 1
    """CPUs of a trial, and so its threads."""
    gpus_per_trial: float = 0.0
    """GPUs of a trial."""
    tracking_uri: str | None = None
    """MLflow store: sqlite:///PATH or http://HOST:PORT (default: mlflow.db in GENAE_HOME)."""
    name: str | None = None
    """Name of the sweep (default: study, UTC time, suffix). One that exists is refused."""
    resume: bool = False
    """Continue the sweep called --name: what has finished is not run again."""
    ray_address: str | None = None
    """Cluster to join, e.g. auto (default: RAY_ADDRESS, else a Ray for this sweep alone)."""
    print: Annotated[bool, tyro.conf.arg(name="print")] = False
    """Show the trials that would run, and stop."""


def study_options(options: Options) -> StudyOptions:
    """The flags of every study, as this study sets them."""
    names = {field.name for field in fields(Options)} & {f.name for f in fields(LaunchOptions)}
    shared = {name: getattr(options, name) for name in names - {"seeds"}}
    return StudyOptions(
        **shared,
        seeds=tuple(range(options.seeds)),
        dataset="mnist",
        data_root=options.data_root,
        download=options.download,
        smoke=options.smoke,
    )


def main(options: Options) -> int:
    """Train every family of the table with each seed, and print paper beside measured."""
    require_positive_int(seeds=options.seeds, samples=options.samples)
    if options.json is not None:
        exists = options.json.absolute().parent.is_dir()
        require(exists, "--json: there is no such folder", json=str(options.json))
    study = study_options(options)
    recipe = dataset_recipe(study)
    chain = recipe.chain(sampler=Ancestral(), batch_norm="running", record=(0,))
    parzen = options.table == "parzen"

    def experiment(params: dict[str, Any]) -> Experiment:
        if parzen:
            data = MNISTConfig(root=options.data_root, binarize=False, download=options.download)
            return parzen_experiment(data, chain, recipe.classifier, options.smoke)
        return study_experiment(study, params["family"], LATENT_DIM, (chain,))

    def on_end(tracker: Tracker, sweep: str, folder: Path) -> None:
        runs = [run for run in tracker.read_runs(sweep) if run.status == "FINISHED"]
        if parzen:
            splits = load_splits(experiment({}).data, home(), LoadOptions(shards=study.shards))
            rows = parzen_rows(tracker, runs, splits, options.samples)
        else:
            rows = flowae_rows(runs)
        print_rows(rows)
        if options.json is not None:
            write_rows(rows, options.json)
        if not parzen:
            test = load_splits(recipe.data, home(), LoadOptions(shards=study.shards)).test
            draw_codes(tracker, sweep, folder, test, recipe.data.binarize)

    families = ("aae",) if parzen else tuple(family for _, _, family in TABLE)
    return launch("paper_tables", {"family": families}, experiment, study, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
