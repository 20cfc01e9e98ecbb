"""The numbers of every setting of a sweep, summarised over its seeds.

A setting is a cell and a chain config. Shapes: R runs (one per seed), K recorded steps.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes half a second to import

from genae_core.report.explorer.gather import FinishedRun
from genae_core.report.formatting import class_words, format_value
from genae_core.report.intervals import Interval, interval
from genae_core.report.steps import BEST, best_step, recommended_step
from genae_core.report.tables import SeedGroup, group_seeds, is_blind
from genae_core.tracking.mlflow_store import StoredRun

FACETS = ("latent_dim", "prior", "noise")  # coordinates of a cell that have a control on the page


class SettingSummary(NamedTuple):
    """A setting with its runs, and its FCD over seeds.

    Attributes:
        group: The cell and the chain config.
        scale: What decides whether two FCDs are comparable: dataset, number of images, classifier.
        sweep: The name of the sweep.
        runs: The runs, in the order of their seeds.
        start: The FCD at step 0.
        best: The FCD at the best step of each seed.
        change: The difference of these two within each seed.
        drift: The difference between the last step and step 0 within each seed, or None if a seed
            recorded only one step.
    """

    group: SeedGroup
    scale: str
    sweep: str
    runs: list[FinishedRun]
    start: Interval
    best: Interval
    change: Interval
    drift: Interval | None

    @property
    def blind(self) -> bool:
        """Whether a run's classifier measures nothing, so that its FCDs are no result."""
        return any(is_blind(run.stored) for run in self.runs)

    @property
    def best_step(self) -> float:
        """The best step of the seeds."""
        return best_step([run.stored for run in self.runs])

    @property
    def recommended_step(self) -> float | None:
        """The recommended step of the seeds; None if no run says it."""
        return recommended_step([run.stored for run in self.runs])

    @property
    def recommended(self) -> Interval | None:
        """The FCD at the recommended step of each seed; None if not every run says it."""
        values = [run.stored.scalars.get("fcd_recommended") for run in self.runs]
        known = [value for value in values if value is not None]
        return interval(known) if len(known) == len(values) else None

    @property
    def verdict(self) -> str:
        """Whether the chain helps, by the interval of the change.

        "better" and "worse" mean that the interval excludes 0, "unclear" that it includes 0 or
        does not exist, "none" that the best step of every seed is 0, and "blind" that nothing was
        measured.
        """
        if self.blind:
            return "blind"
        if all(run.stored.scalars[BEST] == 0 for run in self.runs):
            return "none"
        _, low, high = self.change
        if low is None or high is None or low <= 0 <= high:
            return "unclear"
        return "better" if high < 0 else "worse"

    @property
    def change_error(self) -> float | None:
        """The standard error of the change of the only seed, over blocks of its chains.

        It says what other chains of the same training would give, and nothing of other trainings.
        None for several seeds, and for a run of an earlier version.
        """
        if len(self.runs) > 1:
            return None
        return self.runs[0].stored.scalars.get("fcd_change_se")

    @property
    def helps(self) -> bool:
        """Whether the chain helps: by the interval over seeds or, with one seed, in this training
        by more than two standard errors."""
        if self.verdict == "better":
            return True
        error = self.change_error
        return self.verdict == "unclear" and error is not None and self.change[0] < -2 * error

    @property
    def worsens(self) -> bool:
        """Whether the last step is worse than step 0, by the interval of the difference."""
        if self.blind or self.drift is None or self.drift[1] is None:
            return False
        return self.drift[1] > 0


def summarise(runs: Sequence[FinishedRun]) -> list[SettingSummary]:
    """Summarise the runs by scale, sweep and setting."""
    parts: dict[tuple[str, str], list[FinishedRun]] = defaultdict(list)
    for run in runs:
        parts[fcd_scale(run), run.stored.tags.get("sweep", "")].append(run)
    summaries = []
    for (scale, sweep), part in sorted(parts.items()):
        by_id = {run.stored.run_id: run for run in part}
        for group, members in group_seeds(run.stored for run in part).items():
            members = sorted(members, key=lambda run: _seed_order(run.tags["seed"]))
            ordered = [by_id[run.run_id] for run in members]
            summaries.append(_summarise_setting(group, scale, sweep, ordered))
    return summaries


def summarise_stored(runs: Sequence[StoredRun]) -> list[SettingSummary]:
    """Summarise runs without their pictures."""
    finished = []
    for run in runs:
        steps = sorted(run.chain["fcd"])
        values: dict[str, list[float | None]] = {"fcd": [run.chain["fcd"][step] for step in steps]}
        finished.append(FinishedRun(run, run.run_id, "", steps, values, None, None, None, None))
    return summarise(finished)


def fcd_scale(run: FinishedRun) -> str:
    """Return the dataset, the number of images and the first digits of the classifier's hash.

    FCDs are comparable only if all three agree. The number of images N belongs to them because
    the bias of the FCD is about proportional to 1/N.
    """
    tags = run.stored.tags
    parts = [tags.get("dataset", "unknown")]
    count = run.stored.scalars.get("fcd_images")
    if count is not None:
        parts.append(f"{count:.0f} images")
    if classifier := tags.get("classifier_sha256", "")[:8]:
        parts.append(f"classifier {classifier}")
    return ", ".join(parts)


def _seed_order(seed: str) -> tuple[int, str]:
    """Return a sort key that orders seeds by size, after those that are not numbers."""
    return (int(seed), "") if seed.isdecimal() else (0, seed)


def _summarise_setting(
    group: SeedGroup, scale: str, sweep: str, runs: list[FinishedRun]
) -> SettingSummary:
    start = [run.stored.scalars["fcd_step0"] for run in runs]
    best = [run.stored.scalars["fcd_best"] for run in runs]
    curves = [run.values["fcd"] for run in runs]
    drifts = [v[-1] - v[0] for v in curves if v and v[0] is not None and v[-1] is not None]
    complete = all(len(run.steps) > 1 for run in runs) and len(drifts) == len(runs)
    return SettingSummary(
        group=group,
        scale=scale,
        sweep=sweep,
        runs=runs,
        start=interval(start),
        best=interval(best),
        change=interval([b - a for a, b in zip(start, best, strict=True)]),
        drift=interval(drifts) if complete else None,
    )


def facets(summary: SettingSummary, with_sweep: bool) -> dict[str, Any]:
    """Return the values by which the page's controls select a setting.

    Args:
        summary: The setting.
        with_sweep: Whether the sweep's name is needed to tell settings apart.
    """
    stored, cell = summary.runs[0].stored, dict(summary.group.cell)
    sampler, _, norm = summary.group.chain.rpartition(", ")
    others = [
        f"{name}={format_value(value)}" for name, value in cell.items() if name not in FACETS
    ]
    dim = cell.get("latent_dim", stored.tags["latent_dim"])
    prior = cell.get("prior", _prior_words(stored.params.get("model.prior", "-")))
    return {
        "family": summary.group.family,
        "dim": format_value(dim),
        "prior": format_value(prior),
        "noise": format_value(cell.get("noise", stored.params.get("model.noise", "-"))),
        "sampler": sampler or summary.group.chain,
        "norm": norm.removesuffix(" BN") if sampler else "-",
        "rest": " ".join([*others, *([summary.sweep] if with_sweep else [])]),
    }


def _prior_words(name: str) -> str:
    """Return the name of a prior's config in words: "NormalPriorConfig" becomes "normal"."""
    return class_words(name.removesuffix("Config").removesuffix("Prior")) or "-"


def bands(rows: Sequence[Sequence[float | None]]) -> list[list[float | int | None]]:
    """Return for each step the mean, the ends of its 95 % interval, and the number of values.

    This is `interval` for a whole curve at once.

    Args:
        rows: The values [R, K], with None for a missing value.

    Returns:
        K lists of four. The mean is None without values, and the ends with fewer than two.
    """
    values: NDArray[Any] = np.array(rows, dtype=float)  # None becomes NaN
    known = np.isfinite(values)
    n = known.sum(0)
    total = np.where(known, values, 0.0).sum(0)
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    squares = np.where(known, values - mean, 0.0) ** 2
    several = np.maximum(n, 2)
    half = stdtrit(several - 1, 0.975) * np.sqrt(squares.sum(0) / (several - 1) / several)
    return [
        [
            round_for_page(mean[k]) if n[k] else None,
            round_for_page(mean[k] - half[k]) if n[k] > 1 else None,
            round_for_page(mean[k] + half[k]) if n[k] > 1 else None,
            int(n[k]),
        ]
        for k in range(len(n))
    ]


def setting_curves(summary: SettingSummary) -> dict[str, Any]:
    """Return every step that a seed recorded, and the bands of each metric at these steps."""
    steps = sorted({k for run in summary.runs for k in run.steps})
    metrics = list(dict.fromkeys(name for run in summary.runs for name in run.values))
    curves = {}
    for name in metrics:
        chains = [run.stored.chain.get(name, {}) for run in summary.runs]
        curves[name] = bands([[chain.get(k) for k in steps] for chain in chains])
    return {"steps": steps, "bands": curves}


def round_for_page(value: float) -> float:
    """Return the value with the six significant digits that the page holds, to save bytes."""
    return float(f"{value:.6g}")
