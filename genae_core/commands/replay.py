"""Deliver what a sweep logged while its tracking store did not answer.

Every event is delivered in order and once, and what the store already has does not change. The job
refuses to start while the sweep is running, because the trials then deliver by themselves.

  genae replay ~/.genae/sweeps/NAME
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from genae_core import sweep, tracking
from genae_core.config import require, require_amount
from genae_core.config.places import locate_fields
from genae_core.config.progress import ProgressDisplay
from genae_core.config.redaction import is_redacted, redact


@dataclass(frozen=True)
class Options:
    """The flags of this command."""

    folder: Positional[Path]
    """The folder of the sweep, as the sweep printed it."""
    tracking_uri: str | None = None
    """The MLflow store to deliver to (default: the store with which the sweep was started; if its
    address has a password, give the whole address again)."""
    missing_runs: Literal["keep", "recreate", "discard"] = "keep"
    """What to do about runs that somebody has deleted in the store. keep: what waits for them
    stays on disk. recreate: restore such a run, or start it anew if MLflow no longer has it.
    discard: delete what waits for it."""
    set_aside: bool = False
    """Move each event that is damaged, or that the store refuses, to the folder set-aside of its
    journal, and deliver the others."""
    patience: float = 60.0
    """The job gives up after these seconds without a success. The rest stays on disk."""

    def __post_init__(self) -> None:
        locate_fields(self, "folder", "tracking_uri")
        require_amount(patience=self.patience)


def main(options: Options) -> int:
    """Deliver, and return 0 if everything was delivered, else 1."""
    folder = options.folder
    manifest = sweep.read_manifest(folder) or {}
    study, uri = manifest.get("study"), options.tracking_uri or manifest.get("tracking_uri")
    if study is None or uri is None:
        raise ValueError(
            f"{folder / sweep.MANIFEST} is missing or damaged; start the sweep again with --name "
            f"{folder.name} --resume, which delivers too"
            if (folder / sweep.JOURNALS).is_dir()
            else f"{folder} is not the folder of a sweep; give the folder that the sweep printed "
            'after "files:"'
        )
    require(
        not is_redacted(uri),
        "the sweep's store has a password, which is not on disk: give its whole address with "
        "--tracking-uri",
        stored=uri,
    )
    with sweep.lock(folder):
        journals = folder / sweep.JOURNALS
        runs = tracking.pending_journals(journals)
        print(f"{len(runs)} runs have something to deliver to {redact(uri)}", flush=True)
        if not runs:
            return 0
        tracker = tracking.Tracker.create(
            tracking.resolve_uri(uri), study, tracking.artifacts_folder()
        )
        with ProgressDisplay("delivering"):
            if options.set_aside or options.missing_runs != "keep":
                repair(tracker, runs, options)
            undelivered = tracking.deliver_all(tracker, journals, options.patience)
            try:
                tracker.close_sweep(folder.name, {path.name for path in undelivered})
            except tracking.StoreError as error:
                undelivered = undelivered or {journals: str(error)}
    for journal, reason in undelivered.items():
        print(f"not delivered: {journal}: {redact(reason)}")
    print(f"delivered {len(runs) - len(undelivered)} of {len(runs)}")
    return 1 if undelivered else 0


def repair(tracker: "tracking.Tracker", journals: list[Path], options: Options) -> None:
    """Deliver the journals, and remove obstacles that no waiting removes, as the flags say.

    `deliver_all` says what is left.
    """
    recreated: set[Path] = set()
    for journal in journals:
        while error := tracking.deliver_within(tracker, journal, options.patience):
            missing = isinstance(error.cause, tracking.MissingRunError)
            if missing and options.missing_runs == "recreate" and journal not in recreated:
                tracking.recreate_run(tracker, journal)
                recreated.add(journal)
                print(f"recreated the run of {journal}")
            elif missing and options.missing_runs == "discard":
                shutil.rmtree(journal)
                print(f"discarded {journal}")
            elif error.event is not None and options.set_aside:
                print(f"set aside {tracking.set_aside(error.event)}: {redact(str(error.cause))}")
            elif missing or error.event is not None:
                break
            else:
                return  # The store does not answer.
