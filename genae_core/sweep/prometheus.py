"""The metrics of a running sweep, for Prometheus through Ray's own exporter as ray_NAME.

No label names a trial, a seed or a step, so that the number of series does not grow with the
sweep, but only with its families and workers. Ray collects a process's values every 10 s and not
when the process ends, so the driver observes the last report of a trial.
"""

import functools
import time
from typing import Any, NamedTuple

from genae_core.sweep import ray_cluster

# Ray forgets a gauge that has not been set for two of its reports, which are 10 s apart.
REPEAT_S = 5.0
# The bounds of a histogram's buckets, in seconds.
BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


class Meter(NamedTuple):
    """A metric of Ray.

    Attributes:
        kind: Counter, Gauge or Histogram.
        about: What it measures, for people.
        labels: The names of its labels.
    """

    kind: str
    about: str
    labels: tuple[str, ...] = ()


METERS = {
    "genae_trials": Meter("Gauge", "Trials of the sweep, by state.", ("state",)),
    "genae_best_fcd": Meter(
        "Gauge", "Lowest validation FCD of a finished trial.", ("family", "dataset")
    ),
    "genae_epoch_seconds": Meter("Histogram", "Training of one epoch.", ("family",)),
    "genae_chain_step_seconds": Meter(
        "Histogram", "One step of all chains of a chain config.", ("family",)
    ),
    "genae_tracking_failures": Meter("Counter", "Calls that the tracking store did not take."),
    "genae_checkpoints": Meter("Counter", "Snapshots of trainings that were saved."),
    "genae_checkpoint_bytes": Meter("Counter", "Bytes of the snapshots that were saved."),
}


def observe(name: str, value: float, **labels: str) -> None:
    """Add to a counter, set a gauge, or observe a value of a histogram; do nothing without Ray.

    Raises KeyError for a name that is not in METERS.
    """
    about = METERS[name]
    if not ray_cluster.is_connected():
        return
    # Ray accepts only ASCII, and a family may be called β-VAE.
    plain = {
        label: text.replace("β", "beta").encode("ascii", "backslashreplace").decode()
        for label, text in labels.items()
    }
    if about.kind == "Gauge":
        _gauges[name, tuple(sorted(plain.items()))] = value
    act = {"Counter": "inc", "Gauge": "set", "Histogram": "observe"}[about.kind]
    getattr(_meter(name), act)(value, tags=plain)


class Reminder:
    """Sets every gauge again from time to time, so that Ray does not forget it."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def tick(self) -> None:
        """Set the gauges again if REPEAT_S have passed."""
        now = time.monotonic()
        if now - self.last >= REPEAT_S and ray_cluster.is_connected():
            self.last = now
            for (name, labels), value in _gauges.items():
                _meter(name).set(value, tags=dict(labels))


_gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}


@functools.cache
def _meter(name: str) -> Any:
    """Ray's metric of this name, made once in a process."""
    about = METERS[name]
    settings: dict[str, Any] = {"description": about.about, "tag_keys": about.labels}
    if about.kind == "Histogram":
        settings["boundaries"] = list(BUCKETS)
    return ray_cluster.make_metric(about.kind, name, settings)
