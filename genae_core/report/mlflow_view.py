"""A sweep's charts, laid out in MLflow: a saved view of the runs page, linked in the experiment's
note.

MLflow has no API for it. Its page keeps a view as the experiment's tag mlflow.sharedViewState.ID:
JSON {name, createdAt, updatedAt, state}, where state is "deflate;" + base64(zlib(JSON)) of what
the page shows. This is undocumented, so nothing is written for a version outside SEEN.
"""

import base64
import colorsys
import hashlib
import html
import json
import os
import re
import statistics
import time
import urllib.request
import zlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from genae_core.config import require
from genae_core.tracking.mlflow_store import IMAGE_KEY, Tracker
from genae_core.tracking.store_uri import TIMEOUT_S, redact

SEEN = ("3.16", "3.18")  # the first and the last MLflow whose page was seen to show the view
UI = "http://127.0.0.1:5000"  # where `make ui` shows a store that is no server
VIEW, NOTE, COLOR = "mlflow.sharedViewState.", "mlflow.note.content", "mlflow.runColor"
BEGIN, END = "<!-- genae: views of sweeps -->", "<!-- genae: end -->"  # our part of the note
LINKS = 10  # in the note
SHOWN = 24  # runs that a chart can tell apart
PICTURED = 10  # the first runs, of which the page loads images
RANK = "fcd_val_best"  # like the step, the order is chosen on validation
BARS = ("fcd_step0", "fcd_best", "fcd_best_step")

Json = dict[str, Any]


def share(tracker: Tracker, sweep: str, ui: str = UI) -> str | None:
    """Write the sweep's view, in place of an earlier one, and its link into the experiment's note.

    Returns the link; ui is its host where the store is no server. A sweep never fails for it:
    whatever goes wrong is one warning and None.
    """
    try:
        version = _version(tracker.uri)
        require(
            _release(SEEN[0]) <= _release(version) <= _release(SEEN[1]),
            f"it was tried with MLflow {SEEN[0]} to {SEEN[1]}",
            mlflow=version,
        )
        return _write(tracker, sweep, ui)
    except Exception as error:  # of any kind: the sweep is done, and this a convenience
        why = redact(str(error))
        print(f"warning: no view in MLflow: {why}; `make explorer` shows the sweep in any case")
        return None


def _version(uri: str) -> str:
    """Of the MLflow whose page shows the store: the server's, or else the one installed here."""
    if not uri.startswith("http"):
        return metadata.version("mlflow")
    request = urllib.request.Request(f"{uri.rstrip('/')}/version")
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        login = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return str(answer.read(100).decode())


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _write(tracker: Tracker, sweep: str, ui: str) -> str:
    client, experiment = tracker.client, tracker.experiment_id
    query, best_first = condition(sweep), [f"metrics.{RANK} ASC"]
    runs = client.search_runs([experiment], query, max_results=1000, order_by=best_first)
    scalars = [run.data.metrics for run in runs if RANK in run.data.metrics]
    require(len(scalars) > 0, "no run of the sweep has finished", sweep=sweep)
    _color(tracker, runs[:SHOWN])
    view = "genae-" + hashlib.sha256(sweep.encode()).hexdigest()[:16]
    now = int(1000 * time.time())
    about = {"name": f"sweep {sweep}", "createdAt": now, "updatedAt": now}
    value = json.dumps({**about, "state": encode(page(query, scalars))})
    client.set_experiment_tag(experiment, VIEW + view, value)
    path = f"#/experiments/{experiment}/runs?viewStateShareKey={view}&compareRunsMode=CHART"
    text = client.get_experiment(experiment).tags.get(NOTE, "")
    client.set_experiment_tag(experiment, NOTE, with_link(text, sweep, path))
    return f"{redact(tracker.uri if tracker.uri.startswith('http') else ui).rstrip('/')}/{path}"


def condition(sweep: str) -> str:
    """MLflow's filter for the sweep's runs. It knows no escapes, but two kinds of quotes."""
    quote = '"' if "'" in sweep else "'"
    require(quote not in sweep, "no filter of MLflow holds both kinds of quotes", sweep=sweep)
    return f"tags.sweep = {quote}{sweep}{quote}"


def _color(tracker: Tracker, runs: Sequence[Any]) -> None:
    """One colour for a cell and chain setting, whatever the seed, where nobody has chosen one:
    by itself the page draws from its palette by the run's id, and twice the same."""
    keys = [(run.data.tags.get("cell", ""), run.data.tags.get("chain", "")) for run in runs]
    order = sorted(set(keys))
    for run, key in zip(runs, keys, strict=True):
        if COLOR not in run.data.tags:
            number = order.index(key)
            hue, light = number / len(order), (0.35, 0.5, 0.65)[number % 3]
            parts = (round(255 * part) for part in colorsys.hls_to_rgb(hue, light, 0.75))
            tracker.client.set_tag(run.info.run_id, COLOR, "#" + bytes(parts).hex())


def page(query: str, scalars: Sequence[dict[str, float]]) -> Json:
    """What the page is to show of the runs that the query finds.

    scalars: of the finished ones, best first. The images are at the step that the first of them
    recommend, beside step 0.
    """
    steps = [run.get("fcd_recommended_step", run["fcd_best_step"]) for run in scalars[:PICTURED]]
    at = sorted({0, int(statistics.median_low(steps))})  # one of them, for it has images
    fcds = [run[name] for run in scalars for name in ("fcd_step0", "fcd_best")]
    scale = "log" if 0 < 10 * min(fcds) < max(fcds) else "linear"
    layout = [
        ("FCD by step, test | validation", 2, 400, [_line("fcd", scale), _line("fcd_val", scale)]),
        (f"Samples at step {' | '.join(map(str, at))}", 2, 600, [_images(step) for step in at]),
        ("At step 0 | best | at step", 3, 360, [_card("BAR", metricKey=name) for name in BARS]),
        # The page adds a chart of every other metric to the section of its prefix: closed ones.
        *((rest, 3, 360, []) for rest in ("chain", "train", "Model metrics")),
    ]
    charts: list[Json] = []
    sections: list[Json] = []
    for name, columns, height, cards in layout:
        place = {"uuid": f"genae-{len(sections)}", "columns": columns, "cardHeight": height}
        sections.append({**place, "name": name, "display": bool(cards), "isReordered": True})
        for card in cards:
            where = {"uuid": f"genae-chart-{len(charts)}", "metricSectionId": place["uuid"]}
            charts.append({**card, **where})
    return {
        "searchFilter": query,
        "orderByKey": f"metrics.`{RANK}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"metrics.`{name}`" for name in (RANK, *BARS)],
        "runsHiddenMode": "SHOW_ALL" if len(scalars) <= SHOWN else "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,  # or the page sorts the sections by name
        "hideEmptyCharts": True,
        "groupBy": None,  # a group has no images
    }


def _card(kind: str, **more: Any) -> Json:
    return {"type": kind, "deleted": False, "isGenerated": False, **more}


def _line(curve: str, scale: str) -> Json:
    return _card(
        "LINE",
        metricKey=f"chain/{curve}",
        selectedMetricKeys=[f"chain/{curve}"],
        scaleType=scale,
        xAxisKey="step",
        xAxisScaleType="linear",
        selectedXAxisMetricKey="",
        useGlobalXaxisKey=False,
        yAxisKey="metric",
        yAxisExpressions=[],
        range={},
        displayPoints=True,
        ignoreOutliers=False,
        lineSmoothness=0,
        useGlobalLineSmoothing=False,
    )


def _images(step: int) -> Json:
    return _card("IMAGE", imageKeys=[IMAGE_KEY], step=step, showRunParams=False)


def encode(state: Json) -> str:
    """The state as the page stores it."""
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()


def with_link(text: str, sweep: str, path: str) -> str:
    """The note with this link first among ours; what a person wrote around them stays."""
    start = text.rfind(BEGIN)
    end = text.find(END, start) if start >= 0 else -1
    if end < 0:
        text = f"{text}\n\n{BEGIN}{END}".lstrip()
        start, end = text.rfind(BEGIN), text.rfind(END)
    before, ours, after = text[:start], text[start:end], text[end:]
    old = [line for line in ours.splitlines() if line.startswith("- [") and path not in line]
    name = re.sub(r"([\\`*_\[\]])", r"\\\1", html.escape(" ".join(sweep.split())))
    links = "\n".join([f"- [{name}]({path})", *old][:LINKS])
    return f"{before}{BEGIN}\n**Sweeps, the newest first**\n\n{links}\n\n{after}"
