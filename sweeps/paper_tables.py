"""Measure the tables of the papers again.

The study prints means with 95 % intervals over seeds, beside the paper's values where it has some.
These tables are measured on MNIST:

  flowae  Table 1 of Sridhar & Srivastava: the Fréchet Classifier Distance on binarised MNIST. The
          networks are fully connected, and the codes have 10 dimensions. Samples come from the
          prior, or from the distribution that was fitted to the codes. The scale of the FCD
          depends on the classifier, so compare the order of the rows, and fcd_ratio
  parzen  the MNIST column of Table 1 of Makhzani et al. 2016, in nats per image. Higher is better,
          but the measure rewards blur (see recipes/parzen_table.py)
  infogan the claims of Chen et al. 2016 about MNIST: the error of the class that an InfoGAN finds
          (best seed; give it five), the bound on its information, beside that of a plain GAN, and
          the correlations of the continuous codes with the slant and the width of the strokes
  semi    the semi-supervised AAE of Makhzani et al. 2016, second version: the error on the test
          images with 100, 1,000 and all labels, beside that of its encoder trained on labels alone
  clusters  the AAE of the same paper that finds clusters without labels: the error of 16 and of 30
          clusters, each of which has the class of its most confident held-out image

The next tables take any dataset, with --dataset:

  began_gamma  recall and precision of a BEGAN for each gamma, and their paired differences: with a
               larger gamma the samples should cover more of the data
  wae          the VAE against WAE-MMD and WAE-GAN, whose samples should be better in this order
  loss_tracks_quality  whether what the critic of a WGAN-GP, a BEGAN and a GAN estimates follows
               the FCD through a training, by Spearman's correlation. It trains without Ray and
               keeps no runs
  robustness   seven architectures with the losses of GAN, LSGAN, WGAN and WGAN-GP, and which of
               them fail (DCGAN, so a dataset of 28 px or of a multiple of 8 px)
  map          every family in one table and one picture: the FCD of draws, and after the best
               number of steps where there is a chain, recall, Parzen windows, and seconds
  samplers     samplers of four trained models at equal cost: the FCD against the calls of decoder
               and encoder, precision, recall and the distance to the nearest training image

Two tables decide claims of the slides about GANs by Gaussians in one dimension. They need no
dataset, no Ray and no store, and take minutes:

  f_gan_1d    one Gaussian is fitted to a mixture of two by each f-divergence. The reverse KL
              divergence seeks a mode, and Pearson's covers all of them. The best Gaussian is also
              computed by quadrature
  saturation  the gradient of a generator that is far from its target: it vanishes in the
              saturating GAN, and it does not in the WGAN-GP

  python sweeps/paper_tables.py --table flowae --seeds 3 --data-root DIR --json table.json
  python sweeps/paper_tables.py --table map --dataset mnist --data-root DIR --seeds 1
  python sweeps/paper_tables.py --table f_gan_1d
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from genae_core import experiment, metrics, recipes, sweep, tracking
from genae_core.config import require, require_positive_int
from genae_core.config.cli import cli
from genae_core.config.places import locate_fields
from genae_core.recipes.options import Dataset, ParzenFamily, StudyOptions
from genae_core.sweep.options import ClassifierOptions, LaunchOptions


@dataclass(frozen=True, kw_only=True)
class Options(ClassifierOptions):
    """The flags of this study."""

    table: Literal[
        "flowae",
        "parzen",
        "infogan",
        "semi",
        "clusters",
        "began_gamma",
        "wae",
        "loss_tracks_quality",
        "robustness",
        "map",
        "samplers",
        "f_gan_1d",
        "saturation",
    ] = "flowae"
    """The table to measure again."""
    dataset: Dataset = "mnist"
    """Dataset; flowae, parzen, infogan, semi and clusters are measured on MNIST only."""
    epochs: int | None = None
    """Passes over the training images (default: those of the table)."""
    samples: int = 10_000
    """parzen: number of samples of each model. They are drawn in blocks of 10,000; a killed
    measurement continues with --resume."""
    families: tuple[ParzenFamily, ...] = ("aae",)
    """parzen: models to measure; the paper has values of all but gmmn."""
    data_root: str | None = None
    """Folder or URI of the dataset's official files."""
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
        if self.epochs is not None:
            require_positive_int(epochs=self.epochs)
            require(
                self.table not in ("parzen", *GAUSSIAN_TABLES),
                f"--table {self.table} takes no --epochs",
                epochs=self.epochs,
            )
        require(
            self.dataset == "mnist" or self.table not in MNIST_TABLES,
            f"--table {self.table} is measured on MNIST",
            dataset=self.dataset,
        )
        require(
            self.data_root is not None
            or self.dataset == "digits"
            or self.table in GAUSSIAN_TABLES,
            f"--table {self.table} is measured on {self.dataset}: give the folder of its files",
            data_root=self.data_root,
        )
        locate_fields(self, "data_root", "json", "shards", "tracking_uri")
        if self.json is not None:
            folder = Path(self.json).parent
            require(folder.is_dir(), f"--json: there is no folder {folder}", json=str(self.json))

    def announcement(self) -> str | None:
        """What the study is about to do; nothing if it only prints its trials."""
        if self.print:
            return None
        if self.table in (*GAUSSIAN_TABLES, "loss_tracks_quality"):
            return f"measuring the table {self.table}. First, PyTorch is loaded ..."
        return study_options(self).announcement()


GAUSSIAN_TABLES = ("f_gan_1d", "saturation")
MNIST_TABLES = ("flowae", "parzen", "infogan", "semi", "clusters")


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
    save_rows(rows, options)
    return 0


def save_rows(rows: Sequence[Any], options: Options) -> None:
    """Write the rows to the file of --json, if there is one."""
    if options.json is not None:
        recipes.write_rows(rows, options.json)


def study_options(options: Options) -> StudyOptions:
    """The flags that all studies have, with the values of this study."""
    own_names = {field.name for field in fields(Options)}
    launch_names = {field.name for field in fields(LaunchOptions)}
    names = (own_names & launch_names) - {"seeds"}
    shared = {name: getattr(options, name) for name in names}
    return StudyOptions(
        **shared,
        seeds=tuple(range(options.seeds)),
        dataset=options.dataset,
        data_root=options.data_root,
        epochs=options.epochs,
        download=options.download,
        smoke=options.smoke,
    )


def loss_table(options: Options) -> int:
    """Measure and print the table loss_tracks_quality, in this process."""
    study = study_options(options)
    recipe = recipes.dataset_recipe(study)
    chain = recipes.prior_draws(study)
    experiments = {
        family: recipes.loss_experiment(study, family, chain) for family in recipes.ESTIMATES
    }
    if options.print:
        print(f"{', '.join(experiments)}: {options.seeds} seeds, without trials and runs")
        return 0
    import torch  # noqa: PLC0415  the help of the study is printed without it

    torch.set_num_threads(options.cpus_per_trial)
    splits = recipes.splits_of(study)
    checked = experiment.sound_classifier(
        recipe.classifier, recipe.data, splits, options.classifier
    )
    classifier = metrics.load_classifier(checked.folder)
    rows = recipes.print_loss_table(experiments, range(options.seeds), splits, classifier)
    print(f"ruler: {checked.ruler.line}")
    save_rows(rows, options)
    return 0


def swept_table(options: Options) -> int:
    """Measure and print a table by a sweep."""
    study = study_options(options)
    table = recipes.paper_table(options.table, study, options.families, options.samples)

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        save_rows(table.print_rows(tracker, name, folder), options)

    return sweep.launch("paper_tables", table.axes, table.experiment, study, on_end)


def main(options: Options) -> int:
    """Measure and print the table."""
    if options.table in GAUSSIAN_TABLES:
        return gaussian_table(options)
    if options.table == "loss_tracks_quality":
        return loss_table(options)
    return swept_table(options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
