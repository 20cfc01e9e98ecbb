from typing import Any

import pytest

from genae_core.config.differences import first_difference


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"a": 1, "b": [1, {"c": None}]}, {"b": [1, {"c": None}], "a": 1}, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b was 1 and is 2 now"),
        ({"a": [0, {"b": "x"}]}, {"a": [0, {"b": "y"}]}, "a.1.b was 'x' and is 'y' now"),
        ({"a": [0]}, {"a": [0, 1]}, "a was [0] and is [0, 1] now"),
        ({"a": 1}, {}, "a was 1 and is not named now"),
        ({}, {"a": 1}, "a was not named and is 1 now"),
        ({"a": {"b": 1}}, {"a": None}, "a was {'b': 1} and is None now"),
    ],
)
def test_the_first_difference_has_the_field_and_both_values(
    before: Any, now: Any, words: str | None
) -> None:
    assert first_difference(before, now) == words
