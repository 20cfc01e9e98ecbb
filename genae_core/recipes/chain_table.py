"""What a study of samplers found: every metric at every recorded step, and what that says."""

import csv
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from genae_core.report.formatting import decimals
from genae_core.report.intervals import interval
from genae_core.report.tables import align_columns
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun, Tracker

# By name in MLflow, as the table calls them.
COLUMNS = (
    ("fcd", "FCD"),
    ("kid", "KID"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("rhat", "R-hat"),
    ("z_posterior_w2", "z to q(z)"),
    ("accepted", "accepted"),
)
ERROR = "kid_se"  # of one seed's samples, which the table shows instead of the seeds' spread
NAMES = (ERROR, *(name for name, _ in COLUMNS))
WORDS = {-1: "Lower", 0: "The best other, the same within the noise", 1: "All others higher"}
STUCK = 10_000  # R-hat of chains that hardly move, beyond which its figures say nothing
SHOWN = (0, 1, 2, 5, 10, 20, 50)  # steps in the printed table; the file has all


class Setting(NamedTuple):
    """A sampler and a normalisation: its flag, its label in MLflow, its chain."""

    name: str
    label: str
    chain: ChainConfig


class Model(NamedTuple):
    """family: as the literature calls it."""

    family: str
    latent_dim: int

    def __str__(self) -> str:
        return f"{self.family}-{self.latent_dim}"


Runs = dict[Model, dict[str, list[StoredRun]]]  # by model and chain label, in the order of seeds


def grouped(curves: Sequence[StoredRun]) -> Runs:
    """The finished runs."""
    found: Runs = defaultdict(lambda: defaultdict(list))
    for run in sorted(curves, key=lambda run: int(run.tags["seed"])):
        if run.status == "FINISHED":
            cell = json.loads(run.tags["cell"])
            model = Model(run.tags["family"], int(cell["latent_dim"]))
            found[model][run.tags["chain"]].append(run)
    return {model: dict(found[model]) for model in sorted(found)}


def conclude(
    tracker: Tracker,
    sweep: str,
    folder: Path,
    settings: Sequence[Setting],
    refused: Mapping[tuple[str, int], Sequence[tuple[Setting, str]]],
) -> None:
    """Write steps.csv, steps.txt and findings.txt, print the last two, and log all three to the
    runs that hold the models."""
    curves = tracker.read_runs(sweep, NAMES)
    runs = grouped(curves)
    if not runs:
        return
    write_csv(runs, folder / "steps.csv")
    text = table(runs, settings, refused)
    said = "\n\n".join(paragraph(model, runs[model], settings) for model in runs)
    (folder / "steps.txt").write_text(text + "\n")
    (folder / "findings.txt").write_text(said + "\n")
    print(f"\n{text}\n\n{said}\n")
    for run in curves:
        if run.status == "FINISHED" and run.tags["stage"] == "model":
            for name in ("steps.csv", "steps.txt", "findings.txt"):
                tracker.log_files(run.run_id, folder / name, "study")
    print(f"steps:  {folder / 'steps.csv'} (every metric at every recorded step)")


def write_csv(runs: Runs, path: Path) -> None:
    """A row a model, chain, seed and step."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["family", "latent_dim", "chain", "seed", "step", *NAMES])
        for model, chains in runs.items():
            for label, of in chains.items():
                for run in of:
                    for step in sorted(run.chain["fcd"]):
                        values = [run.chain.get(name, {}).get(step, "") for name in NAMES]
                        out.writerow([*model, label, run.tags["seed"], step, *values])


def table(
    runs: Runs,
    settings: Sequence[Setting],
    refused: Mapping[tuple[str, int], Sequence[tuple[Setting, str]]],
) -> str:
    """A row a model, chain and step: mean ± standard deviation over seeds; of the KID the
    standard error of one seed's samples. Chains that do not apply are n/a, with the reason."""
    rows = [["model", "chain", "seeds", "step", *(title for _, title in COLUMNS)]]
    for model, chains in runs.items():
        reasons = {setting.label: why for setting, why in refused.get(model, ())}
        for label in dict.fromkeys(setting.label for setting in settings):
            start = [str(model), label]
            if label in reasons:
                rows.append([*start, "-", "n/a", *[""] * len(COLUMNS)])
            elif label in chains:
                of = chains[label]
                steps = [step for step in sorted(of[0].chain["fcd"]) if step in SHOWN]
                rows += [[*start, str(len(of)), str(s), *_values(of, s)] for s in steps]
    every = {
        (setting.label, _first(why)) for reasons in refused.values() for setting, why in reasons
    }
    notes = [f"n/a: {label}: {why}" for label, why in sorted(every)]
    return "\n".join([align_columns(rows), *notes])


def _first(text: str) -> str:
    return text.split(":", maxsplit=1)[0]


def _values(runs: Sequence[StoredRun], step: int) -> list[str]:
    shown = []
    for name, _ in COLUMNS:
        values = [run.chain[name][step] for run in runs if step in run.chain.get(name, {})]
        if not values:
            shown.append("-")
            continue
        if name == "kid":
            errors = [run.chain[ERROR][step] for run in runs if step in run.chain.get(ERROR, {})]
            spread = statistics.mean(errors) if errors else math.nan
        else:
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
        mean = statistics.mean(values)
        if name == "rhat" and mean > STUCK:
            shown.append(f"> {STUCK:g}")
            continue
        digits = decimals(mean)
        text = f"{mean:.{digits}f}"
        shown.append(text if math.isnan(spread) else f"{text} ± {spread:.{digits}f}")
    return shown


def paragraph(
    model: Model, chains: Mapping[str, Sequence[StoredRun]], of: Sequence[Setting]
) -> str:
    """What the chains did to this model's samples, in words; FCDs on test, steps chosen on
    validation, 95 % intervals of paired differences over the seeds."""
    labels = [setting.label for setting in of if setting.label in chains]
    published = chains[labels[0]]
    last = max(published[0].chain["fcd"])
    start, best = _scalars(published, "fcd_step0"), _scalars(published, "fcd_best")
    at = [int(step) for step in _scalars(published, "fcd_best_step")]
    end = [run.chain["fcd"][last] for run in published]
    said = [
        f"{model}, {len(published)} seed{'s' if len(published) > 1 else ''}. {labels[0]}: the FCD "
        f"goes from {_mean(start)} at step 0 to {_mean(best)} at step {_steps(at)}"
        f"{_difference(best, start)}, and is {_mean(end)} at step {last}"
        f"{_difference(end, best)}: {_verdict(end, start, best, last)}."
    ]
    rest = [label for label in labels[1:] if len(chains[label]) == len(published)]
    if rest:
        winner = min(
            rest, key=lambda label: statistics.mean(_scalars(chains[label], "fcd_val_best"))
        )
        other = _scalars(chains[winner], "fcd_best")
        when = [int(step) for step in _scalars(chains[winner], "fcd_best_step")]
        word = WORDS[_certain(other, best)]
        said.append(
            f"{word}: {winner}, {_mean(other)} at step {_steps(when)}{_difference(other, best)} "
            "against the first chain's best."
        )
    worse = [
        label
        for label in labels
        if _certain(
            [run.chain["fcd"][last] for run in chains[label]],
            _scalars(chains[label], "fcd_step0"),
        )
        > 0
    ]
    if worse:
        said.append(f"Worse after {last} steps than before the first: {'; '.join(worse)}.")
    return " ".join(said)


def _verdict(end: list[float], start: list[float], best: list[float], last: int) -> str:
    if _certain(end, start) > 0:
        return f"{last} steps leave the samples worse than none"
    if _certain(end, best) > 0 and _certain(best, start) < 0:
        return "a few steps help, more of them hurt"
    if _certain(end, best) > 0:
        return "more steps hurt, and the seeds do not settle whether a few help"
    if statistics.mean(end) <= statistics.mean(best):
        return "more steps do no harm"
    return "the seeds do not settle whether more steps hurt"


def _certain(values: Sequence[float], others: Sequence[float]) -> int:
    """1 where the paired difference is above 0 at 95 %, -1 below it, 0 else; of one seed its
    sign."""
    mean, low, high = _paired(values, others)
    low, high = mean if low is None else low, mean if high is None else high
    return 1 if low > 0 else -1 if high < 0 else 0


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    """The interval of the paired difference, in brackets."""
    mean, low, high = _paired(values, others)
    return f" ({mean:+.1f})" if low is None else f" ({mean:+.1f}: {low:+.1f} to {high:+.1f})"


def _paired(
    values: Sequence[float], others: Sequence[float]
) -> tuple[float, float | None, float | None]:
    return interval([a - b for a, b in zip(values, others, strict=True)])


def _scalars(runs: Sequence[StoredRun], name: str) -> list[float]:
    return [run.scalars[name] for run in runs]


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f}"


def _steps(steps: Sequence[int]) -> str:
    return " or ".join(str(step) for step in sorted(set(steps)))
