"""The suite "train": genae's training loop beside plain loops over the same modules.

All arms train a few steps at a time. A plain loop holds its images as floats, keeps no curve and
no state, and checks nothing. There are two: the usual one (fp32, the default Adam), and the best
one for this hardware (the precision that --precision auto chooses, fused Adam). On a GPU there is
a third one: the best one, with its step captured as a CUDA graph by hand.
"""

import importlib.util
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genae_core.data.base import Split
from genae_core.distributions.rng import Draw
from genae_core.experiment.precision import fastest
from genae_core.experiment.step_timing import time_choices, timing_images
from genae_core.models.base import Examples, Stage
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import ComputeConfig
from genae_core.training.batches import Batches
from genae_core.training.config import TrainingConfig
from genae_core.training.session import TrainingSession

from .captured import capture_by_hand
from .cases import CASES, PLAIN, Case, build_model, experiment_of, images_of
from .chain import time_interleaved
from .peak import SIDE, Counting, peak_of, product
from .pythae import pythae
from .rows import Row

ROUNDS = 15  # rounds of every arm in a repeat
EPOCHS = 100  # epochs of the training, whose curve has one point for each


def rows(repeats: int, device: str) -> list[Row]:
    """Measure train_MODEL_auto beside the usual plain loop, train_MODEL_best beside the best one,
    train_MODEL_graph beside the best one as a CUDA graph, and the MLP beside the trainer of Pythae
    if it is installed, in images a second. The ratio of train_MODEL_peak is the share of the speed
    that matrix products reach."""
    comparisons = []
    for name, case in CASES.items():
        if device == "cuda":  # steps are short there, and a small batch would leave it idle
            case = case._replace(batch=max(case.batch, 128), steps=50)
        images = images_of(case, case.images)
        experiment = experiment_of(case)
        few = timing_images(experiment, images)
        timings = time_choices(experiment, few, "auto", device == "cuda", torch.get_num_threads())
        auto = fastest(timings)
        arms = {
            "genae": genae(case, images, auto, device),
            "plain": loop(case, images, PLAIN, device, fused=False),
            "best": loop(case, images, auto, device, fused=True),  # without CUDA graphs
            "peak": product(auto, device),
        }
        if device == "cuda":
            arms["graph"] = loop(case, images, auto, device, fused=True, captured=True)
        if name == "mlp" and device == "cpu" and importlib.util.find_spec("pythae"):
            arms["pythae"] = pythae(case, images_of(case))
        seconds = time_interleaved(arms, repeats * ROUNDS, device)
        comparisons += [
            row(name, arm, title, case, seconds)
            for arm, title in (
                ("plain", "a plain fp32 loop over the same modules"),
                ("best", f"the best plain loop, {compute_name(auto)}, fused Adam"),
                ("graph", f"the same as a CUDA graph by hand, {compute_name(auto)}, fused Adam"),
                ("pythae", "Pythae's trainer on the same layers"),
            )
            if arm in seconds
        ]
        work = flops(case, images)
        reached, most = work / seconds["genae"], 2 * SIDE[device] ** 3 / seconds["peak"]
        comparisons.append(
            Row(
                name=f"train_{name}_peak",
                value=reached / 1e9,
                unit="GFLOP/s",
                baseline=f"products of large matrices, {peak_of(auto, device)}",
                baseline_value=most / 1e9,
                ratio=reached / most,
            )
        )
    return comparisons


def flops(case: Case, images: Split) -> int:
    """Count the operations of the matrix products and convolutions of a round, forwards and
    backwards."""
    one = Split(images.images[: case.batch], images.labels[: case.batch])
    step = genae(case._replace(steps=1), one, PLAIN, "cpu")
    with Counting() as counting:
        step()
    return case.steps * int(counting.flops)


def row(name: str, arm: str, title: str, case: Case, seconds: dict[str, float]) -> Row:
    images = case.batch * case.steps
    return Row(
        name=f"train_{name}_{'auto' if arm == 'plain' else arm}",
        value=images / seconds["genae"],
        unit="images/s",
        baseline=title,
        baseline_value=images / seconds[arm],
        ratio=seconds[arm] / seconds["genae"],
    )


def compute_name(compute: ComputeConfig) -> str:
    return f"{compute.precision}{', channels last' if compute.channels_last else ''}"


def genae(case: Case, images: Split, compute: ComputeConfig, device: str) -> Callable[[], None]:
    """A function that makes the next steps of one training, as `training.fit` does."""
    model, draw = build_model(case, compute, device), Draw(0, device=device)
    config = TrainingConfig(epochs=1, batch_size=case.batch)
    stage, examples = prepare_stage(case, model, images, device)
    session = TrainingSession(model, (stage,), examples, config, draw)
    session.begin_stage()

    batches = repeat_epochs(session.batches)

    def steps() -> None:
        for batch in islice(batches, case.steps):
            session.run_phases(batch)
            session.finish_step()

    return steps


def repeat_epochs(epoch: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    while True:
        yield from epoch()


def prepare_stage(case: Case, model: Any, images: Split, device: str) -> tuple[Stage, Examples]:
    """The stage to train, and its examples."""
    binarize = getattr(case.data, "binarize", False)
    examples = Batches(images, len(images.images), binarize, torch.device(device)).examples()
    stage = model.stages()[case.stage]
    if stage.inputs is not None:
        examples = stage.inputs(model, examples, Draw(0, device=device))
        model.train()
    return stage._replace(epochs=EPOCHS, inputs=None), examples


def loop(
    case: Case,
    images: Split,
    compute: ComputeConfig,
    device: str,
    *,
    fused: bool,
    captured: bool = False,
) -> Callable[[], None]:
    """A function that makes the next steps of a plain loop.

    fused: whether Adam is fused. captured: whether a step is replayed as a CUDA graph, which also
    gathers the images of its batch.
    """
    model = build_model(case, compute, device)
    stage, examples = prepare_stage(case, model, images, device)
    x = examples.batch(np.arange(examples.count)).x
    players = {phase.player.name: phase.player for phase in stage.phases}
    adams = {}
    for name, player in players.items():
        settings = player.optimizer
        assert isinstance(settings, AdamConfig)
        adams[name] = torch.optim.Adam(
            player.parameters,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            fused=fused or None,  # None lets torch choose
            capturable=captured,
        )

    draw = Draw(0, device=device)
    whole = len(x) // case.batch * case.batch

    def epoch() -> Iterator[Tensor]:
        yield from torch.split(torch.randperm(len(x), device=device)[:whole], case.batch)

    def step(rows: Tensor) -> None:
        case.plain(model, x[rows], adams, draw)

    batches = repeat_epochs(epoch)
    run = capture_by_hand(step, next(epoch()), [draw]) if captured else step

    def steps() -> None:
        for rows in islice(batches, case.steps):
            run(rows)

    return steps
