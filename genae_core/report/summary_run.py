"""What a sweep leaves to look at: a page, a summary run that holds it, and a view in MLflow."""

import time
from pathlib import Path

from genae_core.report import mlflow_view
from genae_core.report.explorer.page import build
from genae_core.tracking.mlflow_store import Tracker
from genae_core.tracking.store_uri import redact

PAGE = "explorer.html"
FILES = (PAGE, "table.txt", "curves.png")  # of the sweep's folder, in the summary run


def publish(tracker: Tracker, sweep: str, folder: Path) -> None:
    """Build the sweep's page, log it, and lay out its charts in MLflow.

    The sweep is done, and these are for looking at it: what fails of them is a warning.
    """
    try:
        print(f"page:   {build(tracker.uri, [sweep], folder / PAGE)}")
        _summarise(tracker, sweep, folder)
    except Exception as error:  # of any kind, see above
        print(f"warning: no page of the sweep: {redact(str(error))}")
    if link := mlflow_view.share(tracker, sweep):
        print(f"charts: {link}")


def _summarise(tracker: Tracker, sweep: str, folder: Path) -> None:
    """One run a sweep, which is none of its trials': it has no tag "sweep", but "summary"."""
    tags = {"summary": sweep, "stage": "summary"}
    now = int(1000 * time.time())
    run = tracker.start(f"summary-{sweep}", f"{sweep}: summary", tags, {}, now)
    for name in FILES:
        if (folder / name).is_file():
            tracker.log_files(run.run_id, folder / name)
    tracker.finish(run.run_id)
