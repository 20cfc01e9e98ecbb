"""The page of a sweep, the MLflow run that holds it, and the sweep's view in MLflow."""

import time
from collections.abc import Callable
from pathlib import Path

from genae_core.config.command_name import command_line
from genae_core.config.console import say as say_here
from genae_core.config.redaction import redact
from genae_core.report import mlflow_view
from genae_core.report.explorer.page import build
from genae_core.tracking.mlflow_store import Tracker

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


def _log_summary(tracker: Tracker, sweep: str, folder: Path) -> None:
    """Log the files to one run per sweep.

    This run belongs to no trial. It has the tag "summary" and not the tag "sweep", so that whoever
    reads the runs of the sweep does not get it.
    """
    tags = {"summary": sweep, "stage": "summary"}
    now = int(1000 * time.time())
    run = tracker.start(f"summary-{sweep}", f"{sweep}: summary", tags, {}, now)
    own = sorted(path.name for path in folder.glob(OWN_CURVES.format("*")))
    for name in (*FILES, *own):
        if (folder / name).is_file():
            tracker.log_files(run.run_id, folder / name)
    tracker.finish(run.run_id)
