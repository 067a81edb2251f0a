"""Items of the session state: sealed, movable nowhere, large ones in parts; and the ring of recent event ids."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from connectors.recent import BLOCK_IDS, BLOCKS, RecentIds
from connectors.state_items import PART_BYTES, ItemWriter, open_all, split_key
from core.errors import DBError
from core.ids import event_id
from core.security.keyring import DataKey

KEY = DataKey("sales-1", bytes(range(32)))
values = st.one_of(
    st.binary(max_size=40),
    st.integers(PART_BYTES - 1, 3 * PART_BYTES + 1).map(lambda size: b"\xff" * size),
    st.none(),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(("a", "b", "c/q/1")), values), max_size=8), st.booleans())
def test_items_come_back_and_no_part_is_left_behind(steps: list[tuple[str, bytes | None]], restart: bool) -> None:
    writer = ItemWriter(KEY)
    topic: dict[bytes, bytes] = {}
    expected: dict[str, bytes] = {}
    for name, value in steps:
        for key, sealed in writer.records({name: value}):
            if sealed is None:
                topic.pop(key, None)
            else:
                topic[key] = sealed
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = value
        if restart:
            writer = ItemWriter(KEY)
            writer.know(open_all(KEY, topic.items()))
    assert open_all(KEY, topic.items()) == expected
    parts = sum(-(-len(value) // PART_BYTES) for value in expected.values() if len(value) > PART_BYTES)
    assert len(topic) == len(expected) + parts
    assert {split_key(key)[0] for key in topic} <= {"sales-1"}


def records(name: str, value: bytes, key: DataKey = KEY) -> list[tuple[bytes, bytes]]:
    return [(at, sealed) for at, sealed in ItemWriter(key).records({name: value}) if sealed is not None]


def test_a_record_cannot_be_moved_to_another_item_or_instance() -> None:
    ((_, sealed),) = records("a", b"value")
    ((other, _),) = records("b", b"value")
    with pytest.raises(DBError, match="state_corrupt"):
        open_all(KEY, [(other, sealed)])
    foreign = DataKey("sales-2", bytes(range(32)))
    with pytest.raises(DBError, match="state_corrupt"):
        open_all(foreign, records("a", b"value"))


@pytest.mark.parametrize("lost", [1, 2])
def test_a_missing_part_is_noticed(lost: int) -> None:
    whole = records("a", b"x" * (2 * PART_BYTES))
    del whole[lost]
    with pytest.raises(DBError, match="state_corrupt"):
        open_all(KEY, whole)


def ids(count: int, start: int = 0) -> list[str]:
    return [event_id("message", "sales-1", 1, number) for number in range(start, start + count)]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=300), st.integers(1, 40))
def test_recent_ids_are_known_across_restarts(picks: list[int], every: int) -> None:
    ring, seen, items = RecentIds(), set(), {}
    for turn, pick in enumerate(picks):
        (one,) = ids(1, pick)
        assert ring.add(one) is (one not in seen)
        seen.add(one)
        if turn % every == 0:
            items.update(ring.changes())
            ring = RecentIds.restore(items)


def test_the_ring_keeps_the_newest_and_is_bounded() -> None:
    ring, items = RecentIds(), {}
    everything = ids(BLOCK_IDS * BLOCKS + 3 * BLOCK_IDS)
    for number, one in enumerate(everything):
        ring.add(one)
        if number % 50 == 0:
            items.update(ring.changes())
    items.update(ring.changes())
    assert len(items) == BLOCKS
    restored = RecentIds.restore(items)
    assert not any(restored.add(one) for one in everything[-BLOCK_IDS * (BLOCKS - 1) :])
    assert restored.add(everything[0])
    # What is added after a restart goes on where it stopped: the newest stay.
    assert not any(restored.add(one) for one in everything[-BLOCK_IDS * (BLOCKS - 2) :])
