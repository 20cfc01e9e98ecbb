"""What genae costs, as ratios against the best plain code that does the same job.

Arms are interleaved in one run and a median of the repeats is taken; a ratio above 1 is better
than the baseline. The suites "train", "chain" and "fcd" need neither Ray nor MLflow.

  python jobs/benchmark.py train --json train.json
  python jobs/benchmark.py data --json data.json
  python jobs/benchmark.py chain --json chain.json
  python jobs/benchmark.py fcd --json fcd.json
  python jobs/benchmark.py overhead --json overhead.json
  python jobs/benchmark.py scale --json scale.json
  python jobs/benchmark.py explorer --json explorer.json
"""

import importlib
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from bench_rows import Row

from genae_core.cli import cli
from genae_core.config import require, require_positive_int

Suite = Literal["train", "chain", "fcd", "data", "overhead", "scale", "explorer"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this job."""

    suite: Annotated[Suite, tyro.conf.Positional]
    """What to measure. train: steps of the training. chain: steps of the chain. fcd: the distance
    of many samples. data: preparing and reading shards. overhead: launching empty trials. scale: a
    thousand trials on a cluster of 16 nodes on this host. explorer: the page of a thousand runs,
    built, opened and played in Chromium."""
    json: Path | None = None
    """File for the rows."""
    repeats: int = 3
    """Runs of every arm; the medians are compared."""
    images: int = 100_000
    """data: generated JPEGs of 178 x 218 pixels."""
    device: Literal["cpu", "cuda"] = "cpu"
    """train, chain and fcd: where it runs."""

    def __post_init__(self) -> None:
        require_positive_int(repeats=self.repeats, images=self.images)


def measured(options: Options) -> list[Row]:
    """The suite's rows. Each suite is imported alone, with what it alone needs."""
    if options.suite in ("train", "chain", "fcd"):
        suite = importlib.import_module(f"bench_{options.suite}")
        found: list[Row] = suite.rows(options.repeats, options.device)
        return found
    if options.suite in ("overhead", "scale"):
        import bench_sweep

        overhead = options.suite == "overhead"
        return bench_sweep.overhead(options.repeats) if overhead else bench_sweep.scale()
    with tempfile.TemporaryDirectory(prefix="genae-benchmark-") as scratch:
        if options.suite == "explorer":
            import bench_explorer

            return bench_explorer.rows(options.repeats, Path(scratch))
        import bench_data

        return bench_data.rows(options.images, options.repeats, Path(scratch))


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
    rows = measured(options)
    print(f"\n{'row':<24} {'value':>12} {'baseline':>12} {'ratio':>7}")
    for row in rows:
        print(f"{row.name:<24} {row.value:>12.4g} {row.baseline_value:>12.4g} {row.ratio:>7.2f}")
        print(f"{'':<24} {row.unit}; against {row.baseline}")
    if options.json is not None:
        report = {"machine": machine(options.device), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\n{options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
