"""The points of a picture of the latent space."""

import numpy as np
import pytest
import torch

from genae_core.evaluation.diagnostics import NUM_CHAINS, NUM_CODES, project_latents


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
