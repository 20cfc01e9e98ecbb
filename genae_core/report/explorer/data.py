"""The data that the scripts of the page read as JSON, without the pictures."""

import math
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from genae_core.config.redaction import redact
from genae_core.report.decision import Decision
from genae_core.report.explorer.embedding import rank_seeds
from genae_core.report.explorer.findings import (
    decision_paragraphs,
    describe,
    headlines,
    recommendation,
)
from genae_core.report.explorer.gather import SCALARS, FinishedRun, RunWithoutResult
from genae_core.report.explorer.summaries import (
    SettingSummary,
    facets,
    round_for_page,
    setting_curves,
)
from genae_core.report.steps import BEST, DEFINITION, RECOMMENDED
from genae_core.report.tables import is_blind
from genae_core.tracking.own_metrics import own_metrics_of

UNKNOWN = (None, None, None)  # an interval that was not measured
# What is chosen by the FCD.
CHOICE_SCALARS = ("fcd_best", BEST, RECOMMENDED)
RUN_SCALARS = (*SCALARS, RECOMMENDED, "training_seconds")


def page_data(
    uri: str,
    summaries: Sequence[SettingSummary],
    runs: Sequence[FinishedRun],
    others: Sequence[RunWithoutResult],
    decisions: Mapping[str, Decision] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the data that the page shows, without the pictures.

    Args:
        uri: The tracking URI of the store.
        summaries: The settings.
        runs: The finished runs.
        others: The runs without a result.
        decisions: What was decided, by sweep.
    """
    scales = list(dict.fromkeys(summary.scale for summary in summaries))
    missing = {
        metric: sum(run.values.get(metric, []).count(None) for run in runs)
        for metric in dict.fromkeys(name for run in runs for name in run.values)
    }
    return {
        "store": redact(uri),
        "stepsDefinition": DEFINITION,
        "server": server_address(uri),
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commits": sorted({run.stored.tags.get("git_commit", "unknown")[:10] for run in runs}),
        "scales": [
            {"name": scale, "findings": _findings(summaries, scale, decisions)} for scale in scales
        ],
        "settings": _setting_rows(summaries, runs, scales),
        "runs": [_run_row(run) for run in runs],
        "ownMetrics": own_metrics_of(run.stored.tags for run in runs),
        "withoutResult": [run._asdict() for run in others],
        "missingValues": {metric: count for metric, count in missing.items() if count},
    }


def _findings(
    summaries: Sequence[SettingSummary], scale: str, decisions: Mapping[str, Decision]
) -> list[str]:
    """Return the paragraphs of the findings of a scale."""
    members = [summary for summary in summaries if summary.scale == scale]
    decided: list[str] = []
    for sweep in dict.fromkeys(summary.sweep for summary in members):
        if sweep in decisions:
            own = [summary for summary in members if summary.sweep == sweep]
            decided += decision_paragraphs(decisions[sweep], own)
    return headlines(members, decided)


def _setting_rows(
    summaries: Sequence[SettingSummary], runs: Sequence[FinishedRun], scales: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what the page holds of each setting. It names runs by their place in `runs`."""
    number = {run.stored.run_id: place for place, run in enumerate(runs)}
    with_sweep = len({summary.sweep for summary in summaries}) > 1
    return [
        {
            **facets(summary, with_sweep),
            **setting_curves(summary),
            "chain": summary.group.chain,
            "scale": scales.index(summary.scale),
            "runs": [number[run.stored.run_id] for run in summary.runs],
            "roles": {role: number[run_id] for role, run_id in rank_seeds(summary).items()},
            "start": summary.start,
            "best": UNKNOWN if summary.blind else summary.best,
            "change": UNKNOWN if summary.blind else summary.change,
            "bestStep": None if summary.blind else summary.best_step,
            "recommendedStep": None if summary.blind else summary.recommended_step,
            "verdict": summary.verdict,
            "words": " ".join([describe(summary), *recommendation(summary)]),
        }
        for summary in summaries
    ]


def _run_row(run: FinishedRun) -> dict[str, Any]:
    """Return what the page holds of a run. A blind classifier has chosen no step."""
    scalars = run.stored.scalars
    omitted = CHOICE_SCALARS if is_blind(run.stored) else ()
    floors = [f"{name}_floor" for name in own_metrics_of([run.stored.tags])]
    return {
        "id": run.stored.run_id,
        "experiment": run.experiment_id,
        "name": run.name,
        "seed": run.stored.tags["seed"],
        "steps": run.steps,
        "values": {
            metric: [None if value is None else round_for_page(value) for value in column]
            for metric, column in run.values.items()
        },
        "scalars": {
            name: scalars[name]
            for name in (*RUN_SCALARS, *floors)
            if name not in omitted and math.isfinite(scalars.get(name, math.nan))
        },
        "sampled": run.sprite is not None,
    }


def server_address(uri: str) -> str | None:
    """Return the server's address for links to runs, without a password. None for other stores."""
    if not uri.startswith(("http://", "https://")):
        return None
    parts = urllib.parse.urlsplit(uri)
    netloc = parts.netloc.rsplit("@", 1)[-1]
    return urllib.parse.urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
