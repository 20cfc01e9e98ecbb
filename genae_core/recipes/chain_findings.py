"""Sentences about what the chains do to each model's samples, for mcmc_steps.py."""

import statistics
from collections.abc import Mapping, Sequence

from genae_core.report.intervals import interval
from genae_core.report.tables import is_blind
from genae_core.tracking.mlflow_store import StoredRun

COMPARISON = {
    -1: "Lower",
    0: "The best other, the same within the noise",
    1: "All others higher",
}


def describe_chains(
    model: str, chains: Mapping[str, Sequence[StoredRun]], labels: Sequence[str]
) -> str:
    """A paragraph about one model.

    The FCDs are on test, the steps are chosen on validation, and the intervals are 95 % intervals
    of paired differences over the seeds.

    Args:
        model: The model's name.
        chains: The runs of each chain by label, in the order of their seeds.
        labels: The labels of all chains of the study, the published chain first.
    """
    if any(is_blind(run) for runs in chains.values() for run in runs):
        return f"{model}: the FCD's classifier measures nothing, so the FCDs say nothing."
    present = [label for label in labels if label in chains]
    sentences = [_describe_published(model, present[0], chains[present[0]])]
    sentences += _describe_best_other(present, chains)
    last = max(chains[present[0]][0].chain["fcd"])
    worse = [
        label
        for label in present
        if _sign(_fcd_at(chains[label], last), _scalars(chains[label], "fcd_step0")) > 0
    ]
    if worse:
        sentences.append(f"Worse after {last} steps than before the first: {'; '.join(worse)}.")
    return " ".join(sentences)


def _describe_published(model: str, label: str, runs: Sequence[StoredRun]) -> str:
    last = max(runs[0].chain["fcd"])
    start, best = _scalars(runs, "fcd_step0"), _scalars(runs, "fcd_best")
    if last == 0:
        return f"{model}. {label}: the FCD is {_mean(start)}; it has no steps."
    end = _fcd_at(runs, last)
    return (
        f"{model}, {len(runs)} seed{'s' if len(runs) > 1 else ''}. {label}: the FCD goes from "
        f"{_mean(start)} at step 0 to {_mean(best)} at step {_best_steps(runs)}"
        f"{_difference(best, start)}, and is {_mean(end)} at step {last}"
        f"{_difference(end, best)}: {_verdict(end, start, best, last)}."
    )


def _describe_best_other(
    labels: Sequence[str], chains: Mapping[str, Sequence[StoredRun]]
) -> list[str]:
    """A sentence about the best of the other chains, chosen on validation.

    Only chains with as many seeds as the first one are compared. Without any there is no sentence.
    """
    published = chains[labels[0]]
    others = [label for label in labels[1:] if len(chains[label]) == len(published)]
    if not others:
        return []

    def validation_fcd(label: str) -> float:
        return statistics.mean(_scalars(chains[label], "fcd_val_best"))

    winner = min(others, key=validation_fcd)
    fcd, best = _scalars(chains[winner], "fcd_best"), _scalars(published, "fcd_best")
    relation = COMPARISON[_sign(fcd, best)] if len(fcd) > 1 else "The best other, of one seed"
    return [
        f"{relation}: {winner}, {_mean(fcd)} at step "
        f"{_best_steps(chains[winner])}{_difference(fcd, best)} against the first chain's best."
    ]


def _verdict(end: list[float], start: list[float], best: list[float], last: int) -> str:
    if len(end) == 1:
        return "one seed does not settle whether the steps help or hurt"
    if _sign(end, start) > 0:
        return f"{last} steps leave the samples worse than none"
    if _sign(end, best) > 0 and _sign(best, start) < 0:
        return "a few steps help, more of them hurt"
    if _sign(end, best) > 0:
        return "more steps hurt, and the seeds do not settle whether a few help"
    if statistics.mean(end) <= statistics.mean(best):
        return "more steps do no harm"
    return "the seeds do not settle whether more steps hurt"


def _sign(values: Sequence[float], others: Sequence[float]) -> int:
    """1 if the 95 % interval of the paired difference is above 0, -1 if it is below 0, else 0.

    With one seed there is no interval, and the result is 0.
    """
    _, low, high = _paired(values, others)
    if low is None or high is None:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    """The mean of the paired difference and its interval, in brackets."""
    mean, low, high = _paired(values, others)
    return f" ({mean:+.1f})" if low is None else f" ({mean:+.1f}: {low:+.1f} to {high:+.1f})"


def _paired(
    values: Sequence[float], others: Sequence[float]
) -> tuple[float, float | None, float | None]:
    return interval([a - b for a, b in zip(values, others, strict=True)])


def _fcd_at(runs: Sequence[StoredRun], step: int) -> list[float]:
    return [run.chain["fcd"][step] for run in runs]


def _scalars(runs: Sequence[StoredRun], name: str) -> list[float]:
    return [run.scalars[name] for run in runs]


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f}"


def _best_steps(runs: Sequence[StoredRun]) -> str:
    """The steps that the seeds chose on validation."""
    steps = {int(step) for step in _scalars(runs, "fcd_best_step")}
    return " or ".join(str(step) for step in sorted(steps))
