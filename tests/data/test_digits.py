import numpy as np
import pytest
from sklearn.datasets import load_digits

from genae_core.config import from_json, to_json
from genae_core.data.base import load
from genae_core.data.digits import DigitsConfig


def test_shapes_and_sizes() -> None:
    splits = load(DigitsConfig())
    sizes = [(1_077, 1, 8, 8), (360, 1, 8, 8), (360, 1, 8, 8)]
    assert [split.images.shape for split in splits[:3]] == sizes
    for split in splits[:3]:
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int64
        assert len(split.images) == len(split.labels)
        assert split.images.flags.writeable
    assert "1,077" in splits.notes[0] and "360" in splits.notes[0]


def test_the_splits_are_a_partition_of_the_scaled_images_with_their_labels() -> None:
    splits = load(DigitsConfig())
    data = load_digits()
    level = {value: round(value * 255 / 16) for value in range(17)}
    wanted = sorted(
        (bytes(level[int(value)] for value in image.ravel()), int(label))
        for image, label in zip(data.images, data.target, strict=True)
    )
    found = sorted(
        (image.tobytes(), int(label))
        for split in splits[:3]
        for image, label in zip(split.images, split.labels, strict=True)
    )
    assert found == wanted


def test_the_cut_is_seeded_and_mixes() -> None:
    first, second = load(DigitsConfig()), load(DigitsConfig(binarize=True))
    for one, other in zip(first[:3], second[:3], strict=True):
        np.testing.assert_array_equal(one.images, other.images)
    in_file_order = load_digits().target[:1_077]
    assert (first.train.labels != in_file_order).any()


def test_the_config() -> None:
    config = DigitsConfig()
    assert (config.name, config.shape, config.binarize) == ("digits", (1, 8, 8), False)
    assert from_json(to_json(config)) == config
    with pytest.raises(ValueError, match="binarize must be True or False, got binarize='yes'"):
        DigitsConfig(binarize="yes")  # type: ignore[arg-type]
