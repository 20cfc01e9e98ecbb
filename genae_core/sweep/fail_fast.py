"""--fail-fast: the first trials that all fail with the same error stop the sweep."""

import re

from ray.tune import Stopper

# What may differ between two trials with the same error: numbers, and the ids of Ray.
DIFFERS = re.compile(r"[+-]?\b(?:nan|inf|[0-9a-f]*\d[\w.+-]*)", re.IGNORECASE)


class FailFast(Stopper):
    """Stops the sweep when its first `limit` trials have failed with the same error.

    A trial that finishes, or that fails with another error, shows that the sweep is worth running.
    From then on nothing is stopped.

    Args:
        limit: The number of trials; None stops nothing.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.errors: list[str] = []
        self.sweep_is_sound = False

    def note_failure(self, reason: str) -> None:
        """Note that a trial has failed, and why."""
        self.errors.append(error_kind(reason))

    def note_finish(self) -> None:
        """Note that a trial has finished."""
        self.sweep_is_sound = self.sweep_is_sound or not self.stop_all()

    def stop_all(self) -> bool:
        if self.limit is None or self.sweep_is_sound:
            return False
        first = self.errors[: self.limit]
        return len(first) == self.limit and len(set(first)) == 1

    def __call__(self, trial_id: str, result: object) -> bool:
        return False  # no single trial is stopped

    def __str__(self) -> str:
        return (
            f"the first {self.limit} trials have failed with the same error, and --fail-fast "
            f"{self.limit} stops the sweep then"
        )


def error_kind(reason: str) -> str:
    """The reason of a failure without its numbers, which differ from trial to trial."""
    return DIFFERS.sub("#", " ".join(reason.split()))
