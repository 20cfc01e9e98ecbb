"""The charts of a sweep in MLflow: a saved view of the runs page, with a link to it in the
experiment's note.

MLflow has no API for views. Its page stores a view as the experiment's tag
mlflow.sharedViewState.ID: JSON {name, createdAt, updatedAt, state}, with state = "deflate;" +
base64(zlib(JSON)) of what the page shows. This format is undocumented, so nothing is written for
an MLflow version outside TESTED_VERSIONS.
"""

import base64
import colorsys
import hashlib
import html
import json
import re
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from genae_core.config import require
from genae_core.config.console import say as say_here
from genae_core.config.redaction import redact
from genae_core.report.steps import BEST, RECOMMENDED
from genae_core.tracking.mlflow_store import IMAGE_KEY, Tracker
from genae_core.tracking.own_metrics import own_metrics_of
from genae_core.tracking.store_check import server_version

TESTED_VERSIONS = ("3.16", "3.18")  # the first and the last MLflow whose page showed the view
UI = "http://127.0.0.1:5000"  # where `make ui` shows a store that is not a server
VIEW, NOTE, COLOR = "mlflow.sharedViewState.", "mlflow.note.content", "mlflow.runColor"
BEGIN, END = "<!-- genae: views of sweeps -->", "<!-- genae: end -->"  # around our part of a note
MAX_LINKS = 10  # in the note
MAX_RUNS = 24  # a chart of more runs would not be readable
RUNS_WITH_IMAGES = 10  # the page loads images of this many runs, the first ones
RANK = "fcd_val_best"  # the order of the runs is chosen on validation, as the step is
BARS = ("fcd_step0", "fcd_best", BEST, RECOMMENDED)

Json = dict[str, Any]


def save_view(
    tracker: Tracker, sweep: str, ui: str = UI, say: Callable[[str], None] = say_here
) -> str | None:
    """Write the view of a sweep, in place of an earlier one, and link it in the experiment's note.

    The view is only a convenience, so any failure is only a warning.

    Args:
        tracker: The store that holds the sweep.
        sweep: The name of the sweep.
        ui: Where a store that is not a server is shown.
        say: Prints a warning.

    Returns:
        The link to the view, or None after a failure.
    """
    try:
        version = _version(tracker.uri)
        first, last = TESTED_VERSIONS
        require(
            _release(first) <= _release(version) <= _release(last),
            f"views are tested with MLflow {first} to {last}",
            mlflow=version,
        )
        return _write(tracker, sweep, ui)
    except Exception as error:
        reason = redact(str(error))
        say(f"warning: no view in MLflow: {reason}; `genae explorer` shows the sweep in any case")
        return None


def _version(uri: str) -> str:
    """Return the version of the MLflow that shows the store: the server's, or the local one."""
    if not uri.startswith("http"):
        return metadata.version("mlflow")
    return server_version(uri)


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version. Raises ValueError if they are not numbers."""
    return tuple(int(part) for part in version.split(".")[:2])


def _write(tracker: Tracker, sweep: str, ui: str) -> str:
    """Write the view, the colours of its runs and the link in the note. Return the link."""
    client, experiment = tracker.client, tracker.experiment_id
    query, best_first = sweep_filter(sweep), [f"metrics.{RANK} ASC"]
    runs = client.search_runs([experiment], query, max_results=1000, order_by=best_first)
    scalars = [run.data.metrics for run in runs if RANK in run.data.metrics]
    require(len(scalars) > 0, "no run of the sweep has finished", sweep=sweep)
    _color_runs(tracker, runs[:MAX_RUNS])
    view = "genae-" + hashlib.sha256(sweep.encode()).hexdigest()[:16]
    now = int(1000 * time.time())
    about = {"name": f"sweep {sweep}", "createdAt": now, "updatedAt": now}
    own = own_metrics_of(run.data.tags for run in runs)
    value = json.dumps({**about, "state": encode_state(page_state(query, scalars, tuple(own)))})
    client.set_experiment_tag(experiment, VIEW + view, value)
    path = f"#/experiments/{experiment}/runs?viewStateShareKey={view}&compareRunsMode=CHART"
    note = client.get_experiment(experiment).tags.get(NOTE, "")
    client.set_experiment_tag(experiment, NOTE, add_link(note, sweep, path))
    return f"{redact(tracker.uri if tracker.uri.startswith('http') else ui).rstrip('/')}/{path}"


def sweep_filter(sweep: str) -> str:
    """Return MLflow's filter for the runs of the sweep.

    The filter language has two kinds of quotes and no escapes, so that a name with both kinds of
    quotes cannot be written.
    """
    quote = '"' if "'" in sweep else "'"
    require(quote not in sweep, "no filter of MLflow holds both kinds of quotes", sweep=sweep)
    return f"tags.sweep = {quote}{sweep}{quote}"


def _color_runs(tracker: Tracker, runs: Sequence[Any]) -> None:
    """Give the seeds of one cell and chain config the same colour, unless a person chose one.

    Without this the page picks a colour from the run's id, and often picks one twice.
    """
    keys = [(run.data.tags.get("cell", ""), run.data.tags.get("chain", "")) for run in runs]
    order = sorted(set(keys))
    for run, key in zip(runs, keys, strict=True):
        if COLOR not in run.data.tags:
            number = order.index(key)
            hue, light = number / len(order), (0.35, 0.5, 0.65)[number % 3]
            parts = (round(255 * part) for part in colorsys.hls_to_rgb(hue, light, 0.75))
            tracker.client.set_tag(run.info.run_id, COLOR, "#" + bytes(parts).hex())


def page_state(query: str, scalars: Sequence[dict[str, float]], own: Sequence[str] = ()) -> Json:
    """Return what the page shows of the runs that the query selects.

    Args:
        query: MLflow's filter for the runs.
        scalars: The scalar metrics of each finished run, best run first.
        own: The names of the user's own metrics.

    Returns:
        The state, as MLflow's page stores it.
    """
    charts: list[Json] = []
    sections: list[Json] = []
    for name, columns, height, cards in _layout(scalars, own):
        section = {"uuid": f"genae-{len(sections)}", "columns": columns, "cardHeight": height}
        sections.append({**section, "name": name, "display": bool(cards), "isReordered": True})
        for card in cards:
            place = {"uuid": f"genae-chart-{len(charts)}", "metricSectionId": section["uuid"]}
            charts.append({**card, **place})
    return {
        "searchFilter": query,
        "orderByKey": f"metrics.`{RANK}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"metrics.`{name}`" for name in (RANK, *BARS)],
        "runsHiddenMode": "SHOW_ALL" if len(scalars) <= MAX_RUNS else "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,  # otherwise the page sorts the sections by name
        "hideEmptyCharts": True,
        "groupBy": None,  # the page shows no images of grouped runs
    }


def _layout(
    scalars: Sequence[dict[str, float]], own: Sequence[str]
) -> list[tuple[str, int, int, list[Json]]]:
    """Return the sections of the page: name, number of columns, height of a card, cards.

    The images come first, those of the best run before the others. They are those of step 0 and
    of the recommended step of the best runs. The step is the lower median, so that at least one
    of these runs has images of it.
    """
    leading = scalars[:RUNS_WITH_IMAGES]
    steps = [run.get(RECOMMENDED, run[BEST]) for run in leading]
    image_steps = sorted({0, int(statistics.median_low(steps))})
    fcds = [run[name] for run in scalars for name in ("fcd_step0", "fcd_best")]
    scale = "log" if 0 < 10 * min(fcds) < max(fcds) else "linear"
    images = f"Samples at step {' | '.join(map(str, image_steps))}"
    bars = [_card("BAR", metricKey=name) for name in BARS]
    own_title = f"{' | '.join(own)} by step"
    return [
        (images, 2, 600, [_images(step) for step in image_steps]),
        ("FCD by step, test | validation", 2, 400, [_line("fcd", scale), _line("fcd_val", scale)]),
        *([(own_title, 2, 400, [_line(name, "linear") for name in own])] if own else []),
        ("At step 0 | best | best step | recommended step", 4, 360, bars),
        # The page adds a chart of every other metric to the section of its prefix. A section is
        # closed if we put no card into it.
        *((prefix, 3, 360, []) for prefix in ("chain", "train", "Model metrics")),
    ]


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


def encode_state(state: Json) -> str:
    """Return the state as MLflow's page stores it."""
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()


def add_link(note: str, sweep: str, path: str) -> str:
    """Return the note with this link before the links of earlier sweeps.

    Only the part between BEGIN and END changes. What people wrote around it stays as it is.

    Args:
        note: The experiment's note, in Markdown.
        sweep: The name of the sweep, which becomes the text of the link.
        path: The target of the link.
    """
    start = note.rfind(BEGIN)
    end = note.find(END, start) if start >= 0 else -1
    if end < 0:
        note = f"{note}\n\n{BEGIN}{END}".lstrip()
        start, end = note.rfind(BEGIN), note.rfind(END)
    before, ours, after = note[:start], note[start:end], note[end:]
    others = [line for line in ours.splitlines() if line.startswith("- [") and path not in line]
    name = re.sub(r"([\\`*_\[\]])", r"\\\1", html.escape(" ".join(sweep.split())))
    links = "\n".join([f"- [{name}]({path})", *others][:MAX_LINKS])
    return f"{before}{BEGIN}\n**Sweeps, newest first**\n\n{links}\n\n{after}"
