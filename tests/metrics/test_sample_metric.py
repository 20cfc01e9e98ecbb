"""A metric of a user's own: what is refused, and what its value is."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.metrics.sample_metric import MetricError, check_metrics, measure_once

IMAGES, REAL = torch.full((4, 1, 2, 2), 0.25), torch.full((4, 1, 2, 2), 0.75)


@dataclasses.dataclass(frozen=True)
class Returns:
    """A metric that returns what it is told to, or raises it."""

    value: Any = 1.0
    name: Any = "returned"
    better: Any = "lower"

    def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Changes(Returns):
    """A metric that changes its images, draws from both sources, and needs no gradients."""

    def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> Any:
        assert not torch.is_grad_enabled()
        distance = (generated.sub_(real)).square().mean()
        return distance + torch.rand(()) + draw.uniform(())


def value_of(metric: Any) -> float:
    return measure_once(metric, IMAGES, REAL, Draw(0, "test"))


@pytest.mark.parametrize(
    "number", [0.5, np.float32(0.5), torch.tensor(0.5), np.array(0.5), torch.tensor(0.5).double()]
)
def test_any_kind_of_number_is_a_value(number: Any) -> None:
    value = value_of(Returns(number))
    assert value == 0.5 and type(value) is float


def test_a_whole_number_is_a_value() -> None:
    assert value_of(Returns(3)) == value_of(Returns(np.int64(3))) == 3.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "measure returned None, which is no number"),
        ("0.5", "measure returned '0.5', which is no number"),
        (True, "measure returned True, which is no number"),
        (1j, "measure returned 1j, which is no number"),
        (torch.zeros(2), r"measure returned tensor\(\[0., 0.\]\), which is no number"),
        (math.nan, "measure returned nan"),
        (torch.tensor(-math.inf), "measure returned -inf"),
        (10**400, "OverflowError: int too large"),
        (KeyError("weights"), "KeyError: 'weights'"),
        (FloatingPointError("divergent"), "FloatingPointError: divergent"),
    ],
)
def test_what_is_no_finite_number_is_an_error(value: Any, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        value_of(Returns(value))


def test_a_stop_is_no_failure_of_the_metric() -> None:
    class Stops(Returns):
        def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        value_of(Stops())


def test_a_metric_changes_neither_the_images_nor_the_random_state() -> None:
    state = torch.get_rng_state()
    first = value_of(Changes())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert value_of(Changes()) == first
    assert IMAGES.unique().tolist() == [0.25] and REAL.unique().tolist() == [0.75]
    draw = Draw(0, "test")
    with draw.as_global():
        drawn = torch.rand(()) + draw.uniform(())
    assert first == pytest.approx(0.25 + float(drawn))


@pytest.mark.parametrize(
    "name",
    ["", "1st", "a b", "a/b", "ä", "x" * 51, 3, "KID", "fcd_mine", "sharpness_se", "step"],
)
def test_a_name_that_cannot_be_a_curve_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name") as error:
        check_metrics((Returns(name=name),))
    assert "Returns" in str(error.value) and repr(name) in str(error.value)


def test_names_and_directions() -> None:
    check_metrics(())
    check_metrics((Returns(name="LPIPS"), Returns(name="a_1")))
    with pytest.raises(ValueError, match="two metrics have the same name, got name='A'"):
        check_metrics((Returns(name="a"), Returns(name="A")))
    with pytest.raises(ValueError, match='Returns: better must be "lower" or "higher"'):
        check_metrics((Returns(better="low"),))
    with pytest.raises(ValueError, match="metrics must be a tuple"):
        check_metrics(Returns())
