"""Where a picture of the latent space puts its points."""

import numpy as np
import pytest
import torch

from genae_core.evaluation.diagnostics import POINTS, projected


def test_the_plane_is_that_of_the_most_variance() -> None:
    """Against scikit-learn's principal axes, whose signs are free."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    draw = torch.Generator().manual_seed(0)
    scales = torch.tensor([5.0, 3.0, 1.0, 0.5])
    codes = torch.randn(400, 4, generator=draw) * scales + 7
    chains = torch.randn(200, 4, generator=draw) * scales + 7
    found = projected(codes, {0: chains, 5: chains + 1})
    pca = decomposition.PCA(2).fit(codes)
    assert found["explained"] == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)
    many, few = POINTS
    assert len(found["codes"]) == 2 * many
    assert {step: len(points) for step, points in found["chains"].items()} == {
        "0": 2 * few,
        "5": 2 * few,
    }
    placed = np.array(found["codes"]).reshape(-1, 2)
    expected = pca.transform(codes)[:many]
    for axis in range(2):
        inside = (placed[:, axis] > 0) & (placed[:, axis] < 255)
        r = np.corrcoef(placed[inside, axis], expected[inside, axis])[0, 1]
        assert inside.mean() > 0.97 and abs(r) > 0.9999


def test_two_dimensions_are_shown_as_they_are_and_one_as_a_line() -> None:
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    found = projected(z, {0: z})
    assert found["explained"] == 1.0
    assert found["codes"] == found["chains"]["0"] == [0, 0, 255, 0, 0, 255, 255, 255]
    line = projected(z[:, :1], {0: z[:, :1]})
    assert [line["codes"][i] for i in (0, 2)] == [0, 255]
    assert set(line["codes"][1::2]) == {0}


def test_codes_that_are_all_the_same_are_one_point() -> None:
    z = torch.ones(20, 3)
    found = projected(z, {0: z})
    assert set(found["codes"]) == {0} and found["explained"] == 0.0
