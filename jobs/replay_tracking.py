"""Deliver what a sweep logged while its tracking store did not answer.

  python jobs/replay_tracking.py ~/.genae/sweeps/NAME

In order, and once: what the store already has is not changed by it. Not while the sweep runs, for
then its trials deliver by themselves.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.sweep.sweep_folder import JOURNALS, MANIFEST, lock
from genae_core.tracking import mlflow_store
from genae_core.tracking.delivery import deliver_all
from genae_core.tracking.journal import waiting


@dataclass(frozen=True)
class Options:
    """The flags of this job."""

    folder: Positional[Path]
    """The sweep's own folder, as the sweep printed it."""
    tracking_uri: str | None = None
    """Where to (default: the store that the sweep was started with; a password in its address
    must be given again)."""
    patience: float = 60.0
    """Seconds without a success after which the rest is left for another time."""


def main(options: Options) -> int:
    """0: all is delivered. 1: some is left, and said."""
    folder = options.folder.expanduser().absolute()
    try:
        about = json.loads((folder / MANIFEST).read_text())
        study, uri = about["study"], options.tracking_uri or about["tracking_uri"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} is not the folder of a sweep: {error!r}") from None
    with lock(folder):
        journals = folder / JOURNALS
        runs = waiting(journals)
        print(
            f"{len(runs)} runs have something to deliver to {mlflow_store.redact(uri)}", flush=True
        )
        if not runs:
            return 0
        uri = mlflow_store.resolve_uri(uri)
        tracker = mlflow_store.Tracker.create(uri, study, home() / "mlartifacts")
        left = deliver_all(tracker, journals, options.patience)
        try:
            tracker.close(folder.name, {path.name for path in left})
        except mlflow_store.StoreError as error:
            left = left or {journals: str(error)}
    for journal, reason in left.items():
        print(f"left: {journal}: {mlflow_store.redact(reason)}")
    print(f"delivered {len(runs) - len(left)} of {len(runs)}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
