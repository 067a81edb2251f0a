"""The comparison of ClickHouse with the log finds every kind of difference, in its partition and hour."""

from __future__ import annotations

from collections import Counter

import pytest

from compose.demo.stored import Comparison, Group

LOG: dict[Group, set[str]] = {(0, 7): {"a", "b"}, (1, 7): {"c"}}


def compared(stored: dict[Group, Counter[str]]) -> Comparison:
    found = Comparison()
    found.add("results", LOG, stored)
    return found


def test_equal_sets_are_clean() -> None:
    found = compared({(0, 7): Counter("ab"), (1, 7): Counter("c")})
    assert found.clean
    assert found.events == 3


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({(0, 7): Counter("a"), (1, 7): Counter("c")}, "1 missing, first: results[0] hour 7 b"),
        ({(0, 7): Counter("ab")}, "1 missing, first: results[1] hour 7 c"),
        ({(0, 7): Counter("abx"), (1, 7): Counter("c")}, "1 not in the log, first: results[0] hour 7 x"),
        ({(0, 7): Counter("abb"), (1, 7): Counter("c")}, "1 more than once, first: results[0] hour 7 b"),
        ({(0, 7): Counter("ab"), (1, 8): Counter("c")}, "1 not in the log, first: results[1] hour 8 c"),
    ],
)
def test_each_difference_is_told(stored: dict[Group, Counter[str]], says: str) -> None:
    found = compared(stored)
    assert not found.clean
    assert says in found.lines()[-1]


@pytest.mark.parametrize(("field", "says"), [("rollups_short", "too low"), ("rollups_over", "too high")])
def test_sums_that_differ_are_told(field: str, says: str) -> None:
    found = Comparison()
    getattr(found, field).append(("volume_hour", "sales-1", "25200", "message.new"))
    assert not found.clean
    assert says in found.lines()[-1]
