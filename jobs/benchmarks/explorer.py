"""The suite "explorer": the time to build, open and play the page of a thousand runs, and the page
and the list of ten thousand."""

import contextlib
import json
import math
import shutil
import sqlite3
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import interpolate

from genae_core.config.places import sqlite_uri
from genae_core.evaluation.image_grids import SIDE, sprite, strip
from genae_core.experiment.recording import LATENT, SPRITE, save_sprite
from genae_core.report.explorer.page import MB, BuildSummary, build
from genae_core.tracking.mlflow_store import Tracker

from .rows import Row

FAMILIES = ("VAE", "DVAE", "AAE", "DAAE", "WAE-MMD")
DIMS, NOISES, NORMS = (2, 5, 10, 50, 200), (0.0, 0.1, 0.25, 0.5, 1.0), ("batch", "running")
SEEDS = 4  # seeds of each of the 250 settings
STEPS = tuple(range(16)) + (20, 30, 40, 50)
METRICS = ("fcd", "fcd_val", "kid", "precision", "recall", "density", "coverage", "rhat")
MANY, FEW = 1000, 24  # runs in the two pages
COPIES = 9  # of the thousand runs, for the page of ten thousand
LOOKS = 40  # number of different sample images, which the runs share
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PLAY_MS = 2000
# The first and the last part of the page that a step of the slider changes.
PLACES = ("#charts", "#matrix")
OPENED = """() => new Promise((done) => {
    const look = () => document.querySelector("#charts svg")
        ? requestAnimationFrame(() => done(performance.now() / 1000))
        : requestAnimationFrame(look);
    look();
})"""
PLAYED = """async ([place, ms]) => {
    document.querySelector(place).scrollIntoView();
    const range = document.getElementById("step"), last = Number(range.max);
    const frame = () => new Promise(requestAnimationFrame);
    for (let i = 0; i < 30; i += 1) await frame();
    const began = await frame();
    let now = began, frames = 0;
    while (now - began < ms) {
        range.value = frames % (last + 1);
        range.dispatchEvent(new Event("input"));
        now = await frame();
        frames += 1;
    }
    return (1000 * frames) / (now - began);
}"""


def rows(repeats: int, scratch: Path) -> list[Row]:
    """Measure build_1000_s, file_1000_mb, open_1000_s, slider_fps and build_24_s. The baselines
    are the limits that the page must keep.

    Raises:
        ValueError: playwright or Chromium is not installed.
    """
    chromium = next((p for n in ("chromium", "google-chrome") if (p := shutil.which(n))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise ValueError("the suite explorer needs playwright: install genae[dev]") from None
    if chromium is None:
        raise ValueError("the suite explorer needs a chromium on the PATH")
    uri = sqlite_uri(scratch / "mlflow.db")
    print(f"logging {MANY + FEW:,} generated runs ...", flush=True)
    tracker = Tracker.create(uri, "explorer", scratch / "artifacts")
    looks = [_look(number, scratch / f"look{number}") for number in range(LOOKS)]
    log(tracker, "many", looks, MANY)
    log(tracker, "few", looks, FEW)
    many, few = (
        [build(uri, [name], scratch / f"{name}.html") for _ in range(repeats)]
        for name in ("many", "few")
    )
    print(many[-1])
    copy_runs(scratch / "mlflow.db", "many", COPIES)
    most = build(uri, ["many"], scratch / "most.html")
    print(most)
    began = time.perf_counter()
    listed = len(tracker.find(sweep="many"))
    seconds_to_list = time.perf_counter() - began
    assert listed == most.runs == (1 + COPIES) * MANY
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        opens = [_seconds_to_open(browser, many[-1]) for _ in range(max(5, repeats))]
        opens_most = [_seconds_to_open(browser, most) for _ in range(repeats)]
        rates = [min(_frame_rates(browser, many[-1])) for _ in range(repeats)]
        browser.close()
    middle = statistics.median

    def row(name: str, value: float, unit: str, limit: float, least: bool = False) -> Row:
        ratio = value / limit if least else limit / value
        asked = f"{'at least' if least else 'at most'} {limit:g}, as asked"
        return Row(
            name=name, value=value, unit=unit, baseline=asked, baseline_value=limit, ratio=ratio
        )

    return [
        row("build_1000_s", middle(b.seconds for b in many), f"s, {MANY:,} runs x 20 steps", 30),
        row("file_1000_mb", many[-1].size / MB, "MB", 25),
        row("open_1000_s", middle(opens), "s, until the first view is drawn", 1),
        row("slider_fps", middle(rates), "frames/s, each with another step", 50, least=True),
        row("build_10000_s", most.seconds, f"s, {most.runs:,} runs x 20 steps", 300),
        row("file_10000_mb", most.size / MB, "MB", 25),
        row("open_10000_s", middle(opens_most), "s, until the first view is drawn", 3),
        row("list_10000_s", seconds_to_list, "s, all runs of a sweep from the store", 60),
        row("build_24_s", middle(b.seconds for b in few), f"s, {FEW} runs x 20 steps", 4),
    ]


def _seconds_to_open(browser: Any, page: BuildSummary) -> float:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        tab = context.new_page()
        tab.goto(page.path.as_uri())
        return float(tab.evaluate(OPENED))


def _frame_rates(browser: Any, page: BuildSummary) -> list[float]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        tab = context.new_page()
        tab.goto(page.path.as_uri() + "#norm=all")
        tab.locator("#page[aria-busy=false]").wait_for()
        return [float(tab.evaluate(PLAYED, [place, PLAY_MS])) for place in PLACES]


def log(tracker: Tracker, sweep: str, looks: list[Path], count: int) -> None:
    """Log runs as a sweep does, without what the page does not read: the large grids, and all but
    the last value of each metric."""
    generator = np.random.default_rng(0)
    for number, (tags, params) in zip(range(count), _settings(sweep), strict=False):
        run = tracker.start(f"{sweep}{number}", f"run {number}", tags, params, number + 1)
        curves = _curves(generator)
        scalars = {
            "fcd_step0": curves["fcd"][0],
            "fcd_best": min(curves["fcd"]),
            "fcd_best_step": float(STEPS[int(np.argmin(curves["fcd"]))]),
            "fcd_recommended_step": float(STEPS[int(np.argmin(curves["fcd"]))]),
            "fcd_floor": 8.7,
        }
        last = [(f"chain/{name}", values[-1], STEPS[-1]) for name, values in curves.items()]
        tracker.log_metrics(run, [*last, *((name, value, 0) for name, value in scalars.items())])
        look = looks[number % len(looks)]
        (look / "curve.json").write_text(json.dumps({"step": STEPS, **curves}))
        tracker.log_files(run.run_id, look)
        tracker.finish(run.run_id, time=number + 60_000)


def copy_runs(database: Path, sweep: str, copies: int) -> None:
    """Copy the runs of a sweep in MLflow's tables, which is faster than to log them. A copy has
    other latent dimensions, and the artifacts of its original."""
    tables = {
        "runs": "name, source_type, user_id, status, start_time, end_time, lifecycle_stage, "
        "artifact_uri, experiment_id",
        "latest_metrics": "key, value, timestamp, step, is_nan",
        "metrics": "key, value, timestamp, step, is_nan",
        "params": "key, value",
        "tags": "key, value",
    }
    with contextlib.closing(sqlite3.connect(database)) as store, store:
        store.execute(
            "create temp table originals as "
            "select run_uuid from tags where key = 'sweep' and value = ?",
            [sweep],
        )
        for number in range(1, copies + 1):
            copied = f"'{'ghijklmnopqrstuvwxyz'[number]}' || substr(run_uuid, 2)"  # in no run's id
            for table, columns in tables.items():
                store.execute(
                    f"insert into {table} (run_uuid, {columns}) "
                    f"select {copied}, {columns} from {table} "
                    "where run_uuid in (select run_uuid from originals)"
                )
            these = f"run_uuid in (select {copied} from originals)"
            store.execute(
                f"update tags set value = value + {1000 * number} "
                f"where key = 'latent_dim' and {these}"
            )
            dim = f"json_extract(value, '$.latent_dim') + {1000 * number}"
            store.execute(
                f"update tags set value = json_set(value, '$.latent_dim', {dim}) "
                f"where key = 'cell' and {these}"
            )


def _settings(sweep: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    every = ((f, d, n, b, s) for f in FAMILIES for d in DIMS for n in NOISES for b in NORMS
             for s in range(SEEDS))  # fmt: skip
    for family, dim, noise, norm, seed in every:
        cell = json.dumps({"family": family.lower(), "latent_dim": dim, "noise": noise})
        tags = {"sweep": sweep, "family": family, "cell": cell, "seed": str(seed)}
        tags |= {"chain": f"encode decode, {norm} BN", "latent_dim": str(dim), "dataset": "made"}
        tags |= {f"tag{i}": "of any kind" for i in range(12)}
        yield tags, {f"model.param{i}": str(i) for i in range(50)}


def _curves(generator: np.random.Generator) -> dict[str, list[float]]:
    start, best = generator.uniform(150, 400), generator.uniform(1, 12)
    curves = {}
    for name in METRICS:
        noise = generator.normal(0, 3, len(STEPS))
        values = [start * (0.4 + 0.6 * abs(math.log1p(k) - math.log1p(best))) for k in STEPS]
        curves[name] = [float(v) for v in np.array(values) + noise]
        curves[f"{name}_se"] = [1.0] * len(STEPS)
    return curves


def _look(number: int, folder: Path) -> Path:
    """Write the files of a run whose samples change from one digit to another, step by step."""
    folder.mkdir()
    digits = torch.from_numpy(load_digits().images).float()[:, None] / 16  # N 1 8 8
    draw = torch.Generator().manual_seed(number)
    picks = torch.randint(len(digits), (2, SIDE**2), generator=draw)
    begin, end = (interpolate(digits[k], size=28, mode="bilinear") for k in picks)
    shares = [math.exp(-k / 5) for k in STEPS]
    images: Tensor = torch.stack([share * begin + (1 - share) * end for share in shares])
    images = (images + 0.03 * torch.randn(images.shape, generator=draw)).clamp(0, 1)
    save_sprite(sprite(images), folder / SPRITE)
    Image.fromarray(strip(images[:, :10], STEPS)).save(folder / "strip.png")
    points = torch.randint(256, (len(STEPS) + 1, 600), generator=draw).tolist()
    chains = {str(k): some[:300] for k, some in zip(STEPS, points[1:], strict=True)}
    latent = {"explained": 0.6, "codes": points[0], "chains": chains}
    (folder / LATENT).write_text(json.dumps(latent))
    return folder
