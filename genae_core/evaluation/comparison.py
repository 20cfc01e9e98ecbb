"""Compare the samples of one chain step with real images, sample by sample.

Shapes: N images, F features, D latent dimension, C channels, H rows, W columns.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.evaluation.references import ReferenceData
from genae_core.metrics.classifier_features import features_of, seeded_indices
from genae_core.metrics.estimate import Estimate, mean_of
from genae_core.metrics.kid import kernel_distance
from genae_core.metrics.latent_gap import measure_latent_gap
from genae_core.metrics.parzen import choose_bandwidth, log_likelihood
from genae_core.metrics.precision_recall import measure_prdc, radii
from genae_core.nets.base import sampling_mode
from genae_core.samplers.base import has_encoder
from genae_core.samplers.config import ChainConfig

COMPARED = 2_000  # most images and latent codes of each side
FEWEST_COMPARED = 10  # with fewer images of each side these metrics are skipped
BANDWIDTHS = tuple(float(b) for b in np.geomspace(0.05, 1.0, 14))  # candidates for Parzen windows
NEIGHBOURS = 5  # the k of precision, recall, density and coverage
ENCODED = 500  # images that are encoded at once


class EvaluatedChain(NamedTuple):
    """A trained model and a chain over it, and the data to compare its samples with.

    Attributes:
        model: The trained model.
        chain: The chain's config.
        data: The data and the classifier to compare with.
        fitted_prior: The fitted prior, if the chain's config has one.
    """

    model: Any  # an nn.Module that is Sampleable
    chain: ChainConfig
    data: ReferenceData
    fitted_prior: Distribution | None


class RealSet(NamedTuple):
    """Real images and their codes, N of each.

    Attributes:
        val: Images of the validation half, [N, C, H, W].
        test: Images of the test half, [N, C, H, W].
        features: The classifier's features of `test`, [N, F].
        radius: The distance of each of these features to its k-th nearest neighbour, [N].
        codes: z ~ q(z|x~) of training images, [N, D]: samples of the aggregated posterior. None
            for a model without an encoder.
        prior: Samples of the distribution that the chain starts from, [N, D].
    """

    val: Tensor
    test: Tensor
    features: Tensor
    radius: Tensor
    codes: Tensor | None
    prior: Tensor


class GeneratedSet(NamedTuple):
    """Samples of one recorded step, N of each half of the chains.

    Attributes:
        val: Samples that are compared with the validation half, [N, C, H, W].
        test: Samples that are compared with the test half, [N, C, H, W].
        features: The classifier's features of `test`, [N, F].
        z: The latent codes of `test`, [N, D].
        accepted: The fraction of accepted proposals of each chain; None for a sampler that rejects
            none.
    """

    val: Tensor
    test: Tensor
    features: Tensor
    z: Tensor
    accepted: Tensor | None


def draw_real_set(subject: EvaluatedChain) -> RealSet:
    """Choose seeded real images, and encode those of the training split if the model can."""
    model, chain, data, fitted_prior = subject
    assert chain.num_chains is not None
    count = min(COMPARED, chain.num_chains // 2, len(data.splits.train.images))
    train, val, test = (
        data.pixels(split, seeded_indices(len(split.images), count)) for split in data.splits[:3]
    )
    draw = Draw(chain.seed, "compared", device=data.device)
    codes = []
    with sampling_mode(model, "running"):
        for x in torch.split(train, ENCODED) if has_encoder(model) else ():
            codes.append(model.encode(model.corrupt(x, draw)).sample(draw))
        prior = (fitted_prior or model.latent_prior()).sample(draw, (count,))
    features = features_of(data.classifier, test)
    return RealSet(
        val=val,
        test=test,
        features=features,
        radius=radii(features, NEIGHBOURS),
        codes=torch.cat(codes) if codes else None,
        prior=prior,
    )


def compare(generated: GeneratedSet, real: RealSet, coupled: int = 1) -> dict[str, Estimate]:
    """The metrics of one recorded step by name.

    coupled: the number of consecutive chains that depend on one another.
    """
    val, test = generated.val.flatten(1), generated.test.flatten(1)
    bandwidth = choose_bandwidth(val, real.val.flatten(1), BANDWIDTHS)
    parzen = log_likelihood([test], real.test.flatten(1), bandwidth)
    to_codes = {}
    if real.codes is not None:
        gap = measure_latent_gap(generated.z, real.codes, coupled)
        to_codes = {"z_posterior_mmd": gap.mmd, "z_posterior_w2": gap.sliced_wasserstein}
    to_prior = measure_latent_gap(generated.z, real.prior, coupled)
    metrics = {
        "kid": kernel_distance(real.features, generated.features, coupled),
        **measure_prdc(real.features, generated.features, NEIGHBOURS, real.radius)._asdict(),
        "parzen": Estimate(*parzen),
        **to_codes,
        "z_prior_mmd": to_prior.mmd,
        "z_prior_w2": to_prior.sliced_wasserstein,
    }
    if generated.accepted is not None:
        metrics["accepted"] = mean_of(generated.accepted)
    return metrics
