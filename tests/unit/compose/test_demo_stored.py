"""The demo's comparison of ClickHouse with the log finds every kind of difference."""

from __future__ import annotations

from collections import Counter

import pytest

from compose.demo.stored import compare

LOG = {"results": {"a", "b"}, "events.message": {"c"}}


def test_equal_sets_are_clean() -> None:
    found = compare(LOG, {"results": Counter("ab"), "events.message": Counter("c")})
    assert found.clean
    assert found.events == 3


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"results": Counter("a"), "events.message": Counter("c")}, "1 of results missing"),
        ({"results": Counter("ab")}, "1 of events.message missing"),
        ({"results": Counter("abx"), "events.message": Counter("c")}, "1 of results not in the log"),
        ({"results": Counter("abb"), "events.message": Counter("c")}, "1 events more than once"),
    ],
)
def test_each_difference_is_told(stored: dict[str, Counter[str]], says: str) -> None:
    found = compare(LOG, stored)
    assert not found.clean
    assert says in found.lines()[-1]
