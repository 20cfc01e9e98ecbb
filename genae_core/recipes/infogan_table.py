"""The claims of Chen et al. 2016, section 7.2, about MNIST, for paper_tables.py.

An InfoGAN with one class of K = 10 and two continuous codes finds the digits without labels, and
the continuous codes are the slant and the width of the strokes. The paper names the error of the
class as a classifier; the rest it shows as pictures, so it is measured here by image moments.
Beside it stands a plain GAN: the same networks and codes, whose generator gains nothing from them.
Shapes: N images, H rows, W columns, K classes, S continuous codes.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config.progress import track
from genae_core.data.base import Split, Splits
from genae_core.data.mnist import MNISTConfig
from genae_core.distributions.rng import Draw
from genae_core.evaluation.realism_measures import rank_correlation
from genae_core.experiment.experiment import Experiment
from genae_core.nets.base import sampling_mode
from genae_core.recipes.claim_runs import split_cell
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_rows import Row, print_rows
from genae_core.recipes.pictures import images_of, model_of
from genae_core.recipes.settings import replace_settings
from genae_core.recipes.study import study_experiment
from genae_core.recipes.swept_table import SweptTable, grey_mnist, prior_draws, splits_of
from genae_core.report.intervals import interval
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun, Tracker

LATENT_DIM = 74  # 62 of noise, ten classes and two continuous codes (appendix C.1)
PAPER_ERROR = 5.0  # percent (section 7.2)
GENERATED = 5_000  # images that are generated to measure the bound and the correlations
BLOCK = 1_000  # images that the model sees at a time
FITTED_STEPS, FITTED_BATCH = 1_000, 250  # when Q is fitted to a finished generator
MODELS = ("info_gan", "gan")


class Measures(NamedTuple):
    """What is measured of one model.

    Attributes:
        error: The error of the class as a classifier of the digits, in percent.
        information: The lower bound on I(c1; x) of a fitted Q, in nats.
        slant: The largest |Spearman correlation| of a continuous code with the slant.
        width: The same with the width of the strokes.
    """

    error: float
    information: float
    slant: float
    width: float


def infogan_table(study: StudyOptions) -> SweptTable:
    """The table of a study."""
    chain, data = prior_draws(study), grey_mnist(study)

    def experiment(cell: Mapping[str, Any]) -> Experiment:
        return infogan_experiment(study, cell["model"], data, chain)

    def show(tracker: Tracker, sweep: str, _: Path) -> list[Row]:
        runs = [run for run in tracker.read_runs(sweep) if run.status == "FINISHED"]
        rows = infogan_rows(tracker, runs, splits_of(study, data))
        print_rows(rows)
        return rows

    return SweptTable({"model": MODELS}, experiment, show)


def infogan_experiment(
    study: StudyOptions, model: str, data: MNISTConfig, chain: ChainConfig
) -> Experiment:
    """The experiment of one seed: the row `info_gan` of the families, with the paper's codes.

    Args:
        study: The flags of the study.
        model: "info_gan", or "gan" for the same with weights of 0.
        data: MNIST, not binarised: a generator's grey pixels would give it away.
        chain: The draws from the prior, whose FCD is measured too.
    """
    experiment = replace(study_experiment(study, "info_gan", LATENT_DIM, (chain,)), data=data)
    if model == "info_gan":
        return experiment
    plain = replace_settings(experiment.model, {"class_weight": 0.0, "continuous_weight": 0.0})
    return replace(experiment, model=plain)


def infogan_rows(tracker: Tracker, runs: Sequence[StoredRun], splits: Splits) -> list[Row]:
    """The rows of the finished runs; no row for a model that has none.

    Args:
        tracker: The store of the sweep.
        runs: The finished runs.
        splits: The images of MNIST.
    """
    by_model: dict[str, list[Measures]] = {model: [] for model in MODELS}
    for run in track(runs, "measuring what the codes tell", "models"):
        value = measure(model_of(tracker, run), splits)
        named = {f"infogan_{name}": number for name, number in value._asdict().items()}
        tracker.log_scalars(run.run_id, named)
        model, _ = split_cell(json.loads(run.tags["cell"]))
        by_model[model].append(value)
        print(
            f"{model}, seed {run.tags['seed']}: error {value.error:.1f} %, "
            f"{value.information:.2f} nats, correlation with slant {value.slant:.2f}, "
            f"with width {value.width:.2f}"
        )
    values, plain = (by_model[model] for model in MODELS)
    rows = []
    if values:
        best = min(value.error for value in values)
        rows = [
            Row(name="error of c1, %, best seed", paper=PAPER_ERROR, mean=best, n=len(values)),
            _row("error of c1, %", [value.error for value in values]),
            _row("bound on I(c1; x), nats", [value.information for value in values]),
            _row("|Spearman| with slant", [value.slant for value in values]),
            _row("|Spearman| with width", [value.width for value in values]),
        ]
    if plain:
        rows.append(
            _row("bound on I(c1; x) of a GAN, nats", [value.information for value in plain])
        )
    return rows


def _row(name: str, values: Sequence[float]) -> Row:
    mean, low, high = interval(values)
    return Row(name=name, paper=None, mean=mean, low=low, high=high, n=len(values))


def measure(model: Any, splits: Splits) -> Measures:
    """Measure a trained model.

    The digit of each class is chosen on training images, and the error is that on test images.

    Args:
        model: The `InfoGAN`.
        splits: The images of MNIST.
    """
    with sampling_mode(model, "running"):
        codes = [_codes(model, split) for split in (splits.train, splits.test)]
        z = model.prior.sample(Draw(0, "infogan table"), (GENERATED,))
        x = torch.cat([model.decode(part).mean for part in z.split(BLOCK)])
        information = float(with_fitted_q(model).information(x, z).classes)
    labels = [np.asarray(split.labels, np.int64) for split in (splits.train, splits.test)]
    classes, continuous = model.sizes
    one_hot, c = z[:, -classes - continuous :].tensor_split((classes,), 1)
    within = one_hot.argmax(1).numpy()
    return Measures(
        error=100 * class_error((codes[0], labels[0]), (codes[1], labels[1])),
        information=information,
        slant=best_correlation(c.numpy(), slants(x), within),
        width=best_correlation(c.numpy(), stroke_widths(x), within),
    )


@torch.enable_grad()
def with_fitted_q(model: Any) -> Any:
    """A copy of the model whose Q, with the features below it, is fitted to its own images.

    The generator stays as it is. So the bound of a GAN that has not trained its Q is not lower
    than it must be, and no bound depends on how well Q has kept up with the generator.

    Args:
        model: The `InfoGAN`, in the mode in which it is sampled.
    """
    fitted = copy.deepcopy(model)
    optimizer = torch.optim.Adam([*fitted.critic.parameters(), *fitted.q.parameters()])
    for step in range(FITTED_STEPS):
        z = model.prior.sample(Draw(0, "infogan table", "Q", step), (FITTED_BATCH,))
        with torch.no_grad():
            x = model.decode(z).mean
        optimizer.zero_grad()
        (-fitted.information(x, z).classes).backward()
        optimizer.step()
    return fitted


def _codes(model: Any, split: Split) -> NDArray[np.int64]:
    """The most probable class of each image, int64 [N]."""
    blocks = np.array_split(np.arange(len(split.images)), -(-len(split.images) // BLOCK))
    classes = [model.infer(images_of(split, rows, False)).log_probs.argmax(1) for rows in blocks]
    return torch.cat(classes).numpy()


def class_error(
    fitted: tuple[NDArray[np.int64], NDArray[np.int64]],
    tested: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> float:
    """The share of tested images whose label is not that of their class.

    The label of a class is the one that most of the fitted images of this class have. A class
    without a fitted image has none, so its images are errors.

    Args:
        fitted: The classes and the labels of the images that name the classes, [N] each.
        tested: Those of the images that are counted, [M] each.
    """
    codes, labels = fitted
    counts = np.zeros((max(codes.max(), tested[0].max()) + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (codes, labels), 1)
    label = np.where(counts.any(1), counts.argmax(1), -1)
    return float((label[tested[0]] != tested[1]).mean())


def slants(x: Tensor) -> NDArray[np.float64]:
    """The slant of each image [N, 1, H, W]: columns that the strokes move by for each row.

    It is the ratio mu_11 / mu_02 of central moments: the shear that makes the image upright.
    """
    images = x[:, 0].double().numpy()
    rows, columns = np.indices(images.shape[1:])
    mass = images.sum((1, 2))
    row = (images * rows).sum((1, 2)) / mass
    column = (images * columns).sum((1, 2)) / mass
    rows, columns = rows - row[:, None, None], columns - column[:, None, None]
    ratio: NDArray[np.float64] = (images * rows * columns).sum((1, 2)) / (images * rows**2).sum(
        (1, 2)
    )
    return ratio


def stroke_widths(x: Tensor) -> NDArray[np.float64]:
    """The width of the strokes of each image [N, 1, H, W], in pixels: 2 area / outline.

    A stroke of length L and width w << L has the area L w and an outline of 2 L. The outline is
    the total variation of the image with a black border.
    """
    images = np.pad(x[:, 0].double().numpy(), ((0, 0), (1, 1), (1, 1)))
    outline = sum(np.abs(np.diff(images, axis=axis)).sum((1, 2)) for axis in (1, 2))
    widths: NDArray[np.float64] = 2 * images.sum((1, 2)) / outline
    return widths


def best_correlation(
    codes: NDArray[np.float32], values: NDArray[np.float64], classes: NDArray[np.int64]
) -> float:
    """The largest |Spearman correlation| of a code [N, S] with the values [N].

    The correlations are means over the classes [N], because digits differ in slant and width. A
    class whose images all have the same value counts as 0: the code moves nothing in it.
    """
    means = []
    for code in torch.from_numpy(codes.T):
        within = [
            rank_correlation(code[classes == k], torch.from_numpy(values[classes == k]))
            for k in np.unique(classes)
        ]
        means.append(abs(float(np.mean(np.nan_to_num(within)))))
    return max(means)
