"""The points of a picture of the latent space, and the mixing of a chain that is known."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.evaluation.comparison import EvaluatedChain, draw_real_set
from genae_core.evaluation.diagnostics import (
    NUM_CHAINS,
    NUM_CODES,
    Diagnosis,
    diagnose,
    project_latents,
)
from genae_core.evaluation.references import ReferenceData
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.base import Chain
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.testing import tiny


def test_the_plane_is_that_of_the_most_variance() -> None:
    """Against scikit-learn's principal axes, whose signs are free."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    draw = torch.Generator().manual_seed(0)
    scales = torch.tensor([5.0, 3.0, 1.0, 0.5])
    codes = torch.randn(400, 4, generator=draw) * scales + 7
    chains = torch.randn(200, 4, generator=draw) * scales + 7
    picture = project_latents(codes, {0: chains, 5: chains + 1})
    pca = decomposition.PCA(2).fit(codes)
    assert picture["explained"] == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)
    assert len(picture["codes"]) == 2 * NUM_CODES
    assert {step: len(points) for step, points in picture["chains"].items()} == {
        "0": 2 * NUM_CHAINS,
        "5": 2 * NUM_CHAINS,
    }
    placed = np.array(picture["codes"]).reshape(-1, 2)
    expected = pca.transform(codes)[:NUM_CODES]
    for axis in range(2):
        inside = (placed[:, axis] > 0) & (placed[:, axis] < 255)
        r = np.corrcoef(placed[inside, axis], expected[inside, axis])[0, 1]
        assert inside.mean() > 0.97 and abs(r) > 0.9999


def test_two_dimensions_are_shown_as_they_are_and_one_as_a_line() -> None:
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    picture = project_latents(z, {0: z})
    assert picture["explained"] == 1.0
    assert picture["codes"] == picture["chains"]["0"] == [0, 0, 255, 0, 0, 255, 255, 255]
    line = project_latents(z[:, :1], {0: z[:, :1]})
    assert [line["codes"][i] for i in (0, 2)] == [0, 255]
    assert set(line["codes"][1::2]) == {0}


def test_codes_that_are_all_the_same_are_one_point() -> None:
    z = torch.ones(20, 3)
    picture = project_latents(z, {0: z})
    assert set(picture["codes"]) == {0} and picture["explained"] == 0.0


def _diagnosis(sampler: Any, record: tuple[int, ...]) -> Diagnosis:  # noqa: ANN401
    """The diagnosis of 100 chains over a VAE that was not trained."""
    splits, experiment = tiny.splits(), tiny.experiment()
    with Draw(0, "weights").as_global():
        model = experiment.model.build(experiment.data.shape)
    chain = ChainConfig(
        sampler=sampler, record=record, num_chains=100, sub_batch=50, batch_norm="running"
    )
    data = ReferenceData(splits, tiny.classifier(splits))
    subject = EvaluatedChain(model.eval(), chain, data, None)
    return diagnose(subject, draw_real_set(subject))


def test_independent_draws_have_forgotten_their_start_and_each_is_worth_one() -> None:
    """With S = 10 and M = 5 chains, sqrt(1 + 1/M) is 1.1, and its largest value is below 2."""
    diagnosis = _diagnosis(Ancestral(), (0, 1, 3, 30))
    first, *nested = diagnosis.curves["rhat_nested"]
    assert math.isnan(first) and all(1 < value < 2 for value in nested)
    assert (diagnosis.scalars["calls_start"], diagnosis.scalars["calls_step"]) == (1, 1)
    worth = diagnosis.curves["ess_per_call"]
    assert all(math.isnan(value) for value in worth[:3])
    assert worth[-1] == pytest.approx(1, abs=0.2)
    assert worth[-1] == pytest.approx(diagnosis.scalars["ess_min"] / (50 * 31))


def test_few_steps_have_a_nested_r_hat_only_together_with_the_others() -> None:
    diagnosis = _diagnosis(EncodeDecode(), (0, 1, 2))
    assert diagnosis.curves == {}
    assert (diagnosis.scalars["calls_start"], diagnosis.scalars["calls_step"]) == (1, 2)


class OnlyFromThePrior(EncodeDecode):
    """A sampler that cannot start from codes."""

    def init(self, model: Any, start: Any, draw: Draw) -> Chain:  # noqa: ANN401
        if not isinstance(start, int):
            raise ValueError("start must be a number")
        return super().init(model, start, draw)


def test_a_sampler_that_cannot_start_from_codes_has_no_nested_r_hat() -> None:
    diagnosis = _diagnosis(OnlyFromThePrior(), (0, 1, 3))
    assert all(math.isnan(value) for value in diagnosis.curves["rhat_nested"])
    assert math.isfinite(diagnosis.curves["rhat"][-1])
