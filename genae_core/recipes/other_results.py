"""The effect of the chain on the models of other packages, for other_models.py."""

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from genae_core.config.progress import track
from genae_core.data.base import Splits
from genae_core.evaluation.chains import ChainResult, evaluate
from genae_core.evaluation.references import ReferenceData
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import Shape
from genae_core.recipes.options import TrainingOptions
from genae_core.recipes.other_packages import MODELS
from genae_core.report.tables import align_columns
from genae_core.samplers.config import ChainConfig
from genae_core.sweep.runs import chain_label


def sample_models(
    options: TrainingOptions,
    splits: Splits,
    shape: Shape,
    classifier: Classifier,
    chains: Sequence[ChainConfig],
) -> Iterator[tuple[str, list[ChainResult]]]:
    """Train each model in turn and run the chains from it.

    Args:
        options: The flags about the training.
        splits: The images, which are binarised for the models.
        shape: The shape of an image, (C, H, W).
        classifier: The FCD's classifier.
        chains: The configs of the chains.

    Yields:
        A model's name, and the result of each chain.
    """
    for name, build in track(list(MODELS.items()), "training and sampling", "models"):
        start = time.perf_counter()
        model = build(options, splits, shape)
        training = time.perf_counter() - start
        data = ReferenceData(splits, classifier, binarize=True)
        results = [evaluate(model, chain, data) for chain in chains]
        rest = time.perf_counter() - start - training
        print(f"{name}: {training:.0f} s to train, {rest:.0f} s to evaluate", flush=True)
        yield name, results


def results_table(results: Mapping[str, Sequence[ChainResult]]) -> str:
    """A row for each model and chain, with a column for each recorded step."""
    record = next(iter(results.values()))[0].config.record
    rows = [["model", "chain", *(f"step {step}" for step in record), "the chain"]]
    for name, chain_results in results.items():
        rows += table_rows(name, chain_results)
    return align_columns(rows)


def table_rows(name: str, results: Sequence[ChainResult]) -> list[list[str]]:
    """Rows with the FCD and its standard error at each step, and whether the chain improved it."""
    rows = []
    for result in results:
        values = [
            f"{value:.1f} ± {error:.1f}"
            for value, error in zip(result.fcd, result.curves["fcd_se"], strict=True)
        ]
        rows.append([name, chain_label(result.config), *values, verdict(result)])
    return rows


def verdict(result: ChainResult) -> str:
    """Whether the test FCD at the step chosen on validation is lower than at step 0, in words.

    It must be lower by two standard errors of the difference.
    """
    best = int(np.argmin(result.fcd_val))
    errors = result.curves["fcd_se"]
    gain = result.fcd[0] - result.fcd[best]
    if gain > 2 * float(np.hypot(errors[0], errors[best])):
        return f"improved, step {result.config.record[best]}"
    return "not improved"
