"""The search's scheduler, on trials of a moment."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.execution import class_cache
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import BasicVariantGenerator

from genae_core.sweep import ray_cluster, tune
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan, PreparedSweep, SweepPlace
from genae_core.sweep.progress import Board
from genae_core.sweep.reports import FAILED
from genae_core.sweep.schedulers import ASHA, PausingASHA


class Trial:
    def __init__(self, name: str) -> None:
        self.trial_id, self.status = name, "RUNNING"
        self.last_result: dict[str, Any] = {}


class Controller:
    """What of Tune's controller a scheduler uses."""

    def __init__(self, count: int) -> None:
        self.trials = [Trial(str(number)) for number in range(count)]
        self.ended: list[Trial] = []

    def get_trials(self) -> list[Trial]:
        return self.trials

    def pause_trial(self, trial: Trial, should_checkpoint: bool) -> None:
        assert not should_checkpoint
        trial.status = "PAUSED"

    def stop_trial(self, trial: Trial) -> None:
        trial.status = "TERMINATED"
        self.ended.append(trial)


def begun(count: int, **settings: Any) -> tuple[PausingASHA, Controller]:
    scheduler, controller = PausingASHA(**settings), Controller(count)
    for trial in controller.trials:
        scheduler.on_trial_add(controller, trial)
    scheduler.choose_trial_to_run(controller)
    return scheduler, controller


def reported(
    scheduler: ASHA, controller: Controller, number: int, fcd: float, percent: int = 12
) -> str:
    result = {"fcd_val": fcd, "percent": percent}
    return scheduler.on_trial_result(controller, controller.trials[number], result)


def test_a_trial_that_is_behind_waits_and_gives_its_place_away() -> None:
    scheduler, controller = begun(2, parallel=2)
    assert not scheduler.has_room()
    assert reported(scheduler, controller, 0, 10.0) == TrialScheduler.CONTINUE
    assert reported(scheduler, controller, 1, 20.0) == TrialScheduler.NOOP
    assert controller.trials[1].status == "PAUSED" and controller.ended == []
    assert scheduler.has_room()


def test_it_goes_on_once_it_is_among_the_best_third() -> None:
    scheduler, controller = begun(4, parallel=4)
    reported(scheduler, controller, 0, 10.0)
    reported(scheduler, controller, 1, 20.0)
    assert scheduler.choose_trial_to_run(controller) is None
    reported(scheduler, controller, 2, 30.0)
    reported(scheduler, controller, 3, 40.0)
    # Of 10, 20, 30 and 40 the best third goes up to 20.
    assert scheduler.choose_trial_to_run(controller) is controller.trials[1]
    assert not scheduler.is_promising("2") and not scheduler.is_promising("3")


def test_no_trial_goes_on_where_there_is_no_room() -> None:
    scheduler, controller = begun(4, parallel=1)
    for number, fcd in enumerate((10.0, 20.0, 30.0, 40.0)):
        reported(scheduler, controller, number, fcd)
    assert scheduler.is_promising("1")
    assert scheduler.choose_trial_to_run(controller) is None  # the first one runs
    controller.trials[0].status = "TERMINATED"
    assert scheduler.choose_trial_to_run(controller) is controller.trials[1]


def test_asha_ends_the_trial_that_is_behind() -> None:
    scheduler, controller = ASHA(), Controller(3)
    for trial in controller.trials:
        scheduler.on_trial_add(controller, trial)
    assert reported(scheduler, controller, 0, 10.0) == TrialScheduler.CONTINUE
    assert reported(scheduler, controller, 1, 20.0) == TrialScheduler.STOP
    assert reported(scheduler, controller, 2, 5.0) == TrialScheduler.CONTINUE
    assert controller.ended == []  # Tune ends them


@pytest.mark.parametrize("own", [True, False])
def test_trials_of_an_own_ray_get_the_workers_that_have_started_with_it(
    own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts another worker for a trial that needs variables of its own."""
    for name in ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE"):
        monkeypatch.setattr(class_cache, name, getattr(class_cache, name))
    environments = []

    def remote(runtime_env: dict[str, Any]) -> Any:
        environments.append(runtime_env)
        return lambda trainable: trainable

    monkeypatch.setattr(class_cache.ray, "remote", remote)
    monkeypatch.setattr(ray_cluster, "is_own", lambda: own)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    plan = Plan([{}], {}, BasicVariantGenerator, None)  # type: ignore[arg-type]
    tune.make_tuner(plan, lambda _: None, tmp_path, 1, LaunchOptions(), None)
    class_cache._ActorClassCache().get(object)
    (environment,) = environments
    assert (environment == {"env_vars": {}}) == own


@pytest.mark.parametrize("asha", [True, False])
def test_a_sweep_has_the_scheduler_that_was_asked_for(tmp_path: Path, asha: bool) -> None:
    plan = Plan([{}], {}, BasicVariantGenerator, None)  # type: ignore[arg-type]
    made = tune.make_tuner(plan, lambda _: None, tmp_path, 1, LaunchOptions(asha=asha), None)
    assert isinstance(made._local_tuner._tune_config.scheduler, ASHA) == asha


def test_a_trial_that_has_done_its_steps_ends() -> None:
    scheduler, controller = begun(1, parallel=1)
    assert reported(scheduler, controller, 0, 10.0, percent=100) == TrialScheduler.STOP


def test_a_failed_trial_is_in_no_rung() -> None:
    scheduler, controller = begun(2, parallel=2)
    failed = {"fcd_val": float("inf"), "percent": 100, FAILED: "it broke"}
    assert scheduler.on_trial_result(controller, controller.trials[0], failed) == "STOP"
    scheduler.on_trial_complete(controller, controller.trials[0], failed)
    assert reported(scheduler, controller, 1, 10.0) == TrialScheduler.CONTINUE
    (bracket,) = scheduler._brackets
    assert all("0" not in rung for _, rung in bracket._rungs)


def test_trials_that_wait_for_nothing_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, controller = begun(3, parallel=3, patience=5.0)
    for number, fcd in enumerate((10.0, 20.0, 30.0)):
        reported(scheduler, controller, number, fcd)
    controller.trials[0].status = "TERMINATED"
    controller.trials[1].status = "TERMINATED"
    now = time.monotonic()
    for seconds in (0.0, 4.0):
        monkeypatch.setattr("time.monotonic", lambda seconds=seconds: now + seconds)
        assert scheduler.choose_trial_to_run(controller) is None
    assert controller.ended == []
    monkeypatch.setattr("time.monotonic", lambda: now + 6.0)
    scheduler.choose_trial_to_run(controller)
    assert controller.ended == [controller.trials[2]]


@pytest.mark.parametrize("cut", [True, False])
def test_a_search_that_is_stopped_says_so_whatever_tune_returns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: bool
) -> None:
    """At Ctrl-C Tune returns as at the end; its own handler is here, its trials are not."""
    from ray.tune.tune import _setup_signal_catching  # noqa: PLC0415

    def fit() -> list[Any]:
        stopped = _setup_signal_catching()
        if cut:
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped.is_set() == cut
        return []

    monkeypatch.setattr(tune, "make_tuner", lambda *_: SimpleNamespace(fit=fit))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    nothing: Any = None
    sweep: Any = SimpleNamespace(tags={"dataset": "digits"})
    plan = Plan([{}], {}, nothing, None, 60.0)
    place = SweepPlace("study", "s", tmp_path, nothing)
    prepared = PreparedSweep(plan, place, sweep, nothing, nothing, 1, LaunchOptions())
    try:
        outcome = tune.run_trials(prepared)
        assert signal.getsignal(signal.SIGINT) is handlers[signal.SIGINT]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert outcome[:3] == (0, [], cut)


def test_the_driver_tells_the_figures_of_a_worker_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: list[tuple[str, float, str]] = []
    monkeypatch.setattr(
        tune,
        "observe",
        lambda name, value, **labels: observed.append((name, value, labels["family"])),
    )
    watch = tune.BoardCallback(Board(2), "digits", tmp_path)
    for fcd, steps in ((4.0, [0.5, 0.25]), (6.0, [])):
        last = {"finished": True, "fcd_val": fcd, "family": "VAE", "chain_step_seconds": steps}
        watch.on_trial_complete(0, [], SimpleNamespace(config={"dim": 2}, last_result=last))
    assert observed == [
        ("genae_chain_step_seconds", 0.5, "VAE"),
        ("genae_chain_step_seconds", 0.25, "VAE"),
        ("genae_best_fcd", 4.0, "VAE"),
        ("genae_best_fcd", 4.0, "VAE"),
    ]
