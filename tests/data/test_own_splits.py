import numpy as np
import pytest

from genae_core.data.own_splits import complete_splits


def index(first: int, last: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.arange(first, last)


@pytest.mark.parametrize("name", ["", "train"])
def test_a_whole_is_cut(name: str) -> None:
    splits, (note,) = complete_splits("own", {name: index(10, 34)}, seed=0)
    assert [len(splits[split]) for split in ("train", "val", "test")] == [18, 3, 3]
    assert sorted(np.concatenate([*splits.values()]).tolist()) == list(range(10, 34))
    assert note == "own: 24 images, cut by seed 0 into 18 train, 3 val and 3 test images."
    other, _ = complete_splits("own", {name: index(10, 34)}, seed=1)
    assert other["test"].tolist() != splits["test"].tolist()


def test_splits_of_the_data_are_kept() -> None:
    parts = {"test": index(0, 3), "train": index(3, 9), "val": index(9, 10)}
    splits, (note,) = complete_splits("own", parts, seed=0)
    assert [*splits] == ["train", "val", "test"]
    assert {name: rows.tolist() for name, rows in splits.items()} == {
        name: rows.tolist() for name, rows in parts.items()
    }
    assert "3 test, 6 train, 1 val images" in note


@pytest.mark.parametrize(("present", "missing"), [("test", "val"), ("val", "test")])
def test_a_missing_split_is_cut_from_the_training_images(present: str, missing: str) -> None:
    parts = {"train": index(0, 16), present: index(16, 20)}
    splits, notes = complete_splits("own", parts, seed=0)
    assert splits[present].tolist() == [16, 17, 18, 19]
    assert len(splits[missing]) == 2
    assert sorted([*splits["train"], *splits[missing]]) == list(range(16))
    assert f"no {missing} split, so 2 of the training images" in notes[1]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"": index(0, 2)}, "three splits need at least 3 images, got 2"),
        ({"": index(0, 0)}, "there is no image in images"),
        ({"train": index(0, 5), "test": index(5, 5)}, "there is no image in test"),
        ({"val": index(0, 5), "test": index(5, 9)}, "images of val and test, but none of train"),
        ({"train": index(0, 1), "test": index(5, 9)}, "1 training images are too few to cut val"),
    ],
)
def test_too_few_images(parts: dict[str, np.ndarray], message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        complete_splits("own", parts, seed=0)
