"""What genae costs, as ratios against the best plain code that does the same job.

Arms are interleaved in one run and a median of the repeats is taken; a ratio above 1 is better
than the baseline. The suites "train", "replicas", "chain", "fcd" and "precision" need neither Ray
nor MLflow.

  python jobs/benchmark.py train --json train.json
  python jobs/benchmark.py replicas --json replicas.json
  python jobs/benchmark.py data --json data.json
  python jobs/benchmark.py chain --json chain.json
  python jobs/benchmark.py fcd --json fcd.json
  python jobs/benchmark.py precision --json precision.json
  python jobs/benchmark.py tracking --json tracking.json
  python jobs/benchmark.py overhead --json overhead.json
  python jobs/benchmark.py scale --json scale.json
  python jobs/benchmark.py explorer --json explorer.json
  python jobs/benchmark.py all --json all.json
"""

import importlib
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import torch
import tyro

if TYPE_CHECKING:
    from jobs.benchmarks.rows import Row

from genae_core.config import require, require_positive_int, to_strict_json
from genae_core.config.cli import cli

ALONE = ("train", "replicas", "chain", "fcd", "precision")  # without Ray and MLflow, on a GPU too
Suite = Literal[
    "train",
    "replicas",
    "chain",
    "fcd",
    "precision",
    "data",
    "tracking",
    "overhead",
    "scale",
    "explorer",
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this job."""

    suite: Annotated[Suite | Literal["all"], tyro.conf.Positional]
    """What to measure. train: steps of the training. replicas: of eight seeds as one. chain: steps
    of the chain. fcd: the distance of many samples. precision: the FCDs of bf16 and of fp32 over
    twice as many seeds as --repeats. data: preparing and reading shards. tracking: what logging
    costs a trial. overhead: launching empty trials. scale: a thousand trials on a cluster of 16
    nodes on this host. explorer: the page of a thousand runs, built, opened and played in
    Chromium. all: one after the other, more than an hour."""
    json: Path | None = None
    """File for the rows."""
    repeats: int = 3
    """Runs of every arm; the medians are compared."""
    images: int = 100_000
    """data: generated JPEGs of 178 x 218 pixels."""
    device: Literal["cpu", "cuda"] = "cpu"
    """train, replicas, chain, fcd and precision: where it runs."""

    def __post_init__(self) -> None:
        require_positive_int(repeats=self.repeats, images=self.images)


def measured(suite: Suite, options: Options) -> "list[Row]":
    """The suite's rows. Each suite is imported alone, with what it alone needs."""
    sweep = suite in ("overhead", "scale")
    module: Any = importlib.import_module(f"benchmarks.{'sweep' if sweep else suite}")
    found: list[Row]
    with tempfile.TemporaryDirectory(prefix="genae-benchmark-") as scratch:
        if suite in ALONE:
            found = module.rows(options.repeats, options.device)
        elif suite == "data":
            found = module.rows(options.images, options.repeats, Path(scratch))
        elif suite == "overhead":
            found = module.overhead(options.repeats)
        elif suite == "scale":
            found = module.scale()
        else:
            found = module.rows(options.repeats, Path(scratch))
    return found


def machine(device: str) -> dict[str, str | int | None]:
    """What the figures were measured on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main(options: Options) -> int:
    """Run the suite, print its rows, and write them."""
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ValueError(f"--json {options.json}: there is no such folder")
    there = options.device == "cpu" or torch.cuda.is_available()
    require(there, "this torch sees no GPU", device=options.device)
    suites = get_args(Suite) if options.suite == "all" else (options.suite,)
    rows: list[Row] = []
    for suite in suites:
        found = measured(suite, options)
        rows += found
        print(f"\n{'row':<24} {'value':>12} {'baseline':>12} {'ratio':>7}")
        for row in found:
            print(
                f"{row.name:<24} {row.value:>12.4g} {row.baseline_value:>12.4g} {row.ratio:>7.2f}"
            )
            print(f"{'':<24} {row.unit}; against {row.baseline}", flush=True)
        if options.json is not None:  # after each: a later suite may fail
            report = {"machine": machine(options.device), "rows": [asdict(row) for row in rows]}
            options.json.write_text(to_strict_json(report))
    if options.json is not None:
        print(f"\n{options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
