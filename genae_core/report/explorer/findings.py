"""The results of a sweep in sentences."""

import statistics
from collections import Counter
from collections.abc import Sequence

from genae_core.report.explorer.summaries import SettingSummary
from genae_core.report.formatting import decimals, format_value
from genae_core.report.intervals import Interval
from genae_core.report.tables import closing_lines

VERDICTS = {
    "better": "The chain helps.",
    "worse": "The step chosen on validation is worse on test.",
    "unclear": "The seeds do not settle whether the chain helps.",
}


def describe(summary: SettingSummary) -> str:
    """Return the result of a setting in sentences, with 95 % intervals over seeds."""
    if summary.blind:
        return "The classifier measures nothing, so the FCDs say nothing."
    n = len(summary.runs)
    start = _with_interval(summary.start)
    if n == 1:
        sentences = [f"Without MCMC, the FCD of the only seed is {start}."]
    else:
        sentences = [f"Without MCMC, the mean FCD over {n} seeds is {start}."]
    if summary.drift is None:
        return " ".join([*sentences, "No other step was recorded."])
    if summary.verdict == "none":
        sentences.append("No recorded step is better.")
    else:
        sentences.append(
            f"{_capitalise(_best_step(summary))}, the FCD is {_with_interval(summary.best)}, "
            f"which is a change of {_with_interval(summary.change)}."
        )
        one = n == 1 and summary.verdict == "unclear"
        sentences.append(
            "One seed does not settle whether the chain helps."
            if one
            else VERDICTS[summary.verdict]
        )
    if summary.worsens:
        last = summary.runs[0].steps[-1]
        sentences.append(
            f"After {last} steps the FCD is worse than without MCMC by "
            f"{_with_interval(summary.drift)}."
        )
    return " ".join(sentences)


def headlines(summaries: Sequence[SettingSummary]) -> list[str]:
    """Return what holds over all settings of one scale, one paragraph per finding.

    The last paragraphs say what the classifier can measure, and how the models compute. If the
    classifier measures nothing for some settings, nothing else is said about these.

    Args:
        summaries: At least one setting, all of the same scale.
    """
    closing = closing_lines(run.stored for summary in summaries for run in summary.runs)
    lines = [_capitalise(f"{line}.") for line in closing]
    summaries = [summary for summary in summaries if not summary.blind]
    if not summaries:
        return lines
    paragraphs = [_count_verdicts(summaries), _lowest_fcd(summaries)]
    improved = [summary for summary in summaries if summary.verdict == "better"]
    if improved:
        paragraphs.append(_largest_gain(improved))
    worsened = sum(summary.worsens for summary in summaries)
    if worsened:
        paragraphs.append(
            f"In {_count(worsened, 'setting')} the last recorded step is worse than step 0."
        )
    return [*paragraphs, *lines]


def _count_verdicts(summaries: Sequence[SettingSummary]) -> str:
    counts = Counter(
        "one seed" if summary.verdict == "unclear" and len(summary.runs) == 1 else summary.verdict
        for summary in summaries
    )
    sentences = [
        f"The chain improves the FCD in {counts['better']} of "
        f"{_count(len(summaries), 'setting')}, judged by the 95 % confidence interval of the "
        "change over seeds."
    ]
    others = {
        "none": "no step is better than step 0",
        "worse": "the step chosen on validation is worse on test",
        "unclear": "the seeds do not settle whether the chain helps",
        "one seed": "a single seed does not settle whether the chain helps",
    }
    for verdict, text in others.items():
        if counts[verdict]:
            sentences.append(f"In {_count(counts[verdict], 'setting')} {text}.")
    return " ".join(sentences)


def _lowest_fcd(summaries: Sequence[SettingSummary]) -> str:
    lowest = min(summaries, key=lambda summary: summary.best[0])
    floor = statistics.mean(run.stored.scalars["fcd_floor"] for run in lowest.runs)
    text = (
        f"The lowest FCD is {_with_interval(lowest.best)}, which {_name(lowest)} reaches "
        f"{_best_step(lowest)}. Real images have an FCD of {_number(floor)}."
    )
    if len(summaries) > 1:
        text += (
            f" Because it is the lowest of {len(summaries)} values, it is probably a little too "
            "low by chance."
        )
    return text


def _largest_gain(improved: Sequence[SettingSummary]) -> str:
    """Describe the setting with the largest relative gain among those that the chain improves."""
    largest = min(improved, key=lambda summary: summary.best[0] / summary.start[0])
    fraction = largest.best[0] / largest.start[0]
    most = " most" if len(improved) > 1 else ""
    text = (
        f"The chain helps {_name(largest)}{most}: the FCD falls from "
        f"{_with_interval(largest.start)} to {_with_interval(largest.best)} "
        f"{_best_step(largest)}, which is {fraction:.2f} times its value without MCMC."
    )
    if len(improved) > 1:
        text += (
            f" Because it is the largest of {len(improved)} gains, it is probably a little too "
            "large by chance."
        )
    return text


def _best_step(summary: SettingSummary) -> str:
    """Say at which step the best FCD is."""
    step = f"{summary.best_step:g}"
    if len(summary.runs) == 1:
        return f"at the step chosen on validation ({step})"
    return f"at the steps that the seeds chose on validation (median {step})"


def _name(summary: SettingSummary) -> str:
    """Name a setting: "VAE with latent dimension 2, noise 0.5 (encode decode, batch BN)"."""
    words = {"latent_dim": "latent dimension"}
    group = summary.group
    cell = ", ".join(
        f"{words.get(name, name.replace('_', ' '))} {format_value(value)}"
        for name, value in group.cell
    )
    return f"{group.family}{f' with {cell}' if cell else ''} ({group.chain})"


def _with_interval(interval: Interval) -> str:
    """Return a mean, and the ends of its interval if there is one."""
    mean, low, high = interval
    if low is None or high is None:
        return _number(mean)
    return f"{_number(mean)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:.{decimals(value)}f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 setting", "2 settings"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _capitalise(text: str) -> str:
    """Return the text with a capital first letter. The rest stays as it is."""
    return text[:1].upper() + text[1:]
