"""Pictures as uint8 arrays [H, W, 3]: grids of samples, strips of steps, and sprites.

Shapes: N images, S steps, R rows, C channels, H rows, W columns of pixels.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import avg_pool2d

Picture = NDArray[np.uint8]

GAP = 2  # pixels between images
MARGIN = 56  # pixels for the label before a row
SIDE = 4  # images in a row of a sprite's block
LARGEST = 64  # pixels; larger images are reduced in a sprite
SMALLEST = 48  # pixels; smaller images are enlarged by whole factors, so that pixels stay sharp


def grid(images: Tensor, columns: int | None = None) -> Picture:
    """Arrange images in rows.

    Args:
        images: [N, C, H, W] in [0, 1].
        columns: The images in a row; None makes the grid nearly square.

    Returns:
        The picture.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    tiles = _tiles(images)
    rows = [
        _row(tiles[first : first + columns], columns) for first in range(0, len(tiles), columns)
    ]
    return _stack(rows)


def strip(images: Tensor, steps: tuple[int, ...]) -> Picture:
    """Arrange the images of chains with one column for each step and one row for each chain.

    Args:
        images: [S, N, C, H, W] in [0, 1], of N chains at S steps.
        steps: The S steps, which label the columns.

    Returns:
        The picture.
    """
    tiles = np.stack([_tiles(step) for step in images])  # S N H W 3
    rows = [_row(tiles[:, chain], len(steps)) for chain in range(tiles.shape[1])]
    body = _stack(rows)
    header = Image.new("RGB", (body.shape[1], 18), "white")
    pen, font = ImageDraw.Draw(header), ImageFont.load_default(12)
    width = tiles.shape[3] + GAP
    for position, step in enumerate(steps):
        label = f"step {step}" if width >= 48 else str(step)
        pen.text((GAP + position * width + 1, 2), label, fill="black", font=font)
    return np.concatenate([np.asarray(header), body])


def sprite(images: Tensor) -> Picture:
    """Arrange a block of 4 x 4 images for each step, for a page that shows one block at a time.

    The picture has no gaps and no labels, and small images are not enlarged. Block k is in row
    k // columns and column k % columns of the picture, with columns = ceil(sqrt(S)).

    Args:
        images: [S, N, C, H, W] in [0, 1]; the first 16 of each step are used.

    Returns:
        The picture.
    """
    flat = images[:, : SIDE**2].flatten(0, 1)
    factor = math.ceil(max(images.shape[-2:]) / LARGEST)
    pixels = _pixels(avg_pool2d(flat, factor) if factor > 1 else flat)
    pixels = pixels.reshape(len(images), -1, *pixels.shape[1:])
    steps, _, height, width, _ = pixels.shape
    columns = math.ceil(math.sqrt(steps))
    rows = math.ceil(steps / columns)
    blocks = np.full((rows, columns, SIDE**2, height, width, 3), 255, np.uint8)
    blocks.reshape(-1, *blocks.shape[2:])[:steps, : pixels.shape[1]] = pixels
    blocks = blocks.reshape(rows, columns, SIDE, SIDE, height, width, 3)
    return blocks.transpose(0, 2, 4, 1, 3, 5, 6).reshape(
        rows * SIDE * height, columns * SIDE * width, 3
    )


def labelled_rows(images: Tensor, labels: Sequence[str]) -> Picture:
    """Arrange rows of images [R, N, C, H, W] in [0, 1], with a label before each row."""
    rows = [_row(_tiles(row), len(row)) for row in images]
    body = _stack(rows)
    margin = Image.new("RGB", (MARGIN, body.shape[0]), "white")
    pen, font = ImageDraw.Draw(margin), ImageFont.load_default(12)
    height = rows[0].shape[0]
    for position, label in enumerate(labels):
        pen.text((4, GAP + position * height + height // 2 - 8), label, fill="black", font=font)
    return np.concatenate([np.asarray(margin), body], axis=1)


def _tiles(images: Tensor) -> Picture:
    """The images [N, C, H, W] as pixels [N, H, W, 3], enlarged if they are small."""
    pixels = _pixels(images)
    factor = max(1, math.ceil(SMALLEST / pixels.shape[1]))
    return np.asarray(pixels.repeat(factor, axis=1).repeat(factor, axis=2))


def _pixels(images: Tensor) -> Picture:
    """The images [N, C, H, W] in [0, 1] as pixels [N, H, W, 3]."""
    pixels = (images.detach().cpu().clamp(0, 1) * 255).round().byte().numpy()
    pixels = pixels.transpose(0, 2, 3, 1)
    return np.asarray(pixels.repeat(3, axis=3) if pixels.shape[3] == 1 else pixels)


def _row(tiles: Picture, columns: int) -> Picture:
    """A row of tiles [N, H, W, 3] with gaps between and below them."""
    _, height, width, _ = tiles.shape
    row = np.full((height + GAP, GAP + columns * (width + GAP), 3), 255, np.uint8)
    for position, tile in enumerate(tiles):
        left = GAP + position * (width + GAP)
        row[:height, left : left + width] = tile
    return row


def _stack(rows: list[Picture]) -> Picture:
    """Rows of one width below each other, with a gap above the first."""
    top = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([top, *rows])
