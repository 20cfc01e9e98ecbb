"""The end of a sweep: it delivers what is still on disk, and writes and prints the results."""

import shlex
from pathlib import Path

from genae_core.config.home import default_store
from genae_core.config.redaction import redact
from genae_core.data import durable
from genae_core.report import plots, tables
from genae_core.sweep.plan import Outcome, PreparedSweep, SweepPlace
from genae_core.sweep.sweep_folder import JOURNALS
from genae_core.tracking.delivery import deliver_all
from genae_core.tracking.mlflow_store import StoreError


def conclude(prepared: PreparedSweep, outcome: Outcome) -> bool:
    """Deliver what is still on disk; write the tables; print them, the failures and the places.

    Returns whether the tracking store has everything.
    """
    place = prepared.place
    undelivered = deliver_all(place.tracker, place.folder / JOURNALS)
    finished, times = "no answer about", ""
    try:
        finished, times = _write_tables(prepared, outcome, undelivered)
    except StoreError as error:
        undelivered = undelivered or {place.folder / JOURNALS: str(error)}
    for cell, reason in outcome.failures:
        print(f"failed: {cell}: {redact(reason)}")
    print(
        f"{'interrupted' if outcome.interrupted else 'done'} after {outcome.seconds:.0f} s: "
        f"{outcome.trials} trials, {len(outcome.failures)} failed; {finished} finished runs"
    )
    if times:
        print(times)
    _print_places(place, undelivered)
    if outcome.interrupted:
        print(f"to continue: the same command with --name {place.name} --resume")
    return not undelivered


def _write_tables(
    prepared: PreparedSweep, outcome: Outcome, undelivered: dict[Path, str]
) -> tuple[str, str]:
    """Write the table and the curves to the sweep's folder.

    Returns the number of finished runs, and a line about the seconds that training and sampling
    took. Raises StoreError if the store fails.
    """
    place = prepared.place
    place.tracker.close_sweep(place.name, {path.name for path in undelivered})
    curves = place.tracker.read_runs(place.name)
    table = tables.format_table(curves)
    durable.write(place.folder / "table.txt", table + "\n")
    plots.draw_curves(curves, place.folder / "curves.png")
    print(f"\n{table}\n")
    finished = str(sum(run.status == "FINISHED" for run in curves))
    if prepared.options.resume:  # some runs may have taken their seconds in an earlier launch
        return finished, ""
    return finished, tables.format_times(curves, prepared.parallel, outcome.seconds)


def _print_places(place: SweepPlace, undelivered: dict[Path, str]) -> None:
    uri, folder = redact(place.tracker.uri), place.folder
    print(f"runs:   {uri}, experiment {place.study}, tag sweep = {place.name}")
    print(f"files:  {folder} (table.txt, curves.png)")
    print(f"see it: {_how_to_see(place.tracker.uri)}")
    if undelivered:
        reason = redact(next(iter(undelivered.values())))
        print(
            f"not delivered: what was logged of {len(undelivered)} runs waits in "
            f"{folder / JOURNALS}: {reason}\n"
            f"to deliver it: python jobs/replay_tracking.py {shlex.quote(str(folder))}"
        )


def _how_to_see(uri: str) -> str:
    if uri.startswith("http"):
        return f"open {redact(uri)}"
    default = uri == default_store()
    return "make ui" if default else f"make ui TRACKING_URI={shlex.quote(redact(uri))}"
