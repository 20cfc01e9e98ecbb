"""The page: what it shows, written with its style and script into one HTML file."""

import base64
import hashlib
import html
import json
import math
import os
import re
import tempfile
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genae_core.report.explorer.embedding import held, roles_of, wanted, within
from genae_core.report.explorer.findings import (
    Setting,
    curves_of,
    facets,
    headlines,
    sentence,
    settings_of,
    short,
)
from genae_core.report.explorer.gather import (
    SCALARS,
    Artifacts,
    Read,
    Unread,
    fetch_all,
    find,
    gather,
)
from genae_core.tracking.mlflow_store import Tracker
from genae_core.tracking.store_uri import redact

HERE = Path(__file__).resolve().parent
SCRIPTS = ("state.js", "live.js", "chart.js", "samples.js", "matrix.js", "table.js", "page.js")
MB = 10**6
MOST_MB = 25.0  # of a page: what a mail server takes
ROOM = 2**16  # bytes kept for what is written of the pictures themselves
SHOWN = (*SCALARS, "fcd_recommended_step", "training_seconds")


class BuildSummary(NamedTuple):
    """What was written. shown, every: pictures in the page, and those of all runs."""

    path: Path
    runs: int
    unread: int
    shown: int
    every: int
    size: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.runs} finished runs, {self.unread} without a result, "
            f"{self.shown} of {self.every} pictures, {self.size / MB:.1f} MB, "
            f"{self.seconds:.1f} s"
        )


def build(uri: str, sweeps: Sequence[str], out: Path, max_mb: float = MOST_MB) -> BuildSummary:
    """Read the sweeps' runs, choose what the page can hold, and write it, whole or not at all.

    Raises ValueError for a store that cannot be read and a sweep that it does not know.
    """
    began = time.monotonic()
    tracker = Tracker(uri, "")
    with tempfile.TemporaryDirectory() as scratch:
        artifacts = Artifacts(tracker, Path(scratch))
        runs, unread = gather(find(tracker, sweeps), artifacts)
        settings = settings_of(runs)
        page = {"sweeps": list(sweeps), **described(uri, settings, runs, unread)}
        files = wanted(settings)
        budget = max_mb * MB - len(assembled("", dumps(page), "")) - ROOM
        taken = within(files, budget)
        found = held(taken, fetch_all(artifacts, [(one.run_id, one.file) for one in taken]))
    page["pictures"] = [found.places.get(run.curve.run_id, {}) for run in runs]
    shown = sum(len(parts) for parts in found.places.values())
    every = sum(
        part is not None for run in runs for part in (run.sprite, run.strip, run.drawn, run.latent)
    )
    page["left"] = {"shown": shown, "chosen": len(files), "all": every, "broken": found.broken}
    text = assembled(f"{', '.join(sweeps)}: samples by MCMC step", dumps(page), found.text)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, out)
    seconds = time.monotonic() - began
    return BuildSummary(out, len(runs), len(unread), shown, every, len(text.encode()), seconds)


def described(
    uri: str, settings: Sequence[Setting], runs: Sequence[Read], unread: Sequence[Unread]
) -> dict[str, Any]:
    """What the page shows beside its pictures."""
    number = {run.curve.run_id: place for place, run in enumerate(runs)}
    scales = list(dict.fromkeys(setting.scale for setting in settings))
    several = len({setting.sweep for setting in settings}) > 1
    blanks = {
        metric: sum(run.values.get(metric, []).count(None) for run in runs)
        for metric in dict.fromkeys(name for run in runs for name in run.values)
    }
    return {
        "store": redact(uri),
        "server": _server(uri),
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commits": sorted({run.curve.tags.get("git_commit", "unknown")[:10] for run in runs}),
        "scales": [
            {"name": scale, "found": headlines([s for s in settings if s.scale == scale])}
            for scale in scales
        ],
        "settings": [
            {
                **facets(setting, several),
                **curves_of(setting),
                "chain": setting.group.chain,
                "scale": scales.index(setting.scale),
                "runs": [number[run.curve.run_id] for run in setting.runs],
                "roles": {role: number[run] for role, run in roles_of(setting).items()},
                "start": setting.start,
                "best": setting.best,
                "change": setting.change,
                "bestStep": setting.best_step,
                "verdict": setting.verdict,
                "words": sentence(setting),
            }
            for setting in settings
        ],
        "runs": [
            {
                "id": run.curve.run_id,
                "experiment": run.experiment_id,
                "name": run.name,
                "seed": run.curve.tags["seed"],
                "steps": run.steps,
                "values": {
                    metric: [None if value is None else short(value) for value in column]
                    for metric, column in run.values.items()
                },
                "scalars": {
                    name: run.curve.scalars[name]
                    for name in SHOWN
                    if math.isfinite(run.curve.scalars.get(name, math.nan))
                },
                "sampled": run.sprite is not None,
            }
            for run in runs
        ],
        "unread": [found._asdict() for found in unread],
        "blanks": {metric: count for metric, count in blanks.items() if count},
    }


def _server(uri: str) -> str | None:
    """The address for links to the runs, without a password; None where no browser can go."""
    if not uri.startswith(("http://", "https://")):
        return None
    parts = urllib.parse.urlsplit(uri)
    netloc = parts.netloc.rsplit("@", 1)[-1]
    return urllib.parse.urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def dumps(value: Any) -> str:
    """JSON that a script tag can hold: no `<`, so no end of it and no comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def assembled(title: str, data: str, pictures: str) -> str:
    """The page with all that it needs inside, and a policy that lets nothing else in."""
    style = (HERE / "page.css").read_text()
    script = "\n".join((HERE / name).read_text() for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();'
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src blob:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "TITLE": html.escape(title),
        "POLICY": policy,
        "STYLE": style,
        "SCRIPT": script,
        "DATA": data,
        "PICTURES": pictures,
    }
    # One pass: what is put in is never looked through for further marks.
    page = (HERE / "page.html").read_text()
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda mark: parts[mark[1]], page)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
