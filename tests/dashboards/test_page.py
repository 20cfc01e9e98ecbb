"""The page in a real browser: what moves together, what a link holds, and that nothing leaves."""

import csv
from pathlib import Path
from typing import Any

import pytest
from contracts.pages import data_of, with_data
from exploring import HOSTILE, RECORD, Seen

pytestmark = pytest.mark.slow


def words(page: Any, selector: str) -> str:
    """The text of the first such element, also where it is out of sight and so not laid out."""
    return str(page.locator(selector).first.text_content())


def figures(page: Any) -> dict[str, Any]:
    """What each panel says of the step, once all have followed it."""
    page.locator("#page[aria-busy=false]").wait_for()
    shown = "n => [n.style.backgroundPosition, n.ariaLabel]"
    return {
        "charts": page.locator(".readings").all_text_contents(),
        "line": page.locator(".now").first.get_attribute("style"),
        "tiles": [node.evaluate(shown) for node in page.locator(".tile .samples").all()],
        "captions": page.locator(".tile .value").all_text_contents(),
        "heat": words(page, ".heat"),
        "table": words(page, "#table"),
    }


def test_one_slider_moves_every_panel(seen: Seen) -> None:
    page = seen.page
    before = figures(page)
    assert len(before["tiles"]) > 1
    page.locator("#step").focus()
    page.keyboard.press("ArrowRight")
    assert words(page, "#step-now") == str(RECORD[1])
    after = figures(page)
    for name, value in before.items():
        assert after[name] != value, name
    page.locator("body").evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    assert figures(page) == before
    page.click("#play")
    page.locator("#marks .here", has_text=str(RECORD[1])).wait_for()
    page.click("#play")
    assert words(page, "#play") == "Play"


def test_the_numbers_are_those_of_the_data(seen: Seen) -> None:
    page = seen.page
    page.goto(page.url.split("#")[0] + "#step=3&metric=kid&norm=all")
    told = page.locator("#charts .dot title").all_text_contents()
    settings = data_of(page.content())["settings"]
    wanted = [band[3] for setting in settings for band in setting["bands"]["kid"]]
    assert len(told) == len(wanted) == 6 * len(RECORD)
    assert all(text.endswith(f"n = {n}") for text, n in zip(told, wanted, strict=True))
    assert words(page, "#chart-title") == "KID against the MCMC step"
    assert page.locator("#charts .floor").count() == 0  # KID has no floor of real images


def test_filters_and_links(seen: Seen, browser: Any) -> None:
    page = seen.page
    whole = page.locator("#table tbody tr").count()
    page.select_option("#choose-dim", "3")
    page.select_option("#choose-seed", "1")
    page.locator("#step").focus()
    page.keyboard.press("End")
    assert page.locator("#charts figure").count() == 1
    assert 0 < page.locator("#table tbody tr").count() < whole
    assert page.locator(".band").count() == 0  # one seed has no interval
    there = figures(page)
    page.wait_for_url("**step=*")
    with browser.new_context() as other:
        again = other.new_page()
        again.goto(page.url)
        assert figures(again) == there
    page.click("#reset")
    assert page.locator("#table tbody tr").count() == whole
    assert page.locator(".band").count() == whole
    page.goto(page.url.split("#")[0] + "#dim=77&step=1")
    assert "no dim=77" in words(page, "#notice")
    assert words(page, "#step-now") == "1"


def test_without_families_the_panels_say_that_nothing_matches(seen: Seen) -> None:
    page = seen.page
    for box in page.locator("#families input").all():
        box.uncheck()
    for panel in ("#charts", "#matrix", "#heat", "#table"):
        assert "No setting matches these choices" in words(page, panel)


def test_pin_flip_difference(seen: Seen) -> None:
    page = seen.page
    assert page.locator("#compare").is_hidden()
    page.locator(".pin").nth(0).click()
    page.locator(".pin").nth(1).click()
    page.locator("#page[aria-busy=false]").wait_for()
    first = page.locator(".stack .samples").get_attribute("style")
    page.click("#flip-B")
    page.locator("#page[aria-busy=false]").wait_for()
    assert page.locator(".stack .samples").get_attribute("style") != first
    page.click("#flip-difference")
    pressed = {view: f"#flip-{view}" for view in ("A", "B", "difference")}
    said = {view: page.get_attribute(place, "aria-pressed") for view, place in pressed.items()}
    assert said == {"A": "false", "B": "false", "difference": "true"}
    blend = "getComputedStyle(document.querySelector('.stack .over')).mixBlendMode"
    assert page.evaluate(blend) == "difference"
    assert page.locator(".stack .samples").count() == 2
    page.wait_for_url("**flip=difference*a=*b=*")
    page.click("#unpin")
    assert page.locator("#compare").is_hidden()


def test_a_pinned_setting_may_lack_the_chosen_seed(
    explorer: Path, browser: Any, tmp_path: Path
) -> None:
    """As where one trial failed."""

    text = explorer.read_text()
    data = data_of(text)
    runs = data["settings"][0]["runs"]
    runs[:] = [number for number in runs if data["runs"][number]["seed"] == "0"]
    (tmp_path / "page.html").write_text(with_data(text, data))
    with browser.new_context() as context:
        page, wrong = context.new_page(), list[str]()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri() + "#norm=all&a=0&b=1&seed=1")
        page.locator("#page[aria-busy=false]").wait_for()
        assert "Seed 1 has no result" in words(page, "#compare")
        assert not wrong


@pytest.mark.parametrize("link", ["constructor=1", "__proto__=1", "a=length", "flip=C"])
def test_a_link_that_means_nothing_breaks_nothing(seen: Seen, link: str) -> None:
    seen.page.goto(seen.page.url.split("#")[0] + f"#{link}")
    assert f"no {link}" in words(seen.page, "#notice")
    assert seen.page.locator("#table tbody tr").count() > 0


def test_skipping_the_controls_keeps_the_choices(seen: Seen) -> None:
    page = seen.page
    page.select_option("#choose-dim", "3")
    page.wait_for_url("**dim=3*")
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "page"
    assert "dim=3" in page.url


def test_zoom_opens_steps_and_closes(seen: Seen) -> None:
    page = seen.page
    page.locator(".open").first.click()
    before = page.locator("#zoom .large").get_attribute("style")
    points = "document.querySelector('#zoom canvas').toDataURL()"
    cloud = page.evaluate(points)
    page.click("#zoom-on")
    assert page.locator("#zoom .large").get_attribute("style") != before
    assert page.evaluate(points) != cloud
    assert words(page, "#step-now") == str(RECORD[1])
    page.keyboard.press("Escape")
    assert page.locator("#zoom").is_hidden()


def test_the_table_sorts_and_is_saved(seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    cells = "[...document.querySelectorAll('#table tbody tr')].map((r) => r.cells[1].textContent)"
    page.click("#sort-dim")
    page.locator("#page[aria-busy=false]").wait_for()
    up = page.evaluate(cells)
    assert up == sorted(up, key=int) and len(set(up)) == 2
    page.click("#sort-dim")
    page.locator("#page[aria-busy=false]").wait_for()
    assert page.evaluate(cells) == sorted(up, key=int, reverse=True)
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + len(up)
    assert all(float(row["training seconds"]) > 0 for row in csv.DictReader(lines))
    assert lines[0].startswith("family,latent dim,prior,noise,sampler,normalisation,")


def test_hostile_names_are_shown_as_they_are(seen: Seen) -> None:
    page = seen.page
    assert HOSTILE in words(page, "#rest")
    assert page.locator("script").count() == 3
    page.goto(page.url.split("#")[0] + f"#dim={HOSTILE}&off={HOSTILE}&a=99999")
    assert HOSTILE in words(page, "#notice")


def test_missing_results_are_listed(seen: Seen) -> None:
    text = words(seen.page, "#rest")
    assert "1 run failed" in text and "1 run is still running" in text
    assert "1 run finished without everything that this page needs" in text
    assert "This file holds" in text


def test_a_foreign_script_is_blocked(seen: Seen) -> None:
    page = seen.page
    page.evaluate(
        """() => {
            const added = document.createElement("script");
            added.textContent = "window.entered = true";
            document.body.append(added);
        }"""
    )
    assert page.evaluate("window.entered") is None
    refused = [text for text in seen.wrong if "Content Security Policy" in text]
    assert len(refused) == 1
    seen.wrong.clear()


def test_the_keyboard_reaches_everything(seen: Seen) -> None:
    page = seen.page
    wanted = set(
        page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, a, summary, .wide")]
                .filter((n) => !n.disabled && n.checkVisibility()).map((n, i) => {
                    n.dataset.stop = i; return String(i);
                })"""
        )
    )
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.stop ?? ''"))
    assert wanted <= reached
    assert len(wanted) > 20


def test_everything_has_a_name_and_fits_a_narrow_screen(seen: Seen) -> None:
    page = seen.page
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, img, svg[role]")]
            .filter((n) => !((n.tagName !== "SELECT" && n.textContent.trim())
                || n.alt || n.ariaLabel || n.labels?.length))
            .length"""
    )
    assert nameless == 0
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    for part in page.locator("section").all():  # which cuts off what is too wide
        part.scroll_into_view_if_needed()
        assert part.evaluate("n => n.scrollWidth - n.clientWidth") <= 0
    for value in page.locator(".readings .value, .tile .value").all():
        assert value.evaluate("n => n.scrollWidth - n.clientWidth") <= 0


def test_the_widest_interval_fits_below_a_panel(seen: Seen) -> None:
    """Two seeds can have an interval of thousands; what does not fit would lose its end."""
    page = seen.page
    interval = "669.7 (−6626 to 11966)"
    for width in (1600, 1280, 380):
        page.set_viewport_size({"width": width, "height": 800})
        value = page.locator(".readings .value").first
        missing = "(n, words) => { n.textContent = words; return n.scrollWidth - n.clientWidth; }"
        assert value.evaluate(missing, interval) <= 0


def test_the_first_screen_shows_findings_curves_and_samples(seen: Seen) -> None:
    """Of a small laptop, with half a block of samples; more findings are one click away."""
    page = seen.page
    page.set_viewport_size({"width": 1280, "height": 720})
    page.evaluate("window.scrollTo(0, 0)")
    middle = "n => { const r = n.getBoundingClientRect(); return (r.top + r.bottom) / 2; }"
    assert page.locator("#matrix .samples").first.evaluate(middle) <= 720
    for name in ("#findings p", "#charts svg"):
        end = page.locator(name).first.evaluate("n => n.getBoundingClientRect().bottom")
        assert end <= 720, name
    data = data_of(page.content())
    findings = data["scales"][0]["findings"]
    shown = page.locator("#findings > p").all_text_contents()
    folded = page.locator("#more-findings p").all_text_contents()
    assert shown == findings[:3] and folded == findings[3:]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(seen: Seen, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = seen.page
    page.emulate_media(color_scheme=scheme)

    def serious() -> list[str]:
        page.locator("#page[aria-busy=false]").wait_for()
        found = axe.run(page).response["violations"]
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    assert serious() == []
    page.locator(".pin").nth(0).click()
    page.locator(".pin").nth(1).click()
    page.locator("summary").first.click()
    assert serious() == []
    page.locator(".open").first.click()
    assert serious() == []
    # It would find what nobody can read.
    page.evaluate("document.getElementById('zoom-title').style.color = 'rgb(128 128 128 / .2)'")
    assert [text.split(":")[0] for text in serious()] == ["color-contrast"]
