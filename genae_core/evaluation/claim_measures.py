"""What the claims about a chain need of a trained model, beside what every run measures.

Shapes: N images or chains, D latent dimension, C channels, H rows, W columns.
"""

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.evaluation.comparison import ENCODED, EvaluatedChain
from genae_core.evaluation.nearest import nearest_distance
from genae_core.evaluation.references import ReferenceData, as_data
from genae_core.metrics.classifier_features import seeded_indices
from genae_core.metrics.estimate import Estimate, mean_of
from genae_core.metrics.latent_gap import measure_latent_gap
from genae_core.nets.base import sampling_mode
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import run_chain
from genae_core.samplers.means import chain_means

CHAINS = 1_000  # chains, and images, that are measured
LATE = 50  # steps after which chains from different starts are compared
WIDE = 3.0  # standard deviation of the widest start
FEW = 5  # steps after which samples are compared
NOISES = (0.25, 0.5, 1.0)  # standard deviations of the noise that is removed
NEIGHBOURS = 500  # samples whose nearest training image is looked for
CLAIM_MEASURES = (
    "start_gap",
    "codes_gap",
    "nearest_copied",
    "nearest_chain",
    "nearest_real",
    *(f"denoising_gain_{noise:g}" for noise in NOISES),
)


def measure_claims(subject: EvaluatedChain) -> dict[str, Estimate]:
    """Measure everything in this file for a model with an encoder.

    Args:
        subject: The model and its chain. The number of chains and the recorded steps of its config
            are not used.

    Returns:
        The values by the names of CLAIM_MEASURES, with their errors for this model: see
        `forgetting`, `novelty` and `denoising_gain`.
    """
    values = {**forgetting(subject), **novelty(subject)}
    images = test_images(subject.data, CHAINS)
    for noise in NOISES:
        draw = Draw(subject.chain.seed, "denoised", device=subject.data.device)
        values[f"denoising_gain_{noise:g}"] = denoising_gain(subject.model, images, noise, draw)
    return values


def test_images(data: ReferenceData, count: int) -> Tensor:
    """Seeded images of the test half, at most `count`."""
    return data.pixels(data.splits.test, seeded_indices(len(data.splits.test.images), count))


def forgetting(subject: EvaluatedChain) -> dict[str, Estimate]:
    """Whether z after many steps depends on the start, and whether it has reached the codes.

    Chains start from N(0, I), from N(0, 9 I) and from the origin, and take 50 steps.

    Returns:
        start_gap: The largest sliced W2^2 between two of the three sets of z, divided by that
            between two sets from N(0, I), which is the noise floor.
        codes_gap: The sliced W2^2 between z from N(0, I) and codes of images, divided by that
            between two halves of the codes.
    """
    count = subject.chain.round_up(CHAINS)
    starts = {"unit": 1.0, "again": 1.0, "wide": WIDE, "point": 0.0}
    late = {}
    width = subject.model.latent_prior().mean.shape[-1]
    for number, (name, scale) in enumerate(starts.items()):
        draw = Draw(subject.chain.seed, "starts", number, device=subject.data.device)
        z = scale * draw.normal((count, width))
        late[name] = _late(subject, z, number)
    coupled = subject.chain.coupled
    floor = _gap(late["unit"], late["again"], coupled)
    pairs = itertools.combinations(("unit", "wide", "point"), 2)
    spread = max((_gap(late[a], late[b], coupled) for a, b in pairs), key=lambda gap: gap.value)
    codes = _codes(subject, 2 * count)
    half = len(codes) // 2
    between = _gap(codes[:half], codes[half:], coupled)  # as large blocks have the same floor
    reached = _gap(late["unit"][:half], codes[:half], coupled)
    return {"start_gap": ratio_of(spread, floor), "codes_gap": ratio_of(reached, between)}


def ratio_of(a: Estimate, b: Estimate) -> Estimate:
    """a / b of independent estimates, with the error r sqrt((s_a / a)^2 + (s_b / b)^2).

    It is NaN if b is not above 0.
    """
    if not b.value > 0:
        return Estimate(math.nan, math.nan)
    return Estimate(a.value / b.value, math.hypot(a.error, a.value / b.value * b.error) / b.value)


def _late(subject: EvaluatedChain, z: Tensor, stream: int) -> Tensor:
    """The z [N, D] of the chains after LATE steps. Another stream has other random numbers."""
    chain = subject.chain
    config = dataclasses.replace(chain, record=(0, LATE), seed=chain.seed + 1 + stream)
    records = run_chain(subject.model, config, len(z), start=z, fitted_prior=None)
    return torch.cat([record.chain.z for record in records if record.step == LATE])


def _gap(a: Tensor, b: Tensor, coupled: int) -> Estimate:
    """The sliced W2^2 between two sets of codes."""
    return measure_latent_gap(a, b, coupled).sliced_wasserstein


def _codes(subject: EvaluatedChain, count: int) -> Tensor:
    """Samples z ~ q(z|x~) of training images [N, D]."""
    x = train_images(subject.data, count)
    draw = Draw(subject.chain.seed, "claimed", device=subject.data.device)
    with sampling_mode(subject.model, "running"):
        parts = [
            subject.model.encode(subject.model.corrupt(part, draw)).sample(draw)
            for part in torch.split(x, ENCODED)
        ]
    return torch.cat(parts)


def train_images(data: ReferenceData, count: int) -> Tensor:
    """Seeded images of the training split, at most `count`."""
    split = data.splits.train
    return data.pixels(split, seeded_indices(len(split.images), min(count, len(split.images))))


def denoising_gain(model: Any, x: Tensor, noise: float, draw: Draw) -> Estimate:
    """The gain in dB, PSNR(x, d(e(x~))) - PSNR(x, x~) with x~ ~ N(x, noise^2 I), mean over images.

    Args:
        model: An nn.Module with an encoder, which uses its running averages.
        x: Images [N, C, H, W] in [0, 1].
        noise: The standard deviation.
        draw: The source of randomness.
    """
    noisy, restored = denoise(model, x, noise, draw)
    return mean_of(psnr(x, restored) - psnr(x, noisy))


class Denoised(NamedTuple):
    """Images with noise x~ and without it again d(e(x~)), both [N, C, H, W]."""

    noisy: Tensor
    restored: Tensor


def denoise(model: Any, x: Tensor, noise: float, draw: Draw) -> Denoised:
    """Add noise to images, and decode their codes (Creswell et al. 2017, figure 3).

    Args:
        model: An nn.Module with an encoder, which uses its running averages.
        x: Images [N, C, H, W] in [0, 1].
        noise: The standard deviation.
        draw: The source of randomness.
    """
    noisy, restored = [], []
    with sampling_mode(model, "running"):
        for part in torch.split(x, ENCODED):
            noisy.append(part + noise * draw.normal(tuple(part.shape)))
            restored.append(model.decode(model.encode(noisy[-1]).mean).mean)
    return Denoised(torch.cat(noisy), torch.cat(restored))


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each image in dB [N], for pixels in [0, 1].

    10 log10(1 / mean (x - y)^2)
    """
    return -10 * (x - y).square().flatten(1).mean(1).clamp(min=1e-12).log10()


def novelty(subject: EvaluatedChain) -> dict[str, Estimate]:
    """The mean distance to the nearest training image of three kinds of images.

    Returns:
        nearest_copied: That of d(e(x)) with x of the training images, which Creswell et al. 2017
            call approach 1.
        nearest_chain: That of samples of the chain after a few steps.
        nearest_real: That of held-out images.
    """
    model, data = subject.model, subject.data
    x = train_images(data, NEIGHBOURS)
    with sampling_mode(model, "running"):
        copied = torch.cat(
            [model.decode(model.encode(part).mean).mean for part in torch.split(x, ENCODED)]
        )
    sampled = run_means(subject, (0, FEW))[FEW]
    kinds = {
        "nearest_copied": as_data(copied, data.binarize),
        "nearest_chain": as_data(sampled[:NEIGHBOURS], data.binarize),
        "nearest_real": test_images(data, NEIGHBOURS),
    }
    everything = torch.cat(list(kinds.values()))
    distances = nearest_distance(everything, data.splits.train, data.binarize)
    parts = torch.split(distances, [len(images) for images in kinds.values()])
    return {name: mean_of(part) for name, part in zip(kinds, parts, strict=True)}


def run_means(
    subject: EvaluatedChain, record: tuple[int, ...], start: Tensor | None = None
) -> dict[int, Tensor]:
    """The means of p(x|z) [N, C, H, W] of the chains by recorded step."""
    config: ChainConfig = dataclasses.replace(subject.chain, record=record)
    count = config.round_up(CHAINS) if start is None else len(start)
    prior = None if start is not None else subject.fitted_prior
    return chain_means(subject.model, config, count, start=start, fitted_prior=prior)
