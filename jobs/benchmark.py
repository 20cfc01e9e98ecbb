"""Measure what genae costs, as ratios against the best plain code that does the same job.

The arms of a benchmark take turns, and the medians of the repeats are compared. A ratio above 1 is
better than the baseline. The suites "train", "replicas", "chain", "fcd", "precision",
"evaluation", "auto", "contended" and "classifier" need neither Ray nor MLflow.

  python jobs/benchmark.py train --json train.json
  python jobs/benchmark.py replicas --json replicas.json
  python jobs/benchmark.py data --json data.json
  python jobs/benchmark.py chain --json chain.json
  python jobs/benchmark.py fcd --json fcd.json
  python jobs/benchmark.py precision --json precision.json
  python jobs/benchmark.py evaluation --json evaluation.json
  python jobs/benchmark.py auto --json auto.json
  python jobs/benchmark.py contended --json contended.json
  python jobs/benchmark.py classifier --data-root DIR --json classifier.json
  python jobs/benchmark.py tracking --json tracking.json
  python jobs/benchmark.py startup --json startup.json
  python jobs/benchmark.py overhead --json overhead.json
  python jobs/benchmark.py scale --json scale.json
  python jobs/benchmark.py explorer --json explorer.json
  python jobs/benchmark.py settle --json settle.json
  python jobs/benchmark.py all --json all.json
"""

import importlib
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro

if TYPE_CHECKING:
    from jobs.benchmarks.rows import Row

from genae_core.config import require, require_positive_int, to_strict_json
from genae_core.config.cli import cli
from genae_core.config.places import locate_fields

# Without Ray and MLflow, on a GPU too.
ALONE = ("train", "replicas", "chain", "fcd", "precision", "evaluation", "auto")
Suite = Literal[
    "train",
    "replicas",
    "chain",
    "fcd",
    "precision",
    "evaluation",
    "auto",
    "contended",
    "classifier",
    "data",
    "tracking",
    "startup",
    "overhead",
    "scale",
    "explorer",
    "settle",
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this job."""

    suite: Annotated[Suite | Literal["all"], tyro.conf.Positional]
    """What to measure. train: steps of a training. replicas: steps of eight seeds that are trained
    as one model. chain: steps of a chain. fcd: the FCD of many samples. precision: the FCDs of
    bf16 and of fp32, over twice as many seeds as --repeats. evaluation: the share of the
    evaluation in a trial of MNIST. auto: whether --precision auto makes the right choice each
    time, also beside a busy process. contended: steps of a training alone and beside a program
    that keeps a CPU busy. classifier: training MNIST's classifier. data: preparing and
    reading shards. tracking: the time that logging costs a trial. startup: from the command of a
    sweep to its first trial. overhead: launching empty trials. scale: many trials on a
    cluster of 16 nodes on this machine. explorer: building, opening and playing the page of a
    thousand runs in Chromium. settle: how often --until-settled finds the best of 16 cells, the
    best steps of 4 and the order of 4 families, and with how few trials, on generated sweeps. all:
    all of these, which takes more than an hour."""
    json: Path | None = None
    """File for the rows."""
    repeats: int = 3
    """Number of runs of every arm; the medians are compared."""
    images: int = 100_000
    """data: the number of generated JPEGs, of 178 x 218 pixels."""
    trials: int = 1_000
    """scale: the number of trials, which sleep 10 seconds each in 32 slots."""
    data_root: str | None = None
    """classifier: folder of MNIST's official files. Without it, no accuracy is measured."""
    device: Literal["cpu", "cuda"] = "cpu"
    """train, replicas, chain, fcd, precision, evaluation, auto, classifier: the device on which
    they run."""

    def __post_init__(self) -> None:
        locate_fields(self, "json", "data_root")
        require_positive_int(repeats=self.repeats, images=self.images, trials=self.trials)


def measure_suite(suite: Suite, options: Options) -> "list[Row]":
    """Measure a suite. Only this suite is imported, because each one needs other libraries."""
    sweep = suite in ("overhead", "scale")
    module: Any = importlib.import_module(f"benchmarks.{'sweep' if sweep else suite}")
    rows: list[Row]
    with tempfile.TemporaryDirectory(prefix="genae-benchmark-") as scratch:
        if suite in ALONE:
            rows = module.rows(options.repeats, options.device)
        elif suite == "classifier":
            root = options.data_root
            rows = module.rows(options.repeats, options.device, root, Path(scratch))
        elif suite == "data":
            rows = module.rows(options.images, options.repeats, Path(scratch))
        elif suite == "overhead":
            rows = module.overhead(options.repeats)
        elif suite == "scale":
            rows = module.scale(options.trials)
        elif suite == "settle":
            rows = module.rows()
        elif suite == "contended":
            rows = module.rows(options.repeats)
        else:
            rows = module.rows(options.repeats, Path(scratch))
    return rows


def main(options: Options) -> int:
    """Run the suites, print their rows, and write them."""
    if options.json is not None:
        folder = options.json.parent
        require(folder.is_dir(), f"--json: there is no folder {folder}", json=str(options.json))
    machine: Any = importlib.import_module("benchmarks.machine")
    machine.require_device(options.device)
    suites = get_args(Suite) if options.suite == "all" else (options.suite,)
    rows: list[Row] = []
    for suite in suites:
        suite_rows = measure_suite(suite, options)
        rows += suite_rows
        print(f"\n{'row':<24} {'value':>12} {'baseline':>12} {'ratio':>7}")
        for row in suite_rows:
            print(
                f"{row.name:<24} {row.value:>12.4g} {row.baseline_value:>12.4g} {row.ratio:>7.2f}"
            )
            print(f"{'':<24} {row.unit}; against {row.baseline}", flush=True)
        if options.json is not None:  # after each: a later suite may fail
            description = machine.describe_machine(options.device)
            report = {"machine": description, "rows": [asdict(row) for row in rows]}
            options.json.write_text(to_strict_json(report))
    if options.json is not None:
        print(f"\n{options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
