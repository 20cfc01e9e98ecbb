import numpy as np
import pytest
import torch

from genae_core.evaluation.image_grids import (
    GAP,
    MARGIN,
    SMALLEST,
    grid,
    labelled_rows,
    sprite,
    strip,
)

HEADER = 18  # px above a strip


def _flat(*values: float, side: int = SMALLEST, channels: int = 1) -> torch.Tensor:
    """Images of one grey each."""
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, channels, side, side)


def _corner(row: int, column: int, side: int = SMALLEST) -> tuple[int, int]:
    return GAP + row * (side + GAP), GAP + column * (side + GAP)


def test_a_grid_places_images_row_by_row() -> None:
    values = [0.0, 0.2, 0.4, 0.6, 0.8]
    picture = grid(_flat(*values))  # 3 columns, 2 rows
    assert picture.dtype == np.uint8
    assert picture.shape == (GAP + 2 * (SMALLEST + GAP), GAP + 3 * (SMALLEST + GAP), 3)
    seen = np.zeros(picture.shape[:2], bool)
    for position, value in enumerate(values):
        top, left = _corner(position // 3, position % 3)
        tile = picture[top : top + SMALLEST, left : left + SMALLEST]
        assert (tile == round(255 * value)).all()
        seen[top : top + SMALLEST, left : left + SMALLEST] = True
    assert (picture[~seen] == 255).all()  # gaps, and the place that no image fills


def test_columns_can_be_given() -> None:
    picture = grid(_flat(0, 0.5, 1), columns=1)
    assert picture.shape == (GAP + 3 * (SMALLEST + GAP), GAP + SMALLEST + GAP, 3)


def test_pixels_keep_their_place_channel_and_order() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[0, 0, 5, 60] = 1  # red at row 5, column 60
    image[0, 2, 60, 5] = 0.5  # blue at row 60, column 5
    picture = grid(image)
    assert picture[GAP + 5, GAP + 60].tolist() == [255, 0, 0]
    assert picture[GAP + 60, GAP + 5].tolist() == [0, 0, 128]
    inside = picture[GAP : GAP + 64, GAP : GAP + 64]
    assert (inside.any(2)).sum() == 2


def test_small_images_are_enlarged_by_whole_factors() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 1, 6] = 1
    inside = grid(image)[GAP:-GAP, GAP:-GAP]
    assert inside.shape == (48, 48, 3)
    white = np.zeros((48, 48), bool)
    white[6:12, 36:42] = True
    assert (inside[white] == 255).all() and (inside[~white] == 0).all()
    assert grid(torch.zeros(1, 1, 28, 28)).shape[0] == 2 * GAP + 56


def test_values_out_of_range_are_cut() -> None:
    picture = grid(_flat(-1.0, 2.0), columns=2)
    assert picture[_corner(0, 0)].tolist() == [0] * 3
    assert picture[_corner(0, 1)].tolist() == [255] * 3


def test_a_strip_has_a_column_a_step_and_a_row_a_chain() -> None:
    steps = (0, 2, 5)
    grey = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]  # of a step, of a chain
    picture = strip(torch.stack([_flat(*row) for row in grey]), steps)
    body = picture[HEADER:]
    assert body.shape == (GAP + 2 * (SMALLEST + GAP), GAP + 3 * (SMALLEST + GAP), 3)
    for step in range(3):
        for chain in range(2):
            top, left = _corner(chain, step)
            tile = body[top : top + SMALLEST, left : left + SMALLEST]
            assert (tile == round(255 * grey[step][chain])).all()


def test_a_strip_names_each_step_above_its_column() -> None:
    images = torch.ones(3, 1, 1, SMALLEST, SMALLEST)

    def headers(steps: tuple[int, ...]) -> list[bytes]:
        header = strip(images, steps)[:HEADER]
        edges = [GAP + i * (SMALLEST + GAP) for i in range(4)]
        return [header[:, a:b].tobytes() for a, b in zip(edges, edges[1:], strict=False)]

    first, second = headers((0, 2, 5)), headers((0, 5, 2))
    blank = bytes([255]) * len(first[0])
    assert blank not in first
    assert first[0] == second[0] and first[1] == second[2] and first[2] == second[1]
    assert len(set(first)) == 3


@pytest.mark.parametrize(("size", "factor"), [(3, 1), (130, 3)])
def test_a_sprite_has_a_block_a_step(size: int, factor: int) -> None:
    images = torch.rand(5, 20, 3, size, size, generator=torch.Generator().manual_seed(0))
    picture, side = sprite(images), size // factor
    assert picture.shape == (2 * 4 * side, 3 * 4 * side, 3)
    if factor > 1:
        images = torch.nn.functional.avg_pool2d(images.flatten(0, 1), factor)
        images = images.reshape(5, 20, 3, side, side)
    for step in range(5):
        row, column = divmod(step, 3)
        block = picture[row * 4 * side :, column * 4 * side :]
        for number in range(16):
            i, j = divmod(number, 4)
            tile = block[i * side : (i + 1) * side, j * side : (j + 1) * side]
            expected = (images[step, number].permute(1, 2, 0) * 255).round().byte().numpy()
            assert np.array_equal(tile, expected)
    assert (picture[4 * side :, 8 * side :] == 255).all()  # the sixth block, of no step


def test_a_sprite_of_few_images_leaves_the_rest_white() -> None:
    picture = sprite(torch.zeros(1, 3, 1, 2, 2))
    assert picture.shape == (8, 8, 3)
    assert (picture[:2, :6] == 0).all() and picture.sum() == 255 * 3 * (64 - 12)


def test_labelled_rows_have_a_name_before_each() -> None:
    images = torch.rand(3, 4, 1, SMALLEST, SMALLEST)
    picture = labelled_rows(images, ["one", "two", "three"])
    height, width = GAP + 3 * (SMALLEST + GAP), MARGIN + GAP + 4 * (SMALLEST + GAP)
    assert picture.shape == (height, width, 3)
    for row in range(3):
        top = GAP + row * (SMALLEST + GAP)
        assert picture[top : top + SMALLEST, :MARGIN].min() < 128  # the name
        tile = picture[top : top + SMALLEST, MARGIN + GAP : MARGIN + GAP + SMALLEST, 0]
        np.testing.assert_array_equal(tile, (images[row, 0, 0] * 255).round().byte().numpy())
    blank = labelled_rows(images, ["", "", ""])[:, :MARGIN]
    assert (blank == 255).all()
