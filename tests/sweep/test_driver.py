"""Whatever ends a sweep, the table of what has finished and the way on are its last lines.

Ray, MLflow and the trials are stand-ins, in which any step can fail.
"""

import errno
import io
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions, tune

from genae_core.config.command_name import command_line
from genae_core.sweep import conclusion, driver, ray_cluster, sweep_folder
from genae_core.sweep.cells import cell_key
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Outcome, Plan, PreparedSweep, SweepPlace
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import StoredRun, StoreError

FULL = OSError(errno.ENOSPC, "No space left on device")
CONTINUE = "to continue: the same command with --name s --resume"
AGAIN = "the trials have ended; the same command with --name s --resume does what was not done"
CELL = {"family": "vae", "latent_dim": 2}
# What ends the process that has joined Ray: each kind of Ray's errors, and everybody else's.
ERRORS = [
    exceptions.OutOfMemoryError("the monitor killed a worker"),
    exceptions.WorkerCrashedError(),
    exceptions.RayActorError(),
    exceptions.LocalRayletDiedError(),
    exceptions.RaySystemError("gone"),
    exceptions.RpcError("the GCS does not answer"),
    exceptions.OutOfDiskError("spilled"),
    exceptions.GetTimeoutError("late"),
    exceptions.RayTaskError(
        "f", 'Traceback (most recent call last):\n  File "x"\nValueError: x', ValueError("cause")
    ),
    tune.TuneError("Trials did not complete"),
    KeyboardInterrupt(),
    SystemExit(1),
    MemoryError(),
    RecursionError("deep"),
    FULL,
    ValueError("a bug"),
    TypeError("another bug"),
    AssertionError(),
    StoreError("the store is gone"),
    UnicodeEncodeError("ascii", "±", 0, 1, "ordinal not in range"),
]


def has_table(text: str) -> bool:
    """Whether the row of the run that has finished was printed."""
    return any(line.split()[:3] == ["VAE", "2", "1"] for line in text.splitlines())


class Tracker:
    """A store with one run of each status."""

    uri, experiment_id = "sqlite:///nowhere.db", "1"

    def __init__(self) -> None:
        scalars = {name: 2.0 for name in ("fcd_step0", "fcd_best", "fcd_val_best", "fcd_floor")}
        scalars |= {"fcd_best_step": 1.0, "training_seconds": 1.0, "evaluation_seconds": 1.0}
        tags = {"cell": cell_key(CELL), "family": "VAE", "seed": "0", "chain": "c"}
        self.runs = [
            StoredRun("1", "FINISHED", tags, {}, scalars, {"fcd": {0: 3.0, 1: 2.0}}),
        ]
        self.closed: list[str] = []

    def close_sweep(self, sweep: str, undelivered: Any = ()) -> None:
        self.closed.append(sweep)

    def read_runs(self, sweep: str) -> list[StoredRun]:
        return self.runs


class Sweep:
    """A sweep whose steps do nothing, or fail. Its attribute `steps` names those that ran."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.tracker, self.folder, self.patch = Tracker(), folder / "sweeps" / "s", patch
        self.steps: list[str] = []
        self.faults: dict[str, BaseException] = {}
        self.outcome = Outcome(1, [], False, 1.0)
        patch.setenv("GENAE_HOME", str(folder))
        patch.setattr(sweep_folder, "check_flags", lambda *_: {})
        patch.setattr(sweep_folder, "open_store", self.step("open", lambda *_: self.tracker))
        patch.setattr(driver, "Tracker", lambda *_: self.tracker)
        patch.setattr(ray_cluster, "connect", self.step("connect", lambda *_, **__: 1))
        patch.setattr(driver, "_prepare", self.step("prepare", self._prepared))
        patch.setattr(driver, "_announce", self.step("announce"))
        patch.setattr(driver, "run_trials", self.step("trials", lambda _: self.outcome))
        patch.setattr(ray_cluster, "disconnect", self.step("disconnect"))
        for owner, name in (
            (sweep_folder, "write_manifest"),
            (conclusion, "deliver_all"),
            (conclusion.tables, "format_table"),
            (conclusion.plots, "draw_curves"),
            (conclusion, "publish"),
        ):
            real = getattr(owner, name)
            quiet = name in ("write_manifest", "draw_curves", "publish")
            patch.setattr(owner, name, self.step(name, (lambda *_: None) if quiet else real))
        for name in ("close_sweep", "read_runs"):
            patch.setattr(self.tracker, name, self.step(name, getattr(self.tracker, name)))

    def _prepared(self, plan: Plan, place: SweepPlace, options: LaunchOptions) -> PreparedSweep:
        nothing: Any = SimpleNamespace()
        return PreparedSweep(plan, place, nothing, nothing, nothing, 1, options)

    def step(self, name: str, then: Callable[..., Any] = lambda *_: None) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.steps.append(name)
            if name in self.faults:
                raise self.faults[name]
            return then(*arguments, **named)

        return call

    def run(self, **flags: Any) -> int:
        searcher: Any = None
        plan = Plan([CELL], {cell_key(CELL): tiny.experiment()}, searcher, 1)
        options = LaunchOptions(name="s", **flags)
        return driver.run_sweep("study", lambda _: plan, options, self.step("on_end"))


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return Sweep(tmp_path, monkeypatch)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["announce", "trials"])
def test_whatever_ends_the_trials_the_table_and_the_way_on_come_last(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], step: str, error: BaseException
) -> None:
    sweep.faults[step] = error
    assert sweep.run() == 130
    out, err = capsys.readouterr()
    lines = out.strip().splitlines()
    assert lines[-1] == CONTINUE
    assert has_table(out) and "1 finished runs" in out
    assert "Traceback" not in out + err
    if not isinstance(error, KeyboardInterrupt):
        assert f"the sweep ended early: {type(error).__name__}" in lines[-2]
        assert type(error).__name__ in (sweep.folder / "traceback.txt").read_text()
    assert sweep.tracker.closed == ["s"] and "on_end" not in sweep.steps
    assert "disconnect" in sweep.steps


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["open", "connect", "prepare", "write_manifest"])
def test_what_ends_a_sweep_before_its_trials_is_one_line(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], step: str, error: BaseException
) -> None:
    sweep.faults[step] = error
    stopped = isinstance(error, KeyboardInterrupt)
    assert sweep.run() == (130 if stopped else 2)
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert err.startswith("stopped before any trial" if stopped else "error: ")
    assert "trials" not in sweep.steps and "disconnect" in sweep.steps
    assert not sweep.folder.exists()


@pytest.mark.parametrize("error", [FULL, StoreError("gone"), TypeError("a bug"), SystemExit(2)])
@pytest.mark.parametrize(
    "step",
    [
        "deliver_all",
        "close_sweep",
        "read_runs",
        "format_table",
        "draw_curves",
        "on_end",
        "publish",
    ],
)
def test_a_step_of_the_end_that_fails_is_named_and_the_next_one_runs(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], step: str, error: BaseException
) -> None:
    sweep.faults[step] = error
    assert sweep.run() == 1
    out, err = capsys.readouterr()
    store = isinstance(error, StoreError)
    told_by_delivery = store and step in ("close_sweep", "read_runs")
    if told_by_delivery:
        assert f"to deliver it: {command_line('replay')} /" in out
    else:
        assert type(error).__name__ in err and err.startswith("not done: ")
        assert out.strip().splitlines()[-1] == AGAIN
        assert "publish" in sweep.steps
    no_table = step in ("read_runs", "format_table") or (step == "close_sweep" and not store)
    assert has_table(out) == (not no_table)
    assert "done after 1 s: 1 trials, 0 failed" in out


def test_an_interrupted_sweep_with_a_broken_end_still_says_how_to_go_on(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in ("trials", "disconnect", "deliver_all", "close_sweep", "draw_curves", "publish"):
        sweep.faults[step] = TypeError(step)
    assert sweep.run() == 130
    assert capsys.readouterr().out.strip().splitlines()[-1] == CONTINUE


@pytest.mark.parametrize(("failures", "code"), [([], 0), ([("vae", "it diverged")], 1)])
def test_the_exit_codes_of_a_whole_sweep(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], failures: list[Any], code: int
) -> None:
    sweep.outcome = Outcome(2, failures, False, 3.0, repeats_failures=True)
    assert sweep.run() == code
    out = capsys.readouterr().out
    assert f"done after 3 s: 2 trials, {code} failed; 1 finished runs" in out
    assert (sweep.folder / "table.txt").read_text(encoding="utf-8").strip() in out
    assert sweep.steps[-2:] == ["on_end", "publish"]
    again = "to try the failed trials again: the same command with --name s --resume"
    assert (out.strip().splitlines()[-1] == again) == bool(failures)


def test_a_sweep_that_fails_fast_says_why_once_and_is_no_interruption(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is that of failed trials, so that no batch system begins it again."""
    failures = [("vae latent_dim=2", "RuntimeError: no"), ("vae latent_dim=4", "RuntimeError: no")]
    sweep.outcome = Outcome(9, failures, True, 3.0, "the first 2 ...", True, failed_fast=True)
    assert sweep.run() == 1
    out = capsys.readouterr().out
    assert out.count("RuntimeError: no") == 1
    assert "interrupted after 3 s: 9 trials, 2 failed; 1 finished runs" in out
    assert out.strip().splitlines()[-2:] == ["the sweep ended early: the first 2 ...", CONTINUE]
    assert "on_end" not in sweep.steps and "publish" in sweep.steps


@pytest.mark.parametrize("interrupted", [True, False])
def test_under_auto_the_same_command_continues(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], interrupted: bool
) -> None:
    sweep.patch.setattr(
        sweep_folder, "decide_resume", lambda _, options: replace(options, resume=False)
    )
    failures = [("vae", "it diverged")]
    sweep.outcome = Outcome(2, failures, interrupted, 3.0, repeats_failures=True)
    assert sweep.run(resume="auto") == (130 if interrupted else 1)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    what = "to continue" if interrupted else "to try the failed trials again"
    assert last == f"{what}: the same command"


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_terminal_without_the_characters_or_without_a_reader_loses_nothing(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    class Disk(io.RawIOBase):
        full = True

        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            if self.full:
                raise FULL
            return len(content)

    sweep.outcome = Outcome(1, [("vae ±", "σ is 0")], interrupted, 1.0)
    poor = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", poor)
    assert sweep.run() == (130 if interrupted else 1)
    poor.seek(0)
    assert r"failed: vae \xb1: \u03c3 is 0" in poor.read()
    disk, closed = Disk(), io.StringIO()
    closed.close()
    for stream in (io.TextIOWrapper(io.BufferedWriter(disk)), closed):
        monkeypatch.setattr(sys, "stdout", stream)
        sweep.steps.clear()
        assert sweep.run(resume=True) == (130 if interrupted else 1)
        assert "publish" in sweep.steps and (sweep.folder / "table.txt").exists()
    disk.full = False  # so that Python can close the stream


def test_the_failures_of_a_driver_that_died_come_from_the_store(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = sweep.tracker.runs[0]._replace(
        status="FAILED", tags={**sweep.tracker.runs[0].tags, "error": "it diverged"}
    )
    sweep.tracker.runs.append(failed)
    sweep.faults["trials"] = exceptions.RaySystemError("gone")
    assert sweep.run() == 130
    out = capsys.readouterr().out
    assert "failed: vae latent_dim=2: it diverged" in out and "1 trials, 1 failed" in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_trials_or_in_the_end_is_answered_and_handlers_come_back(
    sweep: Sweep,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """In a notebook, `launch` leaves the handlers as it found them."""
    monkeypatch.setattr(conclusion, "HURRY_S", 0.3)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(one) for one in numbers]

    def stopped(_: Any) -> Outcome:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as Tune does
        signal.raise_signal(number)
        raise AssertionError("the signal did nothing")

    monkeypatch.setattr(driver, "run_trials", stopped)
    assert sweep.run() == 130
    assert capsys.readouterr().out.strip().splitlines()[-1] == CONTINUE
    assert [signal.getsignal(one) for one in numbers] == before

    def signalled(*_: Any) -> None:
        for _ in range(3):  # an impatient user
            signal.raise_signal(number)
        time.sleep(60)

    monkeypatch.setattr(driver, "run_trials", lambda _: sweep.outcome)
    monkeypatch.setattr(conclusion, "publish", signalled)
    code = sweep.run(resume=True)
    out, err = capsys.readouterr()
    assert code == 130 and "the page: it took longer than 0.3 s after the signal" in err
    assert has_table(out) and out.strip().splitlines()[-1] == AGAIN


def test_a_signal_that_the_process_ignores_is_still_ignored(sweep: Sweep) -> None:
    """nohup ignores SIGHUP, so that a sweep outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sweep.patch.setattr(
            driver,
            "run_trials",
            lambda _: (signal.raise_signal(signal.SIGHUP), sweep.outcome)[1],
        )
        assert sweep.run() == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
