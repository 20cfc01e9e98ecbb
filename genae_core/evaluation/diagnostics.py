"""diagnose(): the reconstruction, the posterior and the mixing; and the chain's path in a plane.

Shapes: N images, S samples, T steps, B chains, D latent dimension, C channels, H rows, W columns.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.evaluation.comparison import ENCODED, EvaluatedChain, RealSet
from genae_core.evaluation.references import as_data
from genae_core.metrics.classifier_features import features_of
from genae_core.metrics.classifier_task import task_name
from genae_core.metrics.estimate import mean_of
from genae_core.metrics.mixing import (
    FEWEST,
    likeliest_classes,
    measure_mixing,
    measure_transitions,
    nested_rhat,
    posterior_sd,
)
from genae_core.nets.base import sampling_mode
from genae_core.samplers.calls import Calls, count_calls
from genae_core.samplers.loop import run_chain

NUM_CODES, NUM_CHAINS = 300, 150  # points in the picture of the latent space
POSTERIOR_SAMPLES = 10  # samples of q(z|x) for each image, to estimate its standard deviation
MIXED = 100  # most chains whose mixing is measured
# With fewer steps the autocorrelation of half a chain cannot be seen, and the estimate of the
# effective sample size is at its upper bound.
FEWEST_FOR_ESS = 10
SUPERCHAINS = 10  # starts of the chains of the nested R-hat, which share a sub-batch


class Diagnosis(NamedTuple):
    """Metrics of a model and of how its chain mixes.

    Attributes:
        curves: By name, a value for each recorded step; NaN if the step is too early.
        scalars: By name, a value of the model or of the whole chain.
        parts: By name, the values for each latent dimension or class that some scalars summarise.
    """

    curves: dict[str, list[float]]
    scalars: dict[str, float]
    parts: dict[str, Any]


class _Trace(NamedTuple):
    """Chains at every step. z: [T, B, D]. classes: the classifier's choices, int64 [T, B]."""

    z: Tensor
    classes: NDArray[np.int64]


def diagnose(subject: EvaluatedChain, real: RealSet) -> Diagnosis:
    """Measure how a model reconstructs, how its codes spread, and how its chain mixes.

    The codes z ~ q(z) have a standard deviation below 1 if they do not fill N(0, I), which
    Creswell et al. 2017 observe for AAEs (caption of figure 4). The mixing is measured on one
    sub-batch, up to the last recorded step. At step k the curve "rhat" is the largest split R-hat
    of a latent dimension over the steps 0, ..., k. "ess_per_call" is the smallest effective sample
    size of these steps, divided by their calls of the decoder and the encoder; it needs ten steps.
    "rhat_nested" is the largest nested R-hat at step k itself, of another sub-batch whose chains
    share ten starts.

    Args:
        subject: The model and the chain.
        real: The images that are reconstructed, and the codes of training images.

    Returns:
        The curves, the scalars and their parts. They leave out the mixing if the chain has too few
        steps or starts from images, and the model if it has no encoder.
    """
    diagnosis = Diagnosis({}, {}, {})
    if real.codes is not None:
        diagnosis = _diagnose_model(subject, real.test, real.codes)
    chain = subject.chain
    if chain.sampler.starts_from == "images":
        return diagnosis
    calls = count_calls(subject.model, chain, subject.fitted_prior)
    diagnosis.scalars.update(calls_start=calls.start, calls_step=calls.step)
    if chain.record[-1] + 1 < FEWEST:
        return diagnosis
    mixing = _diagnose_mixing(subject, calls)
    return Diagnosis(
        mixing.curves, diagnosis.scalars | mixing.scalars, diagnosis.parts | mixing.parts
    )


def _diagnose_model(subject: EvaluatedChain, images: Tensor, codes: Tensor) -> Diagnosis:
    """The reconstruction error, and the standard deviations of q(z|x) and q(z)."""
    model = subject.model
    draw = Draw(subject.chain.seed, "diagnosed", device=subject.data.device)
    errors, z = [], []
    with sampling_mode(model, "running"):
        for x in torch.split(images, ENCODED):
            q = model.encode(x)
            errors.append((model.decode(q.mean).mean - x).square().flatten(1).mean(1))
            z.append(q.sample(draw, (POSTERIOR_SAMPLES,)))
    error = mean_of(torch.cat(errors))
    sd, codes_sd = posterior_sd(torch.cat(z, 1)), codes.double().std(0)
    scalars = {
        "reconstruction_error": error.value,
        "reconstruction_error_se": error.error,
        "posterior_sd": float(sd.mean()),
        "codes_sd": float(codes_sd.mean()),
    }
    return Diagnosis({}, scalars, {"posterior_sd": sd.tolist(), "codes_sd": codes_sd.tolist()})


def _diagnose_mixing(subject: EvaluatedChain, calls: Calls) -> Diagnosis:
    """R-hat, effective sample size and, if there are classes, the moves between them."""
    record = subject.chain.record
    trace = _trace_chains(subject)
    mixing = {k: measure_mixing(trace.z[: k + 1]) for k in record if k + 1 >= FEWEST}
    nested = _nested_rhats(subject, trace.z[0])
    rhat = [_largest(mixing[k].rhat) if k in mixing else math.nan for k in record]
    ess = [-_largest(-mixing[k].ess) if k in mixing else math.nan for k in record]
    made = [trace.z.shape[1] * calls.until(k) for k in record]
    curves = {
        "rhat": rhat,
        "rhat_nested": [nested.get(k, math.nan) for k in record],
        "ess_per_call": [
            size / count if k + 1 >= FEWEST_FOR_ESS else math.nan
            for k, size, count in zip(record, ess, made, strict=True)
        ],
    }
    final = mixing[record[-1]]
    scalars = {"rhat_max": rhat[-1], "ess_min": ess[-1]}
    parts: dict[str, Any] = {name: values.tolist() for name, values in final._asdict().items()}
    if task_name(subject.data.splits) == "classes":
        num_classes = subject.data.classifier.top.out_features
        transitions = measure_transitions(trace.classes, num_classes)
        scalars |= {"class_stay": transitions.stay, "class_entropy": transitions.entropy}
        parts["transitions"] = transitions.matrix.tolist()
    return Diagnosis(curves, scalars, parts)


def _largest(values: NDArray[np.float64]) -> float:
    """The largest value that is a number; NaN if there is none."""
    numbers = values[~np.isnan(values)]
    return float(numbers.max()) if len(numbers) else math.nan


def _nested_rhats(subject: EvaluatedChain, z: Tensor) -> dict[int, float]:
    """The largest nested R-hat at each recorded step after step 0, of a new sub-batch.

    The first z [B, D] are its starts. The result is empty for a sampler that cannot start from
    codes, and it ends where a chain leaves the range of floating-point numbers.
    """
    model, chain, _, fitted_prior = subject
    superchains = min(SUPERCHAINS, chain.sub_batch // 2, len(z))
    if superchains < 2:
        return {}
    chains = chain.sub_batch // superchains
    start = z[:superchains].repeat_interleave(chains, 0)
    config = dataclasses.replace(chain, seed=chain.seed + 1)
    rhats = {}
    try:
        for record in run_chain(model, config, len(start), start, fitted_prior=fitted_prior):
            if record.step > 0:
                codes = record.chain.z.reshape(superchains, chains, -1)
                rhats[record.step] = _largest(nested_rhat(codes))
    except (ValueError, FloatingPointError):
        return rhats
    return rhats


def _trace_chains(subject: EvaluatedChain) -> _Trace:
    """Run one sub-batch and record every step up to the last recorded one."""
    model, chain, data, fitted_prior = subject
    every_step = dataclasses.replace(chain, record=tuple(range(chain.record[-1] + 1)))
    z, classes = [], []
    for record in run_chain(model, every_step, chain.sub_batch, fitted_prior=fitted_prior):
        z.append(record.chain.z[:MIXED].clone())  # a view would keep the whole sub-batch alive
        images = as_data(record.chain.mean[:MIXED], data.binarize)
        with torch.no_grad():
            logits = data.classifier.top(features_of(data.classifier, images))
        classes.append(likeliest_classes(logits))
    return _Trace(torch.stack(z), np.stack(classes))


def project_latents(codes: Tensor, z: dict[int, Tensor]) -> dict[str, Any]:
    """Place the codes of images and the latent codes of the chains in one plane.

    The plane has the first two principal axes of the codes, or for D = 2 the axes of z. For D = 1
    the second coordinate is 0. Points outside the middle 99 % lie at the edge.

    Args:
        codes: The codes of images, [N, D].
        z: The chains' latent codes [N, D] by step.

    Returns:
        "codes" and, by step, "chains": coordinates as whole numbers from 0 to 255, x and y in
        turn. "explained": the fraction of the codes' variance that is in the plane.
    """
    codes = codes.cpu().double()
    centre = codes.mean(0)
    _, values, axes = torch.linalg.svd(codes - centre, full_matrices=False)
    plane = axes[:2].T if codes.shape[1] > 2 else torch.eye(codes.shape[1], 2).double()
    fraction = values[:2].square().sum() / values.square().sum().clamp(min=1e-300)
    code_points = (codes[:NUM_CODES] - centre) @ plane
    chain_points = {k: (z_k[:NUM_CHAINS].cpu().double() - centre) @ plane for k, z_k in z.items()}
    points = torch.cat([code_points, *chain_points.values()])
    low, high = (points.quantile(q, dim=0) for q in (0.005, 0.995))

    def to_bytes(points: Tensor) -> list[int]:
        inside = ((points - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        return [int(value) for value in (255 * inside).round().flatten()]

    return {
        "explained": float(fraction) if codes.shape[1] > 2 else 1.0,
        "codes": to_bytes(code_points),
        "chains": {str(k): to_bytes(points) for k, points in chain_points.items()},
    }
