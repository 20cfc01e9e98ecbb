"""Metrics of a user's own in the table, the plots, MLflow's view and the data of the page."""

from pathlib import Path
from typing import Any

import pytest

from genae_core.report import mlflow_view
from genae_core.report.explorer.data import page_data
from genae_core.report.explorer.gather import FinishedRun
from genae_core.report.explorer.summaries import summarise
from genae_core.report.plots import draw_curves
from genae_core.report.tables import format_table
from genae_core.tracking.mlflow_store import RULER, StoredRun
from genae_core.tracking.own_metrics import OWN_METRICS, own_metrics_of, own_metrics_tag

STEPS = [0, 5]


def run(seed: int, sharpness: list[float | None], ruler: str = "sound") -> FinishedRun:
    """A run with a metric of one's own, whose value at a step may be missing."""
    start, chosen = sharpness
    scalars = {"fcd_step0": 8.0, "fcd_best": 4.0, "fcd_best_step": 5.0, "fcd_floor": 2.0}
    values = {"sharpness_step0": start, "sharpness_chosen": chosen, "sharpness_floor": 0.875}
    scalars |= {name: value for name, value in values.items() if value is not None}
    tags = {
        "cell": '{"latent_dim": 2}',
        "family": "VAE",
        "chain": "encode decode, batch BN",
        "seed": str(seed),
        "latent_dim": "2",
        RULER: ruler,
        **own_metrics_tag({"sharpness": "higher"}),
    }
    curves = {"fcd": [8.0, 4.0], "sharpness": sharpness}
    chain = {
        name: {k: v for k, v in zip(STEPS, curve, strict=True) if v is not None}
        for name, curve in curves.items()
    }
    stored = StoredRun(str(seed), "FINISHED", tags, {}, scalars, chain)  # type: ignore[arg-type]
    fields: Any = dict.fromkeys(FinishedRun._fields)
    return FinishedRun(**fields | {"stored": stored, "steps": STEPS, "values": curves})


RUNS = [run(0, [0.25, 0.5]), run(1, [0.75, None])]


def stored(runs: list[FinishedRun]) -> list[StoredRun]:
    return [one.stored for one in runs]


def test_the_table_has_two_columns_of_a_metric() -> None:
    head, _, row, line, ruler = format_table(stored(RUNS)).splitlines()
    assert head.split()[-5:] == ["step", "0", "sharpness", "best", "step"]
    assert row.split()[-5:] == ["2.0", "0.50", "±", "0.35", "0.50"]
    assert line == "sharpness: higher is better; real images 0.88 ± 0.00"
    assert ruler == "ruler: sound"


def test_a_blind_classifier_chooses_no_step() -> None:
    row = format_table(stored([run(0, [0.25, 0.5], "blind: no feature varies")])).splitlines()[2]
    assert row.split()[-2:] == ["0.25", "n/a"]


def test_runs_without_the_metric_have_a_dash() -> None:
    """As those of an earlier version have, in whose sweep the metric was not measured."""
    old = run(1, [None, None]).stored
    tags = {name: value for name, value in old.tags.items() if name != OWN_METRICS}
    tags["cell"] = '{"latent_dim": 3}'
    scalars = {name: value for name, value in old.scalars.items() if "sharpness" not in name}
    runs = [RUNS[0].stored, old._replace(tags=tags, scalars=scalars)]
    rows = format_table(runs).splitlines()
    assert [row.split()[-2:] for row in rows[2:4]] == [["0.25", "0.50"], ["-", "-"]]
    alone = format_table(runs[1:])
    assert "sharpness" not in alone and alone.splitlines()[0].split()[-1] == "best/real"


@pytest.mark.parametrize("text", ["", "[1]", "{", '"a"', '{"a": 3}', '{"a": "low"}', "null"])
def test_a_tag_that_cannot_be_read_names_no_metric(text: str) -> None:
    assert own_metrics_of([{}, {OWN_METRICS: text}]) == {}
    assert own_metrics_tag({}) == {}


def test_a_plot_of_a_metric_with_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "curves-sharpness.png"
    draw_curves(stored([*RUNS, run(2, [None, None])]), path, "sharpness")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_view_shows_the_curve_of_a_metric() -> None:
    scalars = {"fcd_step0": 9.0, "fcd_best": 4.0, "fcd_best_step": 1.0}
    plain = mlflow_view.page_state("", [scalars])
    state = mlflow_view.page_state("", [scalars], ["sharpness", "LPIPS"])
    titles = [section["name"] for section in state["compareRunSections"]]
    assert titles[1:3] == ["FCD by step, test | validation", "sharpness | LPIPS by step"]
    lines = [card["metricKey"] for card in state["compareRunCharts"] if card["type"] == "LINE"]
    assert lines == ["chain/fcd", "chain/fcd_val", "chain/sharpness", "chain/LPIPS"]
    assert len(plain["compareRunSections"]) == len(titles) - 1


def test_the_page_knows_the_metric() -> None:
    data = page_data("sqlite:///x.db", summarise(RUNS), RUNS, [])
    assert data["ownMetrics"] == {"sharpness": "higher"}
    (setting,) = data["settings"]
    start, last = setting["bands"]["sharpness"]
    assert start[0] == 0.5 and start[3] == 2 and start[1] < 0.25
    assert last == [0.5, None, None, 1]
    first, second = data["runs"]
    assert first["values"]["sharpness"] == [0.25, 0.5] and second["values"]["sharpness"][1] is None
    assert first["scalars"]["sharpness_floor"] == 0.875
    assert data["missingValues"] == {"sharpness": 1}
