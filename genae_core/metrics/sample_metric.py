"""SampleMetric: a metric of the user's own, which a study measures as it measures the FCD.

Shapes: N images, C channels, H rows, W columns.
"""

import math
import numbers
import re
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from genae_core.config import require
from genae_core.config.errors import reason_of
from genae_core.distributions.rng import Draw

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")
# The names of genae's own metrics, and of what stands beside them in a run. A metric of the user's
# own has none of them, whatever the case of its letters, because some databases ignore the case.
RESERVED = frozenset(
    "accepted calls_start calls_step class_entropy class_stay classes codes_sd coverage density "
    "ess_min ess_per_call evaluation_seconds kid parzen posterior_sd precision recall "
    "reconstruction_error rhat rhat_max rhat_nested step training_seconds z_posterior_mmd "
    "z_posterior_w2 z_prior_mmd z_prior_w2".split()
)


class SampleMetric(Protocol):
    """A metric of the user's own, which compares generated images with real ones.

    It is a frozen dataclass of its settings, with a name on disk (`genae_core.register`).
    """

    @property
    def name(self) -> str:
        """The name of its curve: at most 50 letters, digits and underscores."""

    @property
    def better(self) -> Literal["lower", "higher"]:
        """Whether a lower or a higher value is better."""

    def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> float:
        """Compare generated images with real ones.

        It is called without gradients. torch's global random state is seeded.

        Args:
            generated: Generated images, float32 [N, C, H, W] in [0, 1], on the device of the
                model.
            real: As many real images of the same form.
            draw: The source of randomness.

        Returns:
            A finite number.
        """


class MetricError(ValueError):
    """A metric of the user's own gave no finite number."""


def check_metrics(metrics: Any) -> None:
    """Check the names and directions of metrics, but not what they measure.

    Args:
        metrics: The metrics of an experiment, which have what a `SampleMetric` has.

    Raises:
        ValueError: They are no tuple; or a name is of another form, is genae's own, or is used
            twice; or `better` has another value.
    """
    require(
        isinstance(metrics, tuple),
        "metrics must be a tuple: write (...,) around them",
        metrics=metrics,
    )
    names: set[str] = set()
    for metric in metrics:
        kind, name, better = type(metric).__name__, metric.name, metric.better
        require(
            isinstance(name, str) and NAME.fullmatch(name) is not None,
            f"the name of the metric {kind} must be a letter, and then at most 49 letters, digits "
            "and underscores",
            name=name,
        )
        lower = name.lower()
        require(
            lower not in RESERVED and not lower.startswith("fcd") and not lower.endswith("_se"),
            f"the metric {kind} needs another name, because this one is genae's own, begins with "
            "fcd, or ends with _se",
            name=name,
        )
        require(lower not in names, "two metrics have the same name", name=name)
        require(
            better in ("lower", "higher"),
            f'the metric {kind}: better must be "lower" or "higher"',
            better=better,
        )
        names.add(lower)


def measure_once(metric: SampleMetric, generated: Tensor, real: Tensor, draw: Draw) -> float:
    """The value of a metric.

    The metric gets copies of the images, which it may change.

    Args:
        metric: The metric.
        generated: Generated images, [N, C, H, W].
        real: Real images, [N, C, H, W].
        draw: The source of randomness, from which torch's global state is seeded.

    Returns:
        A finite number.

    Raises:
        MetricError: The metric raises an error, or returns anything but a finite number.
    """
    try:
        with torch.no_grad(), draw.as_global():
            value: Any = metric.measure(generated.clone(), real.clone(), draw)
            number = _as_number(value)
    except MetricError:
        raise
    except Exception as error:  # The user's own code may raise anything.
        raise MetricError(reason_of(error)) from error
    if not math.isfinite(number):
        raise MetricError(f"measure returned {number}")
    return number


def _as_number(value: Any) -> float:
    """A number, or the number in a tensor or array of one element, as a float."""
    if isinstance(value, Tensor | np.ndarray) and value.shape == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise MetricError(f"measure returned {value!r:.100}, which is no number")
    return float(value)
