import math
from typing import Any

import numpy as np
import prdc
import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.metrics import precision_recall
from genae_core.metrics.precision_recall import measure_prdc, radii, realism_scores


def _by_hand(real: Any, made: Any, k: int) -> dict[str, float]:
    """Every pair, one by one."""

    def far(a: Any, b: Any) -> float:
        return float(np.linalg.norm(a - b))

    def radius(x: Any, all_of: Any) -> float:
        return sorted(far(x, y) for y in all_of)[k]

    r = [radius(x, real) for x in real]
    m = [radius(x, made) for x in made]
    inside = [[far(x, y) <= r[i] for y in made] for i, x in enumerate(real)]
    recalled = [[far(x, y) <= m[j] for j, y in enumerate(made)] for x in real]
    return {
        "precision": float(np.mean(np.any(inside, 0))),
        "recall": float(np.mean(np.any(recalled, 1))),
        "density": float(np.sum(inside) / (k * len(made))),
        "coverage": float(np.mean(np.any(inside, 1))),
    }


@pytest.mark.parametrize("block", [7, 1_000])
def test_it_is_its_definition(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall, "BLOCK", block)
    real, made = Draw(0).normal((40, 3)).double(), 0.7 * Draw(1).normal((30, 3)).double() + 0.4
    found = measure_prdc(real, made, 3)
    assert measure_prdc(real, made, 3, radii(real, 3)) == found
    for name, value in _by_hand(real.numpy(), made.numpy(), 3).items():
        assert getattr(found, name).value == pytest.approx(value), name


def test_it_agrees_with_prdc() -> None:
    """The implementation of Naeem et al. 2020, a test extra."""
    real, made = Draw(0).normal((400, 8)), 0.8 * Draw(1).normal((400, 8)) + 0.2
    wanted = prdc.compute_prdc(real.double().numpy(), made.double().numpy(), nearest_k=5)
    found = measure_prdc(real.double(), made.double(), 5)
    for name, value in wanted.items():
        assert getattr(found, name).value == pytest.approx(float(value), abs=1e-9), name


def test_known_cases() -> None:
    real, same = Draw(0).normal((1_000, 2)), Draw(1).normal((1_000, 2))
    alike = measure_prdc(real, same)
    assert alike.precision.value > 0.95 and alike.recall.value > 0.95
    assert alike.density.value == pytest.approx(1, abs=0.1)
    far = measure_prdc(real, same + 100)
    assert far.precision.value == far.recall.value == far.coverage.value == far.density.value == 0
    one_mode = torch.cat([real[:500], real[500:] + 50])
    collapsed = measure_prdc(one_mode, same)
    assert collapsed.precision.value > 0.95
    assert collapsed.recall.value == pytest.approx(0.5, abs=0.05)


def test_the_error_is_that_of_a_share() -> None:
    real, made = Draw(0).normal((300, 4)), 1.5 * Draw(1).normal((200, 4))
    p = measure_prdc(real, made).precision
    assert 0 < p.value < 1
    assert p.error == pytest.approx((p.value * (1 - p.value) / 199) ** 0.5, rel=1e-5)


def test_radii_leave_an_image_itself_out() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    torch.testing.assert_close(radii(line, 1)[:, ...], torch.tensor([1.0, 1.0, 2.0, 4.0]))
    torch.testing.assert_close(radii(line, 2), torch.tensor([3.0, 2.0, 3.0, 6.0]))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="need at least 6 images of each side, got images=5"):
        measure_prdc(torch.zeros(5, 2), torch.zeros(9, 2))


def test_realism_is_the_depth_in_the_ball_of_a_real_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall, "BLOCK", 2)
    # To the nearest neighbour, the balls have radii 1, 1, 2, 4 and 10, and the median is 2.
    real = torch.tensor([[0.0], [1.0], [3.0], [7.0], [17.0]])
    generated = torch.tensor([[0.5], [4.0], [5.0], [11.0], [17.0], [3.0]])
    scores = realism_scores(real, generated, neighbours=1)
    # 11 lies on the edge of the ball of 7, and 17 is a real image, but both balls are too large.
    assert scores.tolist() == pytest.approx([2, 2, 1, 2 / 8, 2 / 14, math.inf])
    with pytest.raises(ValueError, match="balls to 5 neighbours need at least 6 images, .*5"):
        realism_scores(real, generated, neighbours=5)


def test_nothing_is_realistic_if_the_balls_are_points() -> None:
    real = torch.ones(4, 3)
    assert realism_scores(real, torch.cat([real[:1], 2 * real[:1]])).tolist() == [0, 0]
