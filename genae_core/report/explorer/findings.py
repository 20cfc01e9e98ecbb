"""What a sweep found: every setting summed up over its seeds, in figures and in words.

Shapes: R runs (seeds), K recorded steps.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from genae_core.report.explorer.gather import Read
from genae_core.report.formatting import decimals, format_value
from genae_core.report.intervals import interval
from genae_core.report.tables import Group, groups

FACETS = ("latent_dim", "prior", "noise")  # coordinates of a cell that have a control of their own

Interval = tuple[float, float | None, float | None]


class Setting(NamedTuple):
    """Runs that differ by their seed alone. scale: what its FCD may be compared with, the dataset,
    the number of images and the classifier. best: each seed at the step that it chose on
    validation. change, last: the differences, within each seed, of the FCD at that step and at
    the last from that at step 0."""

    group: Group
    scale: str
    sweep: str
    runs: list[Read]
    start: Interval
    best: Interval
    change: Interval
    last: Interval | None

    @property
    def best_step(self) -> float:
        """The median of the steps that its seeds chose, the lower of two: a recorded one."""
        return statistics.median_low(run.curve.scalars["fcd_best_step"] for run in self.runs)

    @property
    def verdict(self) -> str:
        """better, worse, none (no step beats step 0) or unclear: by the interval of the change."""
        if all(run.curve.scalars["fcd_best_step"] == 0 for run in self.runs):
            return "none"
        _, low, high = self.change
        if low is None or high is None or low <= 0 <= high:
            return "unclear"
        return "better" if high < 0 else "worse"


def settings_of(runs: Sequence[Read]) -> list[Setting]:
    """The runs by sweep, scale, cell and chain setting."""
    apart: dict[tuple[str, str], list[Read]] = defaultdict(list)
    for run in runs:
        apart[scale_of(run), run.curve.tags.get("sweep", "")].append(run)
    found = []
    for (scale, sweep), some in sorted(apart.items()):
        of = {run.curve.run_id: run for run in some}
        for group, curves in groups(run.curve for run in some).items():
            ordered = sorted(curves, key=lambda curve: _as_number(curve.tags["seed"]))
            found.append(_setting(group, scale, sweep, [of[c.run_id] for c in ordered]))
    return found


def scale_of(run: Read) -> str:
    """The dataset, the number of images and the first digits of the classifier: FCDs of two such
    are not comparable (of fewer images it is higher by about 1 / their number)."""
    tags = run.curve.tags
    classifier = tags.get("classifier_sha256", "")[:8]
    count = run.curve.scalars.get("fcd_images")
    return ", ".join(
        [
            tags.get("dataset", "unknown"),
            *([f"{count:.0f} images"] if count is not None else []),
            *([f"classifier {classifier}"] if classifier else []),
        ]
    )


def _as_number(seed: str) -> tuple[int, str]:
    return (int(seed), "") if seed.isdecimal() else (0, seed)


def _setting(group: Group, scale: str, sweep: str, runs: list[Read]) -> Setting:
    first = [run.curve.scalars["fcd_step0"] for run in runs]
    best = [run.curve.scalars["fcd_best"] for run in runs]
    fcd = [run.values["fcd"] for run in runs]
    ends = [(v[-1] - v[0]) for v in fcd if v and v[0] is not None and v[-1] is not None]
    moved = all(len(run.steps) > 1 for run in runs) and len(ends) == len(runs)
    return Setting(
        group,
        scale,
        sweep,
        runs,
        interval(first),
        interval(best),
        interval([b - a for a, b in zip(first, best, strict=True)]),
        interval(ends) if moved else None,
    )


def facets(setting: Setting, named: bool) -> dict[str, Any]:
    """What the controls choose by. named: whether the sweep's name tells settings apart."""
    params, cell = setting.runs[0].curve.params, dict(setting.group.cell)
    sampler, _, norm = setting.group.chain.rpartition(", ")
    rest = [f"{name}={format_value(value)}" for name, value in cell.items() if name not in FACETS]
    dim = cell.get("latent_dim", setting.runs[0].curve.tags["latent_dim"])
    return {
        "family": setting.group.family,
        "dim": format_value(dim),
        "prior": format_value(cell.get("prior", _words(params.get("model.prior", "-")))),
        "noise": format_value(cell.get("noise", params.get("model.noise", "-"))),
        "sampler": sampler or setting.group.chain,
        "norm": norm.removesuffix(" BN") if sampler else "-",
        "rest": " ".join([*rest, *([setting.sweep] if named else [])]),
    }


def _words(name: str) -> str:
    """NormalPriorConfig -> normal."""
    bare = name.removesuffix("Config").removesuffix("Prior")
    return "".join(f" {c.lower()}" if c.isupper() else c for c in bare).strip() or "-"


def bands(rows: Sequence[Sequence[float | None]]) -> list[list[float | int | None]]:
    """Over rows [R, K], for each step the mean, the ends of its 95 % interval by Student's t and
    the number of finite values; `interval` for a whole curve at once."""
    values: NDArray[Any] = np.array(rows, dtype=float)  # None becomes NaN
    known = np.isfinite(values)
    n = known.sum(0)
    total = np.where(known, values, 0.0).sum(0)
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    squares = np.where(known, values - mean, 0.0) ** 2
    several = np.maximum(n, 2)
    half = student.ppf(0.975, several - 1) * np.sqrt(squares.sum(0) / (several - 1) / several)
    return [
        [
            short(mean[k]) if n[k] else None,
            short(mean[k] - half[k]) if n[k] > 1 else None,
            short(mean[k] + half[k]) if n[k] > 1 else None,
            int(n[k]),
        ]
        for k in range(len(n))
    ]


def curves_of(setting: Setting) -> dict[str, Any]:
    """Every step that a seed recorded, and by metric the band of each."""
    steps = sorted({k for run in setting.runs for k in run.steps})
    metrics = list(dict.fromkeys(name for run in setting.runs for name in run.values))
    return {
        "steps": steps,
        "bands": {
            name: bands(
                [[run.curve.chain.get(name, {}).get(k) for k in steps] for run in setting.runs]
            )
            for name in metrics
        },
    }


def sentence(setting: Setting) -> str:
    """The setting's result in words, with its 95 % intervals over seeds."""
    n = len(setting.runs)
    start = f"FCD {_told(setting.start)} without MCMC"
    seeds = "1 seed, so no interval" if n == 1 else f"{n} seeds"
    if setting.last is None:
        return f"{start} ({seeds}); no other step was recorded."
    last = setting.runs[0].steps[-1]
    drift = setting.last
    after = ""
    if drift[1] is not None and drift[1] > 0:
        after = f" After {last} steps it is worse than without MCMC by {_told(drift)}."
    if setting.verdict == "none":
        return f"{start}, and no recorded step is better ({seeds}).{after}"
    ends = {
        "better": "the chain helps",
        "worse": "the step chosen on validation is worse on test",
        "unclear": "the seeds do not settle whether the chain helps",
    }
    return (
        f"{start}, {_told(setting.best)} {_chosen(setting)}: a change of "
        f"{_told(setting.change)} ({seeds}); {ends[setting.verdict]}.{after}"
    )


def headlines(settings: Sequence[Setting]) -> list[str]:
    """What holds over all settings of one scale."""
    counts, many = Counter(setting.verdict for setting in settings), len(settings)
    others = {
        "none": "no step is better than none",
        "worse": "the chosen step is worse on test",
        "unclear": "the seeds do not settle it, or there is one alone",
    }
    also = "".join(f"; in {counts[v]} {text}" for v, text in others.items() if counts[v])
    told = [
        f"Of {many} settings the chain improves the FCD in {counts['better']}, by the "
        f"95 % interval of the change over seeds{also}."
    ]
    lowest = min(settings, key=lambda setting: setting.best[0])
    floor = statistics.mean(run.curve.scalars["fcd_floor"] for run in lowest.runs)
    told.append(
        f"The lowest FCD is {_told(lowest.best)}, of {_name(lowest)} {_chosen(lowest)}; real "
        f"images have {_number(floor)}."
        + (f" It is the lowest of {many}, so by chance a little too low." if many > 1 else "")
    )
    moved = [setting for setting in settings if setting.verdict == "better"]
    if moved:
        most = min(moved, key=lambda setting: setting.best[0] / setting.start[0])
        share = most.best[0] / most.start[0]
        alone = len(moved) == 1
        told.append(
            f"The chain helps {_name(most)}{'' if alone else ' most'}: from {_told(most.start)} "
            f"to {_told(most.best)} {_chosen(most)}, {share:.2f} of where it began"
            + ("." if alone else f"; by chance a little too much, being the most of {len(moved)}.")
        )
    drifted = [s for s in settings if s.last and s.last[1] is not None and s.last[1] > 0]
    if drifted:
        count = f"{len(drifted)} setting{'s' if len(drifted) > 1 else ''}"
        told.append(f"In {count} the last recorded step is worse than no MCMC at all.")
    return told


def _chosen(setting: Setting) -> str:
    step = f"{setting.best_step:g}"
    if len(setting.runs) == 1:
        return f"at step {step}, chosen on validation"
    return f"with each seed at the step that it chose on validation (median {step})"


def _name(setting: Setting) -> str:
    return f"{setting.group.family} {_coordinates(setting)} ({setting.group.chain})"


def _coordinates(setting: Setting) -> str:
    words = {"latent_dim": "latent dimension "}
    cell = setting.group.cell
    return " ".join(f"{words.get(name, name + '=')}{format_value(value)}" for name, value in cell)


def _told(found: Interval) -> str:
    mean, low, high = found
    if low is None or high is None:
        return _number(mean)
    return f"{_number(mean)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:.{decimals(value)}f}".replace("-", "−")


def short(value: float) -> float:
    """Six figures: what the page shows, and no more bytes than that."""
    return float(f"{value:.6g}")
