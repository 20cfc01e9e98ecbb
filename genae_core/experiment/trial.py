"""run_trial(): one experiment from its seed to its metrics. It knows neither Tune nor MLflow."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from genae_core.data.base import Splits
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.evaluation.chains import ChainResult, evaluate, fit_prior
from genae_core.evaluation.references import ReferenceData, fit_references
from genae_core.experiment.experiment import Experiment
from genae_core.metrics.classifier import Classifier
from genae_core.models.base import Examples, GenerativeModel
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.samplers.config import ChainConfig
from genae_core.training.batches import Batches
from genae_core.training.checkpoint import build_model
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import Callbacks, fit
from genae_core.training.processes import NO_EXAMPLES
from genae_core.training.session import Progress, TrainingResult
from genae_core.training.snapshots import SnapshotStore
from genae_core.training.stacked import Replica


class TrialResult(NamedTuple):
    """The trained model, and the result of each chain.

    Attributes:
        model: The trained model, in evaluation mode.
        draw: The random stream of the training, in its state at the end.
        training: The loss terms of the training, and its seconds; none for a model that is
            already trained.
        chains: The results of the chains, in the experiment's order.
        failed: The chains that left the range of floating-point numbers, each with the error.
    """

    model: nn.Module
    draw: Draw
    training: TrainingResult
    chains: list[ChainResult]
    failed: dict[ChainConfig, FloatingPointError]


def replica_of(
    experiment: Experiment,
    splits: Splits,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[nn.Module, Progress], None] = lambda *_: None,
    snapshots: SnapshotStore | None = None,
    examples: Examples | None = None,
) -> Replica:
    """The untrained model of an experiment that has a training, with everything that it needs.

    Args:
        experiment: The experiment, resolved for these splits.
        splits: The images.
        device: The device of the training.
        on_epoch: Called with the model after each epoch.
        snapshots: The store of the training's snapshots.
        examples: The training images of another seed's replica, to share their memory.
    """
    training = experiment.training
    assert training is not None
    model, draw = _build(experiment, device)
    if examples is None:
        count = min(training.max_images or len(splits.train.images), len(splits.train.images))
        binarize, num_labelled = experiment.data.binarize, training.num_labelled
        examples = Batches(splits.train, count, binarize, draw.device, num_labelled).examples()

    def watch(progress: Progress) -> None:
        on_epoch(model, progress)

    return Replica(model, model.stages(), examples, draw, Callbacks(watch, snapshots))


def prepare_assistance(
    experiment: Experiment, device: torch.device | str = "cpu"
) -> Callable[[], None]:
    """Prepare to take part in the training of an experiment that another process leads.

    The leading process calls `run_trial`, and has the images and the snapshots.

    Args:
        experiment: The experiment, resolved.
        device: The device of this process.

    Returns:
        The function that takes part, in a block of `data_parallel`.
    """
    training = experiment.training
    assert training is not None
    model, draw = _build(experiment, device)
    return lambda: _assist(model, training, draw)


def _assist(model: GenerativeModel, training: TrainingConfig, draw: Draw) -> None:
    fit(model, model.stages(), NO_EXAMPLES, training, draw)


def _build(experiment: Experiment, device: torch.device | str) -> tuple[GenerativeModel, Draw]:
    """The model of an experiment before its training, and the random stream of the training."""
    draw = Draw(experiment.seed, "training", device=device)
    with draw.as_global():
        model = build_model(experiment.model, experiment.data.shape).to(device)
    compute_as(model, experiment.compute or ComputeConfig())
    return model, draw


def run_trial(
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[nn.Module, Progress], None] = lambda *_: None,
    snapshots: SnapshotStore | None = None,
) -> TrialResult:
    """Train the experiment's model, unless it is already trained, and run its chains.

    A chain that leaves the range of floating-point numbers raises nothing: the result names it.

    Args:
        experiment: The experiment, resolved for these splits.
        splits: The images to train on and to compare with.
        classifier: The classifier whose features the FCD compares.
        device: The device of the training and of the chains.
        on_epoch: Called with the model after each epoch.
        snapshots: The store of the training's snapshots. If it has one, the training continues
            from it.

    Returns:
        The trained model and the result of each chain.

    Raises:
        NonFiniteLossError: A loss term is NaN or infinite.
    """
    if experiment.training is None:
        model, draw = _build(experiment, device)
        model.eval()
        trained = TrainingResult([], 0.0)
    else:
        replica = replica_of(experiment, splits, device, on_epoch, snapshots)
        model, stages, examples, draw, callbacks = replica
        trained = fit(model, stages, examples, experiment.training, draw, callbacks)
    data = ReferenceData(splits, classifier, experiment.data.binarize, device)
    halves = {(chain.num_chains or 0) // 2 for chain in experiment.chains}
    references = {half: fit_references(data, half) for half in halves}
    chains, failed = [], {}
    # Chains that differ in what they do from there start from one fitted prior.
    priors: dict[tuple[Any, int], Distribution | None] = {}
    for chain in experiment.chains:
        half = (chain.num_chains or 0) // 2
        key = (chain.fitted_prior, chain.seed)
        if key not in priors:
            priors[key] = fit_prior(model, chain, splits, binarize=data.binarize, device=device)
        try:
            arguments = (data, references[half], experiment.metrics, priors[key])
            chains.append(evaluate(model, chain, *arguments))
        except FloatingPointError as error:
            failed[chain] = error
    return TrialResult(model, draw, trained, chains, failed)
