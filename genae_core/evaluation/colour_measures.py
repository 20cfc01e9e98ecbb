"""The saturation and the contrast of a chain's colour images, by step.

Shapes: N images, H rows, W columns.
"""

import dataclasses

import torch
from torch import Tensor

from genae_core.evaluation.claim_measures import CHAINS, test_images
from genae_core.evaluation.comparison import EvaluatedChain
from genae_core.metrics.estimate import Estimate, mean_of
from genae_core.samplers.loop import run_chain

STEPS = (0, 1, 5, 10)  # the steps of the papers' figures
COLOUR_MEASURES = ("saturation", "contrast")


def measure_colours(subject: EvaluatedChain) -> dict[str, Estimate]:
    """Measure the colours of samples at each step, and of held-out images.

    Args:
        subject: The model and its chain. The number of chains and the recorded steps of its config
            are not used.

    Returns:
        saturation@K and contrast@K for each step K, with errors over whole sub-batches, and
        saturation_real and contrast_real; nothing for grey images.
    """
    real = test_images(subject.data, CHAINS)
    if real.shape[1] != 3:
        return {}
    config = dataclasses.replace(subject.chain, record=STEPS)
    count = config.round_up(CHAINS)
    parts: dict[int, list[Tensor]] = {step: [] for step in STEPS}
    for one in run_chain(subject.model, config, count, fitted_prior=subject.fitted_prior):
        parts[one.step].append(one.chain.mean.clone())
    values = {
        "saturation_real": mean_of(saturation(real)),
        "contrast_real": mean_of(contrast(real)),
    }
    for step, means in parts.items():
        x = torch.cat(means)
        values[f"saturation@{step}"] = _mean_of_batches(saturation(x), config.coupled)
        values[f"contrast@{step}"] = _mean_of_batches(contrast(x), config.coupled)
    return values


def _mean_of_batches(values: Tensor, coupled: int) -> Estimate:
    """The mean of values [N] of which `coupled` consecutive ones depend on one another."""
    return mean_of(torch.stack([part.mean() for part in torch.split(values, coupled)]))


def saturation(x: Tensor) -> Tensor:
    """The mean saturation (max - min) / max over R, G, B of each image's pixels, as in HSV, [N].

    Args:
        x: Images [N, 3, H, W] in [0, 1]. A black pixel has the saturation 0.
    """
    top, low = x.amax(1), x.amin(1)
    return torch.where(top > 0, (top - low) / top.clamp(min=1e-12), 0).flatten(1).mean(1)


def contrast(x: Tensor) -> Tensor:
    """The RMS contrast of each image: the standard deviation of its pixels' brightness, [N].

    The brightness is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).

    Args:
        x: Images [N, 3, H, W] in [0, 1].
    """
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=x.dtype, device=x.device)
    brightness = (x * weights[:, None, None]).sum(1)
    return brightness.flatten(1).std(1, correction=0)
