"""The printed link shows the sweep's charts in MLflow's own page, to one who was never there."""

import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from contracts.servers import on_sqlite
from exploring import RECORD, Store

from genae_core.report.mlflow_view import save_view
from genae_core.tracking.mlflow_store import StoredRun, Tracker

pytestmark = pytest.mark.slow

WAIT_MS = 120_000  # MLflow's page is a large one, and the machine may be busy
CARD = "[data-testid=experiment-view-compare-runs-card]"
BARS = {"fcd_step0", "fcd_best", "fcd_best_step", "fcd_recommended_step"}
RECOMMENDED = RECORD[-1]


class Opened(NamedTuple):
    """The page under the link; the names of the sweep's runs, and those with a result."""

    page: Any
    runs: list[str]
    finished: list[StoredRun]


@pytest.fixture(scope="module")
def opened(
    browser: Any, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    """From a server on a copy of the small sweep's store, where another sweep has a run too, and
    every run recommends a step that is not 0."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(store.uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    runs = store.tracker.find(sweep="small")
    finished = [run for run in store.tracker.read_runs("small") if "fcd_val_best" in run.scalars]
    with on_sqlite(folder) as server:
        tracker = Tracker.create(server.uri, "study", folder)
        tracker.start("other", "of another sweep", {"sweep": "other"}, {}, 1)
        for run in finished:
            tracker.log_scalars(run.run_id, {"fcd_recommended_step": RECOMMENDED})
        link = save_view(tracker, "small")
        assert link is not None and link.startswith(f"{server.uri}/#/experiments/")
        with browser.new_context(viewport={"width": 1900, "height": 2200}) as fresh:
            page = fresh.new_page()
            page.set_default_timeout(WAIT_MS)
            page.goto(link)
            for marks in (".scatterlayer .point", ".barlayer .point", "img"):
                page.wait_for_selector(f"{CARD} {marks}")
            yield Opened(page, [run.info.run_name for run in runs], finished)


def drawn(opened: Opened, marks: str) -> dict[str, int]:
    """How many of these each chart has drawn, by its title."""
    cards = opened.page.locator(CARD).all()
    counts = {card.inner_text().split("\n")[0]: card.locator(marks).count() for card in cards}
    return {title: count for title, count in counts.items() if count}


def test_the_filter_lists_only_the_runs_of_the_sweep(opened: Opened) -> None:
    page = opened.page
    assert page.get_by_test_id("search-box").input_value() == "tags.sweep = 'small'"
    assert page.get_by_text(f"{len(opened.runs)} matching runs").count() == 1
    listed = page.locator("[role=row] a").all_inner_texts()
    assert sorted(listed) == sorted(opened.runs)
    assert "Error loading shared view" not in page.inner_text("body")


def test_every_runs_curves_and_bars_are_drawn(opened: Opened) -> None:
    assert len(opened.finished) > 10  # the page by itself would show ten
    points = sum(len(run.chain["fcd"]) for run in opened.finished)
    curves = drawn(opened, ".scatterlayer .point")
    assert curves == {"chain/fcd": points, "chain/fcd_val": points}
    bars = drawn(opened, ".barlayer .point")
    assert bars.keys() == BARS
    assert min(bars.values()) >= len(opened.finished)


def test_the_images_are_of_step_0_and_of_the_recommended_one(opened: Opened) -> None:
    cards = opened.page.locator(CARD).filter(has_text="samples")
    for card, step in zip(cards.all(), (0, RECOMMENDED), strict=True):
        assert card.locator("input[type=number]").input_value() == str(step)
        sources = card.locator("img").evaluate_all(
            "found => found.filter(i => i.naturalWidth > 0).map(i => decodeURIComponent(i.src))"
        )
        assert len(sources) == 10  # of more it loads none
        assert all(f"images/samples+step+{step}+" in source for source in sources)


def test_the_other_metrics_wait_in_closed_sections(opened: Opened) -> None:
    headers = opened.page.get_by_test_id("experiment-view-compare-runs-section-header")
    titles = [text.split("\n")[0] for text in headers.all_inner_texts()]
    assert len(titles) == 6 and titles[3:] == ["chain", "train", "Model metrics"]
    assert opened.page.locator(CARD).count() == 4 + len(BARS)


def test_the_note_links_the_view(opened: Opened) -> None:
    (link,) = opened.page.locator("a[href*=viewStateShareKey]", has_text="small").all()
    assert link.get_attribute("href") in opened.page.url
