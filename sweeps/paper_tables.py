"""Measure the tables of the papers again.

The study prints the paper's values beside the values measured here, which are means with 95 %
intervals over seeds.

  flowae  Table 1 of Sridhar & Srivastava: the Fréchet Classifier Distance on binarised MNIST. The
          networks are fully connected, and the codes have 10 dimensions. Samples come from the
          prior, or from the distribution that was fitted to the codes. The scale of the FCD
          depends on the classifier, so compare the order of the rows, and fcd_ratio
  parzen  the MNIST column of Table 1 of Makhzani et al. 2016, in nats per image. Higher is better,
          but the measure rewards blur (see recipes/parzen_table.py)
  infogan the claims of Chen et al. 2016 about MNIST: the error of the class that an InfoGAN finds
          (best seed; give it five), the bound on its information, and the correlations of the
          continuous codes with the slant and the width of the strokes

Two tables decide claims of the slides about GANs by Gaussians in one dimension. They need no
dataset, no Ray and no store, and take minutes:

  f_gan_1d    one Gaussian is fitted to a mixture of two by each f-divergence. The reverse KL
              divergence seeks a mode, and Pearson's covers all of them. The best Gaussian is also
              computed by quadrature
  saturation  the gradient of a generator that is far from its target: it vanishes in the
              saturating GAN, and it does not in the WGAN-GP

  python sweeps/paper_tables.py --table flowae --seeds 3 --data-root DIR --json table.json
  python sweeps/paper_tables.py --table f_gan_1d
"""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import genae_core as genae
from genae_core import recipes, sweep, tracking
from genae_core.config import require, require_positive_int
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.config.places import locate_fields
from genae_core.recipes.options import StudyOptions
from genae_core.sweep.options import ClassifierOptions, LaunchOptions


@dataclass(frozen=True, kw_only=True)
class Options(ClassifierOptions):
    """The flags of this study."""

    table: Literal["flowae", "parzen", "infogan", "f_gan_1d", "saturation"] = "flowae"
    """The table to measure again."""
    samples: int = 10_000
    """parzen: number of samples of each model; they are drawn in blocks of 10,000."""
    data_root: str | None = None
    """Folder or URI of MNIST's official files, for flowae, parzen and infogan."""
    seeds: int = 3
    """Number of seeds. The seeds are 0, 1, ..."""
    json: Path | None = None
    """JSON file for the rows (default: none)."""
    smoke: bool = False
    """Run with fewer images and epochs. The results mean nothing."""
    shards: str | None = None
    """Folder or URI of shards that `genae prepare` has made (default: GENAE_HOME, in which
    missing shards are prepared)."""
    download: bool = False
    """Download missing official files into --data-root with torchvision."""
    trials_in_parallel: int | None = None
    """Trials that run at a time (default: as many as the CPUs and GPUs hold)."""
    cpus_per_trial: int = 1
    """CPUs of a trial, which are also its threads."""
    gpus_per_trial: float = 0.0
    """GPUs of a trial."""
    tracking_uri: str | None = None
    """MLflow store: sqlite:///PATH or http://HOST:PORT (default: mlflow.db in GENAE_HOME)."""
    name: str | None = None
    """Name of the sweep, which must be new unless --resume is used (default: the study, the UTC
    time and a suffix)."""
    resume: bool = False
    """Resume the sweep called --name. Runs that have finished are not run again."""
    ray_address: str | None = None
    """Address of the Ray cluster to join, e.g. auto (default: RAY_ADDRESS; without it the sweep
    starts its own Ray)."""
    print: Annotated[bool, tyro.conf.arg(name="print")] = False
    """Only print the trials that would run."""

    def __post_init__(self) -> None:
        require_positive_int(seeds=self.seeds, samples=self.samples)
        require(
            self.data_root is not None or self.table in GAUSSIAN_TABLES,
            f"--table {self.table} is measured on MNIST: give the folder of its files",
            data_root=self.data_root,
        )
        locate_fields(self, "data_root", "json", "shards", "tracking_uri")
        if self.json is not None:
            folder = Path(self.json).parent
            require(folder.is_dir(), f"--json: there is no folder {folder}", json=str(self.json))


GAUSSIAN_TABLES = ("f_gan_1d", "saturation")


def gaussian_table(options: Options) -> int:
    """Measure and print one of the tables that need no dataset."""
    if options.print:
        print(f"{options.table}: {options.seeds} seeds, without trials and runs")
        return 0
    seeds = range(options.seeds)
    rows: list[Any]
    if options.table == "f_gan_1d":
        rows = recipes.print_f_gan_table(seeds)
    else:
        rows = recipes.print_saturation_table(seeds)
    if options.json is not None:
        recipes.write_rows(rows, options.json)
    return 0


def study_options(options: Options) -> StudyOptions:
    """The flags that all studies have, with the values of this study."""
    own_names = {field.name for field in fields(Options)}
    launch_names = {field.name for field in fields(LaunchOptions)}
    names = (own_names & launch_names) - {"seeds"}
    shared = {name: getattr(options, name) for name in names}
    return StudyOptions(
        **shared,
        seeds=tuple(range(options.seeds)),
        dataset="mnist",
        data_root=options.data_root,
        download=options.download,
        smoke=options.smoke,
    )


def main(options: Options) -> int:
    """Measure the table, and print the paper's values beside ours."""
    if options.table in GAUSSIAN_TABLES:
        return gaussian_table(options)
    study = study_options(options)
    recipe = recipes.dataset_recipe(study)
    chain = recipe.chain(sampler=genae.Ancestral(), batch_norm="running", record=(0,))
    grey = options.table in ("parzen", "infogan")

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        if grey:
            data = genae.MNISTConfig(
                root=str(options.data_root), binarize=False, download=options.download
            )
            if options.table == "infogan":
                return recipes.infogan_experiment(study, data, chain)
            return recipes.parzen_experiment(data, chain, recipe.classifier, options.smoke)
        return recipes.flowae_experiment(study, params["family"], chain)

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        runs = [run for run in tracker.read_runs(name) if run.status == "FINISHED"]
        if grey:
            splits = genae.load_splits(
                experiment({}).data, home(), genae.LoadOptions(shards=study.shards)
            )
            if options.table == "infogan":
                rows = recipes.infogan_rows(tracker, runs, splits)
            else:
                rows = recipes.parzen_rows(tracker, runs, splits, options.samples)
        else:
            rows = recipes.flowae_rows(runs)
        recipes.print_rows(rows)
        if options.json is not None:
            recipes.write_rows(rows, options.json)
        if not grey:
            test = genae.load_splits(
                recipe.data, home(), genae.LoadOptions(shards=study.shards)
            ).test
            recipes.draw_codes(tracker, name, folder, test, recipe.data.binarize)

    families = {"parzen": ("aae",), "infogan": ("info_gan",)}.get(
        options.table, recipes.flowae_families()
    )
    return sweep.launch("paper_tables", {"family": families}, experiment, study, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
