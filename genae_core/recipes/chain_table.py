"""The results of mcmc_steps.py: every metric at every recorded step, as a file and as a table."""

import csv
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from genae_core.recipes.chain_findings import describe_chains
from genae_core.recipes.chain_samplers import Refusal
from genae_core.report.formatting import decimals
from genae_core.report.steps import DEFINITION
from genae_core.report.tables import align_columns, closing_lines, share_rulers
from genae_core.tracking.mlflow_store import StoredRun, Tracker

# The metrics by their names in MLflow, with their titles in the table.
COLUMNS = (
    ("fcd", "FCD"),
    ("kid", "KID"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("rhat", "R-hat"),
    ("rhat_nested", "nested R-hat"),
    ("ess_per_call", "ESS/call"),
    ("z_posterior_w2", "z to q(z)"),
    ("accepted", "accepted"),
)
KID_ERROR = "kid_se"  # the standard error of one seed's samples
NAMES = (KID_ERROR, *(name for name, _ in COLUMNS))
# Beyond this R-hat the chains hardly move, and its digits say nothing.
STUCK = 10_000
PRINTED_STEPS = (0, 1, 2, 5, 10, 20, 50)  # the file has all steps
FILES = ("steps.csv", "steps.txt", "findings.txt")


class ModelName(NamedTuple):
    """A model of a study.

    Attributes:
        family: The family's name in the literature.
        latent_dim: The dimension of its latent codes.
    """

    family: str
    latent_dim: int

    def __str__(self) -> str:
        return f"{self.family}-{self.latent_dim}"


# The runs by model and by the chain's label, in the order of their seeds.
RunsByModel = dict[ModelName, dict[str, list[StoredRun]]]
Refusals = Mapping[tuple[str, int], Sequence[Refusal]]


def group_runs(curves: Sequence[StoredRun]) -> RunsByModel:
    """The finished runs by model and chain."""
    runs: RunsByModel = defaultdict(lambda: defaultdict(list))
    for run in sorted(curves, key=lambda run: int(run.tags["seed"])):
        if run.status == "FINISHED":
            cell = json.loads(run.tags["cell"])
            model = ModelName(run.tags["family"], int(cell["latent_dim"]))
            runs[model][run.tags["chain"]].append(run)
    return {model: dict(runs[model]) for model in sorted(runs)}


def write_results(
    tracker: Tracker, sweep: str, folder: Path, labels: Sequence[str], refusals: Refusals
) -> None:
    """Write steps.csv, steps.txt and findings.txt, and print the last two.

    The runs that hold the models get all three as artifacts.

    Args:
        tracker: The store of the sweep.
        sweep: The sweep's name.
        folder: The folder of the files.
        labels: The labels of the study's chains, the published chain first.
        refusals: The chains that do not apply to a model, by its family and latent dimension.
    """
    curves = share_rulers(tracker.read_runs(sweep, NAMES))
    runs = group_runs(curves)
    if not runs:
        return
    write_csv(runs, folder / "steps.csv")
    finished = [run for run in curves if run.status == "FINISHED"]
    text = "\n".join([table(runs, labels, refusals), *closing_lines(finished)])
    paragraphs = [describe_chains(str(model), chains, labels) for model, chains in runs.items()]
    findings = "\n\n".join([*paragraphs, f"{DEFINITION[0].upper()}{DEFINITION[1:]}."])
    (folder / "steps.txt").write_text(text + "\n")
    (folder / "findings.txt").write_text(findings + "\n")
    print(f"\n{text}\n\n{findings}\n")
    for run in finished:
        if run.tags["stage"] == "model":
            for name in FILES:
                tracker.log_files(run.run_id, folder / name, "study")
    print(f"steps:  {folder / 'steps.csv'} (every metric at every recorded step)")


def write_csv(runs: RunsByModel, path: Path) -> None:
    """Write a row for each model, chain, seed and step."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["family", "latent_dim", "chain", "seed", "step", *NAMES])
        for model, chains in runs.items():
            for label, seeds in chains.items():
                for run in seeds:
                    for step in sorted(run.chain["fcd"]):
                        values = [run.chain.get(name, {}).get(step, "") for name in NAMES]
                        out.writerow([*model, label, run.tags["seed"], step, *values])


def table(runs: RunsByModel, labels: Sequence[str], refusals: Refusals) -> str:
    """A table with a row for each model, chain and step.

    The values are the mean ± the standard deviation over the seeds. For the KID, the value after ±
    is the standard error of one seed's samples. A chain that does not apply is n/a, and the
    reasons are below the table.
    """
    rows = [["model", "chain", "seeds", "step", *(title for _, title in COLUMNS)]]
    for model, chains in runs.items():
        refused = {refusal.label for refusal in refusals.get(model, ())}
        for label in dict.fromkeys(labels):
            start = [str(model), label]
            if label in refused:
                rows.append([*start, "-", "n/a", *[""] * len(COLUMNS)])
            elif label in chains:
                seeds = chains[label]
                for step in sorted(set(seeds[0].chain["fcd"]) & set(PRINTED_STEPS)):
                    rows.append([*start, str(len(seeds)), str(step), *_values(seeds, step)])
    notes = set()
    for refused_chains in refusals.values():
        for refusal in refused_chains:
            notes.add(f"n/a: {refusal.label}: {refusal.reason.split(':', maxsplit=1)[0]}")
    return "\n".join([align_columns(rows), *sorted(notes)])


def _values(seeds: Sequence[StoredRun], step: int) -> list[str]:
    """The cells of a row."""
    return [_value(seeds, name, step) for name, _ in COLUMNS]


def _value(seeds: Sequence[StoredRun], name: str, step: int) -> str:
    """The mean ± the spread of a metric, or "-" if it was not measured."""
    values = _at(seeds, name, step)
    if not values:
        return "-"
    mean = statistics.mean(values)
    if name in ("rhat", "rhat_nested") and mean > STUCK:
        return f"> {STUCK:g}"
    if name == "kid":
        errors = _at(seeds, KID_ERROR, step)
        spread = statistics.mean(errors) if errors else math.nan
    else:
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
    digits = decimals(mean)
    text = f"{mean:.{digits}f}"
    return text if math.isnan(spread) else f"{text} ± {spread:.{digits}f}"


def _at(seeds: Sequence[StoredRun], name: str, step: int) -> list[float]:
    return [run.chain[name][step] for run in seeds if step in run.chain.get(name, {})]
