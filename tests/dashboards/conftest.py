"""A small sweep as a trial really logs it, the page built of it, and a browser to look at it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.databases import new_store
from contracts.sweeps import make_sweep
from exploring import CHROMIUM, FLAGS, HOSTILE, RECORD, Seen, Store, build

from genae_core.experiment.experiment import resolve
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.cells import cell_key
from genae_core.sweep.worker import run_cell
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import Tracker


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    tracker = Tracker.create(new_store(folder), "study", folder / "artifacts")
    data = tiny.splits()
    classifier = tiny.classifier(data)
    base = tiny.experiment()
    chains = tuple(
        ChainConfig(sampler=EncodeDecode(), record=RECORD, sub_batch=16, batch_norm=norm)
        for norm in ("batch", "running")
    )
    every = [
        {"family": "vae", "latent_dim": dim, "noise": noise}
        for dim, noise in ((2, 0.0), (2, 0.2), (3, 0.2))
    ]
    cells = {
        cell_key(params): resolve(
            dataclasses.replace(
                base,
                chains=chains,
                model=dataclasses.replace(
                    base.model,  # type: ignore[type-var]
                    latent_dim=params["latent_dim"],
                    noise=params["noise"],
                ),
            ),
            data,
        )
        for params in every
    }
    about = {"study": "latent_dim", "dataset": "digits", "classifier_sha256": "0" * 64}
    sweep = make_sweep(tracker, folder, cells, "small", about)
    for params in every:
        run_cell(params, sweep, data, classifier, lambda _: None)
    tags = {"sweep": "small", "family": "AAE", "cell": "{}", "chain": "x", "seed": "0"}
    broken = tracker.start("broken", HOSTILE, tags, {"note": "</script>"}, 1)
    tracker.finish(broken.run_id, "FAILED", f"NonFiniteLossError: {HOSTILE}")
    tracker.start("running", "AAE-2 running", tags, {}, 2)
    empty = tracker.start("empty", "AAE-2 empty", {**tags, "latent_dim": "2"}, {}, 3)
    tracker.log_scalars(
        empty.run_id,
        {"fcd_step0": 1.0, "fcd_best": 1.0, "fcd_best_step": 0.0, "fcd_floor": 1.0},
    )
    tracker.finish(empty.run_id)
    return Store(tracker)


@pytest.fixture(scope="session")
def explorer(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small sweep."""
    out = tmp_path_factory.mktemp("page") / "explorer.html"
    done = build("--sweep", "small", "--tracking-uri", store.uri, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "12 finished runs, 3 without a result, " in done.stdout
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. Skips where there is none, or no playwright to drive it.

    Closed with its module: until then its event loop is the running one of every test.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH")
    with playwright.sync_playwright() as driver:
        with driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as opened:
            yield opened


@pytest.fixture
def seen(browser: Any, explorer: Path) -> Iterator[Seen]:
    """The page in a new tab. Fails at the end on a request that leaves it or a console error."""
    with browser.new_context(accept_downloads=True, viewport={"width": 1280, "height": 900}) as c:
        page, wrong = c.new_page(), list[str]()
        page.set_default_timeout(10_000)
        allowed = ("data:", "blob:", explorer.as_uri())

        def told(message: Any) -> None:
            if message.type in ("error", "warning"):
                wrong.append(message.text)

        def asked(request: Any) -> None:
            if not request.url.startswith(allowed):
                wrong.append(request.url)

        def alerted(dialog: Any) -> None:
            wrong.append(dialog.message)
            dialog.dismiss()

        page.on("console", told)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", alerted)
        page.on("request", asked)
        page.goto(explorer.as_uri())
        yield Seen(page, wrong)
        assert wrong == []
