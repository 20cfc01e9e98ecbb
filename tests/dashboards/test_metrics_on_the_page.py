"""A metric of a user's own is a choice on the page, with its direction and its floor."""

from pathlib import Path
from typing import Any

import pytest

from genae_core.report.explorer.data import page_data
from genae_core.report.explorer.gather import FinishedRun
from genae_core.report.explorer.page import assemble, script_data
from genae_core.report.explorer.summaries import summarise
from genae_core.tracking.mlflow_store import StoredRun
from genae_core.tracking.own_metrics import own_metrics_tag

pytestmark = pytest.mark.slow

STEPS = [0, 5]


def run(latent_dim: int, sharpness: list[float], own: bool = True) -> FinishedRun:
    scalars = {"fcd_step0": 8.0, "fcd_best": 4.0, "fcd_best_step": 5.0, "fcd_floor": 2.0}
    scalars["fcd_recommended_step"] = 5.0
    tags = {
        "cell": f'{{"latent_dim": {latent_dim}}}',
        "family": "VAE",
        "chain": "encode decode, batch BN",
        "seed": "0",
        "latent_dim": str(latent_dim),
    }
    curves: dict[str, list[float | None]] = {"fcd": [8.0, 4.0]}
    if own:
        tags |= own_metrics_tag({"toString": "higher"})
        curves["toString"] = list(sharpness)
        scalars["toString_floor"] = 0.75
    chain = {
        name: {k: v for k, v in zip(STEPS, curve, strict=True) if v is not None}
        for name, curve in curves.items()
    }
    stored = StoredRun(str(latent_dim), "FINISHED", tags, {}, scalars, chain)
    fields: Any = dict.fromkeys(FinishedRun._fields)
    return FinishedRun(**fields | {"stored": stored, "steps": STEPS, "values": curves})


def test_a_metric_is_chosen_like_the_others(browser: Any, tmp_path: Path) -> None:
    """Its name is one that every object of JavaScript has, and one setting lacks the metric."""
    runs = [run(2, [0.25, 0.5]), run(3, [], own=False)]
    data = page_data("sqlite:///x.db", summarise(runs), runs, [])
    data |= {"sweeps": ["s"], "pictures": [{}, {}]}
    data["pictureCounts"] = {"embedded": 0, "candidates": 0, "all": 0, "broken": 0}
    path = tmp_path / "page.html"
    path.write_text(assemble("s", script_data(data), ""))
    with browser.new_context() as context:
        page, wrong = context.new_page(), list[str]()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        page.select_option("#choose-metric", "toString")
        page.locator("#page[aria-busy=false]").wait_for()
        assert page.locator("#chart-title").text_content() == "toString against the MCMC step"
        hint = page.locator("#chart-hint").text_content()
        assert hint.startswith("Higher is better. ")
        assert hint.endswith("the grey dashed line is the value of real images.")
        assert page.locator("#charts .floor").count() == 2
        dots = page.locator("#charts .dot title").all_text_contents()
        assert [text.rpartition(": ")[2] for text in dots] == ["0.25, n = 1", "0.50, n = 1"]
        assert "0.25" in page.locator("#table").text_content()
        assert wrong == []
