"""Sentences about what the chains do to each model's samples, for mcmc_steps.py."""

import statistics
from collections.abc import Mapping, Sequence

from genae_core.report.explorer.findings import best_step_words, describe, recommendation
from genae_core.report.explorer.findings import with_interval as words
from genae_core.report.explorer.summaries import SettingSummary, summarise_stored
from genae_core.report.intervals import Interval, interval
from genae_core.tracking.mlflow_store import StoredRun


def describe_chains(
    model: str, chains: Mapping[str, Sequence[StoredRun]], labels: Sequence[str]
) -> str:
    """A paragraph about one model, in the words of the sweep's page.

    The FCDs are on test, the best steps are those on validation, and the intervals are 95 %
    intervals over the seeds, of paired differences where two values are compared.

    Args:
        model: The model's name.
        chains: The runs of each chain by label, in the order of their seeds.
        labels: The labels of all chains of the study, the published chain first.
    """
    summaries = {label: _summarise(chains[label]) for label in labels if label in chains}
    (first, published), *others = summaries.items()
    if any(summary.blind for summary in summaries.values()):
        return f"{model}: the FCD's classifier measures nothing, so the FCDs say nothing."
    sentences = [f"{model}, {first}: {describe(published)}", *recommendation(published)]
    sentences += _describe_last_step(published)
    sentences += _describe_best_other(published, dict(others))
    worse = [label for label, summary in others if summary.worsens]
    if worse:
        last = published.runs[0].steps[-1]
        sentences.append(
            f"Of the other chains, these are worse after {last} steps than without MCMC: "
            f"{'; '.join(worse)}."
        )
    return " ".join(sentences)


def _summarise(runs: Sequence[StoredRun]) -> SettingSummary:
    """The summary of a chain's seeds. If several classifiers have measured them, of most."""
    return max(summarise_stored(runs), key=lambda summary: len(summary.runs))


def _describe_last_step(summary: SettingSummary) -> list[str]:
    """A sentence about the last step beside the best one, unless they are the same."""
    last = summary.runs[0].steps[-1]
    if summary.best_step == last:
        return []
    end = [run.stored.chain["fcd"][last] for run in summary.runs]
    change = _paired(end, _scalars(summary, "fcd_best"))
    text = (
        f"At the last step ({last}), the FCD is {words(interval(end))}, which is a change of "
        f"{words(change)} from the best step"
    )
    if _sign(change) < 0 or len(end) == 1:
        return [f"{text}."]
    whether = "" if _sign(change) > 0 else "it is not known yet whether "
    return [f"{text}: {whether}more steps hurt."]


def _describe_best_other(
    published: SettingSummary, others: Mapping[str, SettingSummary]
) -> list[str]:
    """A sentence about the best of the other chains, chosen on validation.

    Only chains with as many seeds as the first one are compared. Without any there is no sentence.
    """
    compared = {
        label: summary
        for label, summary in others.items()
        if len(summary.runs) == len(published.runs)
    }
    if not compared:
        return []

    def validation_fcd(label: str) -> float:
        return statistics.mean(_scalars(compared[label], "fcd_val_best"))

    winner = min(compared, key=validation_fcd)
    summary = compared[winner]
    change = _paired(_scalars(summary, "fcd_best"), _scalars(published, "fcd_best"))
    relation = {-1: "lower", 0: "not certainly lower or higher", 1: "higher"}[_sign(change)]
    if len(summary.runs) == 1:
        relation = "of one seed, so trainings were not compared"
    return [
        f"The best other chain on validation is {winner}: its FCD {best_step_words(summary)} is "
        f"{words(summary.best)}, {relation} (a change of {words(change)} from the first chain's "
        "best).",
    ]


def _paired(values: Sequence[float], others: Sequence[float]) -> Interval:
    return interval([a - b for a, b in zip(values, others, strict=True)])


def _sign(change: Interval) -> int:
    """1 if the interval is above 0, -1 if it is below 0, else 0, as without an interval."""
    _, low, high = change
    if low is None or high is None:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def _scalars(summary: SettingSummary, name: str) -> list[float]:
    return [run.stored.scalars[name] for run in summary.runs]
