from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from genae_core.config import from_json, to_json
from genae_core.data.base import load
from genae_core.data.celeba import CelebAConfig
from genae_core.data.celeba_lists import split_names
from genae_core.data.images import centre_crop
from genae_core.data.storage import Folder

Bytes = NDArray[np.uint8]
NAMES = [f"{number:06}.jpg" for number in range(1, 17)]
LOSS = 3  # levels that JPEG at quality 100 may move a flat grey by
RINGING = 8  # and a colour beside a sharp edge


def jpeg(image: Bytes) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=100)
    return encoded


def flat(level: int, width: int = 178, height: int = 218) -> Bytes:
    return np.full((height, width, 3), level, np.uint8)


def level_of(name: str) -> int:
    return 15 * int(name[:6])


def signs(name: str) -> list[int]:
    """The attributes of an image: its number in binary, over and over."""
    number = int(name[:6])
    return [1 if number >> (column % 5) & 1 else -1 for column in range(40)]


def attribute_lines(names: list[str]) -> list[str]:
    heading = [str(len(names)), " ".join(f"Attribute_{n}" for n in range(40)) + " "]
    return heading + [f"{n} " + " ".join(f"{s:2d}" for s in signs(n)) for n in names]


def write_attributes(folder: Path, lines: list[str]) -> None:
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")


def write_partition(folder: Path, parts: dict[str, int | str]) -> None:
    lines = [f"{name} {part}\n" for name, part in parts.items()]
    (folder / "list_eval_partition.txt").write_text("".join(lines))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sixteen flat grey images, half of them at half resolution; no partition."""
    (tmp_path / "img_align_celeba").mkdir()
    for position, name in enumerate(NAMES):
        size = (178, 218) if position % 2 else (89, 109)
        path = tmp_path / "img_align_celeba" / name
        path.write_bytes(jpeg(flat(level_of(name), *size)))
    write_attributes(tmp_path, attribute_lines(NAMES))
    return tmp_path


def names_in(images: Bytes) -> list[str]:
    """Which of the flat images these are."""
    assert (np.ptp(images, axis=(1, 2, 3)) <= 2 * LOSS).all()
    return [NAMES[round(float(image.mean()) / 15) - 1] for image in images]


def test_every_image_keeps_its_place_and_its_attributes(root: Path) -> None:
    splits = load(CelebAConfig(root=str(root)))
    shapes = [split.images.shape for split in splits[:3]]
    assert shapes == [(12, 3, 64, 64), (2, 3, 64, 64), (2, 3, 64, 64)]
    seen = []
    for split in splits[:3]:
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.uint8
        names = names_in(split.images)
        wanted = [[(sign + 1) // 2 for sign in signs(name)] for name in names]
        np.testing.assert_array_equal(split.labels, wanted)
        seen += names
    assert sorted(seen) == NAMES


def test_without_a_partition_the_cut_is_seeded_and_said(root: Path) -> None:
    first, second = load(CelebAConfig(root=str(root))), load(CelebAConfig(root=str(root)))
    for one, other in zip(first[:3], second[:3], strict=True):
        np.testing.assert_array_equal(one.images, other.images)
    assert names_in(first.train.images) != NAMES[:12]
    note = first.notes[-1]
    assert "list_eval_partition.txt is absent" in note
    assert "12 train, 2 val and 2 test" in note


def test_stretches_make_up_the_whole(root: Path) -> None:
    source = CelebAConfig(root=str(root)).source()
    whole = source.read("train", 0, 12)
    pieces = [source.read("train", first, first + 4) for first in (0, 4, 8)]
    np.testing.assert_array_equal(np.concatenate([p.images for p in pieces]), whole.images)
    np.testing.assert_array_equal(np.concatenate([p.labels for p in pieces]), whole.labels)
    assert [name for p in pieces for name in p.names] == whole.names
    assert len({p.digest for p in pieces} | {whole.digest}) == 4


def test_the_seed_of_the_cut(root: Path) -> None:
    cuts = [CelebAConfig(root=str(root), split_seed=seed).source() for seed in (0, 1)]
    first, other = (source.read("train", 0, 12).names for source in cuts)
    assert sorted(first) != sorted(other)
    assert "a cut of our own by seed 1" in cuts[1].notes[-1]


def test_eight_thousand_are_cut_six_one_one(tmp_path: Path) -> None:
    parts = split_names(
        [f"{n}.jpg" for n in range(8_000)], Folder(tmp_path), "absent.txt", 0
    ).parts
    train, val, test = parts["train"], parts["val"], parts["test"]
    assert (len(train), len(val), len(test)) == (6_000, 1_000, 1_000)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val, test])), np.arange(8_000))


def test_the_official_partition_is_followed(root: Path) -> None:
    write_partition(root, {name: (0, 1, 2, 0)[i % 4] for i, name in enumerate(NAMES[:-1])})
    splits = load(CelebAConfig(root=str(root)))
    assert names_in(splits.train.images) == sorted([*NAMES[0:15:4], *NAMES[3:15:4]])
    assert names_in(splits.val.images) == NAMES[1:15:4]
    assert names_in(splits.test.images) == NAMES[2:15:4]
    assert splits.notes[-1] == (
        "celeba: 1 images without a row in list_eval_partition.txt are skipped: 000016.jpg."
    )


def test_a_partition_that_leaves_a_split_empty_is_replaced_and_said(root: Path) -> None:
    write_partition(root, dict.fromkeys(NAMES, 0))
    splits = load(CelebAConfig(root=str(root)))
    assert [len(split.images) for split in splits[:3]] == [12, 2, 2]
    assert "puts no image that is here in one of the splits" in splits.notes[-1]


@pytest.mark.parametrize("line", ["3", "one", "-1", "0 0", ""])
def test_a_bad_partition_row_is_named(root: Path, line: str) -> None:
    write_partition(root, {NAMES[0]: 0, NAMES[1]: line})
    with pytest.raises(ValueError, match="list_eval_partition.txt, line 2: expected"):
        load(CelebAConfig(root=str(root)))


@pytest.mark.parametrize(("width", "height", "side"), [(178, 218, 148), (89, 109, 74)])
def test_the_central_square_is_kept(tmp_path: Path, width: int, height: int, side: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 2] = 255  # blue around
    top, left = (height - side) // 2, (width - side) // 2
    image[top : top + side, left : left + side] = (255, 0, 0)  # a red centre
    (tmp_path / "img_align_celeba").mkdir()
    for name in NAMES[:3]:
        (tmp_path / "img_align_celeba" / name).write_bytes(jpeg(image))
    write_attributes(tmp_path, attribute_lines(NAMES[:3]))

    kept = load(CelebAConfig(root=str(tmp_path))).train.images[0]
    # 178 pixels are decoded as 89, where the square may lie half a pixel off.
    red, _, blue = kept[:, 1:-1, 1:-1] if width == 178 else kept
    assert (red >= 255 - RINGING).all() and (blue <= RINGING).all()
    red, _, blue = load(CelebAConfig(root=str(tmp_path), crop=1.0)).train.images[0]
    sides = [0, -1]
    assert (blue[:, sides] >= 255 - RINGING).all() and (red[:, sides] <= RINGING).all()


def test_the_crop_is_central_and_copies_nothing_else() -> None:
    image = np.arange(7 * 6).reshape(7, 6, 1).astype(np.uint8)
    np.testing.assert_array_equal(
        centre_crop(image, 3)[..., 0], [[13, 14, 15], [19, 20, 21], [25, 26, 27]]
    )


@pytest.mark.parametrize(
    ("crop", "side", "top", "left"),
    [
        (148 / 178, 148, 35, 15),
        # Creswell et al. 2017, section 4.3: the largest square, with all columns.
        (1.0, 178, 20, 0),
    ],
)
def test_a_gradient_keeps_its_orientation_and_channels(
    root: Path, crop: float, side: int, top: int, left: int
) -> None:
    rows = np.linspace(0, 255, 218).astype(np.uint8)[:, None, None]
    columns = np.linspace(0, 255, 178).astype(np.uint8)[None, :, None]
    image = np.concatenate(
        [np.broadcast_to(rows, (218, 178, 1)), np.broadcast_to(columns, (218, 178, 1))], axis=2
    )
    image = np.concatenate([image, np.zeros((218, 178, 1), np.uint8)], axis=2)
    for name in NAMES:
        (root / "img_align_celeba" / name).write_bytes(jpeg(image))
    config = CelebAConfig(root=str(root), size=32, crop=crop)
    red, green, blue = load(config).val.images[0].astype(np.int64)
    centre = (np.arange(32) + 0.5) * side / 32 - 0.5  # of each pixel, in pixels of the square
    np.testing.assert_allclose(
        red, np.broadcast_to((top + centre[:, None]) * 255 / 217, (32, 32)), atol=4
    )
    np.testing.assert_allclose(
        green, np.broadcast_to((left + centre[None, :]) * 255 / 177, (32, 32)), atol=4
    )
    assert (blue <= 4).all()


def test_rows_without_images_and_images_without_rows_are_counted(root: Path) -> None:
    extra = [f"{number:06}.jpg" for number in range(100, 105)]
    write_attributes(root, attribute_lines(NAMES[:12] + extra))
    splits = load(CelebAConfig(root=str(root)))
    assert sum(len(split.images) for split in splits[:3]) == 12
    assert splits.notes[0] == (
        "celeba: 5 rows without an image in img_align_celeba are skipped: 000100.jpg, "
        "000101.jpg, 000102.jpg and so on."
    )
    assert splits.notes[1] == (
        "celeba: 4 images without a row in list_attr_celeba.txt are skipped: 000013.jpg, "
        "000014.jpg, 000015.jpg and so on."
    )
    assert "12 of the official 202,599 images" in splits.notes[2]


def test_no_usable_image_is_refused(root: Path) -> None:
    write_attributes(root, attribute_lines(["999999.jpg"]))
    with pytest.raises(ValueError, match="none of the 1 images listed in .* 16 .jpg files"):
        load(CelebAConfig(root=str(root)))


def test_two_images_make_no_three_splits(root: Path) -> None:
    write_attributes(root, attribute_lines(NAMES[:2]))
    with pytest.raises(ValueError, match="need at least 3 images, got 2"):
        load(CelebAConfig(root=str(root)))


WHOLE = jpeg(np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture",
        WHOLE[:300],
        WHOLE[: len(WHOLE) // 2],
        WHOLE[: len(WHOLE) // 2] + WHOLE[-2:],  # cut, then an end marker
        WHOLE[:-2],  # the end marker alone is gone
    ],
)
def test_a_broken_image_is_named(root: Path, content: bytes) -> None:
    path = root / "img_align_celeba" / NAMES[4]
    path.write_bytes(WHOLE)
    load(CelebAConfig(root=str(root)))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="celeba: 000005.jpg: not (a whole JPEG file|an image)"):
        load(CelebAConfig(root=str(root)))


@pytest.mark.parametrize(("width", "height"), [(178, 178), (218, 178), (170, 218), (186, 218)])
def test_another_aspect_is_named(root: Path, width: int, height: int) -> None:
    (root / "img_align_celeba" / NAMES[2]).write_bytes(jpeg(flat(9, width, height)))
    with pytest.raises(ValueError, match=f"000003.jpg: {width} x {height} pixels; expected"):
        load(CelebAConfig(root=str(root)))


def test_other_resolutions_of_the_aspect_are_read(root: Path) -> None:
    for name, size in zip(NAMES, [(45, 55), (356, 436), (176, 218)], strict=False):
        path = root / "img_align_celeba" / name
        path.write_bytes(jpeg(flat(level_of(name), *size)))
    splits = load(CelebAConfig(root=str(root), size=32))
    seen = [name for split in splits[:3] for name in names_in(split.images)]
    assert sorted(seen) == NAMES


ROW = attribute_lines(NAMES[:1])[2]


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (1, "many", "line 1: expected the number of images"),
        (2, "Young Male", "line 2: expected 40 attribute names, got 2"),
        (5, ROW[: len(ROW) // 2], "line 5: expected an image name and 40 values"),
        (5, ROW + " 1", "line 5: .* got 41 values"),
        (7, ROW[:-2] + " 0", "line 7: expected an image name and 40 values of -1 or 1"),
        (7, ROW, "line 7: 000001.jpg has a row already"),
        (18, "000016.jpg", "line 18: .* got 0 values"),
    ],
)
def test_a_bad_attribute_line_is_named(root: Path, number: int, line: str, message: str) -> None:
    lines = attribute_lines(NAMES)
    lines[number - 1] = line
    write_attributes(root, lines)
    with pytest.raises(ValueError, match=message) as caught:
        load(CelebAConfig(root=str(root)))
    assert str(root / "list_attr_celeba.txt") in str(caught.value)


def test_an_empty_list_is_refused(root: Path) -> None:
    (root / "list_attr_celeba.txt").write_bytes(b"")
    with pytest.raises(ValueError, match="line 1: expected the number of images"):
        load(CelebAConfig(root=str(root)))


def test_a_count_that_the_rows_deny_is_noted(root: Path) -> None:
    write_attributes(root, ["202599", *attribute_lines(NAMES)[1:]])
    notes = load(CelebAConfig(root=str(root))).notes
    assert "celeba: list_attr_celeba.txt announces 202,599 rows and has 16." in notes


def test_common_data_root(root: Path) -> None:
    (root / "celeba").mkdir()
    for name in ("img_align_celeba", "list_attr_celeba.txt"):
        (root / name).rename(root / "celeba" / name)
    assert len(load(CelebAConfig(root=str(root))).train.images) == 12


def test_missing_files_say_what_is_expected_where(root: Path) -> None:
    (root / "list_attr_celeba.txt").unlink()
    with pytest.raises(ValueError, match=r"lacks list_attr_celeba.txt; expected.*--download"):
        load(CelebAConfig(root=str(root)))
    with pytest.raises(ValueError, match="the data root '.*nowhere' is no folder"):
        load(CelebAConfig(root=str(root / "nowhere")))


def test_the_config() -> None:
    config = CelebAConfig(root="data")
    assert (config.name, config.shape, config.binarize) == ("celeba", (3, 64, 64), False)
    assert round(178 * config.crop) == 148 and round(89 * config.crop) == 74
    assert from_json(to_json(config)) == config
    with pytest.raises(ValueError, match="28 or a multiple of 8 up to 1024, got size=50"):
        CelebAConfig(root="data", size=50)
    with pytest.raises(ValueError, match="root must name a folder, got root=''"):
        CelebAConfig(root="")
    for crop in (0, -0.5, 1.01, float("nan"), True, "all"):
        with pytest.raises(ValueError, match=r"crop must be in \(0, 1\], got crop="):
            CelebAConfig(root="data", crop=crop)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_real_files(real_data: Callable[[str], str]) -> None:
    splits = load(CelebAConfig(root=real_data("celeba"), size=32))
    total = sum(len(split.images) for split in splits[:3])
    assert (total < 202_599) == any("of the official 202,599" in note for note in splits.notes)
    male = splits.train.labels[:, 20].mean()
    assert 0.3 < male < 0.55  # 41.7 % of all of CelebA
    mean = splits.train.images.mean(axis=(0, 2, 3))
    assert mean[0] > mean[1] > mean[2]  # skin: red over green over blue
