"""The papers' tables, measured again: paper beside measured, mean and 95 % interval over seeds.

flowae: Table 1 of Sridhar & Srivastava, the Fréchet Classifier Distance on binarised MNIST,
k = 10, fully connected, of samples of the prior or of what was fitted to the codes, normalised by
the running statistics of training. The FCD's scale is the classifier's: compare the order, and
fcd_ratio.

parzen: the MNIST column of Table 1 of Makhzani et al. 2016 (see parzen_table.py), in nats an
image; higher is better, and the measure rewards blur.

  python sweeps/paper_tables.py --table flowae --seeds 3 --data-root DIR --json table.json
"""

import json
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from genae_core.config import require, require_positive_int
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.load import load_splits
from genae_core.data.mnist import MNISTConfig
from genae_core.experiment.experiment import Experiment
from genae_core.models.base import Autoencoder
from genae_core.recipes import parzen_table
from genae_core.recipes.families import Family
from genae_core.recipes.pictures import images_of, model_of
from genae_core.recipes.recipes import StudyOptions, chain_of, experiment, recipe
from genae_core.report.intervals import interval
from genae_core.report.plots import Cloud, scatter
from genae_core.samplers.ancestral import Ancestral
from genae_core.sweep.launcher import launch
from genae_core.sweep.options import LaunchOptions
from genae_core.tracking.mlflow_store import StoredRun, Tracker

LATENT_DIM = 10
# Name in the paper, the FCD there, and the family here. The paper's own spline is an outlook.
TABLE: tuple[tuple[str, float | None, Family], ...] = (
    ("VAE", 8.12, "vae"),
    ("AAE", 6.09, "aae"),
    ("AdvAE", 6.03, "adv_ae"),
    ("FlowAE", 4.65, "flow_ae"),
    ("FlowAE (spline)", None, "flow_ae_spline"),
)
REAL = 0.2  # the paper's FCD of real data
PERPLEXITY, PROJECTED = 70, 2_000  # of the t-SNE figures; the paper gives no count


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this study."""

    table: Literal["flowae", "parzen"] = "flowae"
    """Which table."""
    samples: int = 10_000
    """parzen: samples of each model; beyond 10,000 they are made and used in blocks."""
    data_root: str
    """Folder or URI of MNIST's official files."""
    seeds: int = 3
    """How many seeds: 0, 1, ..."""
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. low, high: of the 95 % interval of the mean over n seeds (Student's
    t); none at n = 1. fcd_ratio: mean divided by the FCD of real training images."""

    name: str
    paper: float | None
    mean: float
    low: float | None
    high: float | None
    n: int
    fcd_ratio: float | None


def study_of(options: Options) -> StudyOptions:
    """The flags that every study has."""
    given = {f.name: getattr(options, f.name) for f in fields(Options)}
    shared = {f.name for f in fields(LaunchOptions)} & given.keys() - {"seeds"}
    return StudyOptions(
        **{name: given[name] for name in shared},
        seeds=tuple(range(options.seeds)),
        dataset="mnist",
        data_root=options.data_root,
        download=options.download,
        smoke=options.smoke,
    )


def rows_of(curves: list[StoredRun]) -> list[Row]:
    """The table from finished runs: FCD at step 0 against the test half."""
    done = [run for run in curves if run.status == "FINISHED"]
    if not done:
        return []
    floor = done[0].scalars["fcd_floor"]  # of the same images in every run
    rows = [Row(name="Real data", paper=REAL, mean=floor, low=None, high=None, n=1, fcd_ratio=1.0)]
    for name, paper, family in TABLE:
        runs = [run for run in done if json.loads(run.tags["cell"])["family"] == family]
        if runs:
            mean, low, high = interval([run.scalars["fcd_step0"] for run in runs])
            ratio = mean / floor if floor > 0 else None
            rows.append(
                Row(
                    name=name,
                    paper=paper,
                    mean=mean,
                    low=low,
                    high=high,
                    n=len(runs),
                    fcd_ratio=ratio,
                )
            )
    return rows


def row_of_line(line: parzen_table.Line) -> Row:
    """Over seeds; of one, its own interval over the test images."""
    values = [value.mean for value in line.values]
    mean, low, high = interval(values)
    if len(values) == 1:
        half = 1.96 * line.values[0].error
        low, high = mean - half, mean + half
    return Row(
        name=line.name,
        paper=line.paper,
        mean=mean,
        low=low,
        high=high,
        n=len(values),
        fcd_ratio=None,
    )


def show(rows: list[Row]) -> None:
    head = ("paper", "measured", "95 % interval", "seeds", "/ real")
    wide = max([16, *(len(row.name) for row in rows)])
    print("\n{:<{wide}} {:>6} {:>9} {:>17} {:>6} {:>7}".format("", *head, wide=wide))
    for row in rows:
        paper = "-" if row.paper is None else f"{row.paper:.2f}"
        spread = "-" if row.low is None else f"{row.low:.1f} to {row.high:.1f}"
        ratio = "-" if row.fcd_ratio is None else f"{row.fcd_ratio:.1f}"
        print(f"{row.name:<{wide}} {paper:>6} {row.mean:>9.1f} {spread:>17} {row.n:>6} {ratio:>7}")
    if any(row.fcd_ratio is not None for row in rows):
        print("paper: another classifier, so another scale; / real: divided by real images")


def draw_codes(tracker: Tracker, sweep: str, folder: Path, study: StudyOptions) -> None:
    """t-SNE of held-out images' codes, of the VAE and of the autoencoder that FlowAE and AdvAE
    share (Sridhar & Srivastava, figure 7); into the sweep's folder and the runs' artifacts."""
    from sklearn.manifold import TSNE

    data = recipe(study).data
    test = load_splits(data, home(), study.shards).test
    count = min(PROJECTED, len(test.images))
    x = images_of(test, np.arange(count), data.binarize)
    for family, title in (("vae", "VAE"), ("flow_ae", "autoencoder of FlowAE and AdvAE")):
        runs = [
            run
            for run in tracker.read_runs(sweep)
            if run.status == "FINISHED"
            and run.tags["seed"] == "0"
            and json.loads(run.tags["cell"])["family"] == family
        ]
        if not runs:
            continue
        model = model_of(tracker, runs[0])
        assert isinstance(model, Autoencoder)
        with torch.no_grad():
            codes = model.encode(x).mean.numpy()
        points = TSNE(perplexity=min(PERPLEXITY, count / 4), random_state=0).fit_transform(codes)
        drawn = folder / "figures" / f"tsne_{family}.png"
        drawn.parent.mkdir(exist_ok=True)
        cloud = Cloud(f"t-SNE of {count:,} codes: {title}", points, test.labels[:count])
        scatter([cloud], drawn)
        tracker.log_files(runs[0].run_id, drawn, "figures")
        print(f"t-SNE:  {drawn}")


def main(options: Options) -> int:
    """Train every family of the table with each seed, and print paper beside measured."""
    require_positive_int(seeds=options.seeds, samples=options.samples)
    if options.json is not None:
        there = options.json.absolute().parent.is_dir()
        require(there, "--json: there is no such folder", json=str(options.json))
    study = study_of(options)
    found = recipe(study)
    chain = chain_of(found, sampler=Ancestral(), batch_norm="running", record=(0,))

    parzen = options.table == "parzen"

    def cell(params: dict[str, Any]) -> Experiment:
        if parzen:
            data = MNISTConfig(root=options.data_root, binarize=False, download=options.download)
            return parzen_table.experiment(data, chain, found.classifier, options.smoke)
        return experiment(study, params["family"], LATENT_DIM, (chain,))

    def on_end(tracker: Tracker, sweep: str, folder: Path) -> None:
        runs = [run for run in tracker.read_runs(sweep) if run.status == "FINISHED"]
        if parzen:
            splits = load_splits(cell({}).data, home(), study.shards)
            lines = parzen_table.lines(tracker, runs, splits, options.samples)
            rows = [row_of_line(line) for line in lines]
        else:
            rows = rows_of(runs)
        show(rows)
        if options.json is not None:
            options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
            print(f"rows:   {options.json}")
        if not parzen:
            draw_codes(tracker, sweep, folder, study)

    families = ("aae",) if parzen else tuple(family for _, _, family in TABLE)
    return launch("paper_tables", {"family": families}, cell, study, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
