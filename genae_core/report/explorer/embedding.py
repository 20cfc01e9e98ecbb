"""Which pictures the page holds, as text: a thousand runs have more than a file can carry."""

import base64
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from PIL import Image

from genae_core.config import require
from genae_core.report.explorer.findings import Setting
from genae_core.report.explorer.gather import Artifact

BASE64 = 4 / 3  # bytes of text for one byte of a picture
PACKED = 0.3  # bytes of a latent.json's points for one of the file's
HEAD = 64  # bytes of the page for each, beside the picture itself
KINDS = {"PNG": "image/png", "AVIF": "image/avif"}


class Wanted(NamedTuple):
    """A file that the page could hold; the lower its tier, the more it is missed.

    part: sprite, latent, strip or drawn."""

    tier: int
    run_id: str
    part: str
    file: Artifact


class Held(NamedTuple):
    """What the page holds: by run and part, where in the text it lies and what it is."""

    places: dict[str, dict[str, Any]]
    text: str
    broken: int


def roles_of(setting: Setting) -> dict[str, str]:
    """The ids of the setting's best, median and worst seed by the FCD at the best step."""
    ranked = sorted(setting.runs, key=lambda run: run.curve.scalars["fcd_best"])
    middle = ranked[(len(ranked) - 1) // 2]
    chosen = {"best": ranked[0], "median": middle, "worst": ranked[-1]}
    return {role: run.curve.run_id for role, run in chosen.items()}


def wanted(settings: Iterable[Setting]) -> list[Wanted]:
    """The files of each setting's best, median and worst seed, the most telling first.

    First come the samples and the latent space of the median seed, then the samples of the
    others, then the strip of the median seed's chains and the interpolations of its model.
    """
    found: dict[tuple[str, str], Wanted] = {}
    for setting in settings:
        runs = {run.curve.run_id: run for run in setting.runs}
        roles = roles_of(setting)
        median = runs[roles["median"]]
        drawn = next((run for run in setting.runs if run.drawn is not None), median)
        asked = [
            (0, median, "sprite", median.sprite),
            (1, median, "latent", median.latent),
            (2, runs[roles["best"]], "sprite", runs[roles["best"]].sprite),
            (3, runs[roles["worst"]], "sprite", runs[roles["worst"]].sprite),
            (4, median, "strip", median.strip),
            (5, drawn, "drawn", drawn.drawn),
        ]
        for tier, run, part, file in asked:
            if file is not None:
                one = Wanted(tier, run.curve.run_id, part, file)
                found.setdefault((run.curve.run_id, part), one)
    return sorted(found.values(), key=lambda one: one.tier)


def within(files: Sequence[Wanted], budget: float) -> list[Wanted]:
    """The files up to the first that would take more than `budget` bytes of the page."""
    taken, size = [], 0.0
    for one in files:
        size += one.file.size * (PACKED if one.part == "latent" else 1) * BASE64 + HEAD
        if size > budget:
            break
        taken.append(one)
    return taken


def held(files: Sequence[Wanted], contents: Sequence[bytes | None]) -> Held:
    """The files as one text and where each lies in it; what cannot be shown is left out."""
    places: dict[str, dict[str, Any]] = {}
    texts: list[str] = []
    at = broken = 0
    for one, content in zip(files, contents, strict=True):
        found = _latent(content) if one.part == "latent" else _picture(content)
        if found is None:
            broken += 1
            continue
        about, raw = found
        text = base64.b64encode(raw).decode()
        places.setdefault(one.run_id, {})[one.part] = {"from": at, "to": at + len(text), **about}
        texts.append(text)
        at += len(text)
    return Held(places, "".join(texts), broken)


def _picture(content: bytes | None) -> tuple[dict[str, Any], bytes] | None:
    try:
        with Image.open(io.BytesIO(content or b""), formats=list(KINDS)) as image:
            about = {
                "kind": KINDS[str(image.format)],
                "width": image.width,
                "height": image.height,
            }
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return (about, content) if content else None


def _latent(content: bytes | None) -> tuple[dict[str, Any], bytes] | None:
    """Its points as bytes: those of codes, then those of the chains, step by step."""
    try:
        told = json.loads(content or b"")
        codes, chains = told["codes"], told["chains"]
        every = [codes, *chains.values()]
        # bytes(n) would be n zeros.
        require(all(isinstance(points, list) for points in every), "points are lists")
        raw = b"".join(bytes(points) for points in every)
        about: dict[str, Any] = {
            "codes": len(codes),
            "chains": len(every[1]),
            "steps": [int(step) for step in chains],
            "explained": float(told["explained"]),
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    even = all(len(points) == len(every[1]) for points in every[1:])
    return (about, raw) if even and math.isfinite(about["explained"]) else None
