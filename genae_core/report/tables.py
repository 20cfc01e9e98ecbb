"""The table that a sweep prints at its end, from the runs in the store."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from genae_core.metrics.ruler import BLIND, is_blind_line
from genae_core.report.formatting import decimals, format_value
from genae_core.report.steps import DEFINITION, RECOMMENDED, best_step, recommended_step
from genae_core.tracking.mlflow_store import (
    CLASSIFIER,
    CLASSIFIER_SHA256,
    PRECISION,
    RULER,
    StoredRun,
)
from genae_core.tracking.own_metrics import own_metrics_of

STEPS = (0, 1, 5, 10)  # MCMC steps that have a column
PANEL_AXIS = "latent_dim"  # the plot has a column of panels for each value of this axis

Value = str | int | float | bool


class SeedGroup(NamedTuple):
    """The part of a run that does not depend on its seed.

    Attributes:
        family: The model family, as the literature calls it.
        cell: The cell's other coordinates, by name.
        chain: The label of the chain's config.
    """

    family: str
    cell: tuple[tuple[str, Value], ...]
    chain: str

    @property
    def label(self) -> str:
        """The cell as text, without the axis that the panels show."""
        others = [
            f"{name}={format_value(value)}" for name, value in self.cell if name != PANEL_AXIS
        ]
        return " ".join([self.family, *others])


def group_seeds(runs: Iterable[StoredRun]) -> dict[SeedGroup, list[StoredRun]]:
    """Group the finished runs that differ only by their seed, in the order of their names."""
    groups: dict[SeedGroup, list[StoredRun]] = defaultdict(list)
    for run in runs:
        if run.status == "FINISHED":
            cell = json.loads(run.tags["cell"])
            others = tuple(sorted((k, v) for k, v in cell.items() if k != "family"))
            groups[SeedGroup(run.tags["family"], others, run.tags["chain"])].append(run)
    return {group: groups[group] for group in sorted(groups, key=_order)}


def _order(group: SeedGroup) -> tuple[Any, ...]:
    """Return a sort key that puts words before numbers, and numbers in order of size."""
    cell = [(n, (1, v, "") if isinstance(v, int | float) else (0, 0, v)) for n, v in group.cell]
    return group.family, cell, group.chain


def format_table(runs: Iterable[StoredRun]) -> str:
    """Return a plain-text table of the FCD, as the mean ± the standard deviation over seeds.

    Each row is one cell and chain config. "best" is the FCD at the best step; `steps.DEFINITION`
    says which steps have a column. The ratios to "real" divide by the FCD of real training images,
    so that 1.0 is the floor. A metric of the user's own has a column for step 0 and one for the
    best step. The lines below the table say what its
    values mean, what the classifier can measure, and how the models compute. If the classifier is
    blind, no FCD and no step is the best.

    Args:
        runs: The runs of a sweep. Runs that have not finished are left out.
    """
    groups = group_seeds(share_rulers(runs))
    several_chains = len({group.chain for group in groups}) > 1
    axes = sorted({name for group in groups for name, _ in group.cell})
    finished = [run for group in groups.values() for run in group]
    own = own_metrics_of(run.tags for run in finished)
    recommends = any(RECOMMENDED in run.scalars for run in finished)
    head = [
        "family",
        *axes,
        *(["chain"] if several_chains else []),
        "seeds",
        *(f"FCD step {step}" for step in STEPS),
        "best",
        "best step",
        *(["recommended step"] if recommends else []),
        "best/step 0",
        "step 0/real",
        "best/real",
        *(column for name in own for column in (f"{name} step 0", f"{name} best step")),
    ]
    rows = [head]
    for group, members in groups.items():
        cell = dict(group.cell)
        results = _results(members, recommends)
        blind = any(is_blind(run) for run in members)
        rows.append(
            [
                group.family,
                *(format_value(cell.get(name, "-")) for name in axes),
                *([group.chain] if several_chains else []),
                str(len(members)),
                *(mean_and_sd([run.chain["fcd"].get(step) for run in members]) for step in STEPS),
                *(["n/a"] * len(results) if blind else results),
                *(cell for name in own for cell in _own_cells(name, members, blind)),
            ]
        )
    lines = [_own_line(name, better, finished) for name, better in own.items()]
    lines = [*([DEFINITION] if recommends else []), *lines]
    return "\n".join([align_columns(rows), *lines, *closing_lines(finished)])


def _results(members: list[StoredRun], recommends: bool) -> list[str]:
    """Return the columns that depend on the best step, of the seeds of a setting.

    recommends: Whether the recommended step is one of them.
    """
    best = [run.scalars["fcd_best"] for run in members]
    start = [run.scalars["fcd_step0"] for run in members]
    floor = [run.scalars["fcd_floor"] for run in members]
    recommended = recommended_step(members)
    return [
        mean_and_sd(best),
        f"{best_step(members):g}",
        *(["-" if recommended is None else f"{recommended:g}"] if recommends else []),
        _ratio(best, start, 2),
        _ratio(start, floor, 1),
        _ratio(best, floor, 1),
    ]


def _own_cells(name: str, members: list[StoredRun], blind: bool) -> tuple[str, str]:
    """Return a metric of the user's own at step 0 and at the best step."""
    start, chosen = (
        mean_and_sd([run.scalars.get(f"{name}_{when}") for run in members])
        for when in ("step0", "chosen")
    )
    return start, "n/a" if blind else chosen


def _own_line(name: str, better: str, runs: list[StoredRun]) -> str:
    """Return a line with the value of real images, and with which values are better."""
    real = mean_and_sd([run.scalars.get(f"{name}_floor") for run in runs])
    return f"{name}: {better} is better; real images {real}"


def share_rulers(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """Return the runs, in which those of the same classifier have the same tags about it.

    These are its name and its ruler. Runs of earlier versions lack them until the classifier is
    used for a later run.
    """
    runs = list(runs)
    known: dict[str, dict[str, str]] = defaultdict(dict)
    for run in runs:
        about = {name: run.tags[name] for name in (CLASSIFIER, RULER) if name in run.tags}
        known[run.tags.get(CLASSIFIER_SHA256, "")] |= about
    known.pop("", None)  # which says nothing about another run
    return [
        run._replace(tags={**known.get(run.tags.get(CLASSIFIER_SHA256, ""), {}), **run.tags})
        for run in runs
    ]


def closing_lines(runs: Iterable[StoredRun]) -> list[str]:
    """Return `ruler_lines` and `precision_lines`, which stand below a table."""
    runs = list(runs)
    return [*ruler_lines(runs), *precision_lines(runs)]


def ruler_lines(runs: Iterable[StoredRun]) -> list[str]:
    """Return lines that say what the classifiers of these runs can measure (see `Ruler`).

    The last line is a warning if there is more than one classifier.
    """
    shared = share_rulers(runs)
    rulers = dict.fromkeys(describe_ruler(run) for run in shared)
    lines = [f"ruler: {line}" for line in rulers]
    classifiers = {run.tags.get(CLASSIFIER_SHA256) for run in shared} - {None}
    if len(classifiers) > 1:
        names = ", ".join(sorted(sha256[:8] for sha256 in classifiers if sha256))
        lines.append(
            f"warning: {len(classifiers)} classifiers have measured these runs ({names}), and "
            "their FCDs cannot be compared"
        )
    return lines


def precision_lines(runs: Iterable[StoredRun]) -> list[str]:
    """Return a line for each way in which the models of these runs compute, and why.

    Runs of earlier versions do not say it.
    """
    tags = (run.tags.get(PRECISION) for run in runs)
    return [f"precision: {line}" for line in dict.fromkeys(tags) if line]


def describe_ruler(run: StoredRun) -> str:
    """Return the line of the run's ruler, with the name of the classifier if it is known."""
    name = run.tags.get(CLASSIFIER)
    return _ruler_of(run) if name is None else f"{_ruler_of(run)}; classifier {name}"


def is_blind(run: StoredRun) -> bool:
    """Whether the run's classifier is known to measure nothing."""
    return is_blind_line(_ruler_of(run))


def _ruler_of(run: StoredRun) -> str:
    """Return the line of the run's ruler. Earlier versions have stored only the floor."""
    if RULER in run.tags:
        return run.tags[RULER]
    if run.scalars.get("fcd_floor", 1) > 0:
        return "not checked by the version that made these runs"
    return f"{BLIND}: real images have no FCD above 0"


def format_times(runs: Iterable[StoredRun], slots: int, seconds: float) -> str:
    """Return a line with the fractions of a sweep's time for the training and for the chains.

    In the rest of the time, processes start, real images are evaluated, checkpoints and logs are
    written, or a slot has no trial.

    Args:
        runs: The runs of the sweep.
        slots: The number of trials that could run at a time.
        seconds: The duration of the sweep.

    Returns:
        The line, or an empty string if a run has not finished, because its time is then unknown.
    """
    runs = list(runs)
    if not runs or any(run.status != "FINISHED" for run in runs):
        return ""
    # The runs of one training, which differ by their chain, have the same training time.
    trainings = {
        (run.tags["cell"], run.tags["seed"]): run.scalars["training_seconds"] for run in runs
    }
    total, training = slots * seconds, sum(trainings.values())
    evaluation = sum(run.scalars["evaluation_seconds"] for run in runs)
    return (
        f"time:   {slots} x {seconds:.0f} s: {training / total:.0%} training, "
        f"{evaluation / total:.0%} chains and metrics, "
        f"{1 - (training + evaluation) / total:.0%} the rest"
    )


def align_columns(rows: list[list[str]]) -> str:
    """Return the rows as text in aligned columns, with a line below the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _ratio(values: list[float], others: list[float], digits: int) -> str:
    """Return the ratio of the two means, or n/a if the second mean is 0."""
    other = statistics.mean(others)
    return f"{statistics.mean(values) / other:.{digits}f}" if other > 0 else "n/a"


def mean_and_sd(values: list[float | None] | list[float]) -> str:
    """Return the mean ± the standard deviation of the known values, or a dash."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = statistics.mean(known)
    digits = decimals(mean)
    sd = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean:.{digits}f}{sd}"
