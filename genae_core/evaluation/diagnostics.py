"""What is measured of a chain beside its FCD: metrics that look at images and latents themselves,
and how the chain mixes.

Shapes: N images, F features, D latent dimension, C channels, H rows, W columns.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genae_core.data.base import Splits
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.evaluation.references import as_data, features_of, some
from genae_core.metrics.classifier import Classifier, turns_of
from genae_core.metrics.estimate import Estimate, mean_of
from genae_core.metrics.kid import kernel_distance
from genae_core.metrics.latent_gap import measure_latent_gap
from genae_core.metrics.mixing import (
    FEWEST,
    measure_mixing,
    posterior_sd,
    trace_classes,
    transitions,
)
from genae_core.metrics.parzen import choose_bandwidth, log_likelihood
from genae_core.metrics.precision_recall import quality
from genae_core.nets.base import sampling_mode
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import run_chain
from genae_core.training.batches import to_pixels

COMPARED = 2_000  # images and latents that these metrics see, each side
FEWEST_COMPARED = 10  # below which they say nothing
BANDWIDTHS = tuple(float(b) for b in np.geomspace(0.05, 1.0, 14))  # of the Parzen windows
POINTS = (300, 150)  # codes, and chains, of the picture of the latent space
DRAWS = 10  # of q(z|x), for its empirical deviation
MIXED = 100  # chains whose mixing is looked at
ENCODED = 500  # images at a time


class Subject(NamedTuple):
    """A trained model and a chain setting that are evaluated, and by what.

    law: the chain's, fitted, where its config has one.
    """

    model: Any  # an nn.Module that is Sampleable
    chain: ChainConfig
    splits: Splits
    classifier: Classifier
    binarize: bool
    device: torch.device | str
    fitted_prior: Distribution | None


class Real(NamedTuple):
    """As many real images of each kind as are compared with samples one by one.

    val, test: [N, C, H, W]. features: of the test images, [N, F]. codes: z ~ q(z|x~) of training
    images, [N, D], the aggregated posterior. prior: as many z of what the chain starts from.
    """

    val: Tensor
    test: Tensor
    features: Tensor
    codes: Tensor
    prior: Tensor


class Made(NamedTuple):
    """The same of one recorded step: val and test [N, C, H, W] are the samples that are compared
    with these images, features [N, F] and z [N, D] belong to test; accepted [N], if any."""

    val: Tensor
    test: Tensor
    features: Tensor
    z: Tensor
    accepted: Tensor | None


def real_of(subject: Subject) -> Real:
    """The seeded images that `compare` takes."""
    model, chain, splits, classifier, binarize, device, fitted_prior = subject
    assert chain.num_chains is not None
    count = min(COMPARED, chain.num_chains // 2, len(splits.train.images))
    train, val, test = (
        to_pixels(split.images[some(len(split.images), count)], binarize, torch.device(device))
        for split in splits[:3]
    )
    draw = Draw(chain.seed, "compared", device=device)
    with sampling_mode(model, "running"):
        codes = [
            model.encode(model.corrupt(x, draw)).sample(draw) for x in torch.split(train, ENCODED)
        ]
        prior = (fitted_prior or model.latent_prior()).sample(draw, (count,))
    return Real(val, test, features_of(classifier, test), torch.cat(codes), prior)


def compare(made: Made, real: Real, coupled: int = 1) -> dict[str, Estimate]:
    """The metrics of one recorded step by name. coupled: chains in a row that depend on one
    another."""
    val, test = made.val.flatten(1), made.test.flatten(1)
    bandwidth = choose_bandwidth(val, real.val.flatten(1), BANDWIDTHS)
    parzen = log_likelihood([test], real.test.flatten(1), bandwidth)
    to_codes, to_prior = (
        measure_latent_gap(made.z, target, coupled) for target in (real.codes, real.prior)
    )
    found = {
        "kid": kernel_distance(real.features, made.features, coupled),
        **quality(real.features, made.features)._asdict(),
        "parzen": Estimate(*parzen),
        "z_posterior_mmd": to_codes.mmd,
        "z_posterior_w2": to_codes.sliced_wasserstein,
        "z_prior_mmd": to_prior.mmd,
        "z_prior_w2": to_prior.sliced_wasserstein,
    }
    if made.accepted is not None:
        found["accepted"] = mean_of(made.accepted)
    return found


def projected(codes: Tensor, z: dict[int, Tensor]) -> dict[str, Any]:
    """Codes [N, D] and the chains' z [N, D] by step in one plane: the first two principal axes of
    the codes, or z itself where D = 2 (D = 1: beside 0).

    Coordinates are whole numbers from 0 to 255 across what is shown, x and y in turns; outliers
    beyond the middle 99 % stand at the edge. "explained": share of the codes' variance.
    """
    codes = codes.cpu().double()
    shift = codes.mean(0)
    _, values, axes = torch.linalg.svd(codes - shift, full_matrices=False)
    plane = axes[:2].T if codes.shape[1] > 2 else torch.eye(codes.shape[1], 2).double()
    share = values[:2].square().sum() / values.square().sum().clamp(min=1e-300)
    many, few = POINTS
    points = {k: (found[:few].cpu().double() - shift) @ plane for k, found in z.items()}
    shown = (codes[:many] - shift) @ plane
    every = torch.cat([shown, *points.values()])
    low, high = (every.quantile(q, dim=0) for q in (0.005, 0.995))

    def placed(found: Tensor) -> list[int]:
        inside = ((found - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        return [int(value) for value in (255 * inside).round().flatten()]

    return {
        "explained": float(share) if codes.shape[1] > 2 else 1.0,
        "codes": placed(shown),
        "chains": {str(k): placed(found) for k, found in points.items()},
    }


class Diagnosis(NamedTuple):
    """curves: by recorded step, NaN where a step is too early. scalars: of the model, or of the
    whole chain. parts: what there is of them by latent dimension or class."""

    curves: dict[str, list[float]]
    scalars: dict[str, float]
    parts: dict[str, Any]


def diagnose(subject: Subject, real: Real) -> Diagnosis:
    """The model's reconstruction error; the deviation of its posterior, and that of its codes over
    the images, z ~ q(z), which is below 1 where they do not fill N(0, I): what Creswell et al.
    2017, section 5, observe of AAEs; and how the chains of a sub-batch mix, at every step up to
    the last recorded one.

    The curve "rhat" is the largest split R-hat of a latent dimension over steps 0, ..., k.
    """
    model, chain = subject.model, subject.chain
    draw = Draw(chain.seed, "diagnosed", device=subject.device)
    errors, z = [], []
    with sampling_mode(model, "running"):
        for x in torch.split(real.test, ENCODED):
            q = model.encode(x)
            errors.append((model.decode(q.mean).mean - x).square().flatten(1).mean(1))
            z.append(q.sample(draw, (DRAWS,)))
    error = mean_of(torch.cat(errors))
    sd, codes_sd = posterior_sd(torch.cat(z, 1)), real.codes.double().std(0)
    scalars = {
        "reconstruction_error": error.value,
        "reconstruction_error_se": error.error,
        "posterior_sd": float(sd.mean()),
        "codes_sd": float(codes_sd.mean()),
    }
    parts: dict[str, Any] = {"posterior_sd": sd.tolist(), "codes_sd": codes_sd.tolist()}
    last = chain.record[-1]
    if last + 1 < FEWEST or chain.sampler.starts_from == "images":
        return Diagnosis({}, scalars, parts)
    every = dataclasses.replace(chain, record=tuple(range(last + 1)))
    trace, seen = [], []
    for record in run_chain(model, every, chain.sub_batch, fitted_prior=subject.fitted_prior):
        trace.append(record.chain.z[:MIXED].clone())  # a view would keep the whole sub-batch
        mean = as_data(record.chain.mean[:MIXED], subject.binarize)
        with torch.no_grad():
            seen.append(trace_classes(subject.classifier(mean)))
    so_far = torch.stack(trace)
    enough = {k: measure_mixing(so_far[: k + 1]) for k in chain.record if k + 1 >= FEWEST}
    found = enough[last]
    rhat = [
        float(np.nanmax(enough[k].rhat, initial=-math.inf)) if k in enough else math.nan
        for k in chain.record
    ]
    scalars |= {"rhat_max": rhat[-1], "ess_min": float(np.nanmin(found.ess, initial=math.inf))}
    parts |= {name: values.tolist() for name, values in found._asdict().items()}
    splits = subject.splits
    if splits.test.labels.ndim == 1 and turns_of(splits, splits.test) is None:
        moves = transitions(np.stack(seen), subject.classifier.top.out_features)
        scalars |= {"class_stay": moves.stay, "class_entropy": moves.entropy}
        parts["transitions"] = moves.matrix.tolist()
    return Diagnosis({"rhat": rhat}, scalars, parts)
