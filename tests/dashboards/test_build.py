"""What the builder reads, selects and refuses, and what it lets into the page."""

import base64
import html.parser
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.pages import data_of
from exploring import HOSTILE, RECORD, Store, build
from PIL import Image

from genae_core.commands import explorer as builder
from genae_core.report.explorer import embedding, gather, summaries
from genae_core.report.explorer.artifacts import Artifact
from genae_core.report.explorer.page import RESERVED_BYTES, assemble, script_data
from genae_core.report.intervals import interval

pytestmark = pytest.mark.slow


class Tags(html.parser.HTMLParser):
    """Counts the elements that a parser makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)


def test_the_page_holds_what_the_runs_logged(store: Store, explorer: Path) -> None:
    data = data_of(explorer.read_text())
    assert len(data["settings"]) == 6 and len(data["runs"]) == 12
    curves = {curve.run_id: curve for curve in store.tracker.read_runs("small", ("fcd", "kid"))}
    for run in data["runs"]:
        assert run["steps"] == list(RECORD)
        for name in ("fcd", "kid"):
            logged = [curves[run["id"]].chain[name][step] for step in RECORD]
            assert run["values"][name] == pytest.approx(logged, rel=1e-5)
    assert {float(s["noise"]) for s in data["settings"]} == {0, 0.2}
    assert {s["norm"] for s in data["settings"]} == {"batch", "running"}
    assert all({"sprite"} <= parts.keys() for parts in data["pictures"])
    medians = [data["pictures"][s["roles"]["median"]] for s in data["settings"]]
    assert all({"sprite", "strip", "latent"} <= parts.keys() for parts in medians)
    assert data["pictureCounts"]["embedded"] == data["pictureCounts"]["candidates"] > 0


def test_hostile_names_stay_text(explorer: Path) -> None:
    page = explorer.read_text()
    assert HOSTILE not in page
    assert Tags(page).names.count("script") == 3
    names = {run["name"]: run for run in data_of(explorer.read_text())["withoutResult"]}
    assert HOSTILE in names[HOSTILE]["reason"]


def test_marks_inside_the_data_are_not_replaced() -> None:
    page = assemble("{{DATA}}<b>", script_data("{{SCRIPT}}</script>"), "{{STYLE}}")
    assert page.count('"use strict"') == 1
    assert "<title>{{DATA}}&lt;b&gt;</title>" in page
    assert data_of(page) == "{{SCRIPT}}</script>"
    assert '<script type="text/plain" id="pictures">{{STYLE}}</script>' in page


def test_the_policy_allows_only_the_pages_own_script(explorer: Path) -> None:
    page = explorer.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1] and "http" not in policy[1]


def test_runs_without_a_result_are_listed(explorer: Path) -> None:
    others = {run["name"]: run for run in data_of(explorer.read_text())["withoutResult"]}
    assert others["AAE-2 running"]["status"] == "RUNNING"
    assert others["AAE-2 empty"]["reason"] == "it has no curve.json"
    assert others[HOSTILE]["status"] == "FAILED"


def test_an_unknown_sweep_is_refused(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = build("--sweep", "nope", "--tracking-uri", store.uri, "--out", str(out))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"error: no sweep 'nope' in {store.uri}; it has: small" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"sweep": ("it's",)}, "holds no quotes"), ({"max_mb": 0.0}, "--max-mb must be > 0")],
)
def test_refusals(store: Store, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    given = {"sweep": ("small",), "out": tmp_path / "page.html", "tracking_uri": store.uri}
    with pytest.raises(ValueError, match=words):
        builder.main(builder.Options(**{**given, **changes}))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_and_no_store_is_made(store: Store, tmp_path: Path) -> None:
    check, options = builder.check_options, builder.Options
    out = tmp_path / "page.html"
    nowhere = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(ValueError, match="there is no store at"):
        check(options(sweep=("small",), out=out, tracking_uri=nowhere))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="the folder .* does not exist"):
        check(options(sweep=("small",), out=tmp_path / "no" / "x", tracking_uri=store.uri))
    out.write_text("mine")
    with pytest.raises(ValueError, match="give --overwrite"):
        check(options(sweep=("small",), out=out, tracking_uri=store.uri))
    assert check(options(sweep=("small",), out=out, tracking_uri=store.uri, overwrite=True))


def test_a_small_file_leaves_pictures_out_and_says_so(
    store: Store, explorer: Path, tmp_path: Path
) -> None:
    text = re.search(r'id="pictures">([^<]*)<', explorer.read_text())
    assert text
    size = len(text[1])
    most = explorer.stat().st_size - size + RESERVED_BYTES + int(0.6 * size)
    out = tmp_path / "page.html"
    options = builder.Options(
        sweep=("small",), out=out, tracking_uri=store.uri, max_mb=most / 10**6
    )
    assert builder.main(options) == 0
    assert out.stat().st_size <= most
    data = data_of(out.read_text())
    assert 0 < data["pictureCounts"]["embedded"] < data["pictureCounts"]["candidates"]
    # The samples of the median seed are kept.
    for setting in data["settings"]:
        assert "sprite" in data["pictures"][setting["roles"]["median"]]


def test_the_bands_are_the_intervals_of_each_step() -> None:
    rows = np.random.default_rng(0).normal(5, 2, (4, 6)).tolist()
    rows[0][1] = rows[1][2] = rows[2][2] = rows[3][2] = None
    for row in rows:
        row[3] = None
    for k, (mean, low, high, n) in enumerate(summaries.bands(rows)):
        known = [row[k] for row in rows if row[k] is not None]
        assert n == len(known)
        expected = interval(known) if known else (None, None, None)
        for result, value in zip((mean, low, high), expected, strict=True):
            assert result == (value if value is None else pytest.approx(value, rel=1e-5))


def test_means_leave_out_values_that_are_not_finite() -> None:
    text = b'{"step": [0, 1, 2], "fcd": [1.0, NaN, null], "fcd_se": [1, 1, 1], "kid": [1, "x", 3]}'
    steps, values = gather.parse_curves(text)
    assert steps == [0, 1, 2]
    assert values == {"fcd": [1.0, None, None], "kid": [1.0, None, 3.0]}
    bands = summaries.bands([values["fcd"], [3.0, 5.0, None]])
    assert bands[0][0] == 2.0 and bands[0][3] == 2
    assert bands[1:] == [[5.0, None, None, 1], [None, None, None, 0]]


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"fcd": [1]}',
        b'{"step": [1, 0], "fcd": [1, 2]}',
        b'{"step": [0, 1], "fcd": [1]}',
        b'{"step": [0], "kid": [1]}',
        b"\xff",
    ],
)
def test_broken_curves_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        gather.parse_curves(text)


def test_the_page_holds_the_files_as_they_are() -> None:
    def candidate(part: str) -> embedding.Candidate:
        return embedding.Candidate(0, "run", part, Artifact(part, 1))

    image = io.BytesIO()
    Image.new("RGB", (6, 4)).save(image, "PNG")
    points = {"explained": 0.5, "codes": [1, 2], "chains": {"0": [3, 4], "5": [5, 6]}}
    latent = json.dumps(points).encode()
    embedded = embedding.embed(
        [candidate("sprite"), candidate("latent")], [image.getvalue(), latent]
    )
    sprite, place = embedded.places["run"]["sprite"], embedded.places["run"]["latent"]
    assert (sprite["kind"], sprite["width"], sprite["height"]) == ("image/png", 6, 4)
    assert base64.b64decode(embedded.text[sprite["from"] : sprite["to"]]) == image.getvalue()
    assert base64.b64decode(embedded.text[place["from"] : place["to"]]) == bytes(
        [1, 2, 3, 4, 5, 6]
    )
    assert (place["codes"], place["chains"], place["steps"]) == (2, 2, [0, 5])


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("sprite", None),
        ("sprite", b""),
        ("sprite", b"<svg onload=alert(1)>"),
        ("sprite", b"\x89PNG\r\n\x1a\n and no more"),
        ("latent", b"[]"),
        ("latent", b'{"explained": 1, "codes": 1000000000000, "chains": {"0": []}}'),
        ("latent", b'{"explained": 1, "codes": [256], "chains": {"0": []}}'),
        ("latent", b'{"explained": NaN, "codes": [1], "chains": {"0": [1]}}'),
        ("latent", b'{"explained": 1, "codes": [1], "chains": {"0": [1], "1": [1, 2]}}'),
        ("latent", b'{"explained": 1, "codes": [1], "chains": {"<b>": [1]}}'),
    ],
)
def test_broken_pictures_are_counted_and_left_out(part: str, content: bytes | None) -> None:
    one = embedding.Candidate(0, "run", part, Artifact(part, 1))
    assert embedding.embed([one], [content]) == embedding.EmbeddedFiles({}, "", 1)
