"""The page: its data, its style and its scripts, written into one HTML file."""

import base64
import gzip
import hashlib
import html
import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genae_core.data import durable
from genae_core.report.explorer import MAX_MB
from genae_core.report.explorer.artifacts import Artifacts
from genae_core.report.explorer.data import page_data
from genae_core.report.explorer.embedding import (
    Candidate,
    EmbeddedFiles,
    embed,
    list_candidates,
    select_within,
)
from genae_core.report.explorer.gather import FinishedRun, find_decisions, find_runs, gather
from genae_core.report.explorer.summaries import summarise
from genae_core.tracking.mlflow_store import Tracker

HERE = Path(__file__).resolve().parent
SCRIPTS = ("state.js", "live.js", "chart.js", "samples.js", "matrix.js", "table.js", "page.js")
MB = 10**6
RESERVED_BYTES = 2**16  # for what the page says about its pictures


class BuildSummary(NamedTuple):
    """What was written.

    Attributes:
        path: The HTML file.
        runs: The number of finished runs.
        without_result: The number of other runs.
        embedded: The number of pictures in the page.
        pictures: The number of pictures of all runs.
        size: The size of the file in bytes.
        seconds: How long it took.
    """

    path: Path
    runs: int
    without_result: int
    embedded: int
    pictures: int
    size: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.runs} finished runs, {self.without_result} without a result, "
            f"{self.embedded} of {self.pictures} pictures, {self.size / MB:.1f} MB, "
            f"{self.seconds:.1f} s"
        )


def build(uri: str, sweeps: Sequence[str], out: Path, max_mb: float = MAX_MB) -> BuildSummary:
    """Build the page of some sweeps. The file is written completely or not at all.

    Args:
        uri: The tracking URI of the store.
        sweeps: The names of the sweeps.
        out: The HTML file.
        max_mb: The largest size of the file in MB. Pictures are left out to stay below it.

    Returns:
        What was written.

    Raises:
        ValueError: The store cannot be read, or it does not have a sweep.
    """
    began = time.monotonic()
    tracker = Tracker(uri, "")
    with tempfile.TemporaryDirectory() as scratch:
        artifacts = Artifacts(tracker, Path(scratch))
        runs, others = gather(find_runs(tracker, sweeps), artifacts)
        summaries = summarise(runs)
        decided = find_decisions(tracker, sweeps, artifacts)
        page = {"sweeps": list(sweeps), **page_data(uri, summaries, runs, others, decided)}
        candidates = list_candidates(summaries)
        budget = max_mb * MB - len(assemble("", script_data(page), "")) - RESERVED_BYTES
        selected = select_within(candidates, budget)
        contents = artifacts.read_all([(one.run_id, one.file) for one in selected])
        embedded = embed(selected, contents)
    page["pictures"] = [embedded.places.get(run.stored.run_id, {}) for run in runs]
    page["pictureCounts"] = counts = _count_pictures(runs, candidates, embedded)
    title = f"{', '.join(sweeps)}: samples by MCMC step"
    text = assemble(title, script_data(page), embedded.text)
    durable.write(out, text)
    return BuildSummary(
        path=out,
        runs=len(runs),
        without_result=len(others),
        embedded=counts["embedded"],
        pictures=counts["all"],
        size=len(text.encode()),
        seconds=time.monotonic() - began,
    )


def _count_pictures(
    runs: Sequence[FinishedRun], candidates: Sequence[Candidate], embedded: EmbeddedFiles
) -> dict[str, int]:
    """Count the pictures: those of all runs, the candidates, the embedded, and the broken ones."""
    every = [
        part
        for run in runs
        for part in (run.sprite, run.strip, run.interpolations, run.latent)
        if part is not None
    ]
    return {
        "embedded": sum(len(parts) for parts in embedded.places.values()),
        "candidates": len(candidates),
        "all": len(every),
        "broken": embedded.broken,
    }


def script_data(value: Any) -> str:
    """Return compressed JSON in base64 for a script tag, a third as long as the JSON.

    Base64 has no `<`, so it can neither end the tag nor begin a comment.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def assemble(title: str, data: str, pictures: str) -> str:
    """Return the page with everything that it needs, and a policy that allows nothing else.

    Args:
        title: The title, as plain text.
        data: The data, as `script_data` writes it.
        pictures: The pictures in base64.
    """
    style = (HERE / "page.css").read_text(encoding="utf-8")
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'"use strict";\n(async () => {{\n{script}\n}})();'
    policy = (
        f"default-src 'none'; script-src {style_hash(script)}; style-src {style_hash(style)}; "
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
    # All marks are replaced in one pass, so that marks inside the data stay as they are.
    page = (HERE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda mark: parts[mark[1]], page)


def style_hash(text: str) -> str:
    """Return the hash of a script or a style, as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
