"""The end of a sweep: it delivers what is still on disk, and writes and prints the results.

Everything comes from the sweep's folder and the tracking store, so that the end is the same
whatever has ended the trials. A step that fails is named, and the next one still runs.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from genae_core.config.command_name import command_line
from genae_core.config.console import say
from genae_core.config.home import default_store
from genae_core.config.progress import ProgressDisplay
from genae_core.config.redaction import redact
from genae_core.config.stop_signals import STOPPED, StopSignals
from genae_core.data import durable
from genae_core.report import plots, tables
from genae_core.report.decision import decision_lines, plain_label, read_decision
from genae_core.report.summary_run import OWN_CURVES, publish
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Outcome, SweepPlace
from genae_core.sweep.separate_process import describe
from genae_core.sweep.settling_again import decide_again
from genae_core.sweep.sweep_folder import JOURNALS
from genae_core.tracking.delivery import deliver_all
from genae_core.tracking.journal import pending_journals
from genae_core.tracking.mlflow_store import StoredRun, StoreError, Tracker
from genae_core.tracking.own_metrics import own_metrics_of

PATIENCE_S = 60.0  # how long the delivery waits for a store that does not answer
# After a stop signal, whoever sent it waits, and a cluster kills what takes too long. These are
# the seconds that a step may then take.
HURRY_S = 2.0
POLL_S = 0.05

Say = Callable[[str], None]
# Called with the store, the sweep's name and its folder.
OnEnd = Callable[[Tracker, str, Path], None]


def conclude(
    place: SweepPlace,
    outcome: Outcome,
    options: LaunchOptions,
    parallel: int,
    on_end: OnEnd,
    signals: StopSignals,
) -> int:
    """Deliver what is still on disk, write the tables and the page, and print what came of it.

    Args:
        place: Where the sweep keeps its results.
        outcome: The outcome of the trials. After an interrupted sweep, the last line says how to
            continue it, and `on_end` is not called.
        options: The flags of the sweep.
        parallel: The number of trials that ran at a time.
        on_end: Called after everything has run and is in the store.
        signals: The signals that this process notes. After one of them the end hurries.

    Returns:
        The exit code of `launch`.
    """
    steps = _Steps(signals)
    results = _Results(place, outcome, options, parallel)
    patience = HURRY_S / 2 if signals.names else PATIENCE_S
    steps.run("the delivery of what was logged", lambda say: results.deliver(patience, say))
    steps.run("the table", lambda _: results.read())
    if not options.until_settled:
        steps.run("the decision", lambda _: results.decide_again())
    steps.run("table.txt", lambda _: results.write_table())
    steps.run("curves.png", lambda _: results.draw_curves())
    store = place.tracker, place.name, place.folder
    if outcome.interrupted:
        if results.can_be_shown():
            steps.run("the page", lambda say: publish(*store, say))
        results.print()
    else:
        results.print()
        if not results.undelivered:
            steps.run("what the study does with its results", lambda _: on_end(*store))
            steps.run("the page", lambda say: publish(*store, say))
    for failure in steps.failures:
        say(f"not done: {redact(failure)}", error=True)
    if outcome.interrupted:
        if outcome.why:
            say(f"the sweep ended early: {redact(outcome.why)}")
        say(f"to continue: {place.again}")
        return 1 if outcome.failed_fast else STOPPED
    if outcome.failures and outcome.repeats_failures:
        say(f"to try the failed trials again: {place.again}")
    if steps.failures:
        say(f"the trials have ended; {place.again} does what was not done")
    if steps.failures and signals.names:
        return STOPPED
    return 1 if outcome.failures or results.undelivered or steps.failures else 0


class _Steps:
    """Runs the steps of the end one after the other, whatever becomes of each.

    A step has a thread of its own, because a call into a library may neither end nor notice a
    signal. A step that takes too long after a signal is left alone, and says nothing more.

    Attributes:
        failures: The steps that were not done, each with its reason.
    """

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals
        self.failures: list[str] = []

    def run(self, name: str, step: Callable[[Say], None]) -> None:
        """Run a step, and note why it was not done.

        Args:
            name: What the step makes, in words.
            step: Called with a function that prints.
        """
        reasons: list[str] = []
        left_alone = threading.Event()

        def say_in_time(text: str) -> None:
            if not left_alone.is_set():
                say(text)

        def guard() -> None:
            try:
                step(say_in_time)
            except BaseException as error:  # also SystemExit, from whatever a study calls
                reasons.append(f"{name}: {describe(error)}")

        thread = threading.Thread(target=guard, name=f"end: {name}", daemon=True)
        thread.start()
        deadline = math.inf
        with ProgressDisplay(name):
            while thread.is_alive() and time.monotonic() < deadline:
                thread.join(POLL_S)
                if self.signals.names and deadline == math.inf:
                    deadline = time.monotonic() + HURRY_S
        if thread.is_alive():
            left_alone.set()
            reasons.append(f"{name}: it took longer than {HURRY_S:g} s after the signal")
        self.failures += reasons


class _Results:
    """The results of a sweep, as far as they could be read.

    Attributes:
        undelivered: The journals that the store does not have, each with the reason.
        runs: The runs of the sweep; None if the store did not answer.
        table: The table of the runs that have finished.
        times: A line about the seconds that training and sampling took.
        failures: The label of each failed trial, with the reason.
        decision: What a sweep with --until-settled has decided, in words, now or in an earlier
            launch; otherwise empty.
    """

    def __init__(
        self, place: SweepPlace, outcome: Outcome, options: LaunchOptions, parallel: int
    ) -> None:
        self.place, self.outcome = place, outcome
        self.options, self.parallel = options, parallel
        self.journals = place.folder / JOURNALS
        self.undelivered: dict[Path, str] = {}
        self.runs: list[StoredRun] | None = None
        self.table = self.times = ""
        self.failures = outcome.failures
        self.read_decision()

    def read_decision(self) -> None:
        """Read the decision of a sweep with --until-settled, which has one in its folder."""
        decision = read_decision(self.place.folder)
        self.decision = "\n".join(decision_lines(decision, plain_label)) if decision else ""

    def decide_again(self) -> None:
        """Decide anew if seeds were added by hand to a settled sweep."""
        if self.runs is not None:
            decide_again(self.place, complete=not self.outcome.interrupted)
            self.read_decision()

    def deliver(self, patience: float, say: Say) -> None:
        """Deliver what the trials could not deliver."""
        waiting = pending_journals(self.journals)
        self.undelivered = {path: "there was no time to deliver it" for path in waiting}
        self.undelivered = deliver_all(self.place.tracker, self.journals, patience, say=say)

    def read(self) -> None:
        """Close the runs that were interrupted, and read all runs."""
        tracker, name = self.place.tracker, self.place.name
        try:
            tracker.close_sweep(name, {path.name for path in self.undelivered})
        except StoreError as error:  # a store on a full disk can still be read
            self.undelivered = self.undelivered or {self.journals: describe(error)}
        try:
            self.runs = tracker.read_runs(name)
        except StoreError as error:
            self.undelivered = self.undelivered or {self.journals: describe(error)}
            return  # the end says so
        if not self.failures and self.outcome.interrupted:
            self.failures = _failures(self.runs)  # the driver could not tell them
        self.table = tables.format_table(self.runs)
        if not self.options.resume:  # some runs may have taken their seconds in an earlier launch
            self.times = tables.format_times(self.runs, self.parallel, self.outcome.seconds)

    def write_table(self) -> None:
        if self.table:
            text = f"{self.table}\n" + (f"\n{self.decision}\n" if self.decision else "")
            durable.write(self.place.folder / "table.txt", text)

    def draw_curves(self) -> None:
        if self.runs is not None:
            plots.draw_curves(self.runs, self.place.folder / "curves.png")
            for name in self._own_metrics():
                plots.draw_curves(self.runs, self.place.folder / OWN_CURVES.format(name), name)

    def _own_metrics(self) -> list[str]:
        """The names of the user's own metrics."""
        return list(own_metrics_of(run.tags for run in self.runs or ()))

    def can_be_shown(self) -> bool:
        """Whether the store has everything, and a run has finished."""
        finished = any(run.status == "FINISHED" for run in self.runs or ())
        return finished and not self.undelivered

    def print(self) -> None:
        """Print the table, the failures, the numbers, and where everything is."""
        outcome = self.outcome
        if self.table:
            say(f"\n{self.table}\n")
        if self.decision:
            say(f"{self.decision}\n")
        # After --fail-fast all failures have the same reason.
        for cell, reason in self.failures[:1] if outcome.failed_fast else self.failures:
            say(f"failed: {cell}: {redact(reason)}")
        say(
            f"{'interrupted' if outcome.interrupted else 'done'} after {outcome.seconds:.0f} s: "
            f"{outcome.trials} trials, {len(self.failures)} failed; {self._finished()} finished "
            "runs"
        )
        if self.times:
            say(self.times)
        self._print_places()

    def _finished(self) -> str:
        """The number of finished runs in words."""
        if self.runs is None:
            return "no answer about"
        return str(sum(run.status == "FINISHED" for run in self.runs))

    def _print_places(self) -> None:
        place = self.place
        uri, folder = redact(place.tracker.uri), place.folder
        say(f"runs:   {uri}, experiment {place.study}, tag sweep = {place.name}")
        own = [OWN_CURVES.format(name) for name in self._own_metrics()]
        say(f"files:  {folder} ({', '.join(['table.txt', 'curves.png', *own])})")
        say(f"see it: {_how_to_see(place.tracker.uri)}")
        if self.undelivered:
            reason = redact(next(iter(self.undelivered.values())))
            say(
                f"not delivered: what was logged of {len(self.undelivered)} runs waits in "
                f"{self.journals}: {reason}\n"
                f"to deliver it: {command_line('replay', str(folder))}"
            )


def _failures(runs: Iterable[StoredRun]) -> list[tuple[str, str]]:
    """The label of each cell with a failed run, and the reason."""
    reasons = {
        run.tags["cell"]: run.tags.get("error", "") for run in runs if run.status == "FAILED"
    }
    return [(plain_label(cell), reason) for cell, reason in reasons.items()]


def _how_to_see(uri: str) -> str:
    if uri.startswith("http"):
        return f"open {redact(uri)}"
    default = uri == default_store()
    return command_line("ui", *([] if default else ["--tracking-uri", redact(uri)]))
