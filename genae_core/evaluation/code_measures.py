"""What the claims about codes need of a trained model with an encoder: how the codes fill the
prior, how they cluster by class, and how well a fitted distribution knows them.

Shapes: N images, D latent dimension, C channels, H rows, W columns.
"""

import math
import time
from typing import Any

import numpy as np
import torch
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.evaluation.claim_measures import test_images
from genae_core.evaluation.comparison import ENCODED, EvaluatedChain
from genae_core.metrics.classifier_features import seeded_indices
from genae_core.metrics.classifier_task import task_name
from genae_core.metrics.estimate import Estimate, jackknife, mean_of
from genae_core.metrics.latent_gap import measure_latent_gap
from genae_core.nets.base import sampling_mode

OCCUPYING = 5_000  # codes that are counted in the cells of the prior
CELLS = 20  # cells of equal mass along each side of a two-dimensional prior
PER_CELL = 500  # draws of the prior for each cell, which place the edges of the cells
BLOCKS = 10  # blocks of codes in a jackknife
LABELLED = 2_000  # codes whose neighbours and clusters are measured
PROJECTED, PERPLEXITY = 1_000, 70  # codes of the t-SNE; Sridhar & Srivastava state the perplexity
NEIGHBOURS = 10  # the k of the purity
ACTIVE = 0.01  # variance of E[z|x] over images above which a dimension is used
DRAWN, REPEATS = 10_000, 5  # codes that are drawn at once, and how often this is timed
CODE_MEASURES = (
    "empty_cells",
    "codes_prior_w2",
    "active_dims",
    "purity",
    "silhouette",
    "tsne_silhouette",
)
DENSITY_MEASURES = ("code_nll", "sampling_seconds")


def measure_codes(subject: EvaluatedChain) -> dict[str, Estimate]:
    """Measure how the codes of held-out images fill the prior, and how they cluster by class.

    Returns:
        empty_cells: The share of cells of the prior, of equal mass, that hold no sample of q(z);
            only in two dimensions.
        codes_prior_w2: The sliced W2^2 between samples of q(z) and of p(z).
        active_dims: The number of dimensions in which E[z|x] varies over images with a variance
            above 0.01 (Burda et al. 2016, section 5.2).
        purity, silhouette, tsne_silhouette: See `purity` and `silhouette`, of E[z|x] and of its
            t-SNE in two dimensions; only for data with classes.
    """
    data, seed = subject.data, subject.chain.seed
    draw = Draw(seed, "codes of claims", device=data.device)
    x = test_images(data, OCCUPYING)
    z, means = encode(subject.model, x, draw)
    with sampling_mode(subject.model, "running"):
        prior = subject.model.latent_prior()
        from_prior = prior.sample(draw, (len(z),))
    values = {
        "codes_prior_w2": measure_latent_gap(z, from_prior).sliced_wasserstein,
        "active_dims": Estimate(float((means.var(0) > ACTIVE).sum()), math.nan),
    }
    if z.shape[1] == 2:
        edges = equal_cells(prior.sample(draw, (PER_CELL * CELLS**2,)))
        values["empty_cells"] = empty_cells(z, edges)
    if task_name(data.splits) == "classes":
        rows = seeded_indices(len(data.splits.test.images), OCCUPYING)
        labels = torch.as_tensor(np.asarray(data.splits.test.labels)[rows])[:LABELLED]
        codes = means[:LABELLED].cpu()
        values["purity"] = purity(codes, labels)
        values["silhouette"] = silhouette(codes, labels)
        plane = tsne(codes[:PROJECTED], seed)
        values["tsne_silhouette"] = silhouette(plane, labels[:PROJECTED])
    return values


def encode(model: Any, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Samples of q(z|x) and the means E[z|x], [N, D] each, without corruption."""
    with sampling_mode(model, "running"):
        posteriors = [model.encode(part) for part in torch.split(x, ENCODED)]
        samples = torch.cat([q.sample(draw) for q in posteriors])
        return samples, torch.cat([q.mean for q in posteriors])


def equal_cells(draws: Tensor) -> tuple[Tensor, Tensor]:
    """The edges of CELLS x CELLS cells that hold equally many draws of a plane's distribution.

    The plane is cut into columns of equal mass, and each column into cells of equal mass.

    Args:
        draws: Draws [M, 2].

    Returns:
        The inner edges of the columns [CELLS - 1], and of the cells in each column
        [CELLS, CELLS - 1].
    """
    shares = torch.arange(1, CELLS, device=draws.device) / CELLS
    columns = torch.quantile(draws[:, 0], shares.to(draws))
    column = torch.bucketize(draws[:, 0].contiguous(), columns)
    rows = [torch.quantile(draws[column == k, 1], shares.to(draws)) for k in range(CELLS)]
    return columns, torch.stack(rows)


def empty_cells(z: Tensor, edges: tuple[Tensor, Tensor]) -> Estimate:
    """The share of the cells without a code, with a jackknife error over blocks of codes.

    Of draws from the prior itself, the expected share is (1 - CELLS^-2)^N.

    Args:
        z: Codes [N, 2].
        edges: The edges of the cells (see `equal_cells`).
    """
    columns, rows = edges
    column = torch.bucketize(z[:, 0].contiguous(), columns)
    row = (z[:, 1, None] > rows[column]).sum(1)
    cell = column * CELLS + row

    def share(kept: Tensor) -> float:
        return 1 - int(torch.bincount(kept).count_nonzero()) / CELLS**2

    parts = torch.arange(len(cell), device=cell.device) % BLOCKS
    return jackknife(share(cell), [share(cell[parts != block]) for block in range(BLOCKS)])


def purity(codes: Tensor, labels: Tensor) -> Estimate:
    """The share of a code's 10 nearest other codes that have its label, mean over the codes.

    Args:
        codes: Codes [N, D].
        labels: Labels [N].
    """
    count = min(NEIGHBOURS, len(codes) - 1)
    nearest = NearestNeighbors(n_neighbors=count).fit(codes.numpy()).kneighbors()[1]
    same = labels[torch.from_numpy(nearest)] == labels[:, None]
    return mean_of(same.double().mean(1))


def silhouette(codes: Tensor, labels: Tensor) -> Estimate:
    """The silhouette (b - a) / max(a, b) of the classes (Rousseeuw 1987), mean over the codes.

    a is the mean distance of a code to the others of its class, and b the smallest mean distance
    to those of another class. 1 is compact and far apart, 0 is mixed.

    Args:
        codes: Codes [N, D].
        labels: Labels [N].
    """
    if not 2 <= len(set(labels.tolist())) < len(labels):
        return Estimate(math.nan, math.nan)
    return mean_of(torch.from_numpy(silhouette_samples(codes.numpy(), labels.numpy())))


def tsne(codes: Tensor, seed: int) -> Tensor:
    """The t-SNE of codes in two dimensions, [N, 2]."""
    from sklearn.manifold import TSNE  # noqa: PLC0415  slow to import

    plane = TSNE(perplexity=perplexity(len(codes)), random_state=seed)
    return torch.from_numpy(plane.fit_transform(codes.numpy()))


def perplexity(count: int) -> float:
    """The perplexity of a t-SNE of so many codes: the paper's, if there are enough."""
    return min(PERPLEXITY, count / 4)


def measure_density(subject: EvaluatedChain) -> dict[str, Estimate]:
    """Measure the distribution that a model draws its codes from.

    Returns:
        code_nll: -log p(z) of codes of held-out images, in nats for a code; not for a distribution
            without a density.
        sampling_seconds: The seconds to draw 10,000 codes on this machine, the least of several.
    """
    draw = Draw(subject.chain.seed, "density of claims", device=subject.data.device)
    values: dict[str, Estimate] = {}
    with sampling_mode(subject.model, "running"):
        prior = subject.model.latent_prior()
        _, means = encode(subject.model, test_images(subject.data, OCCUPYING), draw)
        try:
            values["code_nll"] = mean_of(-prior.log_prob(means))
        except TypeError:  # it has no density
            pass
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            prior.sample(draw, (DRAWN,))
            seconds.append(time.perf_counter() - started)
    values["sampling_seconds"] = Estimate(min(seconds), math.nan)
    return values
