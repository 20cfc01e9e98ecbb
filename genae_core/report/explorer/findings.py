"""The results of a sweep in sentences."""

import statistics
from collections import Counter
from collections.abc import Sequence

from genae_core.report.decision import Decision, decision_lines, plain_label
from genae_core.report.explorer.summaries import SettingSummary
from genae_core.report.formatting import decimals, format_value
from genae_core.report.intervals import Interval
from genae_core.report.steps import DEFINITION
from genae_core.report.tables import SeedGroup, closing_lines

VERDICTS = {
    "better": "The chain helps.",
    "worse": "The best step on validation is worse than step 0 on test.",
    "unclear": "Whether the chain helps is not known yet: more seeds would tell.",
}


def describe(summary: SettingSummary) -> str:
    """Return the result of a setting in sentences, with 95 % intervals over seeds."""
    if summary.blind:
        return "The classifier measures nothing, so the FCDs say nothing."
    n = len(summary.runs)
    start = with_interval(summary.start)
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
            f"{_capitalise(best_step_words(summary))}, the FCD is {with_interval(summary.best)}, "
            f"which is a change of {with_interval(summary.change)}{_with_error(summary)}."
        )
        sentences.append(_verdict(summary))
    if summary.worsens:
        last = summary.runs[0].steps[-1]
        sentences.append(
            f"After {last} steps the FCD is worse than without MCMC by "
            f"{with_interval(summary.drift)}."
        )
    return " ".join(sentences)


def recommendation(summary: SettingSummary) -> list[str]:
    """Return a sentence about the recommended step if its runs say it."""
    step, fcd = summary.recommended_step, summary.recommended
    if summary.blind or step is None or summary.drift is None:
        return []
    of = f" (median of {len(summary.runs)} seeds)" if len(summary.runs) > 1 else ""
    at = "; the FCD at their steps is " if of else ", with an FCD of "
    value = "" if fcd is None else f"{at}{with_interval(fcd)}"
    return [f"The recommended step is {step:g}{of}{value}."]


def _verdict(summary: SettingSummary) -> str:
    """Say whether the chain helps."""
    if summary.verdict != "unclear" or len(summary.runs) > 1:
        return VERDICTS[summary.verdict]
    if summary.change_error is None:
        return "One seed does not say whether the chain helps."
    here = "helps" if summary.helps else "has no clear effect"
    return f"In this training the chain {here}; another seed may give another answer."


def _with_error(summary: SettingSummary) -> str:
    """Return the standard error of the change of the only seed, if it is known."""
    error = summary.change_error
    if error is None:
        return ""
    return f" ± {_number(error)} (standard error over blocks of the same chains)"


def headlines(summaries: Sequence[SettingSummary], decided: Sequence[str] = ()) -> list[str]:
    """Return what holds over all settings of one scale, one paragraph per finding.

    What was found leads, then comes how sure it is, because a page shows the first paragraphs
    only until its reader asks for the others. The last ones say what the classifier can measure,
    and how the models compute. If the classifier measures nothing for some settings,
    nothing else is said about these.

    Args:
        summaries: At least one setting, all of the same scale.
        decided: What a sweep that runs until it is settled has decided.
    """
    closing = closing_lines(run.stored for summary in summaries for run in summary.runs)
    lines = [_capitalise(f"{line}.") for line in closing]
    summaries = [summary for summary in summaries if not summary.blind]
    if not summaries:
        return lines
    paragraphs = [*decided[:1], _lowest_fcd(summaries)]
    fallen = [summary for summary in summaries if summary.helps] or [
        summary for summary in summaries if len(summary.runs) == 1 and summary.change[0] < 0
    ]
    if fallen:
        paragraphs.append(_largest_gain(fallen))
    chained = [summary for summary in summaries if summary.drift is not None]
    several = [summary for summary in chained if len(summary.runs) > 1]
    alone = [summary for summary in chained if len(summary.runs) == 1]
    paragraphs += [*([_count_verdicts(several)] if several else [])]
    paragraphs += [*([_count_trainings(alone)] if alone else [])]
    without = len(summaries) - len(chained)
    if without:
        paragraphs.append(
            f"In {_count(without, 'setting')} no chain was run: the samples are those of step 0."
        )
    worsened = sum(summary.worsens for summary in summaries)
    if worsened:
        paragraphs.append(
            f"In {_count(worsened, 'setting')} the last recorded step is worse than step 0."
        )
    if any(recommendation(summary) for summary in summaries):
        paragraphs.append(_capitalise(f"{DEFINITION}."))
    return [*paragraphs, *decided[1:], *lines]


def decision_paragraphs(decision: Decision, summaries: Sequence[SettingSummary]) -> list[str]:
    """Return what a sweep has decided that ran until it was settled.

    summaries: The settings of the sweep.
    """
    words = {
        run.stored.tags["cell"]: cell_words(summary.group)
        for summary in summaries
        for run in summary.runs
    }

    def label(cell: str) -> str:
        return words.get(cell) or plain_label(cell)

    return [f"{_capitalise(line)}." for line in decision_lines(decision, label)]


def _count_verdicts(summaries: Sequence[SettingSummary]) -> str:
    """Say how sure it is that the chain helps, for settings with several seeds."""
    counts = Counter(summary.verdict for summary in summaries)
    sentences = [
        f"The chain improves the FCD in {counts['better']} of "
        f"{_count(len(summaries), 'setting')}, judged by the 95 % confidence interval of the "
        "change over seeds."
    ]
    others = {
        "none": "no step is better than step 0",
        "worse": "the best step on validation is worse than step 0 on test",
        "unclear": "it is not known yet whether the chain helps",
    }
    for verdict, text in others.items():
        if counts[verdict]:
            sentences.append(f"In {_count(counts[verdict], 'setting')} {text}.")
    return " ".join(sentences)


def _count_trainings(summaries: Sequence[SettingSummary]) -> str:
    """Say how sure it is that the chain helps, for settings with one seed."""
    were = "was" if len(summaries) == 1 else "were"
    sentences = [
        f"{_count(len(summaries), 'setting')} {were} trained with one seed, so trainings were not "
        "compared: another seed may give other values."
    ]
    known = [summary for summary in summaries if summary.change_error is not None]
    if known:
        helped = sum(summary.helps for summary in known)
        sentences.append(
            f"In these trainings the chain improves the FCD in {helped} of "
            f"{_count(len(known), 'setting')} by more than two standard errors, which come from "
            "blocks of chains, before and after."
        )
    none = sum(summary.verdict == "none" for summary in summaries)
    if none:
        sentences.append(f"In {_count(none, 'setting')} no step is better than step 0.")
    return " ".join(sentences)


def _lowest_fcd(summaries: Sequence[SettingSummary]) -> str:
    lowest = min(summaries, key=lambda summary: summary.best[0])
    floor = statistics.mean(run.stored.scalars["fcd_floor"] for run in lowest.runs)
    start = ""
    if lowest.verdict != "none" and lowest.drift is not None:
        start = f", from {with_interval(lowest.start)} at step 0"
    text = (
        f"The lowest FCD is {with_interval(lowest.best)}, which {_name(lowest)} reaches "
        f"{best_step_words(lowest)}{start}. Real images have an FCD of {_number(floor)}."
    )
    if len(summaries) > 1:
        text += (
            f" As the lowest of {len(summaries)} values, it is probably a little too "
            "low by chance."
        )
    return " ".join([text, *recommendation(lowest)])


def _largest_gain(fallen: Sequence[SettingSummary]) -> str:
    """Describe the setting with the largest relative gain of those whose FCD the chain lowers."""
    largest = min(fallen, key=lambda summary: summary.best[0] / summary.start[0])
    fraction = largest.best[0] / largest.start[0]
    if len(fallen) > 1:
        claim = f"The largest fall relative to step 0 is that of {_name(largest)}: the FCD goes"
    elif largest.helps:
        claim = f"The chain helps {_name(largest)}: the FCD falls"
    else:
        claim = f"The FCD of {_name(largest)} falls"
    text = (
        f"{claim} from {with_interval(largest.start)} to "
        f"{with_interval(largest.best)}{_error_of_gain(largest)} {best_step_words(largest)}, "
        f"which is {fraction:.2f} times its value without MCMC."
    )
    if len(fallen) > 1:
        text += (
            f" As the largest of {len(fallen)} gains, it is probably a little too large by chance."
        )
    return text


def _error_of_gain(summary: SettingSummary) -> str:
    """Return the standard error of the only seed's gain, if it is known."""
    error = summary.change_error
    return "" if error is None else f" (standard error of the change {_number(error)})"


def best_step_words(summary: SettingSummary) -> str:
    """Say at which step the FCD on validation is lowest."""
    if summary.drift is None:
        return "without a chain"
    step = f"{summary.best_step:g}"
    if len(summary.runs) == 1:
        return f"at its best step ({step})"
    return f"at the best steps of its seeds (median {step})"


def _name(summary: SettingSummary) -> str:
    """Name a setting: "VAE with latent dimension 2, noise 0.5 (encode decode, batch BN)"."""
    return f"{cell_words(summary.group)} ({summary.group.chain})"


def cell_words(group: SeedGroup) -> str:
    """Name a cell: "VAE with latent dimension 2, noise 0.5"."""
    words = {"latent_dim": "latent dimension"}
    cell = ", ".join(
        f"{words.get(name, name.replace('_', ' '))} {format_value(value)}"
        for name, value in group.cell
    )
    return f"{group.family}{f' with {cell}' if cell else ''}"


def with_interval(interval: Interval) -> str:
    """Return a mean, and the ends of its interval if there is one."""
    mean, low, high = interval
    if low is None or high is None:
        return _number(mean)
    return f"{_number(mean)} (95 %: {_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:.{decimals(value)}f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 setting", "2 settings"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _capitalise(text: str) -> str:
    """Return the text with a capital first letter. The rest stays as it is."""
    return text[:1].upper() + text[1:]
