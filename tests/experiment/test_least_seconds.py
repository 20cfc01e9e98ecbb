"""The least times of steps, by a clock that adds what other work on the machine would add."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from genae_core.experiment import least_seconds
from genae_core.experiment.least_seconds import choose_plainest

STEP = 0.02  # the seconds of the plain way on an idle machine


class Clock:
    """The time passes in the steps alone, each of which takes its own seconds and the noise."""

    def __init__(self, noise: Iterator[float]) -> None:
        self.now, self.noise, self.steps = 0.0, noise, 0

    def __call__(self) -> float:
        return self.now

    def step(self, seconds: float) -> Callable[[], None]:
        def make() -> None:
            self.now += seconds + STEP * next(self.noise)
            self.steps += 1

        return make


# Most steps are disturbed, by a third or by all of their time, and some by far more: of the second
# kind, one in a thousand takes a hundred times as long.
NOISE: dict[str, Callable[[Any], Any]] = {
    "lognormal": lambda rng: 0.3 * rng.lognormal(0, 1.5, 4000),
    "pareto": lambda rng: rng.pareto(1.5, 4000),
}


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize(
    ("faster", "chosen"), [((1.9,), 1), ((1.3,), 1), ((1.05,), 0), ((0.6,), 0), ((1.04, 1.9), 2)]
)
def test_the_right_way_is_chosen_each_time(
    kind: str, faster: tuple[float, ...], chosen: int
) -> None:
    """Each way is so many times as fast as the plain one."""
    choices = []
    for seed in range(200):
        clock = Clock(iter(NOISE[kind](np.random.default_rng(seed)).tolist()))
        steps = [clock.step(STEP / ratio) for ratio in (1.0, *faster)]
        choices.append(choose_plainest(least_seconds.least_seconds(steps, clock=clock)))
    assert choices == [chosen] * 200


def test_without_noise_the_times_are_exact_and_the_measurement_is_short() -> None:
    clock = Clock(iter(lambda: 0.0, None))
    steps = [clock.step(0.5), clock.step(0.25)]
    assert least_seconds.least_seconds(steps, clock=clock) == pytest.approx([0.5, 0.25])
    assert clock.steps == 2 * (least_seconds.HELD_ROUNDS + 1)


def test_the_work_of_a_way_may_be_several_of_its_steps() -> None:
    clock = Clock(iter(lambda: 0.0, None))
    steps = [clock.step(0.5), clock.step(1.0)]
    seconds = least_seconds.least_seconds(steps, counts=[4, 1], clock=clock)
    assert seconds == pytest.approx([2.0, 1.0])
    assert choose_plainest(seconds) == 1


def test_long_steps_are_timed_a_few_times_only() -> None:
    clock = Clock(iter(lambda: 0.0, None))
    least_seconds.least_seconds([clock.step(60.0), clock.step(40.0)], clock=clock)
    assert clock.steps == 2 * least_seconds.FEWEST_ROUNDS


def test_times_that_never_come_again_end_by_the_bounds() -> None:
    clock = Clock(iter(np.geomspace(100, 1e-9, 5000).tolist()))
    least_seconds.least_seconds([clock.step(STEP)] * 2, clock=clock)
    assert clock.now < 2 * least_seconds.MOST_S
    quick = Clock(iter(np.linspace(1e-2, 1e-9, 5000).tolist()))
    least_seconds.least_seconds([quick.step(0.0)] * 2, clock=quick)
    assert quick.steps <= 2 * least_seconds.MOST_ROUNDS
