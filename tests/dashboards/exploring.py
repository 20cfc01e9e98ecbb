"""What the tests of the explorer share."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from contracts import scripts

from genae_core.tracking.mlflow_store import Tracker

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "dashboards" / "explorer" / "build.py"
RECORD = (0, 1, 3)
HOSTILE = "<script>alert(1)</script>"
CHROMIUM = next((p for name in ("chromium", "google-chrome") if (p := shutil.which(name))), None)
# Nothing but the page may ask for anything, or a request of the browser's own would look like one.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


class Store(NamedTuple):
    """An MLflow store with the sweep "small": 3 cells x 2 normalisations x 2 seeds, and beside
    them a run that failed, one that runs, and one without curves."""

    tracker: Tracker

    @property
    def uri(self) -> str:
        return self.tracker.uri


def build(*flags: str) -> subprocess.CompletedProcess[str]:
    """The command as a person gives it."""
    path = str(BUILD.relative_to(ROOT))
    return scripts.run(path, *flags, variables=os.environ, cwd=Path.cwd())


class Seen(NamedTuple):
    """A page that is open, and what went wrong with it so far."""

    page: Any
    wrong: list[str]
