"""What a card says of the samples: the curve, and the step that is recommended."""

import math
from collections.abc import Iterator, Sequence

from genae_core.report.card.markdown import config_words, table
from genae_core.report.card.subject import ExportedModel
from genae_core.report.explorer.findings import describe
from genae_core.report.explorer.gather import SCALARS
from genae_core.report.explorer.summaries import summarise_stored
from genae_core.report.steps import BEST, RECOMMENDED_IS
from genae_core.report.tables import is_blind, mean_and_sd, ruler_lines
from genae_core.tracking.mlflow_store import StoredRun


def is_evaluated(run: StoredRun) -> bool:
    """Whether a run has finished with all the figures that a card needs."""
    scalars = (run.scalars.get(name, math.nan) for name in SCALARS)
    return run.status == "FINISHED" and all(map(math.isfinite, scalars)) and "fcd" in run.chain


def describe_results(
    export: ExportedModel, run: StoredRun | None, seeds: Sequence[StoredRun]
) -> Iterator[str]:
    """The curve, what its rulers can measure, and the step that is recommended."""
    yield "## How good its samples are"
    if run is None:
        yield (
            "The samples of this model were not evaluated: the run has no FCD. So no number of "
            "steps is recommended."
        )
        return
    yield (
        "FCD is the Fréchet distance between features of samples and of test images, in a small "
        "classifier that was trained on the same data set (sha256 of its weights: "
        f"{export.tags.get('classifier_sha256', 'unknown')}). Lower is better. It is no Inception "
        "FID, and is comparable only with the same classifier and the same number of images, "
        f"{run.scalars.get('fcd_images', math.nan):.0f} of each side."
    )
    yield _curve(run, seeds)
    yield from (f"{line[0].upper()}{line[1:]}." for line in ruler_lines([run]))
    yield "## The sampler and the step that are recommended"
    yield f"Sampler: {_chain_words(export)}."
    yield _recommendation(export, run, seeds)


def _curve(run: StoredRun, seeds: Sequence[StoredRun]) -> str:
    """The FCD of each step as a table, with the floor."""
    floor = run.scalars["fcd_floor"]
    several, blind = len(seeds) > 1, is_blind(run)
    over_seeds = [f"mean of {len(seeds)} seeds"] if several else []
    rows = [["step", "FCD of this model", *over_seeds, "FCD / real images"]]
    for step, value in sorted(run.chain["fcd"].items()):
        error = run.chain.get("fcd_se", {}).get(step, math.nan)
        spread = f" ± {error:.2g}" if math.isfinite(error) else ""
        mean = [mean_and_sd([seed.chain["fcd"].get(step) for seed in seeds])] if several else []
        ratio = "n/a" if blind or floor <= 0 else f"{value / floor:.2f}"
        rows.append([str(step), f"{value:.4g}{spread}", *mean, ratio])
    rows.append(["real images", f"{floor:.4g}", *([""] if several else []), ""])
    note = (
        "± is the standard error of the FCD of this model"
        f"{', and the standard deviation over the seeds' if several else ''}. "
        f"Number of seeds: {len(seeds)}. The last row is the floor: the FCD of real training "
        "images against the same test images."
    )
    return f"{table(rows)}\n\n{note}"


def _recommendation(export: ExportedModel, run: StoredRun, seeds: Sequence[StoredRun]) -> str:
    """The step that is recommended, and whether it is better than step 0, in sentences.

    The steps are those of the sweep's table and of `genae sample`, and the verdict over seeds is
    that of the sweep's page.
    """
    summary = next(
        each
        for each in summarise_stored(seeds)
        if run.run_id in {member.stored.run_id for member in each.runs}
    )
    if summary.blind:
        return describe(summary) + " So no number of steps is recommended."
    best, steps = int(run.scalars[BEST]), export.steps
    if best == 0:
        sentences = ["No recorded step has a lower FCD on the validation images than step 0."]
    else:
        sentences = [f"On the validation images, the FCD is lowest at step {best}."]
    if steps is None:
        sentences.append("The run does not say how many steps are enough, so choose one.")
    elif steps > 0:
        sentences.append(f"**Step {steps}** is recommended: it is {RECOMMENDED_IS}.")
    else:
        if best > 0:
            sentences.append(
                "At step 0 it is within one standard error of that, so no step is distinguishable "
                "from step 0."
            )
        sentences.append("**Step 0** is recommended: the start of the chain, without MCMC.")
    sentences.append(f"On the test images: {describe(summary)}")
    if steps and summary.verdict != "better":
        sentences.append(
            "So the seeds do not show that this step is better than step 0, and the "
            "recommendation rests on the validation images of this model alone."
        )
    return " ".join(sentences)


def _chain_words(export: ExportedModel) -> str:
    """The sampler with its settings, and how its chains run, in words."""
    values = (export.experiment.get("chains") or [{}])[0]
    normalised = (
        f"the statistics of {export.chain.sub_batch} chains that run together"
        if export.chain.batch_norm == "batch"
        else "the running averages of the training"
    )
    prior = values.get("fitted_prior")
    start = f", from a fitted prior: {config_words(prior)}" if prior else ""
    sampler = config_words(values.get("sampler", {}))
    return f"{sampler}{start}; batch normalisation, if any, by {normalised}"
