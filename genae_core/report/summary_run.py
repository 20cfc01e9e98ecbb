"""The page of a sweep, the MLflow run that holds it, and the sweep's view in MLflow."""

import time
from collections.abc import Callable
from pathlib import Path

from genae_core.config.command_name import command_line
from genae_core.config.console import say as say_here
from genae_core.config.redaction import redact
from genae_core.report import mlflow_view
from genae_core.report.decision import (
    IS_SETTLED,
    SETTLED,
    decision_lines,
    plain_label,
    read_decision,
)
from genae_core.report.explorer.page import build
from genae_core.tracking.mlflow_store import Tracker
from genae_core.tracking.own_metrics import LONGEST_TAG

PAGE = "explorer.html"
FILES = (PAGE, "table.txt", "curves.png")  # in the sweep's folder, copied into the summary run
OWN_CURVES = "curves-{}.png"  # beside them: the curves of a metric of the user's own


def publish(
    tracker: Tracker, sweep: str, folder: Path, say: Callable[[str], None] = say_here
) -> None:
    """Build the sweep's page, log it to MLflow, and arrange the sweep's charts there.

    The store already has all results, so any failure here is only a warning.

    Args:
        tracker: The store that holds the sweep.
        sweep: The name of the sweep.
        folder: The sweep's folder, in which the page is written.
        say: Prints a line.
    """
    try:
        _log_decision(tracker, sweep, folder)
    except Exception as error:
        say(f"warning: the decision is not in MLflow: {redact(str(error))}")
    try:
        say(f"page:   {build(tracker.uri, [sweep], folder / PAGE)}")
    except Exception as error:
        say(
            f"warning: no page of the sweep: {redact(str(error))}; to build it later, run "
            f"{command_line('explorer', '--sweep', sweep, '--out', 'FILE')}"
        )
    try:
        _log_summary(tracker, sweep, folder)
    except Exception as error:
        say(f"warning: the page and the table are not in MLflow: {redact(str(error))}")
    if link := mlflow_view.save_view(tracker, sweep, say=say):
        say(f"charts: {link}")


def _start(tracker: Tracker, sweep: str) -> str:
    """Start or continue the summary run of a sweep, and return its id.

    This run belongs to no trial. It has the tag "summary" and not the tag "sweep", so that whoever
    reads the runs of the sweep does not get it.
    """
    tags = {"summary": sweep, "stage": "summary"}
    now = int(1000 * time.time())
    return tracker.start(f"summary-{sweep}", f"{sweep}: summary", tags, {}, now).run_id


def _log_decision(tracker: Tracker, sweep: str, folder: Path) -> None:
    """Log what a sweep that runs until it is settled has decided, from which its page takes it."""
    decision = read_decision(folder)
    if decision is None:
        return
    run = _start(tracker, sweep)
    words = "\n".join(decision_lines(decision, plain_label))
    about = {
        "question": decision.question,
        IS_SETTLED: "yes" if decision.settled else "no",
        "confidence": f"{decision.confidence:g}",
        "indifference": f"{decision.indifference:g}",
        "decision": words[:LONGEST_TAG],
    }
    tracker.set_tags(run, about)
    tracker.log_scalars(run, {"settling_trials": float(decision.trials)})
    tracker.log_files(run, folder / SETTLED)
    tracker.finish(run)


def _log_summary(tracker: Tracker, sweep: str, folder: Path) -> None:
    """Log the files to the summary run."""
    run = _start(tracker, sweep)
    own = sorted(path.name for path in folder.glob(OWN_CURVES.format("*")))
    for name in (*FILES, *own):
        if (folder / name).is_file():
            tracker.log_files(run, folder / name)
    tracker.finish(run)
