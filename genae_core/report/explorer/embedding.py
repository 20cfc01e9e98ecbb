"""The pictures that the page holds, as text. One file cannot hold those of a thousand runs."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from PIL import Image

from genae_core.config import require
from genae_core.data import sealed
from genae_core.report.explorer.artifacts import Artifact
from genae_core.report.explorer.summaries import SettingSummary

BASE64_GROWTH = 4 / 3  # bytes of text per byte of a picture
LATENT_SHRINKAGE = 0.3  # bytes of the points in a latent.json per byte of the file
PLACE_BYTES = 64  # bytes of the page that describe one file and its place in the text
MEDIA_TYPES = {"PNG": "image/png", "AVIF": "image/avif"}


class Candidate(NamedTuple):
    """A file that the page could hold.

    Attributes:
        tier: How much the file is needed. A lower tier is needed more.
        run_id: The run of the file.
        part: What the file is: sprite, latent, strip or drawn.
        file: The file.
    """

    tier: int
    run_id: str
    part: str
    file: Artifact


class EmbeddedFiles(NamedTuple):
    """The files that the page holds.

    Attributes:
        places: By run and part, the place of the file in the text, and its description.
        text: The files, one after the other, in base64.
        broken: The number of files that cannot be shown.
    """

    places: dict[str, dict[str, Any]]
    text: str
    broken: int


def rank_seeds(summary: SettingSummary) -> dict[str, str]:
    """Return the ids of the best, median and worst run by the FCD at the best step."""
    ranked = sorted(summary.runs, key=lambda run: run.stored.scalars["fcd_best"])
    median = ranked[(len(ranked) - 1) // 2]
    chosen = {"best": ranked[0], "median": median, "worst": ranked[-1]}
    return {role: run.stored.run_id for role, run in chosen.items()}


def list_candidates(summaries: Iterable[SettingSummary]) -> list[Candidate]:
    """Return the files of each setting's best, median and worst seed, the most needed first.

    The order is: the samples of the median seeds, their latent spaces, the samples of the best and
    of the worst seeds, the strips of the median seeds, and one picture of interpolations for each
    setting.
    """
    candidates: dict[tuple[str, str], Candidate] = {}
    for summary in summaries:
        runs = {run.stored.run_id: run for run in summary.runs}
        best, median, worst = (runs[run_id] for run_id in rank_seeds(summary).values())
        drawn = next((run for run in summary.runs if run.interpolations is not None), median)
        files = [
            (0, median, "sprite", median.sprite),
            (1, median, "latent", median.latent),
            (2, best, "sprite", best.sprite),
            (3, worst, "sprite", worst.sprite),
            (4, median, "strip", median.strip),
            (5, drawn, "drawn", drawn.interpolations),
        ]
        for tier, run, part, file in files:
            if file is not None:
                candidate = Candidate(tier, run.stored.run_id, part, file)
                candidates.setdefault((run.stored.run_id, part), candidate)
    return sorted(candidates.values(), key=lambda candidate: candidate.tier)


def select_within(candidates: Sequence[Candidate], budget: float) -> list[Candidate]:
    """Return the candidates before the first that would exceed the budget (bytes of the page)."""
    selected, size = [], 0.0
    for candidate in candidates:
        shrinkage = LATENT_SHRINKAGE if candidate.part == "latent" else 1
        size += candidate.file.size * shrinkage * BASE64_GROWTH + PLACE_BYTES
        if size > budget:
            break
        selected.append(candidate)
    return selected


def embed(candidates: Sequence[Candidate], contents: Sequence[bytes | None]) -> EmbeddedFiles:
    """Join the files into one text, and leave out those that cannot be shown.

    Args:
        candidates: The files.
        contents: The contents of each file, or None if it could not be read.
    """
    places: dict[str, dict[str, Any]] = {}
    texts: list[str] = []
    position = broken = 0
    for candidate, content in zip(candidates, contents, strict=True):
        parsed = _parse_latent(content) if candidate.part == "latent" else _parse_image(content)
        if parsed is None:
            broken += 1
            continue
        about, raw = parsed
        text = base64.b64encode(raw).decode()
        place = {"from": position, "to": position + len(text), **about}
        places.setdefault(candidate.run_id, {})[candidate.part] = place
        texts.append(text)
        position += len(text)
    return EmbeddedFiles(places, "".join(texts), broken)


def _parse_image(content: bytes | None) -> tuple[dict[str, Any], bytes] | None:
    """Return the type and the size of an image, and its bytes. None if it is no known image."""
    try:
        with Image.open(io.BytesIO(content or b""), formats=list(MEDIA_TYPES)) as image:
            about = {
                "kind": MEDIA_TYPES[str(image.format)],
                "width": image.width,
                "height": image.height,
            }
    except Exception:  # Pillow lets many errors through for a file that is damaged.
        return None
    return (about, content) if content else None


def _parse_latent(content: bytes | None) -> tuple[dict[str, Any], bytes] | None:
    """Return what a latent.json holds, and its points as bytes. None if it cannot be read.

    The points of the codes come first, then those of the chains, step by step.
    """
    try:
        fields = sealed.from_text(content or b"", "latent.json")
        codes, chains = fields["codes"], fields["chains"]
        groups = [codes, *chains.values()]
        # A number in place of a list must not pass, because bytes(n) would be n zeros.
        require(all(isinstance(points, list) for points in groups), "points are lists")
        raw = b"".join(bytes(points) for points in groups)
        about: dict[str, Any] = {
            "codes": len(codes),
            "chains": len(groups[1]),
            "steps": [int(step) for step in chains],
            "explained": float(fields["explained"]),
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    even = all(len(points) == len(groups[1]) for points in groups[1:])
    return (about, raw) if even and math.isfinite(about["explained"]) else None
