"""The ranges of arguments, in numbers and in words."""

import math

import pytest

from mnist_lab.models.arguments import Range


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        (Range(low=1, high=10), (1, 10, 2.5), (0, 11), "at least 1 and at most 10"),
        (Range(above=0), (1e-9, 1e9), (0, -1), "above 0"),
        (Range(low=0, below=1), (0, 0.99), (1, -0.1), "at least 0 and below 1"),
        (Range(low=1, odd=True), (1, 3), (2, 0), "at least 1 and odd"),
        (Range(high=100_000_000), (0, -5), (100_000_001,), "at most 100,000,000"),
    ],
)
def test_a_range(limits: Range, inside: tuple, outside: tuple, words: str) -> None:
    assert [value for value in inside if value not in limits] == []
    assert [value for value in outside if value in limits] == []
    assert str(limits) == words


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None, [1]])
def test_what_is_no_number_is_in_no_range(value: object) -> None:
    assert value not in Range()
