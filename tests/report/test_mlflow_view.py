"""The view in MLflow is written once per sweep, and neither a failure nor a note is lost by it."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from contracts.databases import new_store

from genae_core.report import mlflow_view
from genae_core.report.mlflow_view import BEGIN, COLOR, END, NOTE, VIEW, add_link, save_view
from genae_core.tracking.mlflow_store import StoreError, Tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    folder = tmp_path_factory.mktemp("store")
    return Tracker.create(new_store(folder), "study", folder / "artifacts")


def log(
    tracker: Tracker,
    sweep: str,
    recommended: float = 3,
    fcd: float = 4,
    seed: int = 0,
    cell: str = "{}",
) -> str:
    """A finished run as a trial leaves it, as far as the view reads it."""
    tags = {"sweep": sweep, "cell": cell, "chain": "encode decode", "seed": str(seed)}
    key = f"{sweep}{seed}{cell}".encode().hex()
    run = tracker.start(key, f"run {seed}", tags, {}, 1)
    scalars = {
        "fcd_step0": 9.0,
        "fcd_best": fcd,
        "fcd_val_best": fcd,
        "fcd_best_step": 5.0,
        "fcd_recommended_step": recommended,
    }
    tracker.log_scalars(run.run_id, scalars)
    tracker.finish(run.run_id)
    return run.run_id


def tags(tracker: Tracker) -> dict[str, str]:
    return dict(tracker.client.get_experiment(tracker.experiment_id).tags)


def shown(tracker: Tracker, link: str | None) -> tuple[str, dict[str, Any]]:
    """The name and the state that the page would find under the link."""
    assert link is not None
    key = link.partition("viewStateShareKey=")[2].partition("&")[0]
    about = json.loads(tags(tracker)[VIEW + key])
    assert about["createdAt"] == about["updatedAt"] > 1e12  # ms
    kind, packed = about["state"].split(";")
    assert kind == "deflate"
    return about["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def cards(state: dict[str, Any]) -> list[dict[str, Any]]:
    places = [section["uuid"] for section in state["compareRunSections"]]
    charts: list[dict[str, Any]] = state["compareRunCharts"]
    assert {chart["metricSectionId"] for chart in charts} <= set(places)
    every = [chart["uuid"] for chart in charts] + places
    assert len(set(every)) == len(every)
    return charts


def test_the_link_leads_to_the_sweeps_charts(tracker: Tracker) -> None:
    for seed, step in enumerate((3, 3, 7)):
        log(tracker, "charts", recommended=step, seed=seed)
    link = save_view(tracker, "charts")
    host, _, path = str(link).partition("/#/experiments/")
    assert host == "http://127.0.0.1:5000"
    assert path.startswith(f"{tracker.experiment_id}/runs?viewStateShareKey=genae-")
    assert path.endswith("&compareRunsMode=CHART")
    name, state = shown(tracker, link)
    assert name == "sweep charts"
    assert state["searchFilter"] == "tags.sweep = 'charts'"
    assert state["runsHiddenMode"] == "SHOW_ALL"
    found = [(card["type"], card.get("metricKey", card.get("step"))) for card in cards(state)]
    assert found == [
        ("IMAGE", 0),
        ("IMAGE", 3),
        ("LINE", "chain/fcd"),
        ("LINE", "chain/fcd_val"),
        ("BAR", "fcd_step0"),
        ("BAR", "fcd_best"),
        ("BAR", "fcd_best_step"),
        ("BAR", "fcd_recommended_step"),
    ]


def test_images_of_step_0_are_shown_once_if_no_step_helps(tracker: Tracker) -> None:
    log(tracker, "still", recommended=0)
    _, state = shown(tracker, save_view(tracker, "still"))
    assert [card["step"] for card in cards(state) if card["type"] == "IMAGE"] == [0]


def test_the_image_step_is_recommended_by_a_run_with_images() -> None:
    run = {"fcd_step0": 9.0, "fcd_best": 4.0, "fcd_best_step": 1.0}
    every = [{**run, "fcd_recommended_step": step} for step in [2.0, 4.0] * 5 + [9.0] * 30]
    assert [card["step"] for card in cards(mlflow_view.page_state("", every))[:2]] == [0, 2]


def test_many_runs_are_hidden_and_a_wide_range_has_a_log_scale() -> None:
    def state(count: int, worst: float) -> dict[str, Any]:
        run = {"fcd_step0": worst, "fcd_best": 4.0, "fcd_best_step": 1.0}
        return mlflow_view.page_state("", [run] * count)

    assert [state(n, 9)["runsHiddenMode"] for n in (24, 25)] == ["SHOW_ALL", "FIRST_20_RUNS"]
    scales = [
        next(card["scaleType"] for card in cards(state(1, worst)) if card["type"] == "LINE")
        for worst in (39, 41)
    ]
    assert scales == ["linear", "log"]


@pytest.mark.slow
def test_seeds_share_a_colour_and_a_persons_choice_stays(tracker: Tracker) -> None:
    runs = {
        (cell, seed): log(tracker, "colours", seed=seed, cell=f'{{"dim": {cell}}}')
        for cell in range(12)
        for seed in range(2)
    }
    tracker.client.set_tag(runs[0, 0], COLOR, "#123456")
    save_view(tracker, "colours")
    color = {key: tracker.get_run(run).data.tags[COLOR] for key, run in runs.items()}
    assert color.pop((0, 0)) == "#123456"
    assert all(re.fullmatch("#[0-9a-f]{6}", found) for found in color.values())
    assert all(color[cell, 0] == color[cell, 1] for cell in range(1, 12))
    assert len(set(color.values())) == 12


def test_a_repeat_replaces_the_view_and_moves_its_link_to_the_top(tracker: Tracker) -> None:
    for sweep in ("first", "second"):
        log(tracker, sweep)
    links = [save_view(tracker, sweep) for sweep in ("first", "second")]
    before = tags(tracker)
    log(tracker, "first", recommended=8, seed=1, fcd=1)
    log(tracker, "first", recommended=8, seed=2, fcd=1)
    assert save_view(tracker, "first") == links[0] != links[1]
    after = tags(tracker)
    assert before.keys() == after.keys()
    assert cards(shown(tracker, links[0])[1])[1]["step"] == 8
    ours = [line for line in after[NOTE].splitlines() if "first](" in line or "second](" in line]
    assert [line.partition("]")[0] for line in ours] == ["- [first", "- [second"]


def test_the_note_keeps_what_a_person_wrote_and_ten_links() -> None:
    text = add_link("# Ours\n\nRead *this*.\n", "s0", "#0")
    assert text.startswith(f"# Ours\n\nRead *this*.\n\n\n{BEGIN}\n")
    text += "\nbelow\n- [mine](#me)"
    for number in range(1, 13):
        text = add_link(text, f"s{number}", f"#{number}-")
    before, _, rest = text.partition(BEGIN)
    block, _, after = rest.partition(END)
    assert before == "# Ours\n\nRead *this*.\n\n\n"
    assert after == "\nbelow\n- [mine](#me)"
    links = [line for line in block.splitlines() if line.startswith("-")]
    assert links == [f"- [s{number}](#{number}-)" for number in range(12, 2, -1)]


@pytest.mark.parametrize("order", [(BEGIN,), (END,), (END, BEGIN), (BEGIN, BEGIN), (BEGIN, END)])
def test_a_note_whose_marks_a_person_broke_loses_nothing(order: tuple[str, ...]) -> None:
    text = f"apple\n{order[0]}" + "".join(f"\npear\n{mark}" for mark in order[1:]) + "\nplum"
    if order == (BEGIN, END):
        text = text.replace("pear", "")  # what is between them is ours
    kept = [word for word in ("apple", "pear", "plum") if word in text]
    for sweep in ("one", "two", "one"):
        text = add_link(text, sweep, f"#{sweep}")
    assert [word for word in text.split() if word in ("apple", "pear", "plum")] == kept
    assert [text.count(f"- [{sweep}]") for sweep in ("one", "two")] == [1, 1]


@pytest.mark.parametrize(
    "sweep",
    ["it's", 'a "b"', "x' OR tags.sweep != 'y", "a\\", "](#x) <b>*_`\n--> " + END, "%", "é"],
)
def test_any_sweep_name_selects_only_its_own_runs(tracker: Tracker, sweep: str) -> None:
    log(tracker, sweep)
    name, state = shown(tracker, save_view(tracker, sweep))
    assert name == f"sweep {sweep}"
    found = tracker.client.search_runs([tracker.experiment_id], state["searchFilter"])
    assert {run.data.tags["sweep"] for run in found} == {sweep}
    text = tags(tracker)[NOTE]
    assert (text.count(BEGIN), text.count(END), text.count("<b>")) == (1, 1, 0)


def test_a_name_with_both_quotes_is_refused(
    tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tags(tracker)
    assert save_view(tracker, "both ' and \"") is None
    assert "both kinds of quotes" in capsys.readouterr().out
    assert tags(tracker) == before


def test_a_sweep_without_a_finished_run_has_no_view(
    tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert save_view(tracker, "nothing") is None
    assert "no run of the sweep has finished" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["3.15.2", "3.19.0", "4.0.0", "unknown"])
def test_another_version_is_left_alone(
    tracker: Tracker,
    version: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log(tracker, f"at {version}")
    before = tags(tracker)
    monkeypatch.setattr(mlflow_view.metadata, "version", lambda _: version)
    assert save_view(tracker, f"at {version}") is None
    assert tags(tracker) == before
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: no view in MLflow: ") and version in line
    assert line.endswith("`genae explorer` shows the sweep in any case")


def test_a_store_that_fails_costs_a_warning(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tracker, "unlucky")

    def fail(*_: str) -> None:
        raise StoreError("the disk of postgresql://me:secret@db is full")

    monkeypatch.setattr(tracker.client, "set_experiment_tag", fail)
    assert save_view(tracker, "unlucky") is None
    (line,) = capsys.readouterr().out.splitlines()
    assert "is full" in line and "secret" not in line


def test_a_server_that_is_gone_costs_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Tracker("http://127.0.0.1:9", "1")
    assert save_view(gone, "any") is None
    assert "warning: no view in MLflow: " in capsys.readouterr().out
