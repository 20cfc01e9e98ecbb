"""--fail-fast: when the first trials stop the sweep."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genae_core.sweep import sweep_folder, tune
from genae_core.sweep.fail_fast import FailFast, error_kind
from genae_core.sweep.progress import Board
from genae_core.sweep.reports import FAILED

BROKEN = "RuntimeError: CUDA error 999 on device 0x7f3a, pid 4211"
BROKEN_TOO = "RuntimeError: CUDA error 999 on device 0xbb12, pid 97"
OTHER = "ValueError: latent_dim must be even, got latent_dim=3"


def test_the_first_trials_with_the_same_error_stop_the_sweep() -> None:
    watch = FailFast(2)
    watch.note_failure(BROKEN)
    assert not watch.stop_all()
    watch.note_failure(BROKEN_TOO)
    assert watch.stop_all()
    watch.note_finish()  # of a trial that ran beside them
    watch.note_failure(OTHER)
    assert watch.stop_all()


def test_a_trial_that_finishes_or_has_another_error_keeps_the_sweep_running() -> None:
    finished, other = FailFast(2), FailFast(2)
    finished.note_failure(BROKEN)
    finished.note_finish()
    other.note_failure(BROKEN)
    other.note_failure(OTHER)
    for watch in (finished, other):
        for _ in range(5):
            watch.note_failure(BROKEN)
        assert not watch.stop_all()


def test_without_a_limit_nothing_stops() -> None:
    watch = FailFast(None)
    for _ in range(100):
        watch.note_failure(BROKEN)
    assert not watch.stop_all() and not watch("trial", {})


def test_errors_are_the_same_whatever_their_numbers() -> None:
    one = "NonFiniteLossError: step 12: reconstruction=inf, kl=-1.5e+30"
    two = "NonFiniteLossError: step 3: reconstruction=nan, kl=7"
    assert error_kind(one) == error_kind(two)
    assert error_kind(one) != error_kind(one.replace("kl", "critic"))
    assert error_kind(BROKEN) != error_kind(OTHER)


@pytest.mark.parametrize("steps", [[0.5], []])
def test_the_driver_notes_what_ended(tmp_path: Path, steps: list[float]) -> None:
    """A trial that had finished before the sweep was resumed says nothing about this launch."""
    watch = FailFast(2)
    callback = tune.BoardCallback(Board(9), "digits", tmp_path, watch)

    def end(**last: Any) -> None:
        trial = SimpleNamespace(config={"dim": 2}, last_result={"percent": 100, **last})
        callback.on_trial_complete(0, [], trial)

    end(fcd_val=1.0, finished=True, family="VAE", chain_step_seconds=steps)
    for _ in range(2):
        end(fcd_val=float("inf"), **{FAILED: BROKEN})
    assert watch.stop_all() == (not steps)
    end(fcd_val=3.0, finished=False)  # it is stopped with the sweep, or by the scheduler
    assert bool(sweep_folder.stopped_cells(tmp_path)) == bool(steps)


def test_workers_that_die_in_the_same_way_count(tmp_path: Path) -> None:
    watch = FailFast(2)
    callback = tune.BoardCallback(Board(9), "digits", tmp_path, watch)
    for pid in (4211, 97):
        error = f"Failure # 4\nThe actor died: worker {pid} was killed"
        trial = SimpleNamespace(config={"dim": 2}, get_error=lambda error=error: error)
        callback.on_trial_error(0, [], trial)
    assert watch.stop_all()
